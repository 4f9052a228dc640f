"""The calls of the documents, as they stand there, against a served tower: bodies and statuses."""

from __future__ import annotations

from typing import Any

import pytest
from served import Served

ACTOR = {"id": "ops-agent", "type": "agent", "roles": ["operator"]}


def refund(shop: Served, order: str, action: str, amount: float, **more: Any) -> Any:
    return shop.execute(order, action, amount, actor=ACTOR, **more)


def held(shop: Served, order: str) -> str:
    shop.paid(order)
    told = refund(shop, order, "REFUND_ORDER", 999.0)
    assert told.status == 422
    assert told.body["error"] == "action requires approval"
    assert told.body["action"] == "REFUND_ORDER"
    return str(told.body["approval_id"])


def kinds(shop: Served, order: str) -> list[str]:
    told = shop.get(f"/v1/entities/order:{order}/timeline", "owner")
    return [record["kind"] for record in told.body["records"]]


def review(shop: Served, approval_id: str, verb: str, reason: str) -> Any:
    actor = {"id": "ops-human", "type": "human", "roles": ["ops_operator"]}
    return shop.post(f"/v1/approvals/{approval_id}/{verb}", {"actor": actor, "reason": reason}, "reviewer")


def test_a_small_refund_is_executed(shop: Served) -> None:
    shop.paid("ord_001")
    told = refund(shop, "ord_001", "AUTO_REFUND", 49.0)
    assert told.status == 200
    shown = {name: told.body["result"][name] for name in ("action_name", "entity_id", "status", "executed", "message")}
    assert shown == {
        "action_name": "AUTO_REFUND",
        "entity_id": "ord_001",
        "status": "succeeded",
        "executed": True,
        "message": "auto-refund of $49.00 issued",
    }
    assert shop.outside.effects["ord_001"] == 1
    end = ["decision_recorded", "action_validated", "action_executed", "event_ingested", "state_changed"]
    assert kinds(shop, "ord_001")[-5:] == end


def test_a_large_refund_is_held_and_asking_for_the_approval_brings_the_open_one(shop: Served) -> None:
    approval_id = held(shop, "ord_002")
    path = "/v1/entities/ord_002/actions/REFUND_ORDER/approvals"
    parameters = {"amount": 999.0, "reason": "customer request"}
    told = shop.post(path, {"actor": ACTOR, "parameters": parameters})
    assert (told.status, told.body["approval"]["id"]) == (201, approval_id)
    assert "ord_002" not in shop.outside.effects


def test_a_granted_refund_runs_when_the_call_comes_back_with_the_approval(shop: Served) -> None:
    approval_id = held(shop, "ord_004")
    told = review(shop, approval_id, "grant", "verified with customer")
    assert told.status == 200
    approval = told.body["approval"]
    named = {name: approval[name] for name in ("id", "status", "action_name", "entity_id", "reviewed_by")}
    assert named == {
        "id": approval_id,
        "status": "granted",
        "action_name": "REFUND_ORDER",
        "entity_id": "ord_004",
        "reviewed_by": "ops-human",
    }
    assert approval["reviewed_at"].endswith("Z")
    told = refund(shop, "ord_004", "REFUND_ORDER", 999.0, approval_id=approval_id)
    assert (told.status, told.body["result"]["executed"]) == (200, True)
    again = refund(shop, "ord_004", "REFUND_ORDER", 999.0, approval_id=approval_id)
    assert (again.status, shop.outside.effects["ord_004"]) == (422, 1)


@pytest.mark.parametrize("how", ["with the approval", "without it"])
def test_a_denied_refund_is_terminal(shop: Served, how: str) -> None:
    order = f"ord_5{len(how)}"
    approval_id = held(shop, order)
    told = review(shop, approval_id, "deny", "order disputed")
    assert (told.status, told.body["approval"]["status"], told.body["approval"]["reason"]) == (
        200,
        "denied",
        "order disputed",
    )
    more = {"approval_id": approval_id} if how == "with the approval" else {}
    told = refund(shop, order, "REFUND_ORDER", 999.0, **more)
    assert (told.status, told.body["code"]) == (422, "state_not_allowed")
    assert "approval_denied" in told.body["reasons"]
    assert order not in shop.outside.effects


def test_an_unpaid_order_is_blocked(shop: Served) -> None:
    shop.post("/v1/events", {"type": "ORDER_PLACED", "entity_id": "ord_003", "entity_type": "Order"}, "owner")
    told = refund(shop, "ord_003", "AUTO_REFUND", 49.0)
    assert told.status == 422
    shown = {name: told.body[name] for name in ("error", "action", "current_state", "allowed_states")}
    assert shown == {
        "error": "state not allowed",
        "action": "AUTO_REFUND",
        "current_state": "CREATED",
        "allowed_states": ["PAID"],
    }
    assert kinds(shop, "ord_003")[-2:] == ["decision_recorded", "action_blocked"]
    assert "ord_003" not in shop.outside.effects
