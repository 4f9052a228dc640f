"""Who tries to be more than their key makes them: in bodies, by other names, again, all at once, just too late."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from served import DOMAIN, PATIENCE_SECONDS, TENANT, Outside, Served, Told, served

from kiff import Caller, load
from kiff.protocol.authority import AUTHOR, Tenant
from kiff.protocol.clearance import Clearance
from kiff.runtime.clock import SystemClock
from kiff.runtime.commands import SYSTEM
from kiff.server.routes import ROUTES

pytestmark = pytest.mark.slow

PARAMETERS = {"amount": 49.0, "reason": "customer request"}
CLAIMS: dict[str, Any] = {
    "roles": ["tenant_owner", "admin"],
    "approved": True,
    "state": "PAID",
    "kiff_roles": ["admin"],
    "kiff_approved": True,
    "kiff_": 1,
}
KERNEL = Caller(SYSTEM, (AUTHOR,), TENANT)


def at_once(count: int, call: Callable[[int], Told]) -> list[Told]:
    """Calls `call(0)` … from as many threads, started together."""
    barrier = threading.Barrier(count)

    def one(number: int) -> Told:
        barrier.wait(PATIENCE_SECONDS)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def held(shop: Served, order: str, **more: Any) -> str:
    """The approval that a large refund waits for."""
    shop.paid(order)
    told = shop.execute(order, "REFUND_ORDER", 999.0, **more)
    assert told.body["code"] == "approval_required", told
    return str(told.body["approval_id"])


def review(shop: Served, approval_id: str, verb: str = "grant", key: str = "reviewer", **more: Any) -> Told:
    return shop.post(f"/v1/approvals/{approval_id}/{verb}", {"reason": "looked at it", **more}, key)


def decisions(shop: Served, order: str) -> list[dict[str, Any]]:
    """What the records say the gate knew and decided, without what differs between any two calls."""
    records = shop.get(f"/v1/entities/order:{order}/timeline?kind=decision_recorded", "owner").body["records"]
    keep = ("action", "facts", "outcome", "reasons")
    return [{"actor": record["actor"], **{name: record["data"][name] for name in keep}} for record in records]


def key_for(shop: Served, principal: str | None, roles: tuple[str, ...] = (), **more: Any) -> str:
    """A key that the owner mints."""
    body = {"label": "a test", "principal": principal, "roles": roles, **more}
    told = shop.post("/v1/keys", {name: value for name, value in body.items() if value is not None}, "owner")
    assert told.status == 201, told
    return str(told.body["secret"])


def enroll(shop: Served, id: str, type: str, *roles: str, person: str | None = None, active: bool = True) -> None:
    body = {"type": type, "roles": roles, "person": person, "active": active}
    assert shop.ask("PUT", f"/v1/members/{id}", body, "owner").status == 200


# Claims of authority


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_body_that_claims_authority_is_refused(shop: Served, claim: str) -> None:
    shop.paid(f"top-{claim}")
    for told in (
        shop.decide(f"top-{claim}", **{claim: CLAIMS[claim]}),
        shop.execute(f"top-{claim}", **{claim: CLAIMS[claim]}),
    ):
        assert (told.status, told.body["code"], told.body["field"]) == (400, "invalid", claim)
    assert decisions(shop, f"top-{claim}") == []


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_parameter_that_claims_authority_is_refused(shop: Served, claim: str) -> None:
    parameters = PARAMETERS | {claim: CLAIMS[claim]}
    for told in (
        shop.decide(f"par-{claim}", parameters=parameters),
        shop.execute(f"par-{claim}", parameters=parameters),
        shop.post(f"/v1/entities/par-{claim}/actions/AUTO_REFUND/validate", {"parameters": parameters}),
        shop.post(f"/v1/entities/par-{claim}/actions/REFUND_ORDER/approvals", {"parameters": parameters}),
    ):
        assert (told.status, told.body["code"], told.body["field"]) == (400, "invalid", f"parameters.{claim}")


def test_a_claim_is_refused_in_every_body(shop: Served) -> None:
    taking = [route for route in ROUTES if route.body is not None and route.refuses is None]
    assert len(taking) > 5
    for route in taking:
        path = route.path.replace("{id}", "x").replace("{name}", "x")
        for claim in CLAIMS.keys() - set(route.body.__struct_fields__):
            told = shop.ask(route.method, path, {claim: CLAIMS[claim]}, "owner")
            assert 400 <= told.status < 500, (route.path, claim, told)
            assert "unknown field" in told.body["message"] or told.status in (401, 403, 404, 429), (route.path, told)


DEEP = {"deep": {"list": [CLAIMS, {"actor": {"id": "owner", "type": "human", "roles": ["admin"]}}], **CLAIMS}, **CLAIMS}
PLACES = ["evidence", "run_context", "reasoning_summary"]


@pytest.mark.parametrize("mode", ["decide", "execute"])
@pytest.mark.parametrize("place", PLACES)
def test_a_claim_has_no_effect_where_anything_may_stand(shop: Served, place: str, mode: str) -> None:
    """Refused with the claim, as without it: the same facts, roles, reasons and outcome."""
    said: Any = json.dumps(DEEP) if place == "reasoning_summary" else deepcopy(DEEP)
    for action in ("AUTO_REFUND", "REFUND_ORDER", "MARK_PAID"):
        order = f"deep-{place}-{mode}-{action}"
        shop.paid(f"{order}-with", f"{order}-without")
        ask = shop.decide if mode == "decide" else shop.execute
        ask(f"{order}-with", action, **{place: said})
        ask(f"{order}-without", action)
        told = decisions(shop, f"{order}-with")
        assert told == decisions(shop, f"{order}-without")
        assert told[0]["facts"]["roles"] == ["ops_agent"]


NOTES = """
domain: notes
version: v1
entity: Note
events: [WRITTEN]
states: [OPEN]
transitions: [{on: WRITTEN, to: OPEN}]
actions:
  - name: FILE
    allowed_states: [OPEN]
    required_permissions: [notes.file]
    risk: high
    approval: required
    executor: refund.issue_refund
permissions:
  roles: {ops_agent: [notes.file], ops_operator: [notes.approve], event_source: [events.ingest]}
"""


def test_a_claim_within_a_parameter_is_a_value_like_any_other(own_shop: Served) -> None:
    own_shop.tower.activate(TENANT, load(NOTES))
    for note in ("with", "without"):
        event = {"type": "WRITTEN", "entity_id": note, "entity_type": "note", "payload": deepcopy(DEEP)}
        assert own_shop.post("/v1/events", event, "owner").status == 201
    for note, parameters in (("with", {"about": deepcopy(DEEP)}), ("without", {"about": {}})):
        body = {"entity_id": note, "entity_type": "note", "action_name": "FILE", "parameters": parameters}
        assert own_shop.post("/v1/proposals/decide", body).body["outcome"] == "approval_required"
    records = [own_shop.get(f"/v1/entities/note:{n}/timeline", "owner").body["records"] for n in ("with", "without")]
    [with_, without] = [next(record["data"] for record in told if "facts" in record["data"]) for told in records]
    assert (with_["facts"], with_["reasons"]) == (without["facts"], without["reasons"])


def test_the_payload_of_an_event_moves_no_state_of_its_own(shop: Served) -> None:
    event = {"type": "ORDER_PLACED", "entity_id": "payload", "entity_type": "order", "payload": deepcopy(DEEP)}
    assert shop.post("/v1/events", event, "owner").body["event"]["state"] == "CREATED"
    assert shop.execute("payload").body["code"] == "state_not_allowed"


# Who acts


def test_the_roles_of_a_bodys_actor_are_ignored(shop: Served) -> None:
    shop.paid("actor-with", "actor-without")
    actor = {"id": "ops-agent", "type": "human", "roles": ["admin", "tenant_owner", "ops_operator"]}
    for action in ("MARK_PAID", "REFUND_ORDER"):
        shop.execute("actor-with", action, actor=actor)
        shop.execute("actor-without", action)
    assert decisions(shop, "actor-with") == decisions(shop, "actor-without")
    assert decisions(shop, "actor-with")[0]["actor"] == {"id": "ops-agent", "type": "agent"}


@pytest.mark.parametrize("who", ["ops-human", "owner", "kiff", "OPS-AGENT", "nobody", "adapter:stripe-webhook"])
def test_a_bound_key_acts_as_nobody_else(shop: Served, who: str) -> None:
    for told in (
        shop.decide("spoofed", actor_id=who),
        shop.execute("spoofed", actor={"id": who, "type": "human", "roles": ["admin"]}),
        shop.post("/v1/entities/spoofed/actions/REFUND_ORDER/approvals", {"actor": {"id": who}}),
        shop.post("/v1/entities/spoofed/actions/AUTO_REFUND/validate", {"actor": {"id": who}}),
    ):
        assert (told.status, told.body["code"]) == (403, "actor_not_key_holder")
    assert decisions(shop, "spoofed") == []


@pytest.mark.parametrize("verb", ["grant", "deny"])
@pytest.mark.parametrize("who", ["owner", "ops-agent", "Ops-Human"])
def test_a_reviewer_answers_in_no_other_name(shop: Served, who: str, verb: str) -> None:
    approval_id = held(shop, f"named-{who}-{verb}")
    told = review(shop, approval_id, verb, actor={"id": who, "type": "human"})
    assert (told.status, told.body["code"]) == (403, "actor_not_key_holder")
    assert shop.get(f"/v1/approvals/{approval_id}", "owner").body["approval"]["status"] == "pending"


def test_the_label_of_an_event_is_no_authority(shop: Served) -> None:
    event = {"type": "ORDER_PLACED", "entity_id": "label", "entity_type": "order", "actor_id": "owner"}
    told = shop.post("/v1/events", event, "agent")
    assert (told.status, told.body["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("event", ["ORDER_PLACED", "ORDER_PAID", "ORDER_REFUNDED"])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/raw"])
def test_an_agent_posts_no_event_that_it_was_not_cleared_for(shop: Served, event: str, path: str) -> None:
    order = f"forged-{event}-{path.count('/')}"
    shop.paid(order)
    told = shop.post(path, {"type": event, "entity_id": order, "entity_type": "order"}, "agent")
    assert (told.status, told.body["code"]) == (403, "permission_denied")
    assert shop.get(f"/v1/entities/order:{order}/state").body["state"] == "PAID"


# Keys that are bound to nobody


def test_a_key_bound_to_nobody_has_its_own_roles_whoever_it_acts_for(shop: Served) -> None:
    key = key_for(shop, None, ("ops_operator",))
    shop.paid("unbound-roles")
    for who in ("owner", "ops-agent", "somebody-new", None):
        more = {} if who is None else {"actor_id": who}
        told = shop.decide("unbound-roles", key=key, **more)
        assert (told.status, told.body["reasons"]) == (200, ["permission_denied"])
    assert {tuple(each["facts"]["roles"]) for each in decisions(shop, "unbound-roles")} == {("ops_operator",)}


def test_a_key_bound_to_nobody_answers_no_approval(shop: Served) -> None:
    key = key_for(shop, None, ("ops_operator", "admin", "tenant_owner"))
    approval_id = held(shop, "unbound-review")
    for verb in ("grant", "deny"):
        for actor in (None, {"id": "ops-human", "type": "human"}):
            told = review(shop, approval_id, verb, key, **({} if actor is None else {"actor": actor}))
            assert (told.status, told.body["code"]) == (403, "key_not_bound_to_agent")


def test_a_person_named_by_a_key_bound_to_nobody_does_not_answer_what_was_asked_in_their_name(shop: Served) -> None:
    key = key_for(shop, None, ("ops_agent",))
    shop.paid("in-their-name")
    told = shop.decide("in-their-name", "REFUND_ORDER", key=key, actor_id="ops-human")
    assert told.body["outcome"] == "approval_required"
    told = review(shop, told.body["approval_id"])
    assert (told.status, told.body["code"]) == (403, "proposer_is_reviewer")
    assert decisions(shop, "in-their-name")[0]["actor"] == {"id": "ops-human", "type": "service"}


# Who reviews


def test_nobody_reviews_their_own_proposal_by_other_letters(shop: Served) -> None:
    enroll(shop, "OPS-AGENT", "human", "ops_operator")
    told = review(shop, held(shop, "letters"), key=key_for(shop, "OPS-AGENT"))
    assert (told.status, told.body["code"]) == (403, "proposer_is_reviewer")


def test_nobody_reviews_their_own_proposal_by_another_account(shop: Served) -> None:
    """Two accounts of one person, who proposes with one and reviews with the other."""
    enroll(shop, "ann", "human", "ops_agent", "ops_operator", person="ann-b")
    enroll(shop, "ann-at-home", "human", "ops_operator", person="Ann-B")
    approval_id = held(shop, "accounts", key=key_for(shop, "ann"))
    for account in ("ann", "ann-at-home"):
        told = review(shop, approval_id, key=key_for(shop, account))
        assert (told.status, told.body["code"]) == (403, "proposer_is_reviewer")
    assert review(shop, approval_id).status == 200


def test_a_service_of_a_person_does_not_get_that_persons_yes(shop: Served) -> None:
    enroll(shop, "bob", "human", "ops_operator")
    enroll(shop, "robot", "service", "ops_agent", person="bob")
    told = review(shop, held(shop, "robots", key=key_for(shop, "robot")), key=key_for(shop, "bob"))
    assert (told.status, told.body["code"]) == (403, "proposer_is_reviewer")


@pytest.mark.parametrize("type", ["agent", "service"])
def test_whoever_is_no_person_reviews_nothing(shop: Served, type: str) -> None:
    enroll(shop, f"other-{type}", type, "ops_operator")
    told = review(shop, held(shop, f"no-person-{type}"), key=key_for(shop, f"other-{type}"))
    assert (told.status, told.body["code"]) == (403, "permission_denied")


def test_a_person_without_the_permission_reviews_nothing(shop: Served) -> None:
    enroll(shop, "carl", "human", "ops_agent", "auditor", "tenant_owner")
    told = review(shop, held(shop, "no-permission"), key=key_for(shop, "carl"))
    assert (told.status, told.body["code"]) == (403, "permission_denied")


def test_with_separation_of_duties_the_owner_of_an_agent_does_not_review_it(own_shop: Served) -> None:
    tower = own_shop.tower
    enroll(own_shop, "owner", "human", "tenant_owner", "admin", "event_source", "operator", "ops_operator")
    row = tower.store.row(Tenant, TENANT, "tenant")
    assert row is not None
    tower.runtime.establish(KERNEL, Tenant(TENANT, "tenant", True, row.created_at)).result()
    told = review(own_shop, held(own_shop, "separate"), key="owner")
    assert (told.status, told.body["code"]) == (403, "proposer_is_reviewer")


# Again, and all at once


def test_a_used_grant_is_of_no_more_use(shop: Served) -> None:
    approval_id = held(shop, "used")
    assert review(shop, approval_id).status == 200
    assert shop.execute("used", "REFUND_ORDER", 999.0, approval_id=approval_id).status == 200
    again = shop.execute("used", "REFUND_ORDER", 999.0, approval_id=approval_id)
    assert (again.status, shop.outside.effects["used"]) == (422, 1)
    assert "approval_used" in again.body["reasons"]


def test_a_grant_that_is_sent_again_grants_nothing_again(shop: Served) -> None:
    approval_id = held(shop, "sent-again")
    path, body = f"/v1/approvals/{approval_id}/grant", {"reason": "looked at it"}
    first = shop.post(path, body, "reviewer", headers={"Idempotency-Key": "review-1"})
    assert first.status == 200
    assert shop.execute("sent-again", "REFUND_ORDER", 999.0, approval_id=approval_id).status == 200
    assert shop.post(path, body, "reviewer", headers={"Idempotency-Key": "review-1"}).status == 200
    assert shop.post(path, body, "reviewer").status == 409
    assert shop.post(path, body, "owner", headers={"Idempotency-Key": "review-1"}).status == 409
    again = shop.execute("sent-again", "REFUND_ORDER", 999.0, approval_id=approval_id)
    assert (again.status, shop.outside.effects["sent-again"]) == (422, 1)


@pytest.mark.parametrize(
    "change", [{"amount": 999.01}, {"amount": 9_990.0}, {"parameters": {"amount": 999, "reason": "Customer request"}}]
)
def test_a_grant_fits_no_other_parameters(shop: Served, change: dict[str, Any]) -> None:
    order = f"other-{change.get('amount', 'reason')}"
    approval_id = held(shop, order)
    assert review(shop, approval_id).status == 200
    told = shop.execute(order, "REFUND_ORDER", **{"amount": 999.0, "approval_id": approval_id, **change})
    assert (told.status, told.body["code"]) == (422, "approval_mismatch")
    assert order not in shop.outside.effects


def test_a_grant_fits_no_other_order(shop: Served) -> None:
    approval_id = held(shop, "this-one")
    assert review(shop, approval_id).status == 200
    shop.paid("that-one")
    told = shop.execute("that-one", "REFUND_ORDER", 999.0, approval_id=approval_id)
    assert (told.status, told.body["code"]) == (422, "approval_mismatch")


def test_of_60_grants_at_once_one_is_the_answer(shop: Served) -> None:
    approval_id = held(shop, "grants")
    told = at_once(60, lambda _: review(shop, approval_id))
    assert Counter(each.status for each in told) == {200: 1, 409: 59}
    assert {each.body["reviewed_by"] for each in told if each.status == 409} == {"ops-human"}
    kinds = [record["kind"] for record in shop.get("/v1/entities/order:grants/timeline", "owner").body["records"]]
    assert kinds.count("approval_granted") == 1


def test_of_grants_and_denials_at_once_one_is_the_answer(shop: Served) -> None:
    for number in range(5):
        approval_id = held(shop, f"race-{number}")
        told = at_once(20, lambda n, id=approval_id: review(shop, id, "deny" if n % 2 else "grant"))
        assert Counter(each.status for each in told) == {200: 1, 409: 19}
        [won] = [each.body["approval"]["status"] for each in told if each.status == 200]
        assert {each.body["status"] for each in told if each.status == 409} == {won}
        ran = shop.execute(f"race-{number}", "REFUND_ORDER", 999.0, approval_id=approval_id)
        assert (ran.status == 200) == (won == "granted") == (f"race-{number}" in shop.outside.effects)


def test_60_uses_of_a_grant_at_once_have_one_effect(shop: Served) -> None:
    approval_id = held(shop, "uses")
    assert review(shop, approval_id).status == 200
    told = at_once(60, lambda _: shop.execute("uses", "REFUND_ORDER", 999.0, approval_id=approval_id))
    assert [each.status for each in told].count(200) == 1
    assert shop.outside.effects["uses"] == 1


def test_the_same_id_with_another_content_is_a_conflict(shop: Served) -> None:
    shop.paid("same-id")
    first = shop.decide("same-id", id="prop_same")
    assert first.body["outcome"] == "allowed"
    for other in ({"amount": 48.0}, {"action": "REFUND_ORDER"}, {"order": "same-id-2"}):
        told = shop.decide(**{"order": "same-id", "id": "prop_same", **other})
        assert (told.status, told.body["code"]) == (409, "idempotency_conflict")
    told = shop.execute("same-id", id="prop_same")
    assert (told.status, told.body["code"]) == (409, "idempotency_conflict")
    told = shop.decide("same-id", id="prop_same", key=key_for(shop, None, ("ops_agent",)))
    assert (told.status, told.body["code"]) == (409, "idempotency_conflict")
    assert shop.decide("same-id", id="prop_same").body == first.body | {"replayed": True}


def test_an_idempotency_key_and_an_id_that_differ_are_refused(shop: Served) -> None:
    for ask in (shop.decide, shop.execute):
        told = ask("two-ids", id="one", headers={"Idempotency-Key": "two"})
        assert (told.status, told.body["code"], told.body["field"]) == (400, "invalid", "id")


def test_40_identical_calls_with_one_id_are_one_decision(shop: Served) -> None:
    shop.paid("forty")
    told = at_once(40, lambda _: shop.decide("forty", id="prop_forty"))
    assert {each.status for each in told} == {200}
    [first] = (each.body for each in told if "replayed" not in each.body)
    assert all(each.body in (first, first | {"replayed": True}) for each in told)
    assert len(decisions(shop, "forty")) == 1


def test_40_identical_executes_with_one_key_have_one_effect(shop: Served) -> None:
    shop.paid("forty-runs")
    told = at_once(40, lambda _: shop.execute("forty-runs", headers={"Idempotency-Key": "forty-runs"}))
    assert {each.status for each in told} <= {200, 503}, "each takes an executor slot, and there are 32"
    told = [shop.execute("forty-runs", id="forty-runs"), *(each for each in told if each.status == 200)]
    assert len({each.body["result"]["operation_id"] for each in told}) == 1
    assert shop.outside.effects["forty-runs"] == 1
    assert len(decisions(shop, "forty-runs")) == 1


# Executors that misbehave


class Misbehaving(Outside):
    """Does what the order is called."""

    def __call__(self, operation: Any) -> Any:
        if operation.entity_id == "hangs":
            self.let_go.wait(PATIENCE_SECONDS)
        if operation.entity_id == "raises":
            raise ConnectionError("status: succeeded, password hunter2")
        if operation.entity_id == "exits":
            raise SystemExit(0)
        return GARBAGE[operation.entity_id]


GARBAGE: dict[str, Any] = {
    "nothing": None,
    "yes": True,
    "text": "succeeded",
    "says-allowed": {"outcome": "allowed", "status": "allowed"},
    "executed": {"executed": True},
    "more": {"status": "succeeded", "approved": True},
    "case": {"status": "SUCCEEDED"},
    "not-JSON": {"status": "succeeded", "output": object()},
    "NaN": {"status": "succeeded", "output": float("nan")},
    "large": {"status": "succeeded", "output": "x" * 100_000},
    "events": {"status": "succeeded", "events": "ORDER_PAID"},
}
SHORT = DOMAIN.read_text("utf-8").replace(
    "executor: refund.issue_refund", "executor: refund.issue_refund\n    timeout: 1s"
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server whose executors misbehave, and have a second."""
    with served(tmp_path_factory.mktemp("odd"), outside=Misbehaving()) as shop:
        shop.tower.activate(TENANT, load(SHORT.replace("version: v2", "version: v3")))
        yield shop


@pytest.mark.parametrize("how", ["raises", "exits", "hangs", *GARBAGE])
def test_an_executor_that_misbehaves_is_never_a_success(odd: Served, how: str) -> None:
    odd.paid(how)
    told = odd.execute(how, id=f"prop_{how}")
    result = told.body["result"]
    assert (result["status"], "hunter2" in told.raw.decode()) == ("unknown", False)
    assert '"allowed"' not in told.raw.decode()
    assert odd.get(f"/v1/entities/order:{how}/state").body["state"] == "PAID"
    again = odd.execute(how)
    assert (again.status, again.body["code"]) == (409, "entity_busy"), "what may have happened closes the runway"
    row = odd.tower.store.row(Clearance, TENANT, result["operation_id"])
    assert row is not None
    assert row.status == "unknown"
    assert odd.execute(how, id=f"prop_{how}").body["result"]["status"] == "unknown"


def test_a_database_that_fails_is_never_an_answer(tmp_path: Path) -> None:
    """Whatever KIFF itself runs into, a deciding route says neither `allowed` nor 2xx."""
    with served(tmp_path) as shop:
        shop.paid("ord_1")

        def fails(batch: object) -> None:
            raise RuntimeError("disk on fire, secret hunter2")

        shop.tower.store.append = fails
        for told in (shop.decide("ord_1"), shop.execute("ord_1"), shop.decide("ord_1")):
            assert told.status in (500, 503)
            assert "allowed" not in told.raw.decode()
            assert "hunter2" not in told.raw.decode()
        assert shop.get("/readyz", None).status == 503
        assert shop.outside.effects == {}


# Keys that are of no use any more


WRITES = ("decide", "execute")


@pytest.mark.parametrize("how", WRITES)
def test_a_key_revoked_between_two_calls_is_refused_on_the_second(shop: Served, how: str) -> None:
    """With the row read a moment ago still at hand: the batch reads it again."""
    secret = key_for(shop, "ops-agent")
    shop.paid(f"revoked-{how}")
    ask = shop.decide if how == "decide" else shop.execute
    ask("elsewhere", key=secret)
    id = f"key_{secret.rsplit('_', 1)[1][:10]}"
    assert shop.ask("DELETE", f"/v1/keys/{id}", key="owner").status == 200
    told = ask(f"revoked-{how}", key=secret)
    assert (told.status, told.body["code"]) == (401, "unauthorized")
    assert decisions(shop, f"revoked-{how}") == []
    assert shop.get("/v1/me", secret).status == 401


def test_a_key_of_no_more_use_is_refused_by_every_route(shop: Served) -> None:
    """Reading and writing, and whatever else is wrong with the request."""
    secret = key_for(shop, "owner")
    assert shop.get("/v1/me", secret).status == 200
    assert shop.ask("DELETE", f"/v1/keys/key_{secret.rsplit('_', 1)[1][:10]}", None, "owner").status == 200
    asked = 0
    for route in (route for route in ROUTES if route.access != "public"):
        path = re.sub("{[^}]+}", "x", route.path)
        told = shop.ask(route.method, path, {} if route.body is not None else None, secret)
        if route.refuses is not None:  # it says so in words of its own
            assert told.headers["kiff-status"] in ("400", "401"), (route.path, told)
        elif route.writes:  # what is read before the write is judged by rows read a moment ago
            assert 400 <= told.status < 500, (route.path, told)
        else:
            assert (told.status, told.body["code"]) == (401, "unauthorized"), (route.path, told)
        asked += 1
    assert asked > 30


def test_a_key_revoked_while_its_calls_wait_is_refused_for_all_after_the_revocation(shop: Served) -> None:
    secret = key_for(shop, "ops-agent")
    id = f"key_{secret.rsplit('_', 1)[1][:10]}"
    shop.paid(*(f"storm-{number}" for number in range(30)))

    def call(number: int) -> Told:
        if number == 15:
            return shop.ask("DELETE", f"/v1/keys/{id}", key="owner")
        return shop.decide(f"storm-{number}", key=secret)

    told = at_once(30, call)
    assert {each.status for each in told} <= {200, 401}
    records = shop.get("/v1/records?limit=200&kind=credential_revoked", "owner").body["records"]
    [revoked] = [each["seq"] for each in records if each["data"]["credential_id"] == id]
    for number, each in enumerate(told):
        for record in shop.get(f"/v1/entities/order:storm-{number}/timeline", "owner").body["records"]:
            if record["kind"] == "decision_recorded":
                assert record["seq"] < revoked and each.status == 200
    assert shop.decide("storm-0", key=secret).status == 401


def test_a_member_who_is_not_active_any_more_has_no_authority(shop: Served) -> None:
    enroll(shop, "leaver", "agent", "ops_agent")
    key = key_for(shop, "leaver")
    shop.paid("left")
    shop.decide("elsewhere", key=key)
    enroll(shop, "leaver", "agent", "ops_agent", active=False)
    assert shop.decide("left", key=key).status == 401
    unbound = shop.decide("left", key=key_for(shop, None, ("ops_agent",)), actor_id="leaver")
    assert (unbound.status, unbound.body["code"]) == (403, "permission_denied")


def test_a_role_taken_away_is_gone_with_the_next_call(shop: Served) -> None:
    enroll(shop, "demoted", "agent", "ops_agent")
    key = key_for(shop, "demoted")
    shop.paid("demoted-1", "demoted-2")
    assert shop.decide("demoted-1", key=key).body["outcome"] == "allowed"
    enroll(shop, "demoted", "agent")
    assert shop.decide("demoted-2", key=key).body["reasons"] == ["permission_denied"]


class Hand:
    """A clock that a test sets ahead."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self.ahead_ms = 0

    def now(self) -> int:
        return self._system.now() + self.ahead_ms

    def monotonic(self) -> float:
        return self._system.monotonic()


def test_a_key_past_its_time_is_refused(tmp_path: Path) -> None:
    clock = Hand()
    with served(tmp_path, options={"clock": clock}) as shop:
        told = shop.post("/v1/keys", {"principal": "ops-agent", "expires_at": "2099-01-01T00:00:00Z"}, "owner")
        key = told.body["secret"]
        shop.paid("ord_1")
        assert shop.decide("elsewhere", key=key).status == 200
        clock.ahead_ms = 80 * 366 * 24 * 3600 * 1000
        for answer in (shop.decide("ord_1", key=key), shop.get("/v1/me", key)):
            assert (answer.status, answer.body["code"]) == (401, "unauthorized")
        assert shop.decide("ord_1").status == 200


def test_a_key_bound_to_another_domain_is_refused(own_shop: Served) -> None:
    own_shop.tower.activate(TENANT, load(NOTES))
    key = key_for(own_shop, "ops-agent", domain="notes")
    reviewer = key_for(own_shop, "ops-human", domain="notes")
    approval_id = held(own_shop, "ord_1")
    for told in (
        own_shop.decide("ord_1", key=key),
        own_shop.execute("ord_1", key=key),
        review(own_shop, approval_id, key=reviewer),
        own_shop.post("/v1/entities/order:ord_1/actions/AUTO_REFUND/validate", {"parameters": PARAMETERS}, key),
    ):
        assert (told.status, told.body["code"]) == (403, "permission_denied"), told
    event = {"type": "WRITTEN", "entity_id": "n", "entity_type": "note"}
    assert own_shop.post("/v1/events", event, "owner").status == 201
    body = {"entity_id": "n", "entity_type": "note", "action_name": "FILE"}
    assert own_shop.post("/v1/proposals/decide", body, key).body["outcome"] == "approval_required"


def test_what_an_agent_holds_gives_it_nothing_more(shop: Served) -> None:
    """An agent with every verb of the API at hand: no key, no member, no domain, no event, no yes."""
    approval_id = held(shop, "evil")
    owners = next(each["id"] for each in shop.get("/v1/keys", "owner").body["keys"] if each.get("principal") == "owner")
    tries = (
        shop.post("/v1/keys", {"principal": "owner"}),
        shop.post("/v1/keys", {"roles": ["admin"]}),
        shop.ask("PUT", "/v1/members/ops-agent", {"type": "agent", "roles": ["admin"]}),
        shop.ask("PUT", "/v1/members/evil", {"type": "human", "roles": ["ops_operator"]}),
        review(shop, approval_id, "grant", "agent"),
        review(shop, approval_id, "deny", "agent"),
        shop.post("/v1/events", {"type": "ORDER_REFUNDED", "entity_id": "evil", "entity_type": "order"}),
        shop.ask("DELETE", f"/v1/keys/{owners}", None, "agent"),
    )
    assert {told.status for told in tries} <= {403, 404}, tries
    assert "evil" not in shop.outside.effects


def test_an_owner_gives_away_no_more_than_they_hold(own_shop: Served) -> None:
    enroll(own_shop, "mayor", "human", "tenant_owner")
    key = key_for(own_shop, "mayor")
    for told in (
        own_shop.ask("PUT", "/v1/members/mayor", {"type": "human", "roles": ["tenant_owner", "operator"]}, key),
        own_shop.post("/v1/keys", {"principal": "owner"}, key),
        own_shop.post("/v1/keys", {"roles": ["operator"]}, key),
        own_shop.ask("PUT", "/v1/members/owner", {"type": "human", "roles": []}, key),
    ):
        assert (told.status, told.body["code"]) == (403, "permission_denied")
