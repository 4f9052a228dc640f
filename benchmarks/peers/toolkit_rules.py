"""agent-governance-toolkit: the ten rules in its policy engine. Run in the peers' environment.

Its conditions compare one field with a constant and have no `not`, so the rest is worked out by the caller.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from json import dumps

from benchmarks.peers.ten_rules import DENIES, Plain, decisions
from benchmarks.peers.turns import serve

with warnings.catch_warnings():  # it calls its own import paths deprecated, and has no others yet
    warnings.simplefilter("ignore", DeprecationWarning)
    from agentmesh.governance.policy import PolicyEngine

AGENT = "ops-agent"
CONDITIONS = {
    "exceeds_remaining": "derived.exceeds_remaining",
    "agent_over_cap": "actor.type == 'agent' and parameters.amount > 500",
    "amount_above_threshold": "parameters.amount > 50",
    "amount_needs_two": "parameters.amount > 1000",
    "off_hours": "derived.off_hours",
    "risky_customer": "entity.customer_risk >= 60",
    "foreign_currency": "entity.currency != 'USD' and parameters.amount > 20",
    "by_phone": "parameters.channel in ['phone', 'api']",
    "most_of_it": "derived.over_half and entity.total >= 200",
    "second_refund": "entity.refunded > 0 and entity.state == 'PARTIALLY_REFUNDED'",
}
ENGINE = PolicyEngine(conflict_strategy="deny_overrides")
ENGINE.load_yaml(
    dumps(
        {
            "apiVersion": "governance.toolkit/v1",
            "name": "refund-ops",
            "agents": [AGENT],
            "default_action": "allow",
            "rules": [
                {"name": id, "condition": when, "action": "deny" if id in DENIES else "require_approval"}
                for id, when in CONDITIONS.items()
            ],
        }
    )
)
OUTCOMES = {"allow": "allowed", "require_approval": "approval_required", "deny": "blocked"}


def decide(plain: Plain) -> str:
    asked, order = plain["parameters"], plain["entity"]
    derived = {
        "exceeds_remaining": asked["amount"] > order["total"] - order["refunded"],
        "over_half": asked["amount"] > order["total"] * 0.5,
        "off_hours": not plain["schedule"]["office"],
    }
    return OUTCOMES[ENGINE.evaluate(AGENT, {**plain, "derived": derived}).action]


if __name__ == "__main__":
    name = "agent-governance-toolkit"
    serve({name: version(name)}, {"decisions": decisions(decide)})
