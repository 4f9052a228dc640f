"""One call, and how the world stands when it is made: what the gate is asked where no history is at hand.

The gate that answers is the real one. A candidate holds for any domain that has its action, so two versions can be
asked about the same world.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from msgspec import Struct, structs

from kiff.analysis.boundaries.examples import plain
from kiff.domain import Domain
from kiff.domain.expr import EvaluationError
from kiff.domain.measure import amount_of, measure_of
from kiff.domain.terms import BoundLimit, Terms
from kiff.domain.units import MINOR_DIGITS
from kiff.gate import decide
from kiff.gate.case import Env, environment
from kiff.gate.limits import Verdict
from kiff.protocol.actor import Principal
from kiff.protocol.decision import Decision, Facts
from kiff.protocol.instant import rfc3339
from kiff.protocol.proposal import Proposal

SOMEBODY = Principal("caller", "agent")
_OWN: dict[str, Any] = {"id": "it", "version": 1}


class Candidate(Struct, frozen=True):
    """A proposal, its entity, and the facts.

    Args:
        attributes: of the entity; what is not here has its default, or is absent.
        state: where the entity is.
        roles: the caller's.
        at: the instant (ms).
        schedule: which time windows of the domain it was made for are open then.
        used: code of a limit -> what counts towards it already; nothing, for one that is not named.
        busy: another operation holds the entity.
    """

    action: str
    parameters: dict[str, Any]
    attributes: dict[str, Any]
    state: str
    roles: tuple[str, ...]
    at: int
    schedule: Mapping[str, bool] = {}
    actor: Principal = SOMEBODY
    entity: str = "it"
    version: int = 1
    used: Mapping[str, int] = {}
    busy: bool = False


def ask(domain: Domain, candidate: Candidate) -> Decision:
    """What the gate of this domain answers, to an app that runs the tool itself."""
    proposal, facts = _proposal(domain, candidate), _facts(domain, candidate)
    terms = domain.terms.get(candidate.action)
    if terms is not None and terms.limits:
        facts = structs.replace(facts, usage=_usage(terms, candidate, environment(proposal, facts)))
    return decide(domain, proposal, facts)


def env_of(domain: Domain, candidate: Candidate) -> Env:
    """What conditions read of it."""
    return environment(_proposal(domain, candidate), _facts(domain, candidate))


def as_test(domain: Domain, candidate: Candidate, decision: Decision, name: str) -> dict[str, Any]:
    """The candidate as a test file with one case, which expects this decision."""
    own = {
        name: value for name, value in (("id", candidate.entity), ("version", candidate.version)) if value != _OWN[name]
    }
    entity = {"state": candidate.state, **own, **domain.defaults, **candidate.attributes}
    call = {"action": candidate.action, "as": "caller", "on": "it", "parameters": candidate.parameters}
    expected: dict[str, Any] = {"outcome": decision.outcome}
    if decision.objections:
        expected["reasons"] = [each.code for each in decision.objections if each.outcome == decision.outcome]
    actor = {"id": candidate.actor.id, "type": candidate.actor.type, "roles": list(candidate.roles)}
    return {
        "domain": domain.name,
        "now": rfc3339(candidate.at),
        "actors": {"caller": actor},
        "entities": {"it": entity},
        "cases": [{"name": name, **_given(domain, candidate), "propose": call, "expect": expected}],
    }


def _given(domain: Domain, candidate: Candidate) -> dict[str, Any]:
    """What else is so. A test says amounts in the unit of the limit's `max`."""
    terms = domain.terms.get(candidate.action)
    limits = () if terms is None else terms.limits
    digits = {bound.code: MINOR_DIGITS.get(bound.limit.unit, 0) for bound in limits}
    used = {
        code: plain(Fraction(count, 10 ** digits[code])) for code, count in candidate.used.items() if code in digits
    }
    given = ({"used": used} if used else {}) | ({"busy": True} if candidate.busy else {})
    return {"given": given} if given else {}


@lru_cache(maxsize=512)
def open_at(domain: Domain, at_ms: int) -> Mapping[str, bool]:
    """Which time windows of a domain are open at an instant. Most candidates share a few instants."""
    return {name: schedule.is_open(at_ms) for name, schedule in domain.schedules.items()}


def _proposal(domain: Domain, candidate: Candidate) -> Proposal:
    """As the edge would admit it. Digests say nothing to the gate, so it has none."""
    return Proposal(
        "candidate",
        "default",
        "decide",
        domain.name,
        f"{domain.entity_type}:{candidate.entity}",
        domain.entity_type,
        candidate.action,
        candidate.actor,
        candidate.roles,
        candidate.parameters,
        settles=False,
        body=b"",
        action_digest="",
        proposal_digest="",
    )


def _facts(domain: Domain, candidate: Candidate) -> Facts:
    """All but how the limits stand."""
    return Facts(
        candidate.state,
        candidate.version,
        roles=candidate.roles,
        holder=_holder(domain, candidate),
        at=candidate.at,
        attributes={**domain.defaults, **candidate.attributes},
        schedule=dict(open_at(domain, candidate.at)),
    )


def _holder(domain: Domain, candidate: Candidate) -> str | None:
    """Who holds the entity. An operation that locks something else than the entity does not meet it."""
    contract = domain.actions.get(candidate.action)
    return "another" if candidate.busy and contract is not None and contract.lock == "entity" else None


def _usage(terms: Terms, candidate: Candidate, env: Env) -> dict[str, dict[str, Any]]:
    """How every limit stands."""
    return {bound.code: _counted(bound, candidate.used.get(bound.code, 0), env) for bound in terms.limits}


def _counted(bound: BoundLimit, used: int, env: Env) -> dict[str, Any]:
    limit = bound.limit
    try:
        amount = 1 if bound.amount is None else amount_of(limit, bound.amount(env))
        if bound.key is not None:
            bound.key(env)
    except (EvaluationError, ValueError) as error:
        return {"error": error.args[0]}
    unit = limit.unit or None
    return Verdict(limit.id, limit.kind, amount, used, measure_of(limit).cap, unit=unit).facts
