"""Limits in the decision's own commit: who takes, keeps, spends and gives back, and what that looks like in the log."""

from __future__ import annotations

import pytest
from lane_cases import AGENT, HUMAN, told
from limit_cases import BUDGET, FLIGHT, OTHER, RATE, TRUSTED, TillRuntime, till
from msgspec import structs

from kiff.analysis.verify import verify_store
from kiff.protocol.limit import Usage
from kiff.runtime.ports import Append

HOUR = 3_600_000
ASKS = """
    rules:
      - {id: large, when: parameters.amount >= 40, then: require_approval}
"""


def test_what_goes_over_the_budget_is_refused_and_not_paid() -> None:
    with till() as shop:
        assert [shop.pay(amount).outcome for amount in (60, 40.01, 40)] == ["allowed", "limit_exceeded", "allowed"]
        refused = shop.pay(0.01)
        assert (refused.reason, refused.reasons[0].detail["limit"]) == ("budget_exceeded", "daily")
        assert shop.payer.paid == [60, 40]


def test_what_was_refused_takes_nothing() -> None:
    with till() as shop:
        before = shop.usages()
        assert shop.pay(100.01).outcome == "limit_exceeded"
        assert shop.usages() == before == []


def test_each_key_has_a_budget_of_its_own() -> None:
    with till() as shop:
        assert shop.pay(100).executed
        assert shop.pay(100, who=OTHER).executed


def test_the_next_day_begins_with_nothing_used() -> None:
    with till() as shop:
        assert shop.pay(100).executed
        shop.clock.at += 24 * HOUR
        assert shop.pay(100).executed


def test_a_failure_gives_back_what_it_took() -> None:
    with till() as shop:
        shop.payer.behaviour = "fail"
        assert shop.pay(100).status == "failed"
        shop.payer.behaviour = "pay"
        assert shop.pay(100).executed


def test_an_unknown_outcome_keeps_what_it_took_until_somebody_knows() -> None:
    with till() as shop:
        shop.payer.behaviour = "lose"
        lost = shop.pay(100)
        shop.payer.behaviour = "pay"
        assert (lost.status, shop.pay(1).reason) == ("unknown", "budget_exceeded")


def test_a_pending_approval_holds_its_budget() -> None:
    """Ten pending refunds cannot all be granted past the cap."""
    with till(approval="conditional", rules=ASKS) as shop:
        held = [shop.pay(amount) for amount in (60, 40)]
        assert [each.outcome for each in held] == ["approval_required", "approval_required"]
        assert shop.pay(50).outcome == "limit_exceeded"
        assert shop.pay(1).reason == "budget_exceeded"


def test_a_granted_call_uses_what_its_approval_held_once() -> None:
    with till(approval="conditional", rules=ASKS) as shop:
        held = shop.pay(60)
        shop.grant(held)
        assert shop.pay(60, approval_id=held.approval_id).executed
        assert shop.pay(39).executed
        assert shop.pay(2).reason == "budget_exceeded"


@pytest.mark.parametrize("ending", ["denied", "cancelled", "expired"])
def test_a_hold_that_ends_without_a_yes_gives_its_budget_back(ending: str) -> None:
    with till(approval="conditional", rules=ASKS) as shop:
        held = shop.pay(100)
        assert shop.pay(1).reason == "budget_exceeded"
        if ending == "denied":
            shop.deny(held)
        elif ending == "cancelled":
            told(shop.runtime.cancel(AGENT, held.approval_id, "not needed"))
        else:
            shop.clock.at += HOUR
            shop.grant(held)  # too late: this is when it is written down
        assert shop.pay(30).executed


def test_over_a_soft_cap_a_person_is_asked_and_nothing_is_held_until_then() -> None:
    limit = BUDGET.replace("}", ", over: require_approval}")
    with till(limit, approval="conditional") as shop:
        assert shop.pay(90).executed
        over = shop.pay(50)
        assert (over.outcome, over.reason) == ("approval_required", "daily")
        assert shop.pay(10).executed  # what waits for a yes over the cap keeps nothing under it
        shop.grant(over)
        assert shop.pay(50, approval_id=over.approval_id).executed
        assert shop.pay(0.01).outcome == "approval_required"


def test_a_rate_counts_what_was_allowed_and_not_what_was_refused() -> None:
    with till(RATE) as shop:
        assert shop.pay(-1).outcome == "invalid"
        assert [shop.pay(1).outcome for _ in range(4)] == ["allowed"] * 3 + ["limit_exceeded"]
        refused = shop.pay(1)
        assert refused.reason == "rate_limited"
        shop.clock.at += refused.reasons[0].detail["retry_after_ms"]
        assert shop.pay(1).executed


def test_a_call_that_was_rate_limited_may_be_sent_again_with_its_id() -> None:
    with till(RATE) as shop:
        for _ in range(3):
            shop.pay(1)
        assert shop.pay(1, id="call-4").reason == "rate_limited"
        shop.clock.at += HOUR
        assert shop.pay(1, id="call-4").executed


def test_a_held_call_takes_its_token_once() -> None:
    with till(RATE, approval="conditional", rules=ASKS) as shop:
        held = shop.pay(60)
        shop.grant(held)
        assert shop.pay(60, approval_id=held.approval_id).executed
        assert [shop.pay(1).outcome for _ in range(3)] == ["allowed", "allowed", "limit_exceeded"]


def test_operations_in_flight_are_counted_and_let_go_of() -> None:
    with till(FLIGHT) as shop:
        shop.payer.behaviour = "wait"
        flying = [
            shop.runtime.execute(AGENT, entity="till:t1", action="PAY", parameters={"amount": amount})
            for amount in (1, 2)
        ]
        assert shop.pay(3).reason == "concurrency_exceeded"
        shop.payer.door.set()
        assert [told(each).executed for each in flying] == [True, True]
        assert shop.pay(4).executed


def test_an_amount_that_cannot_be_told_withholds() -> None:
    limit = "{id: daily, kind: budget, max: 100, per: day, amount: parameters.amount - 5.00}"
    with till(limit) as shop:
        refused = shop.pay(1)
        assert (refused.outcome, refused.reason, refused.reasons[0].detail["rule"]) == (
            "blocked",
            "policy_error",
            "daily",
        )


def test_a_call_that_fails_late_gives_nothing_back_twice() -> None:
    with till() as shop:
        shop.payer.behaviour = "lose"
        lost = shop.pay(60)
        told(shop.runtime.settle(HUMAN, lost.clearance_id, "failed"))
        shop.payer.behaviour = "pay"
        assert shop.pay(100).executed


def test_a_changed_count_is_found() -> None:
    opened = TillRuntime()
    assert opened.pay(60).executed
    opened.runtime.close()
    [row] = opened.store.rows(Usage, "default")
    less = structs.replace(row, state=row.state.replace(b'"spent":6000', b'"spent":0'))
    opened.store.append(Append([], [less], [], (), [], []))
    problems = verify_store(opened.store, TRUSTED).problems
    assert [(each.where.split(" ")[0], each.field) for each in problems] == [("usage", "state")]


def test_a_count_that_is_gone_is_found() -> None:
    opened = TillRuntime()
    assert opened.pay(60).executed
    opened.runtime.close()
    del opened.store._rows[next(key for key in opened.store._rows if key[0] is Usage)]  # type: ignore[attr-defined]
    assert [each.where.split(" ")[0] for each in verify_store(opened.store, TRUSTED).problems] == ["usage"]
