"""Named time windows of a domain: `schedule.<name>` in a condition is whether one is open now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from kiff.domain.calendar import Zone, zone, zone_problems
from kiff.domain.issue import Finding, Path, did_you_mean, shown

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Schedule(msgspec.Struct, frozen=True):
    """When something is open, by the clock on the wall of one time zone.

    A window belongs to the day on which it opens: `22:00-06:00` on Fridays is open until Saturday at six, and a
    date it does not open on (`closed_on`) does not end what was opened the evening before. What is open at two is
    open both times where clocks show it twice.

    Args:
        days: when it opens; Monday is 0.
        opens, closes: minutes after midnight; open from the first up to, not including, the second. When `closes`
            is not after `opens`, it closes on the next day.
        closed_on: ordinals of dates (`date.toordinal`) on which it does not open.
    """

    name: str
    zone: Zone
    days: frozenset[int]
    opens: int
    closes: int
    closed_on: frozenset[int] = frozenset()

    def is_open(self, at_ms: int) -> bool:
        """Whether it is open at this instant."""
        local = datetime.fromtimestamp(at_ms // 1000, self.zone)
        minute, today = local.hour * 60 + local.minute, local.toordinal()
        if self.opens < self.closes:
            return self.opens <= minute < self.closes and self._opens_on(today)
        if minute >= self.opens:
            return self._opens_on(today)
        return minute < self.closes and self._opens_on(today - 1)

    def _opens_on(self, day: int) -> bool:
        return (day - 1) % 7 in self.days and day not in self.closed_on  # the first day of year 1 was a Monday


def schedule_of(name: str, written: Mapping[str, Any]) -> Schedule:
    """The schedule that a written one without problems means: every day and UTC unless it says otherwise.

    Args:
        name: what conditions call it.
        written: {timezone, days, hours, except}, as in a kiff.yaml.

    Raises:
        ValueError: it has a problem (`schedule_problems`), or no hours.
    """
    if "hours" not in written:
        raise ValueError(f"expected the key `hours` in the schedule {shown(name)}")
    for problem in schedule_problems(written, ("schedules", name)):
        raise ValueError(problem.message)
    opens, closes = _minutes(written["hours"])
    return Schedule(
        name=name,
        zone=zone(written.get("timezone", "UTC")),
        days=frozenset(map(DAYS.index, written.get("days", DAYS))),
        opens=opens,
        closes=closes,
        closed_on=frozenset(date.fromisoformat(day).toordinal() for day in written.get("except", ())),
    )


def schedule_problems(written: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    """What keeps a written schedule from meaning something.

    Args:
        written: a mapping; its values may be anything. That a key is missing is for the schema to say.
        path: where it is written.
    """
    name = written.get("timezone", "UTC")
    yield from zone_problems(name if isinstance(name, str) else repr(name), (*path, "timezone"))
    if "hours" in written:
        yield from _hours_problems(written["hours"], (*path, "hours"))
    yield from _days_problems(written.get("days", DAYS), (*path, "days"))
    yield from _date_problems(written.get("except", ()), (*path, "except"))


def _hours_problems(hours: Any, path: Path) -> Iterator[Finding]:
    if not isinstance(hours, str) or not _HOURS.fullmatch(hours):
        message = f"{shown(hours)} are not hours: expected from and to, e.g. `08:00-20:00`"
        yield Finding(path, "malformed", message, "write two digits each, and a midnight at the end as `24:00`")
    elif _minutes(hours)[0] == _minutes(hours)[1]:
        message = f"{shown(hours)} opens and closes at once, which is never or always"
        yield Finding(path, "malformed", message, "write `00:00-24:00` for the whole day")


def _days_problems(days: Any, path: Path) -> Iterator[Finding]:
    if not isinstance(days, list | tuple):
        yield Finding(path, "wrong_type", f"expected a list of days, found {shown(days)}", "write `[mon, tue]`")
    elif not days:
        yield Finding(path, "empty_list", "expected at least one day, found none", "remove the key for every day")
    else:
        for index, day in enumerate(days):
            if day not in DAYS:
                message = f"expected one of {', '.join(DAYS)}, found {shown(day)}"
                yield Finding((*path, index), "not_one_of", message, did_you_mean(str(day), DAYS))


def _date_problems(dates: Any, path: Path) -> Iterator[Finding]:
    if not isinstance(dates, list | tuple):
        yield Finding(path, "wrong_type", f"expected a list of dates, found {shown(dates)}", "put it in a list")
        return
    for index, day in enumerate(dates):
        if not _is_date(day):
            message = f"{shown(day)} is not a date: expected year, month and day, e.g. `2026-12-25`"
            yield Finding((*path, index), "malformed", message)


def _is_date(day: Any) -> bool:
    if not isinstance(day, str) or not _DATE.fullmatch(day):
        return False
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    return True


def _minutes(hours: str) -> tuple[int, int]:
    """`08:00-20:00` as (480, 1200)."""
    opens, closes = hours.split("-")
    return _minute(opens), _minute(closes)


def _minute(clock: str) -> int:
    hour, minute = clock.split(":")
    return int(hour) * 60 + int(minute)
