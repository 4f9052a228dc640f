"""What the version that shadows would have said to a call, from the same facts. It is recorded, and decides nothing.

INVARIANT: nothing that goes wrong here reaches the decision, and nothing is reserved for it.
"""

from __future__ import annotations

from typing import Any

from msgspec import structs

from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.gate import decide
from kiff.gate.case import Env, environment
from kiff.protocol.decision import Decision, Facts
from kiff.protocol.proposal import Proposal
from kiff.protocol.state import EntityState
from kiff.runtime.rows import ActiveDomain, DomainVersion, Runway
from kiff.runtime.step import limits
from kiff.runtime.step.told import executor_ready, runway_of, terms_for, told
from kiff.runtime.world import Change, NotLoaded


def shadow_decision(
    change: Change, active: ActiveDomain, proposal: Proposal, facts: Facts, policy: Policy | None, holds: bytes
) -> dict[str, Any]:
    """The answer of the version that shadows, as the decision's record carries it.

    Args:
        facts: those of the decision; what depends on the version is told anew.
        holds: what the call's own approval keeps of limits.

    Raises:
        NotLoaded: the slice lacks what it reads.
    """
    said = {"digest": active.shadow_digest, "version": active.shadow_version}
    try:
        decision = _decided(change, active, proposal, facts, policy, holds)
    except NotLoaded:
        raise
    except Exception as error:  # noqa: BLE001  a version on trial must not take a call with it, whatever is wrong with it
        return said | {"error": type(error).__name__, "outcome": "blocked", "reason": "policy_error"}
    return said | {"outcome": decision.outcome, "reason": decision.reason}


def _decided(
    change: Change, active: ActiveDomain, proposal: Proposal, facts: Facts, policy: Policy | None, holds: bytes
) -> Decision:
    domain = _version(change, active)
    entity = change.get(EntityState, proposal.entity)
    terms = terms_for(domain, policy, proposal)
    facts = structs.replace(
        facts,
        executor_ready=executor_ready(change, domain, proposal),
        attributes={},
        schedule={},
        usage={},
    )
    env: Env = {}
    if terms is not None and terms.reads and facts.state is not None:
        facts = structs.replace(facts, **told(domain, policy, entity, change.at))
        env = environment(proposal, facts)
        usage = {each.bound.code: each.facts for each in limits.look(change, terms, env, holds)}
        facts = structs.replace(facts, usage=usage)
    facts = structs.replace(facts, holder=_holder(change, runway_of(domain, terms, proposal, env)))
    return decide(domain, proposal, facts, policy)


def _version(change: Change, active: ActiveDomain) -> Domain:
    assert active.shadow_version is not None, "only asked where one shadows"
    found = change.world.context.domains.get(active.shadow_digest or "")
    if found is not None:
        return found
    row = change.get(DomainVersion, active.shadow_version)
    assert row is not None, "what shadows was published"
    return change.domain(active.shadow_version, row.digest)


def _holder(change: Change, name: str) -> str | None:
    """Who holds what this version would take."""
    runway = change.get(Runway, name) if name else None
    return None if runway is None else runway.holder
