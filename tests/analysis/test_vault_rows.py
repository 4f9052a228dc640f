"""The vault beside the log: every value opens its commitment or was erased on record, and nothing repeats a value."""

from __future__ import annotations

from pathlib import Path

import pytest
from analysis_cases import AGENT, HUMAN, STRIPE, copy_of, keys_of, tamper, verify

from kiff import ActionContract, Approval, Caller, Domain, Principal, Risk, Runtime, Transition
from kiff.analysis import replay_store
from kiff.analysis.history import Versions
from kiff.analysis.replay import proposal_from
from kiff.analysis.vault import opened
from kiff.gate import decide
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.decision import Facts
from kiff.stores.keyfile import load_or_create
from kiff.stores.sqlite import SqliteStore

CANARY = "canary-3c59dc048e8850"
OWNER = Caller(Principal("olga", "human"), ("tenant_owner",))
DOMAIN = Domain(
    name="refund-ops",
    version="v4",
    entity="Order",
    events=["ORDER_PLACED"],
    states=["CREATED"],
    transitions=[Transition(on="ORDER_PLACED", to="CREATED")],
    actions=[
        ActionContract(
            "REFUND_ORDER",
            ["CREATED"],
            ["reason"],
            ["orders.refund"],
            Risk.HIGH,
            Approval.REQUIRED,
            parameters={"reason": {"type": "string", "minLength": 5, "sensitive": True}},
        ),
    ],
    roles={"adapter": ["events.ingest"], "ops_agent": ["orders.refund"], "ops_operator": ["orders.approve"]},
)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database: two orders with a held refund each, the first one's granted and used; a third one's reason
    was erased, and a fourth one's was erased and asked for again."""
    path = tmp_path_factory.mktemp("sealed") / "sealed.db"
    signer = load_or_create(Path(f"{path}.key.pem"))
    with Runtime(SqliteStore(path), signer, domains=[DOMAIN], vault=b"\x05" * 32) as runtime:
        for order in ("order:o_1", "order:o_2", "order:o_3", "order:o_4"):
            named = {"entity": order, "action": "REFUND_ORDER", "parameters": {"reason": f"{CANARY} {order}"}}
            runtime.ingest(STRIPE, type="ORDER_PLACED", entity=order).result()
            held = runtime.propose(AGENT, **named).result()
            if order == "order:o_1":
                runtime.grant(HUMAN, held.approval_id, "looked at it").result()
                assert runtime.propose(AGENT, **named, approval_id=held.approval_id).result().outcome == "allowed"
            if order in ("order:o_3", "order:o_4"):
                assert len(runtime.erase(OWNER, order).result().commitments) == 1
            if order == "order:o_4":
                runtime.propose(AGENT, **named).result()
    return path


@pytest.fixture
def copied(sealed: Path, tmp_path: Path) -> Path:
    return copy_of(sealed, tmp_path)


def found(copied: Path, sealed: Path) -> set[tuple[str, str]]:
    problems = verify(copied, keys_of(sealed)).problems
    assert CANARY not in str(problems)
    return {(problem.where.rsplit(" ", 1)[0], problem.field) for problem in problems}


def test_control_values_that_are_kept_or_were_erased_are_valid(sealed: Path) -> None:
    verdict = verify(sealed, keys_of(sealed))
    assert (verdict.status, verdict.problems) == ("valid", ())


KEPT = "entity = 'order:o_2'"
ERASED = "entity = 'order:o_3'"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (f"UPDATE sealed SET value = CAST('\"another reason\"' AS BLOB) WHERE {KEPT}", "value"),
        (f"UPDATE sealed SET value = CAST(value || ' ' AS BLOB) WHERE {KEPT}", "value"),
        (f"UPDATE sealed SET salt = zeroblob(32) WHERE {KEPT}", "value"),
        (f"UPDATE sealed SET name = 'other' WHERE {KEPT}", "name"),
        ("UPDATE sealed SET entity = 'order:o_9' WHERE entity = 'order:o_2'", "entity"),
        (f"UPDATE sealed SET value = NULL, salt = x'' WHERE {KEPT}", "erased"),
        (f"UPDATE sealed SET salt = zeroblob(32) WHERE {ERASED}", "salt"),
        (f"UPDATE sealed SET value = CAST('\"x\"' AS BLOB) WHERE {ERASED}", "erased"),
        (f"DELETE FROM sealed WHERE {KEPT}", ""),
        ("INSERT INTO sealed VALUES ('default', 'sha256:0', 'order:o_1', 'reason', x'', NULL)", ""),
    ],
)
def test_a_vault_that_says_something_else_than_the_log_is_found(
    copied: Path, sealed: Path, changed: str, field: str
) -> None:
    tamper(copied, changed)
    assert ("sealed value", field) in found(copied, sealed)


def test_history_is_decided_again_with_the_values_that_are_kept(sealed: Path) -> None:
    replayed = replay_store(SqliteStore(sealed, read_only=True))
    assert (replayed.problems, replayed.decisions, replayed.erased) == ((), 5, 1)


def test_a_value_that_is_not_what_the_record_commits_to_decides_nothing(copied: Path) -> None:
    tamper(copied, f"UPDATE sealed SET value = CAST('\"no\"' AS BLOB) WHERE {KEPT}")
    [problem] = replay_store(SqliteStore(copied, read_only=True)).problems
    assert (problem.field, CANARY in problem.message) == ("data.proposal.parameters", False)


def test_control_a_decision_reads_the_value(sealed: Path, tmp_path: Path) -> None:
    """Decided over the commitment alone, every one of them would come out as invalid."""
    store = SqliteStore(sealed, read_only=True)
    row = store.rows(ApprovalRequest, "default")[1]
    facts = Facts("CREATED", 1, ("ops_agent",))
    proposal = proposal_from(row.proposal, facts)
    whole = opened(store, "default", proposal)
    assert not isinstance(whole, str)
    domain = Versions(store, "default").get("refund-ops-v4")
    assert [decide(domain, each, facts).reason for each in (proposal, whole)] == [
        "invalid_parameter",
        "approval_required",
    ]
