"""`kiff simulate`: what a draft would have decided, on a database and on a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_cases import Remote, clean_folder, served
from served import DOMAIN

from kiff.cli.exits import Exit

POLICY = """
policy: caution-v1
rules:
  - {id: careful, match: {action: [AUTO_REFUND]}, when: parameters.amount > 30, then: require_approval}
"""


def draft(folder: Path, old: str, new: str) -> str:
    text = (folder / "kiff.yaml").read_text("utf-8")
    assert old in text
    (folder / "draft.yaml").write_text(text.replace(old, new, 1))
    return "draft.yaml"


def smaller(folder: Path) -> str:
    """AUTO_REFUND of at most 10: the one of 49 that ran would be invalid."""
    return draft(folder, "maximum: 100,", "maximum: 10,")


def told(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    return found


def test_without_a_file_or_a_database_there_is_nothing_to_try(kiff: Any, folder: Path) -> None:
    assert kiff("simulate", "nowhere.yaml").code == Exit.FAILED
    assert kiff("simulate", "--db", "nowhere.db").code == Exit.FAILED


def test_a_window_that_is_none_is_refused(kiff: Any) -> None:
    ran = kiff("simulate", "--since", "yesterday")
    assert (ran.code, "such as `90d`" in ran.err) == (Exit.FAILED, True)


def test_the_same_domain_would_have_decided_the_same(kiff: Any) -> None:
    ran = kiff("simulate", "--fail-on", "new-allows")
    assert (ran.code, ran.out.splitlines()) == (
        Exit.DONE, ["action\tbefore\tafter\treason\tdecisions\tvalue\texample"],
    )  # fmt: skip
    assert "0 differ (0 newly allowed), 0 not decided again" in ran.err


def test_what_differs_is_a_line_with_an_example(kiff: Any, folder: Path) -> None:
    ran = kiff("simulate", smaller(folder))
    [line] = [line.split("\t") for line in ran.out.splitlines()[1:] if "\tallowed\t" in line]
    assert line[:5] == ["AUTO_REFUND", "allowed", "invalid", "invalid_parameter", "1"]
    assert kiff("explain", line[6]).code == Exit.DONE


def test_programs_get_everything(kiff: Any, folder: Path) -> None:
    found = told(kiff("simulate", smaller(folder), "--against", "history", "--json").out)
    assert (found["kiff"], found["mode"], found["new_allows"]) == ("v1", "independent", 0)
    assert found["decisions"] == found["same"] + found["flipped"] + found["undecided"] + found["moot"]
    assert found["assumptions"] and found["window"]["complete"]


def test_something_newly_allowed_fails_a_gate_that_asks_for_none(kiff: Any, folder: Path) -> None:
    laxer = draft(folder, "approval: required", "approval: never")
    assert kiff("simulate", laxer).code == Exit.DONE
    ran = kiff("simulate", laxer, "--fail-on", "new-allows")
    assert (ran.code, "newly allowed" in ran.err) == (Exit.FAILED, True)


def test_only_one_action_and_only_a_window_count(kiff: Any, folder: Path) -> None:
    every = told(kiff("simulate", smaller(folder), "--json").out)["decisions"]
    one = told(kiff("simulate", smaller(folder), "--action", "AUTO_REFUND", "--json").out)["decisions"]
    none = told(kiff("simulate", smaller(folder), "--since", "2030-01-01T00:00:00Z", "--json").out)["decisions"]
    assert every > one > none == 0


def test_a_draft_of_the_policy_needs_no_domain(kiff: Any, folder: Path) -> None:
    (folder / "policy.yaml").write_text(POLICY)
    found = told(kiff("simulate", "--policy", "policy.yaml", "--minutes-per-approval", "6", "--json").out)
    assert (found["domain"], found["policy"]) == (None, "caution-v1")
    assert [(flip["after"], flip["reason"]) for flip in found["flips"]] == [("approval_required", "careful")]
    assert found["approvals"]["minutes_per_day"] == 6


def test_in_sequence_is_said_so(kiff: Any, folder: Path) -> None:
    found = told(kiff("simulate", smaller(folder), "--sequential", "--json").out)
    assert found["mode"] == "sequential"


def test_people_see_a_table_with_the_examples_below(kiff: Any, folder: Path) -> None:
    ran = kiff("simulate", smaller(folder), "-o", "text")
    assert "AUTO_REFUND allowed -> invalid  rcpt_" in ran.out
    assert "assumed: " in ran.err


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Remote]:
    """A server on which one refund ran, and one is held."""
    with clean_folder(tmp_path / "here", monkeypatch), served(tmp_path / "data") as shop:
        shop.paid("ord_1", "ord_2")
        shop.execute("ord_1")
        shop.execute("ord_2", "REFUND_ORDER", 999)
        Path("kiff.yaml").write_text(DOMAIN.read_text("utf-8").replace("maximum: 100,", "maximum: 10,"))
        yield Remote(shop, monkeypatch, capsys)


@pytest.mark.slow
def test_a_server_tells_what_its_database_does(remote: Remote) -> None:
    Path("policy.yaml").write_text(POLICY)
    asked = ("simulate", "kiff.yaml", "--policy", "policy.yaml", "--since", "90d", "--json")
    there, here = remote(*asked, key="owner"), remote.on_database(*asked)
    assert (there.code, here.code) == (Exit.DONE, Exit.DONE)
    assert there.json == here.json
    assert [flip["after"] for flip in there.json["flips"]] == ["invalid"]


@pytest.mark.slow
def test_a_server_simulates_for_owners_only(remote: Remote) -> None:
    ran = remote("simulate", "kiff.yaml", key="agent")
    assert (ran.code, "[permission_denied]" in ran.err) == (Exit.BLOCKED, True)


@pytest.mark.slow
def test_a_server_is_told_the_domain_too(remote: Remote) -> None:
    assert remote("simulate", "--policy", "policy.yaml", key="owner").code == Exit.USAGE
