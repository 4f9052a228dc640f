"""`kiff vault`, and what the other commands show of a sensitive value."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from shop_cases import Ran, Shop

from kiff.cli.exits import Exit

pytestmark = pytest.mark.slow

CANARY = "canary-8f14e45fceea16"


@pytest.fixture
def desk(shop: Shop) -> Shop:
    """A shop whose reasons are sensitive; granted refunds run at once."""
    file = shop.folder / "kiff.yaml"
    text = file.read_text("utf-8").replace("reason: {type: string,", "reason: {sensitive: true, type: string,")
    policy = "    approval: required\n"
    file.write_text(text.replace(policy, f"{policy}    approval_policy: {{on_grant: run}}\n"))
    return shop.paid("ord_1", "ord_2")


def held(desk: Shop, order: str = "ord_1") -> str:
    return desk.refund(order, 999, reason=CANARY).fields["approval_id"]


def granted(desk: Shop, approval: str, *more: str) -> Ran:
    said = ("--reason", "looked at it", "--confirm", "order:ord_1", "--as", "ops-human")
    return desk("approvals", "grant", approval, *said, *more)


def commitment(desk: Shop) -> str:
    [row] = desk("vault", "list", "--json").json["sealed"]
    return str(row["commitment"])


def test_only_an_owner_erases(desk: Shop) -> None:
    held(desk)
    refused = desk("vault", "erase", "order:ord_1", "--yes", "--as", "ops-human")
    assert (refused.code, "tenant_owner" in refused.err) == (Exit.BLOCKED, True)
    assert desk("vault", "open", commitment(desk)).fields["value"] == CANARY


def test_nothing_is_erased_without_being_asked_or_told(desk: Shop) -> None:
    held(desk)
    assert desk("vault", "erase", "order:ord_1", "--as", "ada").code == Exit.USAGE
    assert desk("vault", "open", commitment(desk)).code == Exit.DONE


def test_what_is_not_there_cannot_be_opened(desk: Shop) -> None:
    assert desk("vault", "open", "sha256:" + "0" * 64).code == Exit.FAILED


def test_a_value_that_is_another_one_is_told_apart(desk: Shop) -> None:
    held(desk)
    with closing(sqlite3.connect(desk.folder / "kiff.db")) as database, database:
        database.execute("UPDATE sealed SET value = CAST('\"another\"' AS BLOB)")
    opened = desk("vault", "open", commitment(desk))
    assert (opened.code, opened.fields["opens"]) == (Exit.INVALID, "no")


def test_a_value_is_opened_and_checked_against_its_commitment(desk: Shop) -> None:
    held(desk)
    opened = desk("vault", "open", commitment(desk)).fields
    assert (opened["entity"], opened["parameter"], opened["value"], opened["opens"]) == (
        "order:ord_1",
        "reason",
        CANARY,
        "yes",
    )


def test_the_list_has_no_values(desk: Shop) -> None:
    held(desk)
    held(desk, "ord_2")
    listed = desk("vault")
    assert ([row["parameter"] for row in listed.rows], CANARY in listed.out) == (["reason", "reason"], False)
    assert len(desk("vault", "list", "--entity", "order:ord_2").rows) == 1


def test_a_reviewer_is_shown_the_value_and_it_runs_with_it(desk: Shop) -> None:
    approval = held(desk)
    assert CANARY in desk("approvals", "show", approval).fields["parameters"]
    assert (granted(desk, approval).code, desk.effects()) == (Exit.DONE, ["ord_1"])


def test_a_rehearsal_knows_the_call_again_and_makes_no_key(desk: Shop) -> None:
    assert desk.refund("ord_1", 999, "--dry-run", reason=CANARY).code == Exit.HELD
    assert not (desk.folder / "kiff.db.vault.key").exists()
    approval = held(desk)
    again = desk.refund("ord_1", 999, "--dry-run", "--approval", approval, reason=CANARY)
    assert (again.code, "approval_mismatch" in again.out) == (Exit.HELD, False)


def test_what_was_erased_is_gone_and_everything_still_verifies(desk: Shop) -> None:
    approval, name = held(desk), commitment(desk)
    erased = desk("vault", "erase", "order:ord_1", "--yes", "--as", "ada")
    assert (erased.code, erased.fields["count"]) == (Exit.DONE, "1")
    assert desk("vault", "open", name).code == Exit.FAILED
    refused = granted(desk, approval)
    assert (refused.code, desk.effects(), "erased" in refused.out) == (Exit.BLOCKED, [], True)
    verified = desk("verify", "kiff.db")
    assert (verified.code, "1 decisions not, because what they read was erased" in verified.out) == (Exit.DONE, True)
    replayed = desk("replay", "kiff.db", "--json").json
    assert (replayed["status"], replayed["counts"]["not_decided_again"]) == ("valid", 1)


def test_no_other_command_prints_a_value(desk: Shop) -> None:
    held(desk)
    receipt = desk("receipts", "list", "--json").json["receipts"][-1]["receipt_id"]
    commands = (
        ("timeline", "order:ord_1"),
        ("timeline", "order:ord_1", "--json"),
        ("entities", "show", "order:ord_1"),
        ("approvals", "list", "--json"),
        ("receipts", "show", receipt),
        ("operations",),
        ("verify", "kiff.db"),
        ("replay", "kiff.db"),
        ("vault", "list", "--json"),
    )
    for command in commands:
        ran = desk(*command)
        assert (command, ran.code, CANARY in ran.out + ran.err) == (command, Exit.DONE, False)
    assert [f.name for f in Path(desk.folder).iterdir() if CANARY.encode() in f.read_bytes()] == ["kiff.db"]


def test_the_doctor_sees_a_secret_that_others_may_read(desk: Shop) -> None:
    held(desk)
    assert desk("doctor").code == Exit.DONE
    (desk.folder / "kiff.db.vault.key").chmod(0o644)
    told = desk("doctor")
    assert (told.code, "vault.key` is open to other users" in told.out) == (Exit.FAILED, True)
