"""Where an answer turns: two calls that differ by one step of one number, and get different answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from msgspec import structs

from kiff.analysis.boundaries.candidate import Candidate
from kiff.analysis.boundaries.examples import exactly, plain
from kiff.analysis.boundaries.relations import number
from kiff.analysis.cases.document import Call, Case, Expectation, Step, Thing
from kiff.analysis.cases.run import observe
from kiff.analysis.cases.source import Subject
from kiff.analysis.cases.structure import terms_of
from kiff.domain.expr.node import Literal, walk
from kiff.protocol.actor import Caller

Spot = tuple[str, str]
"""A parameter or an attribute: `("parameters", "amount")`."""
Told = tuple[Spot, str, tuple[float, float] | None]
"""A number, a reason that comes or goes at it, and between which values: None where no condition says a number."""
_REFUSED = frozenset(("invalid_parameter", "missing_parameter", "state_not_allowed", "permission_denied"))
"""What refuses a call whatever its numbers are."""


class Verdict(NamedTuple):
    """What the gate says to a call; `milder` are reasons that another one outweighs."""

    outcome: str
    reasons: tuple[str, ...]
    milder: tuple[str, ...]

    @property
    def codes(self) -> set[str]:
        return {*self.reasons, *self.milder}

    @property
    def is_beside_the_point(self) -> bool:
        return bool(_REFUSED & self.codes)


class Turn(NamedTuple):
    """An answer turns.

    Args:
        context: the call at one of the two values.
        low, high: the values, one step apart.
        codes: the reasons that come or go.
        others: how many reasons there are on both sides.
        literals: those of the numbers in the conditions of these reasons.
    """

    spot: Spot
    context: Candidate
    low: float
    high: float
    codes: frozenset[str]
    others: int
    literals: Mapping[str, set[float]]

    @property
    def told(self) -> set[Told]:
        edge = self.low, self.high
        return {(self.spot, code, edge if self.literals.get(code, set()) & {*edge} else None) for code in self.codes}

    @property
    def values(self) -> tuple[int | float, ...]:
        """The threshold between its neighbours: it is a number in a condition, or the last before the turn."""
        low, high = exactly(self.low), exactly(self.high)
        written = set().union(*(self.literals.get(code, set()) for code in self.codes))
        middle = high if self.high in written and self.low not in written else low
        return tuple(map(plain, (middle - (high - low), middle, middle + (high - low))))

    def at(self, value: int | float) -> Candidate:
        """The call with this value."""
        part, name = self.spot
        return structs.replace(self.context, **{part: {**getattr(self.context, part), name: value}})


def turns(subject: Subject, found: Sequence[Candidate]) -> list[Turn]:
    """Where answers turn among these calls of one action; of what turns in many contexts, the plainest one."""
    told: set[Told] = set()
    kept = []
    for turn in sorted(_turns(subject, found), key=lambda each: (len(each.codes), each.others)):
        if not turn.told <= told:
            told |= turn.told
            kept.append(turn)
    return kept


def verdict_of(subject: Subject, candidate: Candidate, used: Mapping[str, int | float] | None = None) -> Verdict:
    """What comes of it, as `kiff test` finds it."""
    thing = Thing("it", candidate.state, 1, candidate.attributes)
    call = Call(candidate.action, Caller(candidate.actor, candidate.roles), thing, candidate.parameters)
    seen = observe(subject, candidate.at, Case("", 0, (Step("propose", 0, Expectation(), call),), used or {}))
    return Verdict(seen.outcome or "invalid", seen.reasons, seen.milder)


def _turns(subject: Subject, found: Sequence[Candidate]) -> Iterator[Turn]:
    known: dict[str, Verdict] = {}

    def verdict(candidate: Candidate) -> Verdict:
        key = repr(candidate)
        if key not in known:
            known[key] = verdict_of(subject, candidate)
        return known[key]

    literals = _literals(subject, found[0].action) if found else {}
    for spot, group in _groups(found):
        for one, other in pairwise(group):
            low, high = _at(one, spot), _at(other, spot)
            if exactly(high) - exactly(low) <= Fraction(1):
                before, after = verdict(one), verdict(other)
                is_one = before[:2] != after[:2] and not (before.is_beside_the_point or after.is_beside_the_point)
                codes, others = frozenset(before.codes ^ after.codes), len(before.codes & after.codes)
                if is_one:
                    yield Turn(spot, one, low, high, codes, others, literals)


def _literals(subject: Subject, action: str) -> dict[str, set[float]]:
    """The numbers in the conditions of an action, by the reason that each condition gives."""
    terms = terms_of(subject.domain, subject.policy, action)
    conditions = {bound.code: bound.condition for bound in terms.rules}
    if terms.precondition is not None:
        conditions["condition_not_met"] = terms.precondition
    return {
        code: {float(number(node)) for node in walk(each.node) if isinstance(node, Literal) and _is_number(node)}
        for code, each in conditions.items()
    }


def _is_number(literal: Literal) -> bool:
    return type(literal.value) in (int, float)


def _groups(found: Iterable[Candidate]) -> Iterator[tuple[Spot, list[Candidate]]]:
    """Calls that differ in one number only, in the order of that number."""
    groups: dict[tuple[Spot, str], dict[float, Candidate]] = {}
    for candidate in found:
        for spot in _spots(candidate):
            rest = repr([_without(candidate, spot), candidate.state, candidate.roles, candidate.at, candidate.actor])
            groups.setdefault((spot, rest), {})[_at(candidate, spot)] = candidate
    for (spot, _), group in groups.items():
        yield spot, [group[value] for value in sorted(group)]


def _spots(candidate: Candidate) -> Iterator[Spot]:
    for part in ("parameters", "attributes"):
        for name, value in getattr(candidate, part).items():
            if type(value) in (int, float):
                yield part, name


def _without(candidate: Candidate, spot: Spot) -> list[Any]:
    parts = {"parameters": candidate.parameters, "attributes": candidate.attributes}
    parts[spot[0]] = {name: value for name, value in parts[spot[0]].items() if name != spot[1]}
    return [sorted(part.items()) for part in parts.values()]


def _at(candidate: Candidate, spot: Spot) -> float:
    value: float = getattr(candidate, spot[0])[spot[1]]
    return value
