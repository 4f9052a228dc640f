"""An action may have more limits than a step may ask for rows one after the other."""

from __future__ import annotations

from limit_cases import TillRuntime

MANY = "\n      - ".join(f"{{id: calls_{n}, kind: rate, max: 1, per: 1h, key: actor.id}}" for n in range(20))
ASKS = """
    rules:
      - {id: large, when: parameters.amount >= 40, then: require_approval}
"""


def test_a_call_under_twenty_limits_ends_and_counts_in_all_of_them() -> None:
    shop = TillRuntime(MANY)
    try:
        assert shop.pay().executed
        assert (len(shop.usages()), shop.pay().reason) == (20, "rate_limited")
    finally:
        shop.runtime.close()


def test_a_hold_under_twenty_limits_is_let_go_of_in_all_of_them() -> None:
    budgets = MANY.replace("kind: rate, max: 1, per: 1h", "kind: budget, max: 50, per: day, amount: parameters.amount")
    shop = TillRuntime(budgets, approval="conditional", rules=ASKS)
    try:
        held = shop.pay(50)
        assert held.outcome == "approval_required"
        shop.deny(held)
        assert {b'"held":0' in state for state in shop.usages()} == {True}
        assert shop.pay(39).executed
    finally:
        shop.runtime.close()
