"""What each command prints, and what it ends with."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_cases import SIGNER, edited_copy, make_database

from kiff.canonical import encode
from kiff.cli.exits import Exit
from kiff.ledger import PublicKeys, leaf_hash, verify_receipt


def first_receipt(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "kiff.db")) as connection:
        [(receipt_id,)] = connection.execute("SELECT id FROM receipts ORDER BY seq LIMIT 1").fetchall()
    return str(receipt_id)


def test_a_missing_database_is_one_clear_line(kiff: Any) -> None:
    ran = kiff("timeline", "order:ord_001", "--db", "nowhere.db")
    assert (ran.code, ran.out) == (Exit.FAILED, "")
    assert ran.err.splitlines()[0] == "error: there is no database at `nowhere.db`   [store_unavailable]"
    assert ran.err.splitlines()[1].startswith("  hint   ")
    assert "Traceback" not in ran.err


def test_a_file_that_is_no_database_is_refused(kiff: Any, folder: Path) -> None:
    (folder / "notes.db").write_text("hello " * 1000)
    ran = kiff("replay", "notes.db")
    assert (ran.code, "[store_corrupt]" in ran.err) == (Exit.FAILED, True)


def test_another_programs_database_is_refused(kiff: Any, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "other.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    assert "is not a KIFF database" in kiff("verify", "other.db").err


def test_an_unknown_entity_is_not_an_empty_timeline(kiff: Any) -> None:
    ran = kiff("timeline", "order:nobody")
    assert (ran.code, ran.out) == (Exit.FAILED, "")
    assert "[not_found]" in ran.err


@pytest.mark.parametrize(
    "argv", [("bogus",), ("timeline",), ("verify", "--bogus"), ("timeline", "a:b", "-o", "xml"), ()]
)
def test_a_wrong_command_line_ends_with_two(argv: tuple[str, ...], kiff: Any) -> None:
    ran = kiff(*argv)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert ran.err


def test_debug_shows_where_and_nothing_else_does(kiff: Any) -> None:
    assert "Traceback" in kiff("--debug", "timeline", "order:nobody").err


def test_the_timeline_tells_the_granted_refund_as_the_seed_does(kiff: Any) -> None:
    ran = kiff("timeline", "order:ord_002")
    assert ran.code == Exit.DONE
    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert lines[0] == ["seq", "time", "kind", "actor", "summary"]
    assert [line[2:] for line in lines[1:]] == [
        ["event_ingested", "stripe", "ORDER_PLACED"],
        ["state_changed", "stripe", "CREATED"],
        ["event_ingested", "stripe", "ORDER_PAID"],
        ["state_changed", "stripe", "CREATED → PAID"],
        ["decision_recorded", "ops-agent", "propose REFUND_ORDER (high)"],
        ["approval_required", "ops-agent", "REFUND_ORDER awaiting human"],
        ["approval_granted", "ops-human", "REFUND_ORDER granted"],
        ["decision_recorded", "ops-agent", "propose REFUND_ORDER (high)"],
        ["action_validated", "ops-agent", "REFUND_ORDER ✓"],
        ["action_executed", "ops-agent", "REFUND_ORDER"],
        ["event_ingested", "ops-agent", "ORDER_REFUNDED"],
        ["state_changed", "ops-agent", "PAID → REFUNDED"],
    ]
    assert ran.err == "rebuild: materialized state matches replay ✓\n"


def test_the_timeline_says_when_the_row_was_edited(kiff: Any) -> None:
    ran = kiff("timeline", "order:ord_001", "--db", "edited.db")
    assert ran.code == Exit.INVALID
    assert ran.err == "rebuild: materialized state PAID does not match replay REFUNDED ✕\n"


def test_the_timeline_pages_and_filters(kiff: Any) -> None:
    first = kiff("timeline", "order:ord_002", "--limit", "2", "--kind", "event_ingested", "-o", "jsonl")
    records = [json.loads(line) for line in first.out.splitlines()]
    assert [record["summary"] for record in records] == ["ORDER_PLACED", "ORDER_PAID"]
    assert f"more: --after {records[-1]['seq']}" in first.err
    rest = kiff(
        "timeline", "order:ord_002", "--after", str(records[-1]["seq"]), "--kind", "event_ingested", "-o", "jsonl"
    )
    assert [json.loads(line)["summary"] for line in rest.out.splitlines()] == ["ORDER_REFUNDED"]


def test_the_database_comes_from_the_flag_then_the_environment_then_the_folder(
    kiff: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "kiff.db").rename(folder / "moved.db")
    assert kiff("timeline", "order:ord_001").code == Exit.FAILED
    monkeypatch.setenv("KIFF_DB", "moved.db")
    assert kiff("timeline", "order:ord_001").code == Exit.DONE
    assert kiff("timeline", "order:ord_001", "--db", "edited.db").code == Exit.INVALID


def test_a_receipt_with_its_proof_is_verified_from_the_key_set_alone(kiff: Any, folder: Path) -> None:
    shown = kiff("receipts", "show", first_receipt(folder), "--proof")
    (folder / "receipt.json").write_text(shown.out)
    ran = kiff("verify", "receipt.json", "--jwks", "kiff.db.key.jwks.json")
    assert ran.code == Exit.DONE
    assert "rung\tINCLUDED\tyes" in ran.out
    assert "rung\tCONSISTENT\tunchecked" in ran.out
    with_head = kiff("verify", "receipt.json", "--jwks", "kiff.db.key.jwks.json", "--head", "head.txt")
    assert "rung\tCONSISTENT\tyes" in with_head.out


def test_a_receipt_without_a_key_set_is_undecidable_and_says_how_to_get_it(kiff: Any, folder: Path) -> None:
    (folder / "receipt.json").write_text(kiff("receipts", "show", first_receipt(folder), "--proof").out)
    ran = kiff("verify", "receipt.json")
    assert ran.code == Exit.UNDECIDABLE
    assert "--jwks FILE" in ran.err


def test_a_changed_receipt_is_invalid_and_its_field_is_named(kiff: Any, folder: Path) -> None:
    receipt = json.loads(kiff("receipts", "show", first_receipt(folder), "--proof").out)
    receipt["decision"] = "blocked"
    (folder / "receipt.json").write_text(json.dumps(receipt))
    ran = kiff("verify", "receipt.json", "--jwks", "kiff.db.key.jwks.json")
    assert ran.code == Exit.INVALID
    assert "problem\treceipt\tdecision\t" in ran.out


def test_a_bundle_is_known_by_its_content(kiff: Any, folder: Path) -> None:
    (folder / "bundle.txt").write_text(kiff("receipts", "show", first_receipt(folder), "--bundle").out)
    ran = kiff("verify", "bundle.txt", "--jwks", "kiff.db.key.jwks.json", "--json")
    assert (ran.code, json.loads(ran.out)["what"]) == (Exit.DONE, "bundle")


def test_a_file_of_something_else_is_invalid(kiff: Any, folder: Path) -> None:
    (folder / "note.json").write_text("{not json")
    assert kiff("verify", "note.json", "--jwks", "kiff.db.key.jwks.json").code == Exit.INVALID


def test_a_receipt_as_json_is_the_receipt_and_nothing_else(kiff: Any, folder: Path) -> None:
    receipt = json.loads(kiff("receipts", "show", first_receipt(folder), "-o", "json").out)
    assert verify_receipt(receipt, PublicKeys([SIGNER.public])).reached == "SIGNED"


def test_a_receipt_as_a_jws_has_three_parts(kiff: Any, folder: Path) -> None:
    assert len(kiff("receipts", "show", first_receipt(folder), "--jws").out.strip().split(".")) == 3


def test_an_unknown_receipt_is_not_found(kiff: Any) -> None:
    for form in ("--proof", "--jws", "--bundle"):
        assert "[not_found]" in kiff("receipts", "show", "rcpt_none", form).err


def test_verifying_a_database_climbs_the_ladder(kiff: Any) -> None:
    ran = kiff("verify", "kiff.db", "--head", "head.txt", "--json")
    assert ran.code == Exit.DONE
    verdict = json.loads(ran.out)
    assert verdict["kiff"] == "v1"
    assert [(rung["name"], rung["ok"]) for rung in verdict["rungs"]] == [
        ("SIGNED", True),
        ("INCLUDED", True),
        ("CONSISTENT", True),
        ("REPLAYED", True),
    ]
    assert verdict["counts"]["records_after_the_last_signed_head"] == 0


def test_an_edited_database_is_invalid_and_the_row_is_named(kiff: Any) -> None:
    ran = kiff("verify", "edited.db")
    assert ran.code == Exit.INVALID
    assert "problem\tentity order:ord_001\tstate\t" in ran.out
    assert ran.out.count("problem\t") == 1
    assert "rung\tINCLUDED\tyes" in ran.out


def test_an_edited_record_is_named_with_its_field(kiff: Any, folder: Path) -> None:
    smaller = """replace(CAST(body AS TEXT), '"amount":999', '"amount":9')"""
    sql = f"UPDATE records SET body = CAST({smaller} AS BLOB) WHERE seq = 20"
    edited_copy(folder / "kiff.db", "twice.db", sql)
    ran = kiff("verify", "twice.db")
    assert ran.code == Exit.INVALID
    [problem] = [line for line in ran.out.splitlines() if line.startswith("problem\t")]
    assert problem == "problem\trecord 20\tdata.proposal.parameters.amount\twas changed: it says `9`, it said `999`"


def test_without_a_key_set_a_database_is_undecidable(kiff: Any, folder: Path) -> None:
    (folder / "kiff.db.key.jwks.json").unlink()
    ran = kiff("verify", "kiff.db")
    assert ran.code == Exit.UNDECIDABLE
    assert "--jwks FILE" in ran.err


def test_a_saved_head_of_a_longer_log_shows_the_cut(kiff: Any, folder: Path) -> None:
    head = make_database(folder / "other.db")
    edited_copy(folder / "other.db", "cut.db", "DELETE FROM records WHERE seq > 5")
    (folder / "other.txt").write_bytes(head)
    assert kiff("verify", "cut.db", "--head", "other.txt").code == Exit.INVALID


def test_replay_matches_and_says_when_it_does_not(kiff: Any) -> None:
    assert kiff("replay").code == Exit.DONE
    ran = kiff("replay", "edited.db", "-o", "text")
    assert ran.code == Exit.INVALID
    assert "entity order:ord_001 state: the row says `PAID`, its events lead to `REFUNDED`" in ran.out


def test_version_tells_what_it_stands_on(kiff: Any) -> None:
    told = json.loads(kiff("version", "--json").out)
    assert list(told) == ["kiff", "version", "python", "sqlite", "schema"]


def test_commands_leave_the_database_as_it_was(kiff: Any, folder: Path) -> None:
    before = (folder / "kiff.db").read_bytes()
    for argv in (("timeline", "order:ord_001"), ("verify",), ("replay",), ("receipts", "show", first_receipt(folder))):
        assert kiff(*argv).code == Exit.DONE
    assert (folder / "kiff.db").read_bytes() == before


def test_data_that_would_drive_the_terminal_are_shown_not_obeyed(kiff: Any, folder: Path) -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07\u202egpj.exe\u200b\x9b31m\r\n\tend"
    with closing(sqlite3.connect(folder / "kiff.db", isolation_level=None)) as connection:
        [(body,)] = connection.execute("SELECT body FROM records WHERE seq = 1").fetchall()
        value = json.loads(body)
        value["actor"]["id"] = value["data"]["event"]["type"] = hostile
        value["entity"] = "order:ord_001"
        raw = encode(value)
        connection.execute("UPDATE records SET body = ?, leaf = ? WHERE seq = 1", (raw, leaf_hash(raw)))
    for argv in (("timeline", "order:ord_001"), ("verify",), ("replay", "kiff.db"), ("timeline", hostile)):
        for output in ("auto", "text", "json"):
            ran = kiff(*argv, "-o", output)
            shown = ran.out + ran.err
            assert not set("\x1b\x07\u202e\u200b\x9b\r") & set(shown), (argv, output)
    assert "\\x1b[2J" in kiff("timeline", "order:ord_001").out
    assert "\\u202egpj.exe\\u200b" in kiff("timeline", "order:ord_001").out
