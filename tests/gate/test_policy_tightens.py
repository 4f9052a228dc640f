"""A policy can only tighten: whatever it says, no decision is milder with it, in whatever order it says it."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest
from gate_cases import FACTS, proposal
from msgspec.structs import replace

from kiff.canonical import admit
from kiff.domain import Domain, Policy, load, load_policy
from kiff.domain.policy_document import normal_policy
from kiff.gate import decide
from kiff.gate.limits import Verdict
from kiff.protocol.decision import SEVERITY, Decision, Facts
from kiff.protocol.proposal import Proposal

pytestmark = pytest.mark.slow

ROUNDS = 400
ACTION = {"allowed_states": ["PAID"], "required_permissions": ["orders.refund"], "executor": "shop.refund"}
MONEY = {"required_parameters": ["amount"], "parameters": {"amount": {"type": "number", "unit": "USD"}}}
ASKS = [{"id": "large", "when": "parameters.amount > 40", "then": "require_approval", "quorum": 2}]
DOMAIN: Domain = load(
    json.dumps(
        {
            "domain": "shop",
            "version": "v1",
            "entity": "Order",
            "events": ["PAID"],
            "states": ["OPEN", "PAID"],
            "transitions": [{"on": "PAID", "to": "PAID"}],
            "actions": [
                {"name": "REFUND", "risk": "low", "approval": "never", **ACTION, **MONEY},
                {"name": "REFUND_MUCH", "risk": "high", "approval": "required", **ACTION, **MONEY},
                {"name": "REFUND_SOME", "risk": "medium", "approval": "conditional", "rules": ASKS, **ACTION, **MONEY},
                {"name": "LOOK", "risk": "low", "approval": "never", **ACTION},
            ],
            "permissions": {"roles": {"agent": ["orders.refund"], "human": ["orders.approve"]}},
        }
    )
)
CONDITIONS = (
    "true",
    "false",
    "has(parameters.amount) && parameters.amount > 40",
    "parameters.amount > 30",
    "entity.version > 3",
    "1 / (entity.version - 2) > 0",
    "schedule.day",
)
LIMITS = (
    {"kind": "rate", "max": 3, "per": "1h"},
    {"kind": "budget", "max": 100, "per": "day", "amount": "parameters.amount"},
    {"kind": "concurrency", "max": 2, "key": "actor.id"},
)


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("KIFF_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed: {seed} (KIFF_TEST_SEED repeats it)")
    return random.Random(seed)


def some_policy(chance: random.Random) -> dict[str, Any]:
    def match() -> dict[str, Any]:
        words = {"domain": ["shop", "other"], "action": list(DOMAIN.actions), "risk": ["low", "medium", "high"]}
        chosen = chance.sample(sorted(words), chance.randrange(3))
        return {"match": {word: chance.sample(words[word], 1) for word in chosen}} if chosen else {}

    rules = [
        {"id": f"r{n}", "when": chance.choice(CONDITIONS), **match()}
        | chance.choice(({"then": "deny"}, {"then": "require_approval", "quorum": chance.randrange(1, 4)}))
        | ({"mode": "shadow"} if chance.random() < 0.2 else {})
        for n in range(chance.randrange(4))
    ]
    limits = [
        {"id": f"l{n}", "over": chance.choice(("deny", "require_approval")), **chance.choice(LIMITS), **match()}
        for n in range(chance.randrange(3))
    ]
    schedules = {"day": {"hours": "08:00-20:00"}}
    return {"policy": "house", "version": "v1", "schedules": schedules, "rules": rules, "limits": limits}


def made(written: dict[str, Any]) -> Policy:
    """Past the YAML, which would take most of the time."""
    return Policy.from_content(admit(normal_policy(written)).data)


def some_call(chance: random.Random) -> tuple[Proposal, Facts]:
    action = chance.choice((*DOMAIN.actions, *DOMAIN.actions, "NOTHING"))
    given = {"amount": chance.choice((10, 35, 45.5))} if action != "LOOK" or chance.random() < 0.2 else {}
    approval = chance.choice((None, None, None, None, "pending", "granted", "granted", "granted", "denied"))
    demands = list(DOMAIN.terms[action].demands.values()) if action in DOMAIN.terms else []
    facts = replace(
        FACTS,
        state=chance.choice(("PAID",) * 10 + ("OPEN", None)),
        version=chance.randrange(1, 6),
        roles=chance.choice((("agent",),) * 10 + ((),)),
        holder=chance.choice((None,) * 10 + ("clr_1",)),
        approval=approval,
        approval_id=None if approval is None else "appr_1",
        covers=tuple(demands) if approval == "granted" else (),
        schedule={"house.day": chance.random() < 0.5},
    )
    return proposal(action, given), facts


def told(policy: Policy, call: Proposal, facts: Facts, chance: random.Random) -> Facts:
    """The facts with what the limits count."""
    if call.action not in DOMAIN.actions:
        return facts
    limits = policy.over(DOMAIN, call.action).limits
    usage = {b.code: Verdict(b.code, b.limit.kind, 1, chance.randrange(4), 3).facts for b in limits}
    return replace(facts, usage=usage)


def codes(decision: Decision) -> set[str]:
    return {objection.code for objection in decision.objections}


def test_no_decision_is_milder_with_a_policy(chance: random.Random) -> None:
    stricter = 0
    for _ in range(ROUNDS):
        policy = made(some_policy(chance))
        call, facts = some_call(chance)
        facts = told(policy, call, facts, chance)
        without, under = decide(DOMAIN, call, facts), decide(DOMAIN, call, facts, policy)
        assert SEVERITY[under.outcome] >= SEVERITY[without.outcome], (policy.content, call.action, facts)
        assert codes(under) >= codes(without) - {"approval_required"}, (policy.content, call.action, facts)
        stricter += SEVERITY[under.outcome] > SEVERITY[without.outcome]
    assert stricter > ROUNDS // 20, "the control: policies do tighten"


def test_more_of_a_policy_is_never_milder(chance: random.Random) -> None:
    stricter = 0
    for _ in range(ROUNDS):
        written = some_policy(chance)
        policy = made(written)
        less = made(written | {"rules": written["rules"][1:], "limits": written["limits"][1:]})
        call, facts = some_call(chance)
        facts = told(policy, call, facts, chance)
        under, under_less = decide(DOMAIN, call, facts, policy), decide(DOMAIN, call, facts, less)
        assert SEVERITY[under.outcome] >= SEVERITY[under_less.outcome], (policy.content, call.action, facts)
        stricter += under.outcome != under_less.outcome
    assert stricter > ROUNDS // 40, "the control: what is left out is missed"


def test_the_order_of_a_policy_changes_nothing(chance: random.Random) -> None:
    for _ in range(ROUNDS):
        written = some_policy(chance)
        turned = written | {"rules": written["rules"][::-1], "limits": written["limits"][::-1]}
        policy, other = made(written), made(turned)
        call, facts = some_call(chance)
        facts = told(policy, call, facts, chance)
        first, second = decide(DOMAIN, call, facts, policy), decide(DOMAIN, call, facts, other)
        assert first.outcome == second.outcome
        assert codes(first) == codes(second)
        assert set(first.demands) == set(second.demands)


def test_a_rule_that_does_not_fit_withholds_what_it_is_about() -> None:
    policy = load_policy("policy: house\nrules: [{id: a, when: parameters.amount > 1, then: require_approval}]")
    look = decide(DOMAIN, proposal("LOOK", {}), replace(FACTS, roles=("agent",)), policy)
    assert (look.outcome, look.reason) == ("blocked", "policy_error")
    assert look.objections[0].detail["rule"] == "a"
    assert "has no field `amount`" in look.objections[0].detail["message"]


def test_a_limit_that_cannot_be_told_withholds() -> None:
    policy = load_policy("policy: house\nlimits: [{id: a, kind: rate, max: 5, per: 1h, match: {action: LOOK}}]")
    facts = replace(FACTS, roles=("agent",), usage={"a": {"error": "it does not fit"}})
    assert decide(DOMAIN, proposal("LOOK", {}), facts, policy).reason == "policy_error"
    assert decide(DOMAIN, proposal("REFUND", {"amount": 1}), facts, policy).outcome == "allowed"
