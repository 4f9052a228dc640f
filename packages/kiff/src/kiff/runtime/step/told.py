"""What one attempt is judged from, under one version of its domain: the terms, what conditions read, what is held.

Nothing here writes: a version that only shadows is asked with it too.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import json

from kiff.canonical import digest
from kiff.domain import Domain
from kiff.domain.expr import EvaluationError
from kiff.domain.policy import Policy
from kiff.domain.terms import Terms
from kiff.gate.case import Env
from kiff.protocol.action import Lock
from kiff.protocol.proposal import Proposal
from kiff.protocol.state import EntityState
from kiff.runtime.world import Change

_PLAIN = re.compile(r"[A-Za-z0-9_.:@,~+-]{0,128}")
"""Other keys of a lock, and longer ones, stand as their digest: no store has to keep what a caller makes up."""


def terms_for(domain: Domain | None, policy: Policy | None, proposal: Proposal) -> Terms | None:
    """What the contract asks, and the policy beside it; None where there is no contract."""
    if domain is None or proposal.action not in domain.actions:
        return None
    return domain.terms[proposal.action] if policy is None else policy.over(domain, proposal.action)


def told(domain: Domain, policy: Policy | None, entity: EntityState | None, at: int) -> dict[str, Any]:
    """What conditions may read of the entity and of the time; recorded, so that nothing is ever looked up again."""
    data = {} if entity is None else json.decode(entity.data)
    schedules = domain.schedules if policy is None else {**domain.schedules, **policy.schedules}
    return {
        "attributes": {**domain.defaults, **data},
        "schedule": {name: schedule.is_open(at) for name, schedule in schedules.items()},
    }


def runway_of(domain: Domain | None, terms: Terms | None, proposal: Proposal, env: Env) -> str:
    """What this call must hold alone: the entity, what the action's lock names, or nothing (empty)."""
    contract = None if domain is None else domain.actions.get(proposal.action)
    if contract is None or domain is None or terms is None or contract.lock == "entity":
        return proposal.entity
    if not isinstance(contract.lock, Lock):
        return ""
    assert terms.lock is not None, "a lock with a key has its expression"
    try:
        key = str(terms.lock(env))
    except EvaluationError:
        return ""  # the gate asks it too, and withholds
    return f"lock/{domain.name}/{key if _PLAIN.fullmatch(key) else digest(key.encode())}"


def executor_ready(change: Change, domain: Domain | None, proposal: Proposal) -> bool | None:
    """In `execute`, whether the operator registered what the contract names, or lets the tenant use it elsewhere."""
    if proposal.mode == "decide" or domain is None or proposal.action not in domain.actions:
        return None
    name, context = domain.actions[proposal.action].executor_name, change.world.context
    return name in context.executors or context.usable(change.tenant, name)
