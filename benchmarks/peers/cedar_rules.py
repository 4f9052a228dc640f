"""cedarpy: the ten rules as Cedar policies, parsed once. Run in the peers' environment.

Amounts are whole cents, because Cedar's decimals do no sums; the application has them so. What is known of the order
is in the context: as an entity it would be parsed again in every call.
"""

from __future__ import annotations

from importlib.metadata import version

from cedarpy import Entities, PolicySet, is_authorized

from benchmarks.peers.ten_rules import Plain, decisions, outcome
from benchmarks.peers.turns import serve

CONDITIONS = {
    "exceeds_remaining": "context.amount > context.total - context.refunded",
    "agent_over_cap": 'context.actor_type == "agent" && context.amount > 50000',
    "amount_above_threshold": "context.amount > 5000",
    "amount_needs_two": "context.amount > 100000",
    "off_hours": "!context.office",
    "risky_customer": "context has customer_risk && context.customer_risk >= 60",
    "foreign_currency": 'context.currency != "USD" && context.amount > 2000',
    "by_phone": '["phone", "api"].contains(context.channel)',
    "most_of_it": "context.amount * 2 > context.total && context.total >= 20000",
    "second_refund": 'context.refunded > 0 && context.state == "PARTIALLY_REFUNDED"',
}
POLICIES = PolicySet.from_str(
    'permit(principal, action == Action::"REFUND_ORDER", resource);'
    + "".join(
        f'@id("{id}") forbid(principal, action == Action::"REFUND_ORDER", resource) when {{ {when} }};'
        for id, when in CONDITIONS.items()
    )
)
NOBODY = Entities.from_json_str("[]")


def decide(context: Plain) -> str:
    request = {
        "principal": {"type": "Agent", "id": "ops-agent"},  # as text, it would be parsed
        "action": {"type": "Action", "id": "REFUND_ORDER"},
        "resource": {"type": "Order", "id": "1"},
        "context": context,
    }
    answer = is_authorized(request, POLICIES, NOBODY)
    if answer.allowed:
        return "allowed"
    assert not answer.diagnostics.errors
    return outcome(list(answer.diagnostics.id_annotations_by_reason.values()))


def context(plain: Plain) -> Plain:
    found = plain["parameters"] | plain["entity"] | {"office": plain["schedule"]["office"]}
    found["actor_type"] = plain["actor"]["type"]
    return found | {name: round(found[name] * 100) for name in ("amount", "total", "refunded")}


if __name__ == "__main__":
    serve({"cedarpy": version("cedarpy")}, {"decisions": decisions(decide, context)})
