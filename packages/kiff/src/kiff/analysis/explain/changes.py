"""What would have to change for another outcome: for each objection the smallest changes that do away with it.

INVARIANT: every change was tried: the decision was made again with it, the objection was gone, and the outcome was no
more severe than before. `leads_to` is what came out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kiff.analysis.explain.answer import AnyChange
from kiff.analysis.explain.made import Made
from kiff.analysis.explain.others import anew, consent, free, hours, moves, other, roles, room
from kiff.analysis.explain.values import Aim, by_condition, by_limit, by_schema
from kiff.protocol.decision import Objection

_SPENT = frozenset({"approval_denied", "approval_expired", "approval_mismatch", "approval_used"})


def changes(made: Made, hidden: Collection[str]) -> Iterator[AnyChange]:
    """Everything that would do away with an objection.

    Args:
        hidden: codes of rules whose text is not for the reader; what they turn on is not told.
    """
    for objection in made.decision.objections:
        if objection.code not in hidden:
            yield from _of(made, objection)
    yield from consent(made)


def _of(made: Made, objection: Objection) -> Iterator[AnyChange]:
    code = objection.code
    if code == "invalid_parameter":
        yield from by_schema(made, objection)
    elif code == "state_not_allowed":
        yield from moves(made, objection)
    elif code == "permission_denied":
        yield from roles(made, objection)
        for grant in made.terms.grants if made.is_asked else ():
            if grant.role in made.facts.roles:
                yield from by_condition(made, objection, Aim(grant.condition, True))
    elif code == "condition_not_met" and made.terms.precondition is not None:
        yield from by_condition(made, objection, Aim(made.terms.precondition, True))
        yield from hours(made, objection, made.terms.precondition)
        yield from other(made, objection)
    elif code == "entity_busy":
        yield from free(made, objection)
    elif code in _SPENT:
        yield from anew(made, objection)
    elif made.is_asked:
        yield from _of_terms(made, objection)


def _of_terms(made: Made, objection: Objection) -> Iterator[AnyChange]:
    """For what a rule or a limit says."""
    for rule in made.terms.rules:
        if rule.code == objection.code:
            yield from by_condition(made, objection, Aim(rule.condition, False))
            yield from hours(made, objection, rule.condition)
    for limit in made.terms.limits:
        if limit.code in (objection.code, objection.detail.get("limit")):
            yield from by_limit(made, objection, limit)
            yield from room(made, objection, limit.code)
