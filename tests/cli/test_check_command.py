"""`kiff check`: all findings at once, each with its line and its fix, and nothing of the user's is run."""

from __future__ import annotations

import ast
import json
import os
import shutil
from pathlib import Path

import pytest
from shop_cases import Shop

from kiff.cli.exits import Exit

BROKEN = Path(__file__).resolve().parents[1] / "domain" / "broken.yaml"
STUB = """
from kiff import Unfinished

def issue_refund(operation):
    raise Unfinished("refund.issue_refund is not written yet")

def mark_paid(operation):
    return {"status": "succeeded"}

EXECUTORS = {"refund.issue_refund": issue_refund, "orders.mark_paid": mark_paid}
"""


def edit(shop: Shop, old: str, new: str, name: str = "kiff.yaml") -> None:
    text = (shop.folder / name).read_text()
    assert old in text
    (shop.folder / name).write_text(text.replace(old, new))


@pytest.fixture
def sound(shop: Shop) -> Shop:
    """A project about which there is nothing to say."""
    edit(
        shop,
        "    admin: [orders.mark_paid, orders.refund, orders.approve, events.ingest]",
        "    admin: [orders.mark_paid]",
    )
    return shop


def test_a_renamed_state_is_explained_at_every_place_that_broke(sound: Shop) -> None:
    edit(sound, "states: [CREATED, PAID,", "states: [CREATED, SETTLED,")
    ran = sound("check")
    assert ran.code == Exit.FAILED
    assert [(row["file"], row["line"], row["level"], row["code"], row["path"]) for row in ran.rows] == [
        ("kiff.yaml", "13", "error", "unknown_state", "transitions[1].to"),
        ("kiff.yaml", "14", "error", "unknown_state", "transitions[2].from"),
        ("kiff.yaml", "28", "error", "unknown_state", "actions[1].allowed_states[0]"),
        ("kiff.yaml", "41", "error", "unknown_state", "actions[2].allowed_states[0]"),
    ]
    assert {row["fix"] for row in ran.rows} == {"write `SETTLED` if that is its name now: nothing uses it"}
    assert ran.err == "4 errors\n"
    edit(sound, "SETTLED", "PAID")
    assert sound("check").code == Exit.DONE


def test_nothing_to_say_is_said(sound: Shop) -> None:
    ran = sound("check")
    assert (ran.code, ran.rows, ran.err) == (Exit.DONE, [], "no findings: refund-ops-v2 is ready\n")


def test_warnings_are_shown_and_fail_only_when_asked_to(shop: Shop) -> None:
    ran = shop("check")
    assert [(row["level"], row["code"]) for row in ran.rows] == [("warning", "shared_duties")]
    assert (ran.code, ran.err) == (Exit.DONE, "1 warning: refund-ops-v2 is ready\n")
    assert shop("check", "--strict").code == Exit.FAILED


def test_a_draft_is_unfinished(sound: Shop) -> None:
    edit(sound, "    risk: low\n", "")
    ran = sound("check")
    assert [(row["level"], row["code"]) for row in ran.rows] == [("unfinished", "no_risk")]
    assert (ran.code, ran.err) == (Exit.FAILED, "1 unfinished\n")


def test_an_unfinished_executor_is_reported_until_it_is_written(sound: Shop) -> None:
    (sound.folder / "actions.py").write_text(STUB)
    [row] = sound("check").rows
    assert (row["file"], row["line"], row["level"], row["code"]) == (
        "actions.py",
        "4",
        "unfinished",
        "executor_unfinished",
    )
    assert "`issue_refund`" in row["message"]
    edit(
        sound,
        'raise Unfinished("refund.issue_refund is not written yet")',
        'return {"status": "succeeded"}',
        "actions.py",
    )
    assert sound("check").code == Exit.DONE


def test_names_that_do_not_meet_are_found_on_both_sides(sound: Shop) -> None:
    edit(sound, '"orders.mark_paid"', '"orders.mark_payed"', "actions.py")
    missing, unused = sound("check").rows
    assert (missing["file"], missing["line"], missing["code"]) == ("kiff.yaml", "23", "executor_missing")
    assert missing["fix"] == "did you mean `orders.mark_payed`?"
    assert (unused["file"], unused["level"], unused["code"]) == ("actions.py", "warning", "executor_unused")


def test_nothing_of_the_users_is_run(sound: Shop) -> None:
    edit(sound, "EXECUTORS =", "OUTSIDE.write_text('it ran')\nEXECUTORS =", "actions.py")
    assert sound("check").code == Exit.DONE
    assert not (sound.folder / "outside.jsonl").exists()


@pytest.mark.parametrize(("text", "line"), [("import os\nEXECUTORS = {\n", "2"), ("import os\n", "1")])
def test_an_executors_file_that_cannot_be_read_is_a_finding(sound: Shop, text: str, line: str) -> None:
    (sound.folder / "actions.py").write_text(text)
    [row] = sound("check").rows
    assert (row["file"], row["line"], row["level"], row["code"]) == ("actions.py", line, "error", "executors_unusable")


def test_what_only_running_it_would_tell_is_said_on_stderr(sound: Shop) -> None:
    edit(sound, "EXECUTORS = {", "EXECUTORS = dict() | {", "actions.py")
    ran = sound("check")
    assert (ran.code, ran.rows) == (Exit.DONE, [])
    assert "names were not compared" in ran.err


def test_without_an_executors_file_it_says_so(sound: Shop) -> None:
    (sound.folder / "actions.py").unlink()
    ran = sound("check")
    assert ran.code == Exit.DONE
    assert ran.err.startswith("there is no `actions.py`")
    assert sound("check", "--executors", "actions.py").code == Exit.FAILED, "it was asked for"


def test_many_kinds_in_one_run_in_document_order(sound: Shop) -> None:
    shutil.copy(BROKEN, sound.folder / "kiff.yaml")
    rows = sound("check").rows
    assert len({row["code"] for row in rows}) >= 18
    assert {row["level"] for row in rows} == {"error", "unfinished", "warning"}
    own = [int(row["line"]) for row in rows if row["file"] == "kiff.yaml"]
    assert own == sorted(own)


def test_a_terminal_gets_them_aligned_with_reason_and_fix_below(sound: Shop) -> None:
    edit(sound, "allowed_states: [CREATED]", "allowed_states: [CREATD]")
    edit(sound, "    risk: low\n", "")
    assert sound("check", "-o", "text").out.splitlines() == [
        "kiff.yaml:17  unfinished  no_risk        actions[0].risk",
        "    `MARK_PAID` does not state `risk`",
        "    fix  write `risk: low`, `medium` or `high`",
        "kiff.yaml:19  error       unknown_state  actions[0].allowed_states[0]",
        "    `CREATD` is not a declared state",
        "    fix  did you mean `CREATED`?",
    ]


def test_json_counts_and_holds_the_findings(shop: Shop) -> None:
    edit(shop, "    risk: low\n", "")
    said = shop("check", "-o", "json").json
    assert {name: said[name] for name in said if name != "findings"} == {
        "kiff": "v1",
        "file": "kiff.yaml",
        "domain": "refund-ops-v2",
        "ok": False,
        "errors": 0,
        "unfinished": 1,
        "warnings": 1,
        "unknown": 0,
        "infos": 0,
    }
    assert [finding["level"] for finding in said["findings"]] == ["unfinished", "warning"]
    lines = [json.loads(line) for line in shop("check", "-o", "jsonl").out.splitlines()]
    assert [{"kiff": "v1", **finding} for finding in said["findings"]] == lines


def test_text_of_the_author_cannot_move_the_cursor(sound: Shop) -> None:
    (sound.folder / "kiff.yaml").write_text('"\\e[2Jx": 1\n')
    for output in ("text", "auto", "json"):
        assert "\x1b" not in sound("check", "-o", output).out


def test_a_folder_is_its_kiff_yaml_with_the_executors_beside_it(sound: Shop) -> None:
    other = sound.folder / "other"
    other.mkdir()
    assert "there is no file at `other/kiff.yaml`" in sound("check", "other").err
    shutil.copy(sound.folder / "kiff.yaml", other)
    (other / "actions.py").write_text(STUB)
    [row] = sound("check", "other").rows
    assert (row["file"], row["code"]) == (f"other{os.sep}actions.py", "executor_unfinished")


def test_the_settings_say_where_it_is(sound: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    (sound.folder / "kiff.yaml").rename(sound.folder / "orders.yaml")
    assert sound("check").code == Exit.FAILED
    monkeypatch.setenv("KIFF_DOMAIN", "orders.yaml")
    assert sound("check").code == Exit.DONE


@pytest.mark.parametrize(
    ("raw", "code"),
    [(b"\x89PNG\r\n\x1a\n\xff", "not_utf8"), (b"a: [", "not_yaml"), (b"a\x00b", "not_yaml"), (b"", "wrong_type")],
)
def test_a_file_that_is_no_domain_is_one_finding(sound: Shop, raw: bytes, code: str) -> None:
    (sound.folder / "kiff.yaml").write_bytes(raw)
    ran = sound("check")
    assert (ran.code, [row["code"] for row in ran.rows]) == (Exit.FAILED, [code])


def test_a_missing_file_is_one_sentence(sound: Shop) -> None:
    ran = sound("check", "nowhere.yaml")
    assert (ran.code, ran.out) == (Exit.FAILED, "")
    assert ran.err.startswith("error: there is no file at `nowhere.yaml`")


def test_the_place_in_an_expression_is_underlined_where_people_and_programs_look(sound: Shop) -> None:
    edit(sound, "    risk: low\n", "    risk: low\n    when: entity.sate == 'CREATED'\n")
    shown = sound("check", "-o", "text").out.splitlines()
    at = shown.index("    `entity` has no field `sate`")
    assert shown[at + 1 : at + 4] == [
        "      entity.sate == 'CREATED'",
        "      ^^^^^^^^^^^",
        "    fix  did you mean `state`?",
    ]
    [finding] = sound("check", "--json").json["findings"]
    assert finding["excerpt"] == "entity.sate == 'CREATED'\n^^^^^^^^^^^"


def test_what_takes_more_room_on_a_terminal_is_underlined_all_the_same(sound: Shop) -> None:
    edit(sound, "    risk: low\n", "    risk: low\n    when: \"'\\u202e漢' == entity.id || entity.sate == 'x'\"\n")
    shown = sound("check", "-o", "text").out.splitlines()
    [line] = [each for each in shown if "entity.sate ==" in each]
    carets = shown[shown.index(line) + 1]
    columns = len(carets) - len(carets.lstrip())
    assert "\u202e" not in line
    assert columns == len(line[: line.index("entity.sate")]) + 1, "one character of these takes two columns"


def test_every_warning_is_explained_on_the_page() -> None:
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "reference" / "cli.md").read_text("utf-8")
    sources = (root / "packages" / "kiff" / "src" / "kiff" / "domain").glob("*soundness.py")
    calls = [
        node for path in sources for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)
    ]
    named = [node for node in calls if getattr(node.func, "id", "") in ("warning", "Finding")]
    codes = {node.args[1].value for node in named if isinstance(node.args[1], ast.Constant)}
    assert len(codes) > 25
    assert {code for code in codes - {"executor_missing"} if f"`{code}`" not in page} == set()
