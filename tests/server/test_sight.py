"""What a key may read: an agent its own proposals whatever trace it names, a reviewer what waits for them.

And a key that is limited to a domain reads nothing of another.
"""

from __future__ import annotations

import pytest
from served import Served

from kiff import load
from kiff.protocol.authority import Member

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PARCELS = """
domain: parcels
version: v1
entity: Parcel
events: [SENT]
states: [ON_ITS_WAY]
transitions: [{on: SENT, to: ON_ITS_WAY}]
actions: [{name: STOP, allowed_states: [ON_ITS_WAY], required_permissions: [parcels.stop], risk: low, approval: never}]
permissions: {roles: {courier: [parcels.stop], sender: [events.ingest]}}
"""


@pytest.fixture(scope="module")
def two(shop: Served) -> Served:
    """A second agent, a second domain, and an owner's key that is good for the second domain alone."""
    tenant = "kiff-demo"
    shop.tower.activate(tenant, load(PARCELS))
    others = [
        Member(tenant, "other-agent", "agent", None, None, "ops_agent", True),
        Member(tenant, "plain-reviewer", "human", None, None, "ops_operator", True),
        Member(tenant, "sender", "service", None, None, "sender", True),
    ]
    shop.tower.found(tenant, others)
    for member in others:
        shop.keys[member.id] = shop.tower.mint(tenant, member.id, member.id)
    told = shop.post("/v1/keys", {"principal": "owner", "domain": "parcels", "label": "parcels only"}, "owner")
    shop.keys["parcels"] = told.body["secret"]
    event = {"type": "SENT", "entity_id": "p_1", "entity_type": "parcel"}
    assert shop.post("/v1/events", event, "sender").status == 201
    shop.paid("ord_1")
    return shop


def test_anothers_trace_shows_nothing_of_theirs(two: Served) -> None:
    two.decide("ord_1", evidence="only mine to read", headers={"traceparent": TRACE})
    two.decide("ord_1", key="other-agent", headers={"traceparent": TRACE})
    seen = two.get("/v1/entities/order:ord_1/timeline", "other-agent")
    assert {record["actor"]["id"] for record in seen.body["records"]} == {"other-agent"}
    assert b"only mine to read" not in seen.raw
    assert b"only mine to read" in two.get("/v1/entities/order:ord_1/timeline").raw


def test_an_agent_reads_its_own_records_page_by_page(two: Served) -> None:
    two.paid("ord_2")
    for _ in range(3):
        assert two.decide("ord_2", "NO_SUCH_ACTION").status == 400
    records, after = [], -1
    while True:
        page = two.get(f"/v1/entities/order:ord_2/timeline?limit=2&after={after}").body
        records += page["records"]
        if "next" not in page:
            break
        after = page["next"]
    kinds = [record["kind"] for record in records]
    assert kinds == ["decision_recorded", "action_blocked"] * 3


def test_a_proposal_too_large_for_the_log_is_its_proposers_to_see(two: Served) -> None:
    told = two.decide("ord_1", "REFUND_ORDER", evidence="e" * 5_000)
    path = f"/v1/proposals/{told.body['proposal_id']}"
    assert (two.get(path).status, two.get(path, "other-agent").status) == (200, 404)


def test_a_reviewer_lists_what_they_may_answer(two: Served) -> None:
    two.paid("ord_3")
    held = two.execute("ord_3", "REFUND_ORDER", 900.0).body["approval_id"]
    told = two.get("/v1/approvals?status=pending", "plain-reviewer").body["approvals"]
    assert held in {approval["id"] for approval in told}
    assert two.get("/v1/approvals?status=pending", "other-agent").body == {"approvals": []}


@pytest.mark.parametrize(
    "path", ["/v1/entities/order:ord_1/state", "/v1/entities/order:ord_1", "/v1/entities/order:ord_1/timeline"]
)
def test_a_key_for_one_domain_sees_no_entity_of_another(two: Served, path: str) -> None:
    assert two.get(path, "owner").status == 200
    assert two.get(path, "parcels").status == 404
    assert two.get(path.replace("order:ord_1", "parcel:p_1"), "parcels").status == 200


@pytest.mark.parametrize("path", ["/v1/entities", "/v1/records", "/v1/approvals", "/v1/operations"])
def test_a_key_for_one_domain_lists_nothing_of_another(two: Served, path: str) -> None:
    assert b"order:" in two.get(path, "owner").raw
    assert b"order:" not in two.get(path, "parcels").raw


def test_approvals_come_page_by_page(two: Served) -> None:
    orders = [f"ord_9{number}" for number in range(5)]
    two.paid(*orders)
    held = [two.execute(order, "REFUND_ORDER", 900.0).body["approval_id"] for order in orders]
    found: list[str] = []
    after = ""
    while True:
        page = two.get(f"/v1/approvals?status=pending&limit=2&after={after}", "owner").body
        found += [approval["id"] for approval in page["approvals"]]
        assert len(page["approvals"]) <= 2
        if "next" not in page:
            break
        after = page["next"]
    assert [id for id in found if id in held] == held
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/keys"), ("GET", "/v1/members"), ("GET", "/v1/me/usage"), ("POST", "/v1/me/sandbox")],
)
def test_a_key_for_one_domain_is_no_key_for_the_tenant(two: Served, method: str, path: str) -> None:
    body = {} if method == "POST" else None
    assert two.ask(method, path, body, "parcels").status == 403


def test_reading_one_domain_is_not_reading_all(two: Served) -> None:
    """`sender` may read parcels alone; the orders beside them stay unread."""
    text = PARCELS.replace("sender: [events.ingest]", "sender: [events.ingest, records.read]").replace("v1", "v2")
    two.tower.activate("kiff-demo", load(text))
    assert b"order:" not in two.get("/v1/records", "sender").raw


def test_a_refusal_by_the_gate_is_a_problem_when_asked_for_one(two: Served) -> None:
    told = two.execute("ord_1", "NO_SUCH", headers={"Accept": "application/problem+json"})
    assert told.headers["content-type"] == "application/problem+json"
    assert (told.body["status"], told.body["code"], told.body["type"]) == (
        404,
        "unknown_action",
        "/v1/docs/errors#unknown_action",
    )


def test_an_invalid_decide_has_the_members_of_every_error(two: Served) -> None:
    told = two.decide("ord_1", "NO_SUCH")
    shown = {name: told.body[name] for name in ("outcome", "code", "docs")}
    assert shown == {"outcome": "invalid", "code": "unknown_action", "docs": "/v1/docs/errors#unknown_action"}
