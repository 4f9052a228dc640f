"""A hold is settled once: whoever takes it over, whatever moved meanwhile, and whatever is said of it afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from lane_cases import AGENT, HUMAN, told
from limit_cases import BUDGET, FLIGHT, MOVES, TILL, TillRuntime, till
from msgspec import json

from kiff.errors import OperationSettled

ASKS = """
    rules:
      - {id: large, when: parameters.amount >= 40, then: require_approval}
"""
HOT = ASKS + "      - {id: hot, when: entity.region == 'b' && parameters.amount > 10, then: require_approval}\n"
STRICTER = ("amount >= 40, then", "amount >= 35, then")
BY_REGION = BUDGET.replace("actor.id", "entity.region")


def decide(shop: TillRuntime, amount: float = 1, **more: Any) -> Any:
    parameters = {"amount": amount}
    return told(shop.runtime.propose(AGENT, entity="till:t1", action="PAY", parameters=parameters, **more))


def held(shop: TillRuntime) -> list[int]:
    """What each budget keeps, in cents."""
    return [json.decode(state)["held"] for state in shop.usages()]


def test_the_hold_that_was_taken_over_gives_nothing_back_when_its_question_is_taken_back() -> None:
    with till(approval="conditional", rules=ASKS) as shop:
        first = shop.pay(60)
        assert shop.change(STRICTER).changed
        second = shop.pay(60)
        assert second.approval_id != first.approval_id
        assert told(shop.runtime.cancel(AGENT, first.approval_id, "not needed")).status == "cancelled"
        assert held(shop) == [6000]


def test_a_no_to_the_first_question_frees_nothing_of_the_payment_that_the_second_let_through() -> None:
    with till(approval="conditional", rules=ASKS) as shop:
        first = shop.pay(60)
        shop.change(STRICTER)
        second = shop.pay(60)
        shop.grant(second)
        shop.payer.behaviour = "lose"
        assert shop.pay(60, approval_id=second.approval_id).status == "unknown"
        assert shop.deny(first).status == "denied"
        assert (held(shop), decide(shop, 41).outcome) == ([6000], "limit_exceeded")


def test_an_attribute_that_moves_asks_again_and_holds_once() -> None:
    with till(approval="conditional", rules=HOT, text=MOVES) as shop:
        first = shop.pay(60)
        assert shop.told("MOVED", to="b").applied
        second = shop.pay(60)
        assert second.approval_id != first.approval_id
        shop.told("MOVED", to="a")
        told(shop.runtime.cancel(AGENT, first.approval_id, "not needed"))
        assert [shop.pay(amount).outcome for amount in (39, 39)] == ["allowed", "limit_exceeded"]
        shop.grant(second)
        assert shop.pay(60, approval_id=second.approval_id).executed


def test_a_clearance_that_runs_out_lets_go_of_its_place_before_the_next_is_looked_at() -> None:
    with till(FLIGHT, text=TILL.replace("lock: none", "lock: entity")) as shop:
        for _ in range(4):
            assert decide(shop).outcome == "allowed"
            [state] = shop.usages()
            assert len(json.decode(state)["holders"]) == 1
            shop.clock.at += 61_000


def test_a_granted_call_whose_key_moved_leaves_nothing_held_under_the_old_key() -> None:
    with till(BY_REGION, approval="conditional", rules=ASKS, text=MOVES) as shop:
        asked = shop.pay(90)
        shop.grant(asked)
        assert shop.told("MOVED", to="b").applied
        assert shop.pay(90, approval_id=asked.approval_id).executed
        assert held(shop) == [0, 0]
        shop.told("MOVED", to="a")
        assert shop.pay(39).executed


def test_a_call_that_is_asked_about_again_after_its_key_moved_is_held_under_the_new_key_only() -> None:
    with till(BY_REGION, approval="conditional", rules=HOT, text=MOVES) as shop:
        asked = shop.pay(60)
        assert held(shop) == [6000]
        shop.told("MOVED", to="b")
        assert shop.pay(60).approval_id != asked.approval_id
        assert held(shop) == [0, 6000]


def test_what_was_reported_failed_and_then_contradicted_is_held_again() -> None:
    with till() as shop:
        cleared = decide(shop, 100, settles=True)
        assert told(shop.runtime.settle(AGENT, cleared.clearance_id, "failed")).status == "failed"
        assert held(shop) == [0]
        assert isinstance(told(shop.runtime.settle(AGENT, cleared.clearance_id, "succeeded")), OperationSettled)
        assert (held(shop), shop.pay(1).reason) == ([10000], "budget_exceeded")


@pytest.mark.parametrize("limit", [BUDGET, BUDGET.replace("per: day", "per: 24h"), FLIGHT])
def test_whatever_way_a_limit_counts_a_contradicted_failure_counts_as_before(limit: str) -> None:
    with till(limit) as shop:
        cleared = decide(shop, 60, settles=True)
        before = shop.usages()
        told(shop.runtime.settle(AGENT, cleared.clearance_id, "failed"))
        assert shop.usages() != before
        told(shop.runtime.settle(AGENT, cleared.clearance_id, "succeeded"))
        assert shop.usages() == before


def test_a_person_who_says_that_the_contradicted_failure_succeeded_spends_it_once() -> None:
    with till() as shop:
        cleared = decide(shop, 60, settles=True)
        for status in ("failed", "succeeded"):
            told(shop.runtime.settle(AGENT, cleared.clearance_id, status))
        assert told(shop.runtime.settle(HUMAN, cleared.clearance_id, "succeeded")).status == "succeeded"
        assert [json.decode(state)["spent"] for state in shop.usages()] == [6000]
        assert [shop.pay(amount).outcome for amount in (41, 40)] == ["limit_exceeded", "allowed"]
