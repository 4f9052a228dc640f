"""A changed record is named, and so is the field, wherever something else says what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from analysis_cases import copy_of, keys_of, read, tamper, verify

from kiff.canonical import encode
from kiff.ledger import Problem, leaf_hash


def changed(value: dict[str, Any], path: str, put: object) -> None:
    *steps, last = path.split(".")
    inner: Any = value
    for step in steps:
        inner = inner[step]
    inner[last] = put


@pytest.fixture
def problems_after(endings: Path, tmp_path: Path) -> Callable[..., tuple[Problem, ...]]:
    """Edits one field of the n-th record of a kind, as an attacker without the key would; then verifies."""

    def edit(kind: str, path: str, put: object) -> tuple[Problem, ...]:
        copied = copy_of(endings, tmp_path)
        found = [
            (seq, json.loads(str(bytes(body), "utf-8")))  # type: ignore[call-overload]
            for seq, body in read(copied, "SELECT seq, body FROM records ORDER BY seq")
        ]
        seq, value = next((seq, value) for seq, value in found if value["kind"] == kind)
        changed(value, path, put)
        tamper(copied, "UPDATE records SET body = ? WHERE seq = ?", encode(value), seq)
        return tuple(p for p in verify(copied, keys_of(endings)).problems if p.where == f"record {seq}")

    return edit


PROVEN = (
    ("decision_recorded", "data.outcome", "blocked"),
    ("decision_recorded", "data.action", "REFUND_ORDER"),
    ("decision_recorded", "data.action_digest", "sha256:" + "0" * 64),
    ("decision_recorded", "data.proposal_digest", "sha256:" + "0" * 64),
    ("decision_recorded", "data.receipt.digest", "sha256:" + "0" * 64),
    ("decision_recorded", "data.receipt.id", "rcpt_other"),
    ("decision_recorded", "data.clearance_id", "clr_other"),
    ("decision_recorded", "data.proposal.entity", "order:ord_002"),
    ("decision_recorded", "data.proposal.principal", "someone"),
    ("decision_recorded", "data.proposal.mode", "decide"),
    ("decision_recorded", "data.facts.state", "CREATED"),
    ("decision_recorded", "data.facts.version", 7),
    ("decision_recorded", "at", "2026-01-01T00:00:00.000Z"),
    ("decision_recorded", "trace_id", "trace_other"),
    ("decision_recorded", "actor.id", "someone"),
    ("decision_recorded", "entity", "order:ord_002"),
    ("decision_recorded", "tenant", "other"),
    ("decision_recorded", "seq", 3),
    ("decision_recorded", "kind", "action_blocked"),
    ("decision_recorded", "versions.domain", "refund-ops-v1"),
    ("state_changed", "data.to", "PAID"),
    ("state_changed", "data.from", "PAID"),
    ("state_changed", "data.version", 9),
    ("state_changed", "data.event_id", "evt_other"),
    ("event_ingested", "data.event.type", "ORDER_PAID"),
    ("event_ingested", "data.event.id", "evt_other"),
    ("action_validated", "data.fencing", 9),
    ("action_validated", "data.operation_id", "clr_other"),
    ("action_executed", "data.status", "failed"),
    ("action_executed", "data.message", "refund of $4900.00 issued"),
    ("action_executed", "data.by", "person"),
    ("approval_granted", "data.reason", "looked fine"),
    ("approval_granted", "actor.id", "someone"),
    ("approval_required", "data.reviewers", ["orders.refund"]),
)


@pytest.mark.parametrize(("kind", "path", "put"), PROVEN, ids=[f"{kind}.{path}" for kind, path, _ in PROVEN])
def test_the_changed_field_is_named(kind: str, path: str, put: object, problems_after: Any) -> None:
    [problem] = problems_after(kind, path, put)
    assert problem.field == path
    assert "it said" in problem.message


def test_changed_parameters_are_named_by_the_digest_beside_them(problems_after: Any) -> None:
    [problem] = problems_after("decision_recorded", "data.proposal.parameters", {"amount": 4, "reason": "mine"})
    assert problem.field == "data.proposal.parameters"


def test_a_changed_payload_is_named_by_its_command_row(problems_after: Any) -> None:
    [problem] = problems_after("event_ingested", "data.event.payload", {"cents": 1})
    assert problem.field == "data.event"


def test_a_field_that_nothing_repeats_is_the_body(problems_after: Any) -> None:
    [problem] = problems_after("approval_denied", "data.more", "than there was")
    assert problem.field == "body"


def test_a_record_whose_leaf_was_fixed_up_too_is_found_by_head_and_receipt(endings: Path, tmp_path: Path) -> None:
    copied = copy_of(endings, tmp_path)
    sql = "SELECT seq, id, body FROM records JOIN receipts USING (tenant, seq) LIMIT 1"
    [(seq, receipt_id, body)] = read(copied, sql)
    value = json.loads(bytes(body))  # type: ignore[call-overload]
    value["data"]["outcome"] = "invalid"
    tamper(copied, "UPDATE records SET body = ?, leaf = ? WHERE seq = ?", encode(value), leaf_hash(encode(value)), seq)
    found = {(problem.where, problem.field) for problem in verify(copied, keys_of(endings)).problems}
    assert (f"record {seq}", "data.outcome") in found or (f"receipt {receipt_id}", "decision") in found
    assert any(where.startswith("checkpoint ") and field == "root" for where, field in found)
