"""agent-aegis: the ten rules in its policy. Run in the peers' environment.

Its conditions compare one parameter with a constant, so what compares two is worked out by the caller. The first rule
that matches decides, so those that deny come first.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from aegis.core.action import Action
from aegis.core.policy import Policy

from benchmarks.peers.ten_rules import DENIES, Plain, decisions
from benchmarks.peers.turns import serve

CONDITIONS: dict[str, dict[str, Any]] = {
    "exceeds_remaining": {"param_eq": {"exceeds_remaining": True}},
    "agent_over_cap": {"param_eq": {"actor_type": "agent"}, "param_gt": {"amount": 500}},
    "amount_above_threshold": {"param_gt": {"amount": 50}},
    "amount_needs_two": {"param_gt": {"amount": 1000}},
    "off_hours": {"param_eq": {"office": False}},
    "risky_customer": {"param_gte": {"customer_risk": 60}},
    "foreign_currency": {"param_matches": {"currency": "^(?!USD$)"}, "param_gt": {"amount": 20}},
    "by_phone": {"param_matches": {"channel": "^(phone|api)$"}},
    "most_of_it": {"param_eq": {"over_half": True}, "param_gte": {"total": 200}},
    "second_refund": {"param_gt": {"refunded": 0}, "param_eq": {"state": "PARTIALLY_REFUNDED"}},
}
POLICY = Policy.from_dict(
    {
        "version": "1",
        "defaults": {"risk_level": "medium", "approval": "auto"},
        "rules": [
            {
                "name": id,
                "match": {"type": "REFUND_ORDER", "target": "order:*"},
                "conditions": conditions,
                "approval": "block" if id in DENIES else "approve",
            }
            for id, conditions in CONDITIONS.items()
        ],
    }
)
OUTCOMES = {"auto": "allowed", "approve": "approval_required", "block": "blocked"}


def decide(plain: Plain) -> str:
    asked, order = plain["parameters"], plain["entity"]
    parameters = {
        **asked,
        **order,
        "office": plain["schedule"]["office"],
        "actor_type": plain["actor"]["type"],
        "exceeds_remaining": asked["amount"] > order["total"] - order["refunded"],
        "over_half": asked["amount"] > order["total"] * 0.5,
    }
    action = Action("REFUND_ORDER", target="order:1", params=parameters, agent_id="ops-agent")
    return OUTCOMES[POLICY.evaluate(action).approval.value]


if __name__ == "__main__":
    serve({"agent-aegis": version("agent-aegis")}, {"decisions": decisions(decide)})
