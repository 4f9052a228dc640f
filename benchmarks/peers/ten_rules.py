"""Ten rules about a refund, and calls to decide: plain values that every subject puts into its own form.

Standard library only, and no KIFF: the peers read it too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

Plain = dict[str, Any]


class Rule(NamedTuple):
    """`when` is CEL, which KIFF reads as it is."""

    id: str
    when: str
    then: str


RULES = (
    Rule("exceeds_remaining", "parameters.amount > entity.total - entity.refunded", "deny"),
    Rule("agent_over_cap", 'actor.type == "agent" && parameters.amount > 500.0', "deny"),
    Rule("amount_above_threshold", "parameters.amount > 50.0", "require_approval"),
    Rule("amount_needs_two", "parameters.amount > 1000.0", "require_approval"),
    Rule("off_hours", "!schedule.office", "require_approval"),
    Rule("risky_customer", "has(entity.customer_risk) && entity.customer_risk >= 60", "require_approval"),
    Rule("foreign_currency", 'entity.currency != "USD" && parameters.amount > 20.0', "require_approval"),
    Rule("by_phone", 'parameters.channel in ["phone", "api"]', "require_approval"),
    Rule("most_of_it", "parameters.amount > entity.total * 0.5 && entity.total >= 200.0", "require_approval"),
    Rule("second_refund", 'entity.refunded > 0.0 && entity.state == "PARTIALLY_REFUNDED"', "require_approval"),
)
DENIES = frozenset(rule.id for rule in RULES if rule.then == "deny")


def call(amount: float = 20.01, channel: str = "web", *, office: bool = True, **entity: Any) -> Plain:
    """A call that none of the rules holds for, unless it is told otherwise. `customer_risk=None`: there is none."""
    known = {"total": 120.0, "refunded": 20.01, "currency": "USD", "customer_risk": 10, "state": "PAID"} | entity
    return {
        "parameters": {"amount": amount, "reason": "it was broken", "channel": channel},
        "entity": {name: value for name, value in known.items() if value is not None},
        "actor": {"id": "ops-agent", "type": "agent", "roles": ["ops_agent"]},
        "schedule": {"office": office},
    }


CALLS = tuple(call((2001 + 100 * number) / 100) for number in range(25))
"""What is measured: nothing holds, so nothing may be left out, and no two in a row are the same."""

CASES: tuple[tuple[Plain, str], ...] = (
    (call(99.99, customer_risk=None), "approval_required"),
    (call(100.5), "blocked"),
    (call(501.0, total=2000.0), "blocked"),
    (call(office=False), "approval_required"),
    (call(customer_risk=60), "approval_required"),
    (call(customer_risk=None), "allowed"),
    (call(currency="EUR"), "approval_required"),
    (call(19.0, currency="EUR"), "allowed"),
    (call(channel="phone"), "approval_required"),
    (call(44.0, total=200.0), "allowed"),
    (call(state="PARTIALLY_REFUNDED"), "approval_required"),
)
"""That a subject has understood the rules: what it must say to these, and `allowed` to all of CALLS."""


def outcome(held: list[str]) -> str:
    """Of the rules that hold, as KIFF would say it."""
    return "allowed" if not held else "blocked" if DENIES.intersection(held) else "approval_required"


def decisions(decide: Callable[[Any], str], form: Callable[[Plain], Any] = lambda plain: plain) -> Callable[..., float]:
    """The job of a peer: processor seconds for a number of decisions.

    Args:
        decide: the outcome of one call; everything in it counts.
        form: of a call, before the clock runs: what an application would have at hand for this package.
    """
    for plain, expected in (*CASES, *((plain, "allowed") for plain in CALLS)):
        found = decide(form(plain))
        assert found == expected, (plain, found)
    calls = [form(plain) for plain in CALLS]

    def job(*, count: int, **_: Any) -> float:
        started = time.process_time()
        for number in range(count):
            decide(calls[number % len(calls)])
        return time.process_time() - started

    return job
