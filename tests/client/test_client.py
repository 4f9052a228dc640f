"""The client against a server: its answers are the runtime's own, and its failures are the runtime's errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from msgspec import structs
from served import DOMAIN, TENANT, Served

import kiff
from kiff.client import Client, client, stream
from kiff.errors import (
    ApprovalDecided,
    Forbidden,
    IdempotencyConflict,
    InvalidDomain,
    InvalidInput,
    KiffError,
    NotFound,
    OperationSettled,
    Unauthorized,
)
from kiff.ledger import parse_jwks, verify_receipt
from kiff.protocol.actor import Caller, Principal
from kiff.server.settings import Limits

pytestmark = pytest.mark.slow

SMALL = {"amount": 49.0, "reason": "customer request"}
LARGE = {"amount": 999.0, "reason": "customer request"}
FLY = {"entity": "order:x", "action": "FLY"}
AGENT = Caller(Principal("ops-agent", "agent", "owner"), ("ops_agent",), TENANT)
HUMAN = Caller(Principal("ops-human", "human"), ("ops_operator", "auditor"), TENANT)
OWNER = Caller(Principal("owner", "human"), ("tenant_owner", "admin", "event_source", "operator"), TENANT)


class Clients:
    """One client for each key of a shop."""

    def __init__(self, shop: Served) -> None:
        url = f"http://{shop.host}"
        self.agent, self.reviewer, self.owner = (Client(url, shop.keys[name]) for name in shop.keys)
        self.nobody, self.stranger = Client(url), Client(url, "kiff_live_kiff-demo_x")

    def held(self, order: str) -> Any:
        return self.agent.execute(entity=f"order:{order}", action="REFUND_ORDER", parameters=LARGE)


@pytest.fixture
def by(shop: Served) -> Iterator[Clients]:
    clients = Clients(shop)
    yield clients
    for each in (clients.agent, clients.reviewer, clients.owner, clients.nobody, clients.stranger):
        each.close()


def test_an_execute_that_ran_is_what_the_runtime_says(shop: Served, by: Clients) -> None:
    shop.paid("run")
    told = by.agent.execute(entity="order:run", action="AUTO_REFUND", parameters=SMALL)
    call = {"entity": "order:run", "action": "AUTO_REFUND", "parameters": SMALL}
    assert told == shop.tower.runtime.execute(AGENT, **call, id=told.proposal_id).result()
    assert (told.outcome, told.status, told.executed, shop.outside.effects["run"]) == ("allowed", "succeeded", True, 1)


@pytest.mark.parametrize("verb", ["execute", "propose"])
@pytest.mark.parametrize(
    ("order", "action", "parameters"),
    [
        ("unpaid", "AUTO_REFUND", SMALL),
        ("paid", "AUTO_REFUND", {"amount": "ten", "reason": "x"}),
        ("paid", "AUTO_REFUND", {"reason": "x"}),
        ("paid", "FLY", {}),
        ("unpaid", "MARK_PAID", {"payment_id": "p"}),
    ],
)
def test_a_refusal_is_what_the_runtime_says(
    shop: Served, by: Clients, verb: str, order: str, action: str, parameters: dict[str, Any]
) -> None:
    by.owner.ingest(type="ORDER_PLACED", entity="order:unpaid", id="evt-unpaid")
    for event in ("ORDER_PLACED", "ORDER_PAID"):
        by.owner.ingest(type=event, entity="order:paid", id=f"evt-{event}")
    call = {"entity": f"order:{order}", "action": action, "parameters": parameters}
    told = getattr(by.agent, verb)(**call)
    again = getattr(shop.tower.runtime, verb)(AGENT, **call, id=told.proposal_id).result()
    assert again == structs.replace(told, replayed=verb == "propose")
    assert told.outcome in ("blocked", "invalid") and told.reasons[0].detail != {}


def test_a_held_call_is_granted_and_runs_once(shop: Served, by: Clients) -> None:
    shop.paid("held")
    held = by.held("held")
    assert (held.outcome, held.reason, held.executed) == ("approval_required", "approval_required", False)
    granted = by.reviewer.grant(held.approval_id, "verified", key="grant-held")
    assert granted == shop.tower.runtime.grant(HUMAN, held.approval_id, "verified", key="grant-held").result()
    ran = by.agent.execute(
        entity="order:held", action="REFUND_ORDER", parameters=LARGE, approval_id=held.approval_id, id=held.proposal_id
    )
    assert (ran.executed, ran.approval_id, shop.outside.effects["held"]) == (True, held.approval_id, 1)
    assert by.agent.approval(held.approval_id).consumed_by == ran.operation_id


@pytest.mark.parametrize("verdict", ["deny", "cancel"])
def test_the_end_of_a_hold_is_what_the_runtime_says(shop: Served, by: Clients, verdict: str) -> None:
    order = f"end-{verdict}"
    shop.paid(order)
    held = by.held(order)
    who, whose = (by.reviewer, HUMAN) if verdict == "deny" else (by.agent, AGENT)
    told = getattr(who, verdict)(held.approval_id, "not now", key=f"key-{verdict}")
    again = getattr(shop.tower.runtime, verdict)(whose, held.approval_id, "not now", key=f"key-{verdict}").result()
    assert told == again
    assert by.held(order).outcome == ("blocked" if verdict == "deny" else "approval_required")


def test_an_event_is_what_the_runtime_says_also_when_it_leads_nowhere(shop: Served, by: Clients) -> None:
    for number, applied in enumerate((True, False)):
        said = {"type": "ORDER_PLACED", "entity": "order:event", "id": f"evt-event-{number}", "source": "shop"}
        told = by.owner.ingest(**said)
        assert told == shop.tower.runtime.ingest(OWNER, **said).result()
        assert told.applied is applied


def test_asking_for_an_approval_opens_it_and_runs_nothing(shop: Served, by: Clients) -> None:
    shop.paid("ask")
    asked = by.agent.ask(entity="order:ask", action="REFUND_ORDER", parameters=LARGE)
    held = by.held("ask")
    assert asked.approval_id == held.approval_id is not None
    assert (asked.outcome, asked.reasons[0].code) == ("approval_required", "approval_required")
    assert "ask" not in shop.outside.effects


def test_a_dry_run_says_what_there_would_be_and_leaves_nothing(shop: Served, by: Clients) -> None:
    shop.paid("dry")
    before = len(list(by.owner.timeline("order:dry")))
    allowed = by.agent.validate(entity="order:dry", action="AUTO_REFUND", parameters=SMALL)
    held = by.agent.validate(entity="order:dry", action="REFUND_ORDER", parameters=LARGE)
    assert (allowed.outcome, allowed.records) == ("allowed", ("decision_recorded", "action_validated"))
    assert (held.outcome, held.records) == ("approval_required", ("decision_recorded", "approval_required"))
    assert len(list(by.owner.timeline("order:dry"))) == before


def test_an_app_reports_how_its_own_attempt_ended(shop: Served, by: Clients) -> None:
    shop.paid("app")
    told = by.agent.propose(entity="order:app", action="AUTO_REFUND", parameters=SMALL, settles=True)
    settled = by.agent.report(told.proposal_id, "succeeded", result_hash="sha256:00")
    assert (settled.operation_id, settled.state) == (told.clearance_id, "REFUNDED")
    assert by.agent.settle(told.clearance_id, "succeeded").confirmed
    with pytest.raises(OperationSettled):
        by.agent.settle(told.clearance_id, "failed")


def test_an_operation_that_nobody_knows_the_end_of_is_settled_by_a_person(shop: Served, by: Clients) -> None:
    shop.paid("lost")
    shop.outside.behaviour = "raise"
    try:
        lost = by.agent.execute(entity="order:lost", action="AUTO_REFUND", parameters=SMALL)
    finally:
        shop.outside.behaviour = "succeed"
    assert (lost.status, lost.executed) == ("unknown", False)
    assert lost.operation_id in [each.id for each in by.owner.operations(status="unknown")]
    settled = by.reviewer.settle(lost.operation_id, "failed", message="not at the bank", output={"looked": "twice"})
    assert (settled.status, settled.late) == ("failed", True)
    assert by.reviewer.operation(lost.operation_id).settled_by == "person"


@pytest.mark.parametrize("status", ["open", "unknown", "succeeded"])
def test_operations_of_every_status_are_walked_page_by_page(
    shop: Served, by: Clients, status: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = (f"walk1-{status}", f"walk2-{status}")
    shop.paid(*orders)
    for order in orders:
        by.agent.execute(entity=f"order:{order}", action="AUTO_REFUND", parameters=SMALL)
    whole = [each.id for each in by.owner.operations(status=status)]
    monkeypatch.setattr(client, "PAGE", 1)
    assert [each.id for each in by.owner.operations(status=status)] == whole


def test_lists_are_walked_to_their_end(shop: Served, by: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.paid("list1", "list2", "list3")
    monkeypatch.setattr(client, "PAGE", 2)
    assert {"order:list1", "order:list2", "order:list3"} <= {each.entity for each in by.owner.entities(type="Order")}
    kinds = [record["kind"] for record in by.owner.timeline("order:list1")]
    assert kinds == ["event_ingested", "state_changed"] * 2
    seqs = [record["seq"] for record in by.owner.records()]
    assert seqs == list(range(len(seqs)))
    only = [record["kind"] for record in by.owner.timeline("order:list1", kind="state_changed")]
    assert only == ["state_changed"] * 2


def test_where_an_entity_is_and_was(shop: Served, by: Clients) -> None:
    assert by.agent.state("order:nobody") is None
    shop.paid("was")
    first = next(by.owner.timeline("order:was"))["seq"]
    now, then = by.agent.state("order:was"), by.agent.state("Order:was", at=first + 1)
    assert now is not None and then is not None
    assert (now.state, then.state, by.agent.rebuild("order:was").match) == ("PAID", "CREATED", True)
    told = by.agent.allowed_actions("order:was")
    assert [each.name for each in told.actions if each.allowed] == ["AUTO_REFUND", "REFUND_ORDER"]
    assert (told.version, told.held_by) == ("refund-ops-v2", None)


def test_evidence_verifies_with_the_published_keys(shop: Served, by: Clients) -> None:
    shop.paid("proof")
    told = by.agent.execute(entity="order:proof", action="AUTO_REFUND", parameters=SMALL)
    keys = parse_jwks(by.agent.public_keys())
    receipt = by.agent.receipt(told.receipt_id, proof=True)
    assert verify_receipt(receipt, keys).status == "valid"
    assert verify_receipt(receipt | {"decision": "blocked"}, keys).status == "invalid"
    assert by.agent.bundle(told.receipt_id)["receipt"]["receipt_id"] == told.receipt_id
    assert by.agent.jws(told.receipt_id).count(".") == 2


def test_a_key_is_minted_once_told_once_and_revoked(shop: Served, by: Clients) -> None:
    minted = by.owner.keys.create("robot", principal="ops-agent", id="mint-robot")
    again = by.owner.keys.create("robot", principal="ops-agent", id="mint-robot")
    assert minted.secret is not None and again.secret is None and again.key.id == minted.key.id
    assert minted.secret not in repr(minted)
    with Client(by.owner.url, minted.secret) as robot:
        assert robot.me().principal.id == "ops-agent"
        by.owner.keys.revoke(minted.key.id)
        with pytest.raises(Unauthorized):
            robot.me()


def test_a_member_is_what_an_owner_says(shop: Served, by: Clients) -> None:
    told = by.owner.members.set("robot", "agent", roles=["ops_agent"], person="owner", name="Robot")
    assert told == by.owner.members.get("robot")
    assert told in by.owner.members.all()
    with pytest.raises(Forbidden):
        by.agent.members.set("ops-agent", "human", roles=["tenant_owner"])


def test_a_domain_is_looked_at_validated_and_published(shop: Served, by: Clients) -> None:
    text = DOMAIN.read_text("utf-8").replace("version: v2", "version: v3").replace("maximum: 100", "maximum: 200")
    assert [each.version for each in by.agent.domains.governing()] == ["refund-ops-v2"]
    assert by.owner.domains.validate(text).valid
    broken = by.owner.domains.validate(text.replace("states: [CREATED, PAID", "states: [CREATED, SETTLED"))
    assert not broken.valid and any(issue.line for issue in broken.issues)
    draft = by.owner.domains.save_draft(text, "refund-ops")
    assert draft.yaml == text
    with pytest.raises(Forbidden):
        by.agent.activate(text)
    with pytest.raises(InvalidDomain) as raised:
        by.owner.activate(text.replace("states: [CREATED, PAID", "states: [CREATED, SETTLED"))
    assert raised.value.issues[0].line
    assert by.owner.activate(kiff.load(text)).version == "refund-ops-v3"
    assert not by.owner.activate(text).changed
    assert by.owner.domains.roll_back("refund-ops").version == "refund-ops-v2"
    assert [each.version for each in by.owner.domains.versions("refund-ops")] == ["refund-ops-v2", "refund-ops-v3"]
    assert kiff.load(by.owner.domains.yaml("refund-ops", "v3")).digest == kiff.load(text).digest


def test_the_log_is_followed_from_a_place_on(shop: Served, by: Clients) -> None:
    shop.paid("follow")
    seqs = [record["seq"] for record in by.owner.timeline("order:follow")]
    events = list(islice(by.owner.stream(entity="order:follow", after="-1"), len(seqs)))
    assert [event.record["seq"] for event in events] == seqs
    rest = by.owner.stream(entity="order:follow", kind="state_changed", after=events[0].id)
    assert [event.kind for event in islice(rest, 2)] == ["state_changed"] * 2


FAILURES: dict[str, tuple[Any, type[KiffError], str]] = {
    "keys of an agent": (lambda by: by.agent.keys.all(), Forbidden, "permission_denied"),
    "no approval": (lambda by: by.agent.approval("appr_nobody"), NotFound, "not_found"),
    "a forged event": (lambda by: by.agent.ingest(type="ORDER_PAID", entity="order:x"), Forbidden, "permission_denied"),
    "another actor": (lambda by: by.agent.propose(**FLY, acting="owner"), Forbidden, "actor_not_key_holder"),
    "another domain": (lambda by: by.agent.propose(**FLY, domain="other-ops"), InvalidInput, "invalid"),
    "another type": (lambda by: by.owner.ingest(type="BORN", entity="cow:x"), NotFound, "unknown_entity_type"),
    "no time": (lambda by: by.owner.keys.create(expires_at="yesterday"), InvalidInput, "invalid"),
    "claimed roles": (lambda by: by.agent.execute(**FLY, parameters={"roles": []}), InvalidInput, "invalid"),
    "no place": (lambda by: next(iter(by.owner.stream(after="nowhere"))), InvalidInput, "invalid"),
    "no key": (lambda by: by.nobody.me(), Unauthorized, "unauthorized"),
    "a key of nobody's": (lambda by: by.stranger.me(), Unauthorized, "unauthorized"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_the_error_of_its_code(by: Clients, name: str) -> None:
    ask, error, code = FAILURES[name]
    with pytest.raises(error) as raised:
        ask(by)
    assert raised.value.code == code


def test_the_same_id_with_other_content_is_a_conflict(shop: Served, by: Clients) -> None:
    shop.paid("same")
    by.agent.execute(entity="order:same", action="AUTO_REFUND", parameters=SMALL, id="same-id")
    with pytest.raises(IdempotencyConflict):
        by.agent.execute(entity="order:same", action="AUTO_REFUND", parameters={**SMALL, "amount": 1}, id="same-id")


def test_the_second_review_says_who_was_first(shop: Served, by: Clients) -> None:
    shop.paid("second")
    approval_id = by.held("second").approval_id
    by.reviewer.deny(approval_id, "no")
    with pytest.raises(ApprovalDecided) as raised:
        by.reviewer.grant(approval_id, "yes")
    assert raised.value.detail["reviewed_by"] == "ops-human"


def test_nobody_grants_their_own(shop: Served, by: Clients) -> None:
    shop.paid("own")
    with pytest.raises(Forbidden) as raised:
        by.agent.grant(by.held("own").approval_id, "mine")
    assert raised.value.code == "proposer_is_reviewer"


def test_another_tenants_things_are_not_found(shop: Served, by: Clients) -> None:
    shop.paid("secret")
    held = by.held("secret")
    with Client(by.owner.url, shop.found("other")["owner"]) as other:
        assert other.state("order:secret") is None
        assert list(other.timeline("order:secret")) == []
        for ask in (other.approval, other.receipt, other.bundle, other.jws):
            with pytest.raises(NotFound):
                ask(held.approval_id if ask == other.approval else held.receipt_id)


def test_a_server_that_lives_says_so_without_a_key(by: Clients) -> None:
    assert by.nobody.healthz()
    assert by.owner.usage()["members"] >= 3


def test_a_trace_goes_with_the_call(shop: Served, by: Clients) -> None:
    shop.paid("trace")
    trace = "trace_" + "ab" * 16
    told = by.agent.propose(entity="order:trace", action="AUTO_REFUND", parameters=SMALL, trace=trace)
    assert told.trace_id == trace
    with pytest.raises(InvalidInput):
        by.agent.propose(entity="order:trace", action="AUTO_REFUND", trace="mine")


def test_the_http_library_is_imported_with_the_client_and_not_before() -> None:
    program = (
        "import sys, kiff, kiff.client; assert 'httpx' not in sys.modules; kiff.Client; assert 'httpx' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_stream_is_given_up_only_after_several_signs_of_life_were_missed() -> None:
    assert 2 * Limits().heartbeat_seconds < stream.SILENCE_SECONDS
