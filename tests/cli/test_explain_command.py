"""`kiff explain`: the sentence, what was considered, and what would help; on a database and on a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_cases import Remote, clean_folder, served
from shop_cases import Shop

from kiff.cli.exits import Exit


@pytest.fixture
def ruled(shop: Shop) -> Shop:
    """A shop where refunds over 20 wait for a person."""
    file = shop.folder / "kiff.yaml"
    rule = "    rules: [{id: much, when: parameters.amount > 20, then: require_approval}]\n"
    before, after = file.read_text("utf-8").split("  - name: AUTO_REFUND\n")
    after = after.replace("    approval: never\n", f"    approval: conditional\n{rule}", 1)
    file.write_text(f"{before}  - name: AUTO_REFUND\n{after}")
    return shop.paid("ord_1")


def refused(shop: Shop) -> dict[str, str]:
    fields: dict[str, str] = shop.refund("ord_1", 49).fields
    return fields


def test_an_id_of_nothing_is_not_found(ruled: Shop) -> None:
    ran = ruled("explain", "rcpt_none")
    assert (ran.code, "[not_found]" in ran.err) == (Exit.FAILED, True)


def test_pipes_get_a_line_for_each_thing_that_was_considered(ruled: Shop) -> None:
    ran = ruled("explain", refused(ruled)["receipt_id"])
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert rows[0] == ["kind", "name", "said", "detail"]
    assert ["rule", "much", "holds", "parameters.amount > 20, with parameters.amount = 49"] in rows
    assert ["change", "much", "allowed", "with `amount` at most 20 USD, it is allowed"] in rows


def test_a_proposal_is_explained_by_its_own_id(ruled: Shop) -> None:
    held = refused(ruled)
    ran = ruled("explain", held["proposal_id"], "--json")
    told: dict[str, Any] = json.loads(ran.out)
    assert (told["kiff"], told["receipt_id"], told["outcome"]) == ("v1", held["receipt_id"], "approval_required")
    assert {change["kind"] for change in told["changes"]} == {"parameter", "approval"}


def test_people_see_the_sentence_first(ruled: Shop) -> None:
    ran = ruled("explain", refused(ruled)["receipt_id"], "-o", "text")
    assert ran.out.startswith("approval_required  a person must approve it: much\nAUTO_REFUND on order:ord_1 at ")


def test_what_a_caller_wrote_moves_no_cursor(ruled: Shop) -> None:
    held = ruled(
        "execute", "AUTO_REFUND", "order:ord_1", "-p", "amount=49", "-p", "reason=x\x1b[2Jy", "--as", "ops-agent"
    )
    assert "\x1b" not in ruled("explain", held.fields["receipt_id"], "-o", "text").out


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Remote]:
    with clean_folder(tmp_path / "here", monkeypatch), served(tmp_path / "data") as shop:
        shop.paid("ord_1")
        yield Remote(shop, monkeypatch, capsys)


@pytest.mark.slow
def test_a_server_explains_to_an_agent_its_own_refusals(remote: Remote) -> None:
    held = remote.refund("ord_1", 999).fields
    for id in (held["receipt_id"], held["proposal_id"]):
        ran = remote("explain", id, "--json")
        assert (ran.code, ran.json["outcome"]) == (Exit.DONE, "approval_required")
    assert remote.on_database("explain", held["receipt_id"], "--json").json["changes"] == ran.json["changes"]
