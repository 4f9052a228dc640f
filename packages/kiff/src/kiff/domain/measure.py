"""A limit in whole numbers: what its words mean, and what an amount is in minor units. Nothing is rounded."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from kiff.canonical import MAX_INT
from kiff.domain.calendar import PERIODS, zone
from kiff.domain.document import seconds
from kiff.domain.issue import shown
from kiff.domain.units import MINOR_DIGITS
from kiff.protocol.limit import Limit

Way = Literal["rate", "calendar", "sliding", "holders"]

_DURATION = re.compile(r"[1-9][0-9]{0,8}[smhd]")
_LONGEST_SECONDS = 366 * 86_400


class UnfitLimit(ValueError):
    """A limit that means nothing. `field` is the key at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Measure(Struct, frozen=True, gc=False):
    """How a limit counts, and up to what.

    Args:
        way: `rate`, a `calendar` or a `sliding` window, or `holders`.
        cap: what may be counted at once: minor units, or a count; of a rate: its burst.
        span_ms: of a rate or a sliding window: how long.
        tokens: of a rate: how many come back in `span_ms`; at least 1.
        per, timezone: of a calendar window.
    """

    way: Way
    cap: int
    span_ms: int = 0
    tokens: int = 1
    per: str = ""
    timezone: str = ""


@lru_cache(maxsize=1024)
def measure_of(limit: Limit) -> Measure:
    """The limit in whole numbers. Asked when a domain is loaded, it also has the zone data read.

    Raises:
        ValueError: the limit means nothing: a broken `per` or `burst`, an unknown kind, unit or time zone, a `max`
            that is no whole count or no amount in the unit.
    """
    if limit.kind == "budget":
        cap = amount_of(limit, limit.max)
        if limit.per in PERIODS:
            return Measure("calendar", cap, per=limit.per, timezone=zone(limit.timezone).key)
        return Measure("sliding", cap, span_ms=_milliseconds(limit))
    if limit.kind == "concurrency":
        if limit.per:
            raise _wrong(limit, "per", "nothing, because a concurrency has no window", limit.per)
        return Measure("holders", _count(limit))
    if limit.kind != "rate":
        raise _wrong(limit, "kind", "rate, budget or concurrency", limit.kind)
    tokens = _count(limit)
    if limit.burst is not None and (type(limit.burst) is not int or not 1 <= limit.burst <= MAX_INT):
        raise _wrong(limit, "burst", "a whole number from 1", limit.burst)
    # Without tokens nothing fits, whatever the burst; what a grant forces through is paid for at one per window.
    at_once = (limit.burst or tokens) if tokens else 0
    return Measure("rate", at_once, span_ms=_milliseconds(limit), tokens=tokens or 1)


def amount_of(limit: Limit, value: int | float | Decimal) -> int:
    """A number as a budget adds it up: whole minor units of its `unit`, or the whole number it is.

    A float is read as it is written: 49.99 is 4999 cents. Errors do not repeat the value; parameters may be secret.

    Raises:
        ValueError: not a finite number, negative, more decimals than the unit has, beyond 2^53-1 minor units, or
            an unknown unit.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"expected a number as amount of the limit `{limit.id}`, found `{type(value).__name__}`")
    digits = _digits(limit)
    exact = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    # Looked at before any arithmetic, so that no exponent makes it long. No decimal context rounds any of it.
    if not exact.is_finite() or not 0 <= exact <= MAX_INT:
        raise ValueError(f"expected an amount from 0 to 2^53-1 for the limit `{limit.id}`")
    if exact and exact.adjusted() < -digits:
        raise _too_fine(limit, digits)
    numerator, denominator = exact.as_integer_ratio() if exact else (0, 1)
    minor, rest = divmod(numerator * 10**digits, denominator)
    if rest:
        raise _too_fine(limit, digits)
    return whole(limit, minor)


def whole(limit: Limit, amount: int) -> int:
    """The amount, when it is one in minor units.

    Raises:
        ValueError: negative, beyond 2^53-1, or not an int.
    """
    if type(amount) is int and 0 <= amount <= MAX_INT:
        return amount
    raise ValueError(f"expected an amount from 0 to 2^53-1 in whole minor units for the limit `{limit.id}`")


def _count(limit: Limit) -> int:
    count = limit.max
    if type(count) not in (int, float) or not 0 <= count <= MAX_INT or count != int(count):
        raise _wrong(limit, "max", "a whole number", count)
    return int(count)


def _digits(limit: Limit) -> int:
    if not limit.unit:
        return 0
    if limit.unit not in MINOR_DIGITS:
        raise _wrong(limit, "unit", "an ISO 4217 code such as `USD`", limit.unit)
    return MINOR_DIGITS[limit.unit]


def _milliseconds(limit: Limit) -> int:
    if not _DURATION.fullmatch(limit.per) or seconds(limit.per) > _LONGEST_SECONDS:
        windows = ", or one of " + ", ".join(PERIODS) if limit.kind == "budget" else ""
        raise _wrong(limit, "per", f"a duration such as `1h`, up to `366d`{windows}", limit.per)
    return seconds(limit.per) * 1000


def _wrong(limit: Limit, field: str, expected: str, found: object) -> UnfitLimit:
    return UnfitLimit(field, f"expected {expected} as `{field}` of the limit `{limit.id}`, found {shown(found)}")


def _too_fine(limit: Limit, digits: int) -> ValueError:
    unit = limit.unit or "no unit"
    return ValueError(f"expected an amount with at most {digits} decimals ({unit}) for the limit `{limit.id}`")
