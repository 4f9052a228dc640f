"""The calendar of a time zone: which hour, day, week or month an instant is in, as instants.

The one rule: the windows of one kind follow each other without a gap and without an overlap, whatever the clocks
on the wall do. A day has 23 or 25 hours where they are changed, and none where a country skipped it.

Zone data is read from the machine, so it is read when a domain is loaded (`zone_problems`, `zone`) and kept; what
asks later finds it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from kiff.domain.issue import Finding, Path, did_you_mean, shown

PERIODS = ("hour", "day", "week", "month")

Zone = ZoneInfo
"""A time zone that was read: what `zone` gives."""

_HOUR_MS = 3_600_000
_THIS_MACHINE = frozenset({"localtime", "posixrules", "Factory"})  # not the same zone everywhere
_OTHER_CLOCKS = ("posix/", "right/")  # the second counts leap seconds, which our instants do not


def window(per: str, zone: Zone, at_ms: int) -> tuple[int, int]:
    """The window an instant is in.

    Args:
        per: `hour`, `day`, `week` (begins on Monday) or `month`. An hour is counted from the start of its day, so it
            is the hour on the wall except where clocks were changed by less than one.
        zone: made by `zone`.
        at_ms: the instant.

    Returns:
        (start_ms, end_ms): start <= at < end, and `end` is the start of the next one.

    Raises:
        ValueError: another `per`.
    """
    if per == "hour":
        start, end = window("day", zone, at_ms)
        start += (at_ms - start) // _HOUR_MS * _HOUR_MS
        return start, min(start + _HOUR_MS, end)
    day = datetime.fromtimestamp(at_ms // 1000, zone).toordinal()
    start, end = _around(per, zone, day)
    while at_ms >= end:
        # Clocks that go back over midnight (St. John's, until 2011, at 00:01) show the old date again; the new day
        # has begun all the same.
        day += 1
        start, end = _around(per, zone, day)
    return start, end


@cache
def zone(name: str) -> Zone:
    """The time zone of this name (IANA), e.g. `America/New_York`; read once, then kept.

    Raises:
        ValueError: there is none, or it is one that differs from machine to machine.
    """
    try:
        if name in _THIS_MACHINE or name.startswith(_OTHER_CLOCKS):
            raise ValueError
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{shown(name)} is not a time zone: expected an IANA name such as `Europe/Lisbon`") from None


def zone_problems(name: str, path: Path) -> Iterator[Finding]:
    """Is there such a time zone? One that is there is kept from now on."""
    try:
        zone(name)
    except ValueError:
        fix = did_you_mean(name, available_timezones()) or "write an IANA name such as `Europe/Lisbon`, or `UTC`"
        yield Finding(path, "unknown_timezone", f"{shown(name)} is not a time zone", fix)


@lru_cache(maxsize=4096)
def _around(per: str, zone: Zone, day: int) -> tuple[int, int]:
    """The window of the date with this ordinal."""
    if per not in _DATES:
        raise ValueError(f"expected hour, day, week or month, found {shown(per)}")
    first, after = _DATES[per](date.fromordinal(day))
    return _begin(first, zone), _begin(after, zone)


def _day(on: date) -> tuple[date, date]:
    return on, on + timedelta(days=1)


def _week(on: date) -> tuple[date, date]:
    monday = on - timedelta(days=on.weekday())
    return monday, monday + timedelta(days=7)


def _month(on: date) -> tuple[date, date]:
    first = on.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


_DATES: dict[str, Callable[[date], tuple[date, date]]] = {"day": _day, "week": _week, "month": _month}
"""Kind of window -> its first date, and the first after it."""


def _begin(on: date, zone: Zone) -> int:
    """The first instant (ms) whose date in this zone is `on` or later."""
    midnight = datetime(on.year, on.month, on.day, tzinfo=zone)
    # PEP 495: `fold` chooses between two readings of a time on the wall. Where midnight comes twice, 0 is the first;
    # where clocks jump over it, 0 reads it with the old offset, which is after the jump, and 1 is before it.
    first, other = (int(midnight.replace(fold=fold).timestamp()) for fold in (0, 1))
    if other < first:
        first = _jump(other, first, on, zone)
    return first * 1000


def _jump(before: int, after: int, on: date, zone: Zone) -> int:
    """The second between these two at which the date becomes `on` or later."""
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).date() < on:
            before = middle
        else:
            after = middle
    return after
