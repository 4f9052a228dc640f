"""The draft's limits, counted again in the order in which calls came: held, spent and let go of as it went."""

from __future__ import annotations

from typing import Any

import pytest
from simulate_cases import AGENT, HOUR, OTHER, START, Till

from kiff import load
from kiff.analysis.simulate import Simulated, counted
from kiff.runtime.step.limits import NO_HOLDS

PLAIN = """
domain: till
version: v1
entity: Till
events: [OPENED, PAID_OUT]
states: [OPEN]
transitions:
  - {on: OPENED, to: OPEN}
  - {on: PAID_OUT, from: OPEN}
actions:
  - name: PAY
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [till.pay]
    risk: low
    approval: conditional
    executor: till.pay
    emits: {success: [PAID_OUT], failure: []}
    parameters: {amount: {type: number, minimum: 0, maximum: 10000, unit: USD}, for: {type: string}}
    approval_policy: {permissions: [till.approve], expires: 6h, use_within: 1h}
    lock: none
    rules: [{id: large, when: parameters.amount > 50, then: require_approval}]
permissions:
  roles: {ops_agent: [till.pay], ops_operator: [till.approve], event_source: [events.ingest]}
"""
DAILY = "{id: daily, kind: budget, max: %s, per: day, amount: parameters.amount, key: actor.id}"


def limited(limit: str, text: str = PLAIN) -> str:
    return text.replace("    lock: none\n", f"    lock: none\n    limits: [{limit}]\n")


def flips(simulated: Simulated) -> dict[tuple[str, str, str], int]:
    return {(flip.before, flip.after, flip.reason): flip.decisions for flip in simulated.flips}


def over(count: int, reason: str = "budget_exceeded") -> dict[tuple[str, str, str], int]:
    return {("allowed", "limit_exceeded", reason): count}


def receipts(simulated: Simulated) -> list[str]:
    return [example.receipt_id for flip in simulated.flips for example in flip.examples]


def till_of(*amounts: float, text: str = PLAIN, **more: Any) -> tuple[Till, list[Any]]:
    till = Till(text)
    return till, [till.pay(amount, **more) for amount in amounts]


def test_a_new_budget_refuses_what_goes_over_it_in_the_order_it_came() -> None:
    till, paid = till_of(30, 30, 50, 20, 10, 15)
    simulated = till.simulate(limited(DAILY % 100), examples=9)
    assert flips(simulated) == over(2)
    assert receipts(simulated) == [paid[2].receipt_id, paid[5].receipt_id]  # 30 + 30 + 20 + 10, and no more


def test_a_wider_budget_lets_through_what_then_fits_and_counts_it() -> None:
    till, paid = till_of(40, 40, 40, 40, text=limited(DAILY % 100))
    assert [each.outcome for each in paid] == ["allowed", "allowed", "limit_exceeded", "limit_exceeded"]
    simulated = till.simulate(limited(DAILY % 120))
    assert flips(simulated) == {("limit_exceeded", "allowed", "budget_exceeded"): 1}
    assert receipts(simulated) == [paid[2].receipt_id]
    assert simulated.new_allows == 1


def test_each_key_has_a_count_of_its_own() -> None:
    till, _ = till_of(40, 40)
    till.pay(40, who=OTHER)
    assert flips(till.simulate(limited(DAILY % 60))) == over(1)


def test_what_failed_is_free_again() -> None:
    till = Till(PLAIN)
    till.behaviour = "fail"
    till.pay(40)
    till.behaviour = "pay"
    till.pay(40)
    assert till.simulate(limited(DAILY % 40)).flips == []


def test_what_nobody_knows_stays_counted_until_somebody_says() -> None:
    till = Till(PLAIN)
    till.behaviour = "lose"
    lost = till.pay(40)
    till.behaviour = "pay"
    till.pay(40)
    assert flips(till.simulate(limited(DAILY % 40))) == over(1)
    till.settle_as(lost, "failed")
    till.pay(40)
    assert flips(till.simulate(limited(DAILY % 40))) == over(1)


def test_what_waits_for_a_person_keeps_its_room() -> None:
    till, _ = till_of(60, 30)
    assert flips(till.simulate(limited(DAILY % 80))) == over(1)


def test_what_was_denied_or_expired_is_free_again() -> None:
    till, [held] = till_of(60)
    till.deny(held.approval_id)
    till.pay(30)
    till.pay(61)
    till.later(7 * HOUR)
    till.pay(29)
    assert till.simulate(limited(DAILY % 91)).flips == []


def test_a_grant_uses_the_room_that_was_kept_for_it() -> None:
    till, [held] = till_of(60)
    till.grant(held.approval_id)
    till.pay(60, approval_id=held.approval_id, id=held.proposal_id)
    till.pay(30)
    simulated = till.simulate(limited(DAILY % 90))
    assert (simulated.flips, simulated.same) == ([], 3)
    assert flips(till.simulate(limited(DAILY % 89))) == over(1)


def test_asking_again_while_it_is_open_takes_no_second_room() -> None:
    till, _ = till_of(60, 60, 60)
    assert till.simulate(limited(DAILY % 60)).flips == []


def test_a_call_that_would_newly_wait_keeps_room_until_its_time_is_up() -> None:
    stricter = PLAIN.replace("amount > 50", "amount > 20")
    till, _ = till_of(30, 15)
    till.later(7 * HOUR)
    till.pay(15)
    simulated = till.simulate(limited(DAILY % 40, stricter))
    expected = {("allowed", "approval_required", "large"): 1, ("allowed", "limit_exceeded", "budget_exceeded"): 1}
    assert flips(simulated) == expected
    assert any("stay unanswered" in each for each in simulated.assumptions)


def test_what_would_run_instead_of_waiting_is_counted_once() -> None:
    laxer = PLAIN.replace("amount > 50", "amount > 70")
    till, [held] = till_of(60)
    till.grant(held.approval_id)
    till.pay(60, approval_id=held.approval_id, id=held.proposal_id)
    till.pay(40)
    simulated = till.simulate(limited(DAILY % 100, laxer))
    assert (flips(simulated), simulated.moot) == ({("approval_required", "allowed", "large"): 1}, 1)


def test_a_rate_counts_calls_over_time() -> None:
    till, _ = till_of(1, 1, 1)
    till.later(HOUR)
    till.pay(1)
    simulated = till.simulate(limited("{id: calls, kind: rate, max: 2, per: 2h, key: actor.id}"))
    assert flips(simulated) == over(1, "rate_limited")


def test_places_in_flight_are_free_when_an_operation_ends() -> None:
    till = Till(PLAIN)
    call = {"entity": "till:t1", "action": "PAY", "parameters": {"amount": 1}, "settles": True}
    first = till.runtime.propose(AGENT, **call).result()
    till.runtime.propose(AGENT, **call).result()
    till.runtime.settle(AGENT, first.clearance_id, "succeeded").result()
    till.runtime.propose(AGENT, **call).result()
    one, two = (f"{{id: flying, kind: concurrency, max: {most}}}" for most in (1, 2))
    assert flips(till.simulate(limited(one))) == over(1, "concurrency_exceeded")
    assert till.simulate(limited(two)).flips == []


def test_a_limit_may_ask_a_person_instead() -> None:
    asking = (DAILY % 40).replace("}", ", over: require_approval}")
    till, _ = till_of(30, 30)
    simulated = till.simulate(limited(asking))
    assert flips(simulated) == {("allowed", "approval_required", "daily"): 1}
    assert simulated.approvals.added == 1


def test_money_is_added_exactly() -> None:
    till, _ = till_of(*[0.1] * 10)
    assert till.simulate(limited(DAILY % 1)).flips == []
    assert flips(till.simulate(limited(DAILY % 0.99))) == over(1)


def test_limits_remember_what_was_before_the_window() -> None:
    till, _ = till_of(40)
    till.later(2 * HOUR)
    late = till.pay(40)
    simulated = till.simulate(limited(DAILY % 50), since_ms=START + HOUR)
    assert (receipts(simulated), simulated.decisions) == ([late.receipt_id], 1)


def test_where_limits_begin_to_count_is_told() -> None:
    till, _ = till_of(40)
    till.later(60 * 24 * HOUR)
    till.pay(40)
    simulated = till.simulate(limited(DAILY % 50), since_ms=START + 30 * 24 * HOUR)
    assert simulated.window.limits_since is not None
    assert any("from nothing" in each for each in simulated.assumptions)


def test_rows_that_count_nothing_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "FORGETS_EVERY", 2)
    rows = counted.Counted("default")
    terms = load(limited((DAILY % 40).replace("actor.id", "entity.id"))).terms["PAY"]
    for number in range(6):
        env = {"parameters": {"amount": 40}, "entity": {"id": f"n{number}"}}
        looked = rows.look(START + number * 48 * HOUR, terms, env, NO_HOLDS)
        rows.settle(rows.reserve(looked, f"clr_{number}"), happened=number % 2 == 0)
    assert len(rows.rows) < 3


def test_control_rows_that_still_count_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "FORGETS_EVERY", 2)
    till, _ = till_of(*[10] * 6)
    assert flips(till.simulate(limited(DAILY % 50))) == over(1)
