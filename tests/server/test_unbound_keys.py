"""A key that is bound to nobody speaks for any actor of its tenant, from proposal to end, and reviews nothing."""

from __future__ import annotations

import pytest
from served import Served


@pytest.fixture(scope="module")
def unbound(shop: Served) -> str:
    told = shop.post("/v1/keys", {"label": "a fleet of agents", "roles": ["ops_agent", "ops_operator"]}, "owner")
    assert told.status == 201
    return str(told.body["secret"])


def test_it_never_reviews_whomever_it_names(shop: Served, unbound: str) -> None:
    shop.paid("ord_u1")
    held = shop.execute("ord_u1", "REFUND_ORDER", 999.0, key=unbound, actor={"id": "bot-1"}).body["approval_id"]
    for actor in ({}, {"actor": {"id": "ops-human"}}, {"actor": {"id": "bot-1"}}):
        told = shop.post(f"/v1/approvals/{held}/grant", {"reason": "fine", **actor}, unbound)
        assert told.status == 403, told
    assert shop.get(f"/v1/approvals/{held}", "owner").body["approval"]["status"] == "pending"


def test_it_reports_in_the_name_it_proposed_in(shop: Served, unbound: str) -> None:
    shop.paid("ord_u2")
    cleared = shop.decide("ord_u2", key=unbound, actor_id="bot-1", settles=True)
    assert cleared.body["outcome"] == "allowed"
    told = shop.post(f"/v1/proposals/{cleared.body['proposal_id']}/outcome", {"status": "succeeded"}, unbound)
    assert (told.status, told.body["status"], told.body["state"]) == (200, "succeeded", "REFUNDED")


def test_another_agents_key_does_not_report_for_it(shop: Served, unbound: str) -> None:
    shop.paid("ord_u3")
    cleared = shop.decide("ord_u3", key=unbound, actor_id="bot-1", settles=True)
    told = shop.post(f"/v1/proposals/{cleared.body['proposal_id']}/outcome", {"status": "succeeded"}, "agent")
    assert told.status in (403, 404)
    assert shop.get("/v1/entities/order:ord_u3/state", "owner").body["state"] == "PAID"


def test_it_takes_back_a_question_in_the_name_it_asked_in(shop: Served, unbound: str) -> None:
    shop.paid("ord_u4")
    held = shop.execute("ord_u4", "REFUND_ORDER", 999.0, key=unbound, actor={"id": "bot-1"}).body["approval_id"]
    for actor in ({}, {"actor": {"id": "bot-2"}}):
        assert shop.post(f"/v1/approvals/{held}/cancel", actor, unbound).status == 403
    told = shop.post(f"/v1/approvals/{held}/cancel", {"actor": {"id": "bot-1"}}, unbound)
    assert (told.status, told.body["approval"]["status"]) == (200, "cancelled")


def test_a_bound_key_takes_back_nothing_in_anothers_name(shop: Served, unbound: str) -> None:
    shop.paid("ord_u5")
    held = shop.execute("ord_u5", "REFUND_ORDER", 999.0, key=unbound, actor={"id": "bot-1"}).body["approval_id"]
    told = shop.post(f"/v1/approvals/{held}/cancel", {"actor": {"id": "bot-1"}}, "agent")
    assert (told.status, told.body["code"]) == (403, "actor_not_key_holder")
