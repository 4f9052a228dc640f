"""Who said yes is in the log: a vote that stands in a row alone, or a demand that was lowered there, is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from analysis_cases import AGENT, STRIPE, copy_of, keys_of, read, tamper, verify

from kiff import ActionContract, Approval, ApprovalPolicy, Caller, Domain, Principal, Risk, Runtime, Transition
from kiff.analysis.expected import EntityRows
from kiff.analysis.history import Versions
from kiff.canonical import encode
from kiff.protocol.approval import ApprovalRequest
from kiff.stores.keyfile import load_or_create
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

BINDS = ("entity.version", "parameters")
DOMAIN = Domain(
    name="refund-ops",
    version="v3",
    entity="Order",
    events=["ORDER_PLACED"],
    states=["CREATED"],
    transitions=[Transition(on="ORDER_PLACED", to="CREATED")],
    actions=[
        ActionContract(
            "REFUND_ORDER",
            ["CREATED"],
            [],
            ["orders.refund"],
            Risk.HIGH,
            Approval.REQUIRED,
            approval_policy=ApprovalPolicy(quorum=2, human_only=False, evidence="session", binds=BINDS),
        ),
    ],
    roles={"adapter": ["events.ingest"], "ops_agent": ["orders.refund"], "ops_operator": ["orders.approve"]},
)
ANN, BOB, EVE = (Caller(Principal(name, "human"), ("ops_operator",)) for name in ("ann", "bob", "eve"))


@pytest.fixture(scope="module")
def voted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database: an order whose refund two people granted, and one that waits for the second;
    one that was denied in between, and one that nobody answered."""
    path = tmp_path_factory.mktemp("voted") / "votes.db"
    with Runtime(SqliteStore(path), load_or_create(Path(f"{path}.key.pem")), domains=[DOMAIN]) as runtime:
        for order in ("order:o_1", "order:o_2", "order:o_3", "order:o_4"):
            runtime.ingest(STRIPE, type="ORDER_PLACED", entity=order).result()
            held = runtime.propose(AGENT, entity=order, action="REFUND_ORDER").result()
            if order == "order:o_4":
                continue
            assert runtime.grant(ANN, held.approval_id, "looked at it").result().status == "pending"
            if order == "order:o_1":
                assert runtime.grant(BOB, held.approval_id, "so did I").result().status == "granted"
            if order == "order:o_3":
                assert runtime.deny(EVE, held.approval_id, "disputed").result().status == "denied"
    return path


@pytest.fixture
def copied(voted: Path, tmp_path: Path) -> Path:
    return copy_of(voted, tmp_path)


def found(copied: Path, voted: Path) -> set[tuple[str, str]]:
    return {(problem.where.split()[0], problem.field) for problem in verify(copied, keys_of(voted)).problems}


def test_control_votes_as_they_were_given_are_valid(voted: Path) -> None:
    verdict = verify(voted, keys_of(voted))
    assert (verdict.status, verdict.problems) == ("valid", ())


def test_a_vote_forged_in_the_row_is_found(copied: Path, voted: Path) -> None:
    [(votes,)] = read(copied, "SELECT votes FROM approvals WHERE entity = 'order:o_2'")
    assert isinstance(votes, bytes)
    forged = json.loads(votes)
    forged.append({**forged[0], "by": "eve", "person": "eve", "hands": ["eve"]})
    sql = "UPDATE approvals SET votes = ? WHERE entity = 'order:o_2'"
    assert tamper(copied, sql, json.dumps(forged, separators=(",", ":")).encode()) == 1
    assert found(copied, voted) == {("approval", "votes")}


def test_a_first_vote_forged_in_the_row_is_found(copied: Path, voted: Path) -> None:
    [(votes,)] = read(copied, "SELECT votes FROM approvals WHERE entity = 'order:o_2'")
    assert tamper(copied, "UPDATE approvals SET votes = ? WHERE entity = 'order:o_4'", votes) == 1
    assert found(copied, voted) == {("approval", "votes")}


@pytest.mark.parametrize("order", ["order:o_1", "order:o_2", "order:o_3"], ids=["granted", "pending", "denied"])
def test_a_vote_taken_out_of_the_row_is_found(order: str, copied: Path, voted: Path) -> None:
    assert tamper(copied, "UPDATE approvals SET votes = X'5B5D' WHERE entity = ?", order) == 1
    assert found(copied, voted) == {("approval", "votes")}


EDITS = (
    ("demands", "CAST(replace(CAST(demands AS TEXT), '\"quorum\":2', '\"quorum\":1') AS BLOB)"),
    ("demands", "X'5B5D'"),
    ("human_only", "1 - human_only"),
    ("evidence", "'key'"),
    ("binds_version", "1 - binds_version"),
    ("status", "'granted'"),
)


@pytest.mark.parametrize(("column", "to"), EDITS)
def test_what_an_approval_asks_for_cannot_be_lowered_in_its_row(
    column: str, to: str, copied: Path, voted: Path
) -> None:
    assert tamper(copied, f"UPDATE approvals SET {column} = {to} WHERE entity = 'order:o_2'") == 1
    assert ("approval", column) in found(copied, voted)


def test_an_answer_that_says_it_was_enough_is_found(copied: Path, voted: Path) -> None:
    sql = "UPDATE commands SET answer = CAST(replace(CAST(answer AS TEXT), '\"more\":1', '\"more\":0') AS BLOB)"
    assert tamper(copied, f"{sql} WHERE instr(CAST(answer AS TEXT), 'still_needed')") == 3
    assert found(copied, voted) == {("command", "answer.still_needed")}


NAMED = (
    ("approval_vote", "vote.by", "eve"),
    ("approval_vote", "vote.roles", ["admin"]),
    ("approval_vote", "still_needed", []),
    ("approval_vote", "reason", "did not look"),
    ("approval_granted", "votes", []),
    ("approval_required", "demands", []),
    ("approval_required", "evidence", "key"),
    ("approval_required", "human_only", True),
    ("approval_required", "binds_version", False),
)


@pytest.mark.parametrize(("kind", "field", "put"), NAMED)
def test_a_changed_record_of_a_vote_is_named_with_its_field(
    kind: str, field: str, put: object, copied: Path, voted: Path
) -> None:
    seq, value = next(
        (seq, value)
        for seq, body in read(copied, "SELECT seq, CAST(body AS TEXT) FROM records ORDER BY seq")
        if (value := json.loads(str(body)))["kind"] == kind
    )
    inner, names = value["data"], field.split(".")
    for name in names[:-1]:
        inner = inner[name]
    assert names[-1] in inner
    inner[names[-1]] = put
    tamper(copied, "UPDATE records SET body = ? WHERE seq = ?", encode(value), seq)
    problems = [p for p in verify(copied, keys_of(voted)).problems if p.where == f"record {seq}"]
    assert [problem.field for problem in problems] == [f"data.{field}"]


def test_a_grant_from_before_votes_were_counted_tells_of_none() -> None:
    store = MemoryStore()
    rows = EntityRows(store, "default", "order:o_1", Versions(store, "default"))
    data = {"action": "REFUND_ORDER", "approval_id": "appr_1", "command_id": "review:1", "reason": "fine"}
    at = "2026-05-24T09:53:55.000Z"
    rows.take({"kind": "approval_granted", "at": at, "actor": {"id": "ann"}, "data": {**data, "use_by": at}})
    told = rows.rows()[ApprovalRequest, "appr_1"]
    assert (told["status"], "votes" in told) == ("granted", False)
