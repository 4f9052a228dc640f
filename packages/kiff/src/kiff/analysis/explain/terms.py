"""What an action asks, beside what it said to one call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from kiff.analysis.explain.answer import (
    ConditionAsked,
    GrantConsidered,
    LimitConsidered,
    PermissionsThen,
    RuleConsidered,
)
from kiff.analysis.explain.made import Made
from kiff.domain.expr import EvaluationError, Expression
from kiff.gate.limits import Verdict


class Told(NamedTuple):
    """A decision, and for whom it is told.

    Args:
        data: what its record says.
        full: the reader may see everything.
        whole: every value of the call is there, so conditions can be asked again.
    """

    made: Made
    data: dict[str, Any]
    full: bool
    whole: bool


def policy_codes(made: Made) -> tuple[str, ...]:
    """The codes of the rules and limits that the organisation's policy adds."""
    own = made.domain.terms[made.contract.name]
    rules = tuple(each.code for each in made.terms.rules[len(own.rules) :])
    return rules + tuple(each.code for each in made.terms.limits[len(own.limits) :])


def rules_of(told: Told) -> Iterator[RuleConsidered]:
    """Every rule, shadow rules too."""
    made, policy = told.made, policy_codes(told.made)
    found = {*told.data.get("matched", ()), *told.data.get("shadow", ())}
    for bound in made.terms.rules:
        rule, is_policy = bound.rule, bound.code in policy
        condition = condition_of(told, bound.condition, recorded=bound.code in found)
        if is_policy and not told.full:
            error = None if condition.error is None else "it has no answer"
            condition = ConditionAsked(condition.holds, error=error)
        yield RuleConsidered(
            id=bound.code,
            origin="policy" if is_policy else "contract",
            then=rule.then,
            mode=rule.mode,
            condition=condition,
            message=rule.message,
            quorum=bound.demand.quorum if rule.then == "require_approval" else 1,
            roles=rule.roles,
        )


def condition_of(told: Told, expression: Expression, recorded: bool | None = None) -> ConditionAsked:
    """What an expression said, with what it read.

    Args:
        recorded: what the record says it said; where nothing can be asked again, that is all there is.
    """
    made = told.made
    if not told.whole:
        return ConditionAsked(recorded, expression.text, expression.values(made.env))
    if not made.is_asked:
        return ConditionAsked(None, expression.text)
    values = expression.values(made.env)
    try:
        return ConditionAsked(bool(expression(made.env)), expression.text, values)
    except EvaluationError as error:
        return ConditionAsked(None, expression.text, values, error.message)


def limits_of(told: Told) -> Iterator[LimitConsidered]:
    """Every limit, with what was used then."""
    policy = policy_codes(told.made)
    for bound in told.made.terms.limits:
        usage = told.made.facts.usage.get(bound.code)
        origin, limit = "policy" if bound.code in policy else "contract", bound.limit
        if usage is None or "error" in usage:
            error = None if usage is None else str(usage["error"])
            yield LimitConsidered(bound.code, origin, limit.kind, limit.over, None, error=error)
            continue
        verdict = Verdict(**usage)
        yield LimitConsidered(
            id=bound.code,
            origin=origin,
            kind=limit.kind,
            over=limit.over,
            fits=verdict.fits,
            used=verdict.used,
            asked=verdict.amount,
            cap=verdict.cap,
            unit=verdict.unit,
            retry_after_ms=verdict.retry_after_ms,
        )


def permissions_of(told: Told) -> PermissionsThen:
    """What the action takes, and what the caller had of it."""
    made = told.made
    domain, roles, contract = made.domain, made.facts.roles, made.contract
    grants = tuple(
        GrantConsidered(each.role, tuple(sorted(each.permissions)), condition_of(told, each.condition))
        for each in made.terms.grants
        if each.role in roles
    )
    given = {permission for each in grants if each.condition.holds for permission in each.permissions}
    lacking = (p for p in contract.required_permissions if not domain.permits(roles, p) and p not in given)
    apart = tuple(each for each in domain.separate if all(domain.permits(roles, p) for p in each))
    return PermissionsThen(tuple(contract.required_permissions), tuple(lacking), tuple(roles), grants, apart)
