"""What a check is asked about: one proposal under one contract, with the facts and what the rules said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kiff.domain import Domain
from kiff.domain.expr import EvaluationError, Expression
from kiff.domain.terms import BoundRule, Terms
from kiff.protocol.action import ActionContract
from kiff.protocol.approval import Demand
from kiff.protocol.decision import Facts
from kiff.protocol.proposal import Proposal

Env = Mapping[str, Any]


class Ruled(NamedTuple):
    """A rule whose condition held; or had no value, which `error` says."""

    bound: BoundRule
    error: EvaluationError | None = None


class Case(NamedTuple):
    """Everything that a check sees.

    Args:
        env: what conditions read; None while the parameters are not sound, or nothing has happened to the entity:
            then it is refused anyway, and no condition has anything to read.
        ruled: the rules that spoke up.
    """

    domain: Domain
    contract: ActionContract
    terms: Terms
    proposal: Proposal
    facts: Facts
    env: Env | None
    ruled: tuple[Ruled, ...]

    def covered(self, demand: Demand) -> bool:
        """Whether the grant was given for exactly this: the same rule, saying the same, and no more people."""
        if not self.facts.covers:  # granted before approvals said what for: then only contracts asked
            return self.facts.approval == "granted" and demand.rule == "approval_required"
        return any(
            (each.rule, each.digest, each.roles) == (demand.rule, demand.digest, demand.roles)
            and each.quorum >= demand.quorum
            for each in self.facts.covers
        )


def environment(proposal: Proposal, facts: Facts) -> Env:
    """What conditions read (docs/reference/conditions.md)."""
    entity = {**facts.attributes, "id": proposal.entity.split(":", 1)[1], "version": facts.version}
    if facts.state is not None:
        entity["state"] = facts.state
    principal = proposal.principal
    return {
        "parameters": proposal.parameters,
        "entity": entity,
        "actor": {"id": principal.id, "type": principal.type, "roles": list(facts.roles)},
        "schedule": facts.schedule,
        "now": facts.at,
    }


def ruling(terms: Terms, env: Env) -> tuple[Ruled, ...]:
    """The rules whose condition holds, and those that have no answer: that withholds too."""
    found = []
    try:
        for run, bound in terms.bare:
            if run(env):
                found.append(Ruled(bound))
    except Exception:  # noqa: BLE001 (one has no answer, for whatever reason: each says for itself which, and why)
        return _one_by_one(terms, env)
    return tuple(found)


def _one_by_one(terms: Terms, env: Env) -> tuple[Ruled, ...]:
    found = []
    for bound in terms.rules:
        try:
            if bound.condition.evaluate(env):
                found.append(Ruled(bound))
        except EvaluationError as error:
            found.append(Ruled(bound, error))
    return tuple(found)


def holds(condition: Expression, env: Env) -> bool | EvaluationError:
    """Whether a condition is true; or why that cannot be told."""
    try:
        return bool(condition.evaluate(env))
    except EvaluationError as error:
        return error
