"""Instants at which the time windows of domains stand differently. No clock: the same domains give the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from kiff.domain import Domain
from kiff.domain.schedule import Schedule

ORDINARY = 1_781_182_800_000  # 2026-06-11T13:00:00Z, a Thursday
"""The instant at which most candidates are: office hours on both sides of the Atlantic."""
_MONDAY = datetime(2026, 6, 8)  # noqa: DTZ001  a date on the wall of any zone
_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)


def instants(domains: Iterable[Domain]) -> list[int]:
    """One instant (ms) for every way in which the windows of domains stand."""
    return standings([schedule for domain in domains for schedule in domain.schedules.values()])


def standings(schedules: Sequence[Schedule]) -> list[int]:
    """One instant (ms) for every way in which windows stand: in a week, on days of exceptions and the days after.

    That is every way there is when all of them are in one time zone.
    """
    found: dict[tuple[bool, ...], int] = {}
    for at_ms in (ORDINARY, *sorted(_edges(schedules))):
        found.setdefault(tuple(schedule.is_open(at_ms) for schedule in schedules), at_ms)
    return list(found.values())


def _edges(schedules: Sequence[Schedule]) -> Iterator[int]:
    """Just before and at the edges of every window, on every day on which another one may be closed."""
    closed = sorted({datetime.fromordinal(day) for schedule in schedules for day in schedule.closed_on})
    days = [_MONDAY + day * _DAY for day in range(7)] + [each for day in closed for each in (day, day + _DAY)]
    walls = {day + timedelta(minutes=m) for s in schedules for day in days for m in (s.opens, s.closes, 0)}
    for zone in {schedule.zone for schedule in schedules}:
        for wall in walls:
            for at in (wall - _MINUTE, wall):
                yield int(at.replace(tzinfo=zone).astimezone(UTC).timestamp()) * 1000
