"""Cases at the thresholds of a domain and a policy: one step to each side of where an answer turns.

What they expect is what the gate says now, so an author reads them before keeping them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from kiff.analysis.boundaries.candidate import Candidate, env_of
from kiff.analysis.boundaries.candidates import candidates
from kiff.analysis.boundaries.examples import plain
from kiff.analysis.cases.document import Json
from kiff.analysis.cases.source import Subject, Unloadable, domain_of
from kiff.analysis.cases.structure import terms_of
from kiff.analysis.cases.turn import Verdict, turns, verdict_of
from kiff.canonical import MAX_INT
from kiff.domain import Domain
from kiff.domain.expr import EvaluationError
from kiff.domain.measure import amount_of, measure_of
from kiff.domain.policy_document import without_match
from kiff.domain.terms import BoundLimit
from kiff.domain.units import MINOR_DIGITS
from kiff.protocol.instant import rfc3339

MOST = 400
"""How many calls of one action are looked at."""


class Boundary(NamedTuple):
    """A call at a threshold, and what the gate says to it now.

    Args:
        used: limit -> how much of it is used before.
    """

    name: str
    candidate: Candidate
    verdict: Verdict
    used: dict[str, int | float]

    @property
    def written(self) -> Json:
        """The case as a test file has it; it names no actor and no entity, so it fits any file of the domain."""
        candidate = self.candidate
        call = {
            "action": candidate.action,
            "as": {"id": candidate.actor.id, "type": candidate.actor.type, "roles": list(candidate.roles)},
            "on": {"state": candidate.state, **candidate.attributes},
            "parameters": candidate.parameters,
            "at": rfc3339(candidate.at).replace(".000Z", "Z"),
        }
        given = {"given": {"used": self.used}} if self.used else {}
        reasons = {"reasons": list(self.verdict.reasons)} if self.verdict.reasons else {}
        return {"name": self.name, **given, "propose": call, "expect": {"outcome": self.verdict.outcome, **reasons}}


def boundaries(subject: Subject) -> Iterator[Boundary]:
    """The cases at every threshold that turns an answer, action by action."""
    besides = _with_policy(subject)
    names: set[str] = set()
    told: set[str] = set()
    for action in subject.domain.actions:
        found = list(candidates(subject.domain, action, limit=MOST, besides=besides))
        fitting = [each for each in found if not subject.domain.attribute_check(each.attributes)]
        for boundary in (*_of_numbers(subject, fitting), *_of_limits(subject, fitting[:1])):
            written = repr((boundary.candidate, boundary.used))
            if written not in told:
                told.add(written)
                yield boundary._replace(name=_unused(boundary.name, names))


def _with_policy(subject: Subject) -> tuple[Domain, ...]:
    """The domain with the policy's rules written into its actions: so its thresholds are looked at as well."""
    source, document = subject.policy_source, subject.source.document
    if source is None:
        return ()
    actions = []
    for action in document.get("actions", ()):
        own = {rule["id"] for rule in action.get("rules", ())}
        more = [without_match(rule) for rule in source.document.get("rules", ()) if rule["id"] not in own]
        whole = action | {"rules": [*action.get("rules", ()), *more], "approval": "conditional"}
        actions += [_loadable(document, action, whole)]
    try:
        return (domain_of(document | {"actions": actions}),)
    except Unloadable:
        return ()


def _loadable(document: Json, action: Json, whole: Json) -> Json:
    """The action with the policy's rules, if they fit it."""
    others = [each for each in document["actions"] if each is not action]
    try:
        domain_of(document | {"actions": [*others, whole]})
    except Unloadable:
        return action
    return whole


def _of_numbers(subject: Subject, found: Sequence[Candidate]) -> Iterator[Boundary]:
    """Of every number that a call or its entity has: the value at which the answer turns, and those beside it."""
    for turn in turns(subject, found):
        for value in turn.values:
            candidate = turn.at(value)
            verdict = verdict_of(subject, candidate)
            if not (subject.domain.attribute_check(candidate.attributes) or verdict.is_beside_the_point):
                yield Boundary(f"{candidate.action} {turn.spot[1]} {value}", candidate, verdict, {})


def _of_limits(subject: Subject, ordinary: Sequence[Candidate]) -> Iterator[Boundary]:
    """Of every limit: the last call that fits, and the first that does not."""
    for candidate in ordinary:
        for bound in terms_of(subject.domain, subject.policy, candidate.action).limits:
            room = measure_of(bound.limit).cap - _asked(subject, bound, candidate)
            for minor in (room, room + 1) if room >= 0 else ():
                used = plain(Fraction(minor, 10 ** MINOR_DIGITS.get(bound.limit.unit, 0)))
                given = {bound.code: used}
                name = f"{candidate.action} {used} used of {bound.code}"
                yield Boundary(name, candidate, verdict_of(subject, candidate, given), given)


def _asked(subject: Subject, bound: BoundLimit, candidate: Candidate) -> int:
    """How much a call asks of a limit, in minor units or as a count."""
    if bound.amount is None:
        return 1
    try:
        return amount_of(bound.limit, bound.amount(env_of(subject.domain, candidate)))
    except (EvaluationError, ValueError):
        return MAX_INT  # it is withheld whatever is used


def _unused(name: str, names: set[str]) -> str:
    """The name, with a number when another case has it."""
    number, given = 1, name
    while given in names:
        number += 1
        given = f"{name} ({number})"
    names.add(given)
    return given
