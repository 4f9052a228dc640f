"""Refunds under ten rules: as a domain, as hundreds of rules, and written by hand in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.peers.ten_rules import RULES, Plain
from benchmarks.subject import AGENT
from kiff import ActionContract, Approval, Domain, Emits, Limit, Risk, Rule, Transition
from kiff.gate import decide
from kiff.protocol.decision import Decision, Facts
from kiff.protocol.proposal import Proposal

ACTION = "REFUND_ORDER"
AMOUNT = {"type": "number", "unit": "USD", "minimum": 0, "maximum": 1_000_000}
SCHEMA: dict[str, Any] = {
    "amount": AMOUNT,
    "reason": {"type": "string", "minLength": 5, "maxLength": 500},
    "channel": {"type": "string", "enum": ["web", "phone", "api"]},
}
MUCH = 10**9
LIMITS = (
    Limit(id="refunds_per_agent", kind="rate", max=MUCH, per="1h", key="actor.id"),
    Limit(id="spend_cap.daily", kind="budget", max=MUCH, per="day", amount="parameters.amount", key="actor.id"),
)
"""As in the annotated file, and never full."""


def domain(actions: Iterable[ActionContract] | None = None) -> Domain:
    """Orders that can be refunded in parts.

    Args:
        actions: one with the ten rules, when not given.
    """
    issued = {"amount": {"type": "number", "unit": "USD"}}
    refunded = {"refunded": "entity.refunded + event.amount"}
    whole = "entity.refunded + event.amount >= entity.total"
    part = "entity.refunded + event.amount < entity.total"
    refundable = ["PAID", "PARTIALLY_REFUNDED"]
    return Domain(
        name="ruled-refunds",
        version="v1",
        entity="Order",
        attributes={
            "total": AMOUNT,
            "refunded": AMOUNT | {"default": 0},
            "currency": {"type": "string", "enum": ["USD", "EUR", "GBP"]},
            "customer_risk": {"type": "integer", "minimum": 0, "maximum": 100, "optional": True},
        },
        events=["ORDER_PLACED", "ORDER_PAID", "REFUND_ISSUED"],
        payloads={"ORDER_PLACED": {"total": issued["amount"], "currency": {"type": "string"}}, "REFUND_ISSUED": issued},
        states=["CREATED", "PAID", "PARTIALLY_REFUNDED", "REFUNDED"],
        transitions=[
            Transition(on="ORDER_PLACED", to="CREATED", set={"total": "event.total", "currency": "event.currency"}),
            Transition(on="ORDER_PAID", from_="CREATED", to="PAID"),
            Transition(on="REFUND_ISSUED", from_=refundable, to="REFUNDED", when=whole, set=refunded),
            Transition(on="REFUND_ISSUED", from_=refundable, to="PARTIALLY_REFUNDED", when=part, set=refunded),
        ],
        schedules={"office": {"hours": "00:00-24:00"}},
        actions=[action()] if actions is None else list(actions),
        roles={"ops_agent": ["orders.refund"], "boss": ["orders.approve"], "adapter": ["events.ingest"]},
    )


def action(name: str = ACTION, rules: Iterable[Rule] | None = None, limits: Iterable[Limit] = ()) -> ActionContract:
    """A refund under the ten rules, when it is not told otherwise."""
    ten = (Rule(id=rule.id, when=rule.when, then=rule.then) for rule in RULES)  # type: ignore[arg-type]
    asked = tuple(ten if rules is None else rules)
    return ActionContract(
        name=name,
        allowed_states=("PAID", "PARTIALLY_REFUNDED"),
        required_parameters=tuple(SCHEMA),
        required_permissions=("orders.refund",),
        risk=Risk.HIGH,
        approval_requirement=Approval.CONDITIONAL if asked else Approval.NEVER,
        executor="refund.issue_refund",
        parameters=SCHEMA,
        rules=asked,
        limits=tuple(limits),
        emits=Emits(success=("REFUND_ISSUED",)),
    )


def decided(governs: Domain, plain: Plain, name: str = ACTION) -> Decision:
    """The gate's decision about a call: proposal and facts made, and every check asked."""
    order = plain["entity"]
    proposal = Proposal(
        "prop_1",
        AGENT.tenant,
        "execute",
        governs.name,
        "order:1",
        "order",
        name,
        AGENT.principal,
        AGENT.roles,
        plain["parameters"],
        False,
        b"",
        "",
        "",
    )
    facts = Facts(
        state=order["state"],
        version=2,
        roles=AGENT.roles,
        executor_ready=True,
        attributes=order,
        schedule=plain["schedule"],
    )
    return decide(governs, proposal, facts)


Failed = tuple[str, Exception]
BY_HAND: tuple[tuple[str, Callable[[Plain], bool]], ...] = (
    ("exceeds_remaining", lambda c: c["parameters"]["amount"] > c["entity"]["total"] - c["entity"]["refunded"]),
    ("agent_over_cap", lambda c: c["actor"]["type"] == "agent" and c["parameters"]["amount"] > 500.0),
    ("amount_above_threshold", lambda c: c["parameters"]["amount"] > 50.0),
    ("amount_needs_two", lambda c: c["parameters"]["amount"] > 1000.0),
    ("off_hours", lambda c: not c["schedule"]["office"]),
    ("risky_customer", lambda c: "customer_risk" in c["entity"] and c["entity"]["customer_risk"] >= 60),
    ("foreign_currency", lambda c: c["entity"]["currency"] != "USD" and c["parameters"]["amount"] > 20.0),
    ("by_phone", lambda c: c["parameters"]["channel"] in ("phone", "api")),
    (
        "most_of_it",
        lambda c: c["parameters"]["amount"] > c["entity"]["total"] * 0.5 and c["entity"]["total"] >= 200.0,
    ),
    ("second_refund", lambda c: c["entity"]["refunded"] > 0.0 and c["entity"]["state"] == "PARTIALLY_REFUNDED"),
)


def by_hand(plain: Plain) -> tuple[str | Failed, ...]:
    """The ten rules as a table of functions: which hold, and which have no answer. Amounts are doubles and may lie;
    True is a number; nothing is looked at twice."""
    found: list[str | Failed] = []
    for id, holds in BY_HAND:
        try:
            if holds(plain):
                found.append(id)
        except Exception as error:  # noqa: BLE001  as KIFF does it: what has no answer is found, too
            found.append((id, error))
    return tuple(found)


def in_one_function(plain: Plain) -> tuple[str, ...]:
    """The same as one function of ten ifs, in which a rule without an answer takes the others with it."""
    asked, order = plain["parameters"], plain["entity"]
    amount, total, found = asked["amount"], order["total"], []
    if amount > total - order["refunded"]:
        found.append("exceeds_remaining")
    if plain["actor"]["type"] == "agent" and amount > 500.0:
        found.append("agent_over_cap")
    if amount > 50.0:
        found.append("amount_above_threshold")
    if amount > 1000.0:
        found.append("amount_needs_two")
    if not plain["schedule"]["office"]:
        found.append("off_hours")
    if "customer_risk" in order and order["customer_risk"] >= 60:
        found.append("risky_customer")
    if order["currency"] != "USD" and amount > 20.0:
        found.append("foreign_currency")
    if asked["channel"] in ("phone", "api"):
        found.append("by_phone")
    if amount > total * 0.5 and total >= 200.0:
        found.append("most_of_it")
    if order["refunded"] > 0.0 and order["state"] == "PARTIALLY_REFUNDED":
        found.append("second_refund")
    return tuple(found)
