"""Schedules: when they are open by the clock on the wall, and what cannot be one."""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kiff.domain.schedule import DAYS, schedule_of, schedule_problems
from kiff.domain.schema import SCHEMA

NEW_YORK = "America/New_York"
OFFICE: dict[str, Any] = {
    "timezone": NEW_YORK,
    "days": ["mon", "tue", "wed", "thu", "fri"],
    "hours": "08:00-20:00",
    "except": ["2026-12-25"],
}
NIGHT: dict[str, Any] = {"timezone": NEW_YORK, "days": ["fri"], "hours": "22:00-06:00"}
PATH = ("schedules", "office")


def open_at(written: dict[str, Any], text: str, fold: int = 0) -> bool:
    zone = ZoneInfo(written.get("timezone", "UTC"))
    moment = datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)
    return schedule_of("office", written).is_open(int(moment.timestamp() * 1000))


def problems(**fields: Any) -> list[tuple[str, tuple[str | int, ...]]]:
    return [(found.code, found.path[2:]) for found in schedule_problems(OFFICE | fields, PATH)]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"timezone": "America/Nowhere"}, ("unknown_timezone", ("timezone",))),
        ({"timezone": "localtime"}, ("unknown_timezone", ("timezone",))),
        ({"timezone": 5}, ("unknown_timezone", ("timezone",))),
        ({"hours": "8:00-20:00"}, ("malformed", ("hours",))),
        ({"hours": "08:00-20:60"}, ("malformed", ("hours",))),
        ({"hours": "24:00-08:00"}, ("malformed", ("hours",))),
        ({"hours": "08:00-24:01"}, ("malformed", ("hours",))),
        ({"hours": "08:00-20:00\n"}, ("malformed", ("hours",))),
        ({"hours": "08:00"}, ("malformed", ("hours",))),
        ({"hours": 8}, ("malformed", ("hours",))),
        ({"hours": "08:00-08:00"}, ("malformed", ("hours",))),
        ({"days": []}, ("empty_list", ("days",))),
        ({"days": "mon"}, ("wrong_type", ("days",))),
        ({"days": ["mon", "Tue"]}, ("not_one_of", ("days", 1))),
        ({"days": [0]}, ("not_one_of", ("days", 0))),
        ({"except": ["2026-12-25", "2026-02-30"]}, ("malformed", ("except", 1))),
        ({"except": ["20261225"]}, ("malformed", ("except", 0))),
        ({"except": ["2026-W52-5"]}, ("malformed", ("except", 0))),
        ({"except": ["0000-01-01"]}, ("malformed", ("except", 0))),
        ({"except": [20261225]}, ("malformed", ("except", 0))),
        ({"except": "2026-12-25"}, ("wrong_type", ("except",))),
    ],
    ids=repr,
)
def test_what_means_nothing_is_named_with_its_place(fields: dict[str, Any], problem: tuple[str, Any]) -> None:
    assert problems(**fields) == [problem]
    with pytest.raises(ValueError):
        schedule_of("office", OFFICE | fields)


def test_without_hours_there_is_no_schedule() -> None:
    with pytest.raises(ValueError, match="the key `hours` in the schedule `office`"):
        schedule_of("office", {"days": ["mon"]})


def test_all_problems_are_named_at_once() -> None:
    found = problems(timezone="x", hours="x", days=["x"], **{"except": ["x"]})
    assert [code for code, _ in found] == ["unknown_timezone", "malformed", "not_one_of", "malformed"]


@pytest.mark.parametrize(("fields", "meant"), [({"timezone": "America/NewYork"}, NEW_YORK), ({"days": ["Mon"]}, "mon")])
def test_a_misspelt_word_is_named_with_the_one_that_was_meant(fields: dict[str, Any], meant: str) -> None:
    (found,) = schedule_problems(OFFICE | fields, PATH)
    assert found.fix == f"did you mean `{meant}`?"


def test_the_schedules_of_the_reference_have_no_problem() -> None:
    assert problems() == []
    assert list(schedule_problems(NIGHT, PATH)) == []


@pytest.mark.parametrize(
    "hours", ["08:00-20:00", "22:00-06:00", "00:00-24:00", "8:00-9:00", "24:00-25:00", "00:00-24:30"]
)
def test_hours_are_those_of_the_published_schema(hours: str) -> None:
    published = re.compile(SCHEMA["$defs"]["hours"]["pattern"]).fullmatch(hours)
    assert (problems(hours=hours) == []) is bool(published)


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-22T07:59:59",  # Friday
        "2026-05-22T20:00",
        "2026-05-23T12:00",  # Saturday
        "2026-05-24T12:00",  # Sunday
        "2026-12-25T12:00",  # a Friday that is excepted
    ],
)
def test_the_office_is_closed(text: str) -> None:
    assert not open_at(OFFICE, text)


@pytest.mark.parametrize(
    "text", ["2026-05-22T08:00", "2026-05-22T19:59:59.999", "2026-05-25T12:00", "2026-12-24T12:00"]
)
def test_the_office_is_open(text: str) -> None:
    assert open_at(OFFICE, text)


@pytest.mark.parametrize("text", ["2026-05-22T21:59:59", "2026-05-23T06:00", "2026-05-22T02:00", "2026-05-23T22:00"])
def test_a_night_is_closed_before_and_after_and_on_other_days(text: str) -> None:
    assert not open_at(NIGHT, text)


@pytest.mark.parametrize("text", ["2026-05-22T22:00", "2026-05-23T00:00", "2026-05-23T05:59:59"])
def test_a_night_belongs_to_the_day_on_which_it_opens(text: str) -> None:
    assert open_at(NIGHT, text)


def test_an_excepted_date_takes_the_night_that_begins_on_it_and_no_other() -> None:
    nights = NIGHT | {"days": ["thu", "fri"], "except": ["2026-05-22"]}
    assert open_at(nights, "2026-05-22T05:00")  # Thursday's
    assert not open_at(nights, "2026-05-22T23:00")
    assert not open_at(nights, "2026-05-23T05:00")


def test_the_whole_day_has_no_gap_at_midnight() -> None:
    assert open_at({"hours": "00:00-24:00", "days": ["mon"]}, "2026-05-25T23:59:59.999")
    assert not open_at({"hours": "00:00-24:00", "days": ["mon"]}, "2026-05-26T00:00")


def test_a_window_until_midnight_may_be_written_in_two_ways() -> None:
    for hours in ("20:00-24:00", "20:00-00:00"):
        assert open_at({"hours": hours, "days": ["mon"]}, "2026-05-25T23:59")
        assert not open_at({"hours": hours, "days": ["mon"]}, "2026-05-26T00:00")


def test_unless_it_says_so_it_is_every_day_and_utc() -> None:
    assert all(open_at({"hours": "08:00-20:00"}, f"2026-05-{day}T08:00") for day in range(18, 25))


@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_that_comes_twice_is_open_twice(fold: int) -> None:
    assert open_at({"timezone": NEW_YORK, "hours": "01:00-02:00"}, "2026-11-01T01:30", fold)


def test_hours_follow_the_clock_on_the_wall_in_winter_and_in_summer() -> None:
    schedule = schedule_of("office", OFFICE)
    utc = ZoneInfo("UTC")
    winter, summer = datetime(2026, 1, 5, 12, 30, tzinfo=utc), datetime(2026, 7, 6, 12, 30, tzinfo=utc)
    assert [schedule.is_open(int(moment.timestamp() * 1000)) for moment in (winter, summer)] == [False, True]


def test_it_is_open_on_exactly_the_minutes_of_its_opening_days() -> None:
    """Against a list of minutes, made by going through each day that it opens on."""
    print("seed", 11)
    draw = random.Random(11)
    monday = datetime(2026, 5, 18, tzinfo=ZoneInfo("UTC"))
    for _ in range(40):
        opens, closes = draw.sample(range(1440), 2)
        days = draw.sample(DAYS, draw.randint(1, 7))
        hours = f"{opens // 60:02}:{opens % 60:02}-{closes // 60:02}:{closes % 60:02}"
        schedule = schedule_of("any", {"hours": hours, "days": days})
        length = (closes - opens) % 1440
        starts = [monday + timedelta(days=day, minutes=opens) for day in range(-7, 14) if DAYS[day % 7] in days]
        for _ in range(60):
            moment = monday + timedelta(minutes=draw.randrange(7 * 1440))
            expected = any(start <= moment < start + timedelta(minutes=length) for start in starts)
            assert schedule.is_open(int(moment.timestamp() * 1000)) is expected
