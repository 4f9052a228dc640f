"""The whole way: a guard before a tool, a served KIFF behind it, and the world outside that counts what was done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from client_cases import REFUND, client
from own_tenant import OwnTenant

from kiff_guard import ActionFailed, Guard, Hold, export_yaml

pytestmark = pytest.mark.slow

MUCH = REFUND | {"amount": 999.0}


class Payments:
    """What left the house. A refund is paid, and the shop tells KIFF so, as a payment provider does."""

    def __init__(self, own: OwnTenant) -> None:
        self._own = own
        self.paid: list[tuple[str, float]] = []

    def refund(self, order_id: str = "ord_1", amount: float = 49.0, reason: str = "") -> str:
        self.paid.append((order_id, amount))
        return f"refunded {amount}"


@pytest.fixture
def payments(own: OwnTenant) -> Payments:
    own.paid("ord_1")
    return Payments(own)


@pytest.fixture
def guard(own: OwnTenant) -> Iterator[Guard]:
    with enforcing(own) as guard:
        yield guard


def enforcing(own: OwnTenant, **more: Any) -> Guard:
    return Guard(client(own.serving.url, own.keys["agent"]), agent="ops-agent", mode="enforce", **more)


def kinds(own: OwnTenant, order: str = "ord_1") -> list[str]:
    records = own.get(f"/v1/entities/order:{order}/timeline", "owner").body["records"]
    return [each["kind"] for each in records if each["kind"] not in ("event_ingested", "state_changed")]


def test_a_call_that_may_not_run_does_not(own: OwnTenant, guard: Guard) -> None:
    payments = Payments(own)  # nobody paid for the order
    with pytest.raises(Hold, match="state_not_allowed"):
        guard.evaluate("refund", REFUND, payments.refund)
    assert payments.paid == []
    assert [(each.outcome, each.executed, bool(each.proposal_id)) for each in guard.receipts] == [
        ("blocked", False, True)
    ]


def test_a_call_that_runs_is_in_the_log_with_its_end(own: OwnTenant, guard: Guard, payments: Payments) -> None:
    assert guard.evaluate("refund", REFUND, payments.refund) == "refunded 49.0"
    assert kinds(own) == ["decision_recorded", "action_validated", "action_executed"]
    [receipt] = guard.receipts
    operation = own.get(f"/v1/proposals/{receipt.proposal_id}", "owner").body["operation"]
    assert (operation["status"], receipt.execution) == ("succeeded", "succeeded")


def test_a_tool_that_raises_leaves_it_unknown_and_the_order_closed(
    own: OwnTenant, guard: Guard, payments: Payments
) -> None:
    def broken() -> None:
        raise OSError("the bank is down, and its password is hunter2")

    with pytest.raises(OSError, match="the bank is down"):
        guard.evaluate("refund", REFUND, broken)
    assert kinds(own)[-1] == "action_unknown"
    records = own.get("/v1/entities/order:ord_1/timeline", "owner").body["records"]
    assert "hunter2" not in str(records) and "OSError" in str(records[-1])
    with pytest.raises(Hold, match="entity_busy"):
        guard.evaluate("refund", REFUND, payments.refund)
    assert payments.paid == []


def test_a_tool_that_knows_that_nothing_happened_may_be_tried_again(
    own: OwnTenant, guard: Guard, payments: Payments
) -> None:
    def declined() -> None:
        raise ActionFailed("the card was declined")

    with pytest.raises(ActionFailed):
        guard.evaluate("refund", REFUND, declined, call_id="c1", session="t1")
    assert kinds(own)[-1] == "action_failed"
    guard.evaluate("refund", REFUND, payments.refund, call_id="c1", session="t1")
    assert payments.paid == [("ord_1", 49.0)]


def test_a_held_call_runs_once_when_a_person_granted_it(own: OwnTenant, guard: Guard, payments: Payments) -> None:
    with pytest.raises(Hold) as held:
        guard.evaluate("refund_much", MUCH, lambda: payments.refund(amount=999.0), call_id="c1", session="t1")
    with pytest.raises(Hold):
        guard.evaluate("refund_much", MUCH, lambda: payments.refund(amount=999.0), call_id="c1", session="t1")
    assert payments.paid == []
    own.post(f"/v1/approvals/{held.value.decision.approval_id}/grant", {"reason": "verified"}, "reviewer")
    for _ in range(3):
        guard.evaluate("refund_much", MUCH, lambda: payments.refund(amount=999.0), call_id="c1", session="t1")
    assert payments.paid == [("ord_1", 999.0)]
    assert [each.execution for each in guard.receipts] == ["not_run", "not_run", "succeeded"]


def test_a_granted_call_with_another_amount_is_held_again(own: OwnTenant, guard: Guard, payments: Payments) -> None:
    first = guard.decide_only("refund_much", MUCH)
    own.post(f"/v1/approvals/{first.approval_id}/grant", {"reason": "verified"}, "reviewer")
    other = guard.decide_only("refund_much", MUCH | {"amount": 998.0}, approval_id=first.approval_id)
    assert other.withheld
    assert guard.decide_only("refund_much", MUCH | {"amount": 998.0}).approval_id != first.approval_id
    assert payments.paid == []


def test_a_denied_call_never_runs(own: OwnTenant, guard: Guard, payments: Payments) -> None:
    first = guard.decide_only("refund_much", MUCH)
    own.post(f"/v1/approvals/{first.approval_id}/deny", {"reason": "disputed"}, "reviewer")
    for _ in range(2):
        with pytest.raises(Hold):
            guard.evaluate("refund_much", MUCH, payments.refund)
    assert payments.paid == []


def test_another_process_does_not_run_what_one_ran(own: OwnTenant, payments: Payments) -> None:
    """The process died after the tool ran, and its framework resumes the same call in another one."""
    first, second = enforcing(own), enforcing(own)
    first.evaluate("refund", REFUND, payments.refund, call_id="c1", session="thread-1")
    with pytest.raises(Hold, match="already_cleared"):
        second.evaluate("refund", REFUND, payments.refund, call_id="c1", session="thread-1")
    assert len(payments.paid) == 1


def test_fifty_threads_with_one_order_pay_once(own: OwnTenant, guard: Guard, payments: Payments) -> None:
    held: list[str] = []

    def work(number: int) -> None:
        try:
            guard.evaluate("refund", REFUND, payments.refund, call_id=f"c{number}")
        except Hold as hold:
            held.append(hold.decision.reasons[0])

    threads = [threading.Thread(target=work, args=[number]) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(payments.paid) == 1
    assert len(held) == 49 and set(held) <= {"entity_busy", "state_not_allowed"}
    assert len(guard.receipts) == 50


def test_many_calls_of_a_loop_are_asked_about_at_once(own: OwnTenant, guard: Guard) -> None:
    orders = [f"ord_{number}" for number in range(8)]
    own.paid(*orders)
    payments = Payments(own)

    async def refund(order: str) -> Any:
        return await guard.aevaluate("refund", REFUND | {"order_id": order}, lambda: payments.refund(order))

    async def all_of_them() -> Any:
        return await asyncio.gather(*map(refund, orders))

    assert asyncio.run(all_of_them()) == ["refunded 49.0"] * 8
    assert sorted(order for order, _ in payments.paid) == orders


def test_a_server_that_is_gone_withholds(own: OwnTenant, payments: Payments) -> None:
    guard = Guard(client("http://127.0.0.1:9", own.keys["agent"]), agent="ops-agent", mode="enforce")
    with pytest.raises(Hold, match="unreachable"):
        guard.evaluate("refund", REFUND, payments.refund)
    assert payments.paid == []
    assert [each.outcome for each in guard.receipts] == ["error"]


def test_roles_in_the_arguments_are_arguments_and_nothing_else(
    own: OwnTenant, guard: Guard, payments: Payments
) -> None:
    with pytest.raises(Hold, match="roles"):
        guard.evaluate("refund", REFUND | {"roles": ["tenant_owner"]}, payments.refund)
    assert payments.paid == []


def test_an_unmapped_tool_is_withheld_unless_somebody_chose_otherwise(own: OwnTenant, payments: Payments) -> None:
    with pytest.raises(Hold, match="unmapped_tool"):
        enforcing(own).evaluate("wire", {}, payments.refund)
    assert payments.paid == []
    for rule, outcome, state in (("allow", "unmapped", "ungoverned"), ("observe", "observed", "observed")):
        asking = client(own.serving.url, own.keys["agent"], unmapped=rule)
        for guard in (enforcing(own, unmapped=rule), Guard(asking, mode="enforce")):
            guard.evaluate("wire", {}, payments.refund)
            assert [(each.outcome, each.state) for each in guard.receipts] == [(outcome, state)]
    strict = Guard(client(own.serving.url, own.keys["agent"], unmapped="allow"), mode="enforce", unmapped="withhold")
    with pytest.raises(Hold, match="unmapped_tool"):
        strict.evaluate("wire", {}, payments.refund)


def test_what_was_observed_becomes_the_tenants_draft(own: OwnTenant) -> None:
    guard = Guard(client(own.serving.url, own.keys["owner"]), mode="observe")
    for order in ("ord_1", "ord_2"):
        guard.evaluate("refund", REFUND | {"order_id": order}, lambda: None)
    told = guard.save_draft("support")
    assert (told.yaml, told.valid) == (export_yaml("support", guard.catalog), False)
    assert [each["name"] for each in own.get("/v1/me/domain/draft", "owner").body["parsed"]["actions"]] == ["refund"]


def test_a_guard_connects_and_tells_what_it_saw(own: OwnTenant) -> None:
    guard = Guard(client(own.serving.url, own.keys["agent"]), mode="observe")
    guard.evaluate("refund", REFUND, lambda: None)
    connection = guard.connect("langgraph", project="shop")
    assert (connection.agent_id, guard.agent, connection.mode) == ("ops-agent", "ops-agent", "observe")
    assert connection.sdk_version == "2.0.0"
    [tool] = guard.observe_push("langgraph", project="shop").tools
    assert (tool.name, tool.action, tool.observed_call_count) == ("refund", "AUTO_REFUND", 1)
