"""What is known of the counts of one version's limits when another version's are known."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

from kiff.analysis.boundaries.examples import exactly
from kiff.domain.measure import measure_of
from kiff.domain.terms import BoundLimit, Terms

Relation = Literal["same", "at_least", "unknown"]
_WITHIN = {"hour": ("day", "week", "month"), "day": ("week", "month"), "week": (), "month": ()}


def carried(before: Terms, after: Terms, used: Mapping[str, int]) -> dict[str, int]:
    """The least that can count towards the limits of `after`, when `used` counts towards those of `before`."""
    known = {bound.code: bound for bound in before.limits}
    return {
        bound.code: used.get(bound.code, 0)
        for bound in after.limits
        if bound.code in known and relation(known[bound.code], bound) != "unknown"
    }


def relation(before: BoundLimit, after: BoundLimit) -> Relation:
    """How the count of one limit stands to that of another with its name."""
    old, new = before.limit, after.limit
    one, other = measure_of(old), measure_of(new)
    if (one.way, old.unit, old.amount) != (other.way, new.unit, new.amount) or new.key not in (old.key, ""):
        return "unknown"
    if (one.span_ms, one.per, one.timezone) == (other.span_ms, other.per, other.timezone):
        same_pace = one.way != "rate" or one.tokens == other.tokens
        if same_pace and new.key == old.key:
            return "same"
    return "at_least" if _reaches_back(before, after) else "unknown"


def _reaches_back(before: BoundLimit, after: BoundLimit) -> bool:
    """Whether the window of `after` has everything in it that the other's has."""
    one, other = measure_of(before.limit), measure_of(after.limit)
    if one.way == "calendar":
        same_zone = one.timezone == other.timezone
        return same_zone and (one.per == other.per or other.per in _WITHIN[one.per])
    if one.way == "rate":  # what was not paid for is paid for no sooner
        return Fraction(other.span_ms, other.tokens) >= Fraction(one.span_ms, one.tokens)
    return other.span_ms >= one.span_ms


def cap(bound: BoundLimit) -> int:
    """What counts in all, in the units it counts in."""
    return measure_of(bound.limit).cap


def cap_as_written(bound: BoundLimit) -> Fraction:
    """The cap in the numbers that conditions read."""
    return exactly(bound.limit.max)
