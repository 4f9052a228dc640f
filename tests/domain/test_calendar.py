"""Windows of the calendar: they follow each other without gap or overlap, whatever the clocks do."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest

from kiff.domain.calendar import PERIODS, window, zone, zone_problems

pytestmark = pytest.mark.slow

HOUR = 3_600_000


def at(text: str, name: str = "America/New_York", fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone(name), fold=fold).timestamp() * 1000)


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def hours(per: str, text: str, name: str = "America/New_York") -> float:
    start, end = window(per, zone(name), at(text, name))
    return (end - start) / HOUR


@pytest.mark.parametrize("name", ["", "America", "New_York", "../etc/passwd", "a\x00b", "x" * 400, "Mars/Base"])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        zone(name)


@pytest.mark.parametrize("name", ["localtime", "posixrules", "Factory", "right/UTC", "posix/UTC"])
def test_a_zone_that_differs_from_machine_to_machine_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        zone(name)


def test_another_period_is_refused() -> None:
    with pytest.raises(ValueError, match="found `year`"):
        window("year", zone("UTC"), 0)


@pytest.mark.parametrize(
    ("name", "meant"), [("america/new_york", "America/New_York"), ("Europe/Lisboa", "Europe/Lisbon")]
)
def test_a_misspelt_zone_is_named_with_the_one_that_was_meant(name: str, meant: str) -> None:
    (problem,) = zone_problems(name, ("limits", 0, "timezone"))
    assert (problem.path, problem.code) == (("limits", 0, "timezone"), "unknown_timezone")
    assert problem.fix == f"did you mean `{meant}`?"


def test_a_zone_that_nobody_could_have_meant_gets_an_example() -> None:
    (problem,) = zone_problems("0123456789", ())
    assert "`Europe/Lisbon`" in problem.fix


def test_a_zone_is_read_once() -> None:
    assert list(zone_problems("Asia/Tokyo", ())) == []
    assert zone("Asia/Tokyo") is zone("Asia/Tokyo")


@pytest.mark.parametrize(
    ("per", "text", "long"),
    [
        ("day", "2026-05-24T12:00", 24),
        ("day", "2026-03-08T12:00", 23),
        ("day", "2026-11-01T12:00", 25),
        ("week", "2026-03-08T12:00", 7 * 24 - 1),
        ("week", "2026-11-01T12:00", 7 * 24 + 1),
        ("month", "2026-02-10T12:00", 28 * 24),
        ("month", "2028-02-29T12:00", 29 * 24),
        ("month", "2026-03-31T12:00", 31 * 24 - 1),
        ("month", "2026-11-30T23:59", 30 * 24 + 1),
    ],
)
def test_a_window_is_as_long_as_the_clocks_make_it(per: str, text: str, long: int) -> None:
    assert hours(per, text) == long


@pytest.mark.parametrize(
    ("per", "inside", "start", "end"),
    [
        ("hour", "2026-05-24T09:53:55", "2026-05-24T09:00", "2026-05-24T10:00"),
        ("day", "2026-05-24T00:00", "2026-05-24", "2026-05-25"),
        ("day", "2026-05-24T23:59:59", "2026-05-24", "2026-05-25"),
        ("week", "2026-05-24T23:59:59", "2026-05-18", "2026-05-25"),
        ("week", "2026-05-25T00:00", "2026-05-25", "2026-06-01"),
        ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ("month", "2026-01-31T12:00", "2026-01-01", "2026-02-01"),
    ],
)
def test_a_window_begins_where_people_say_it_does(per: str, inside: str, start: str, end: str) -> None:
    assert window(per, zone("America/New_York"), at(inside)) == (at(start), at(end))


def test_the_last_millisecond_is_in_the_window_that_ends() -> None:
    end = at("2026-05-25")
    assert window("day", zone("America/New_York"), end - 1)[1] == end
    assert window("day", zone("America/New_York"), end)[0] == end


def test_the_zone_decides_which_day_it_is() -> None:
    instant = utc("2026-05-24T02:00")
    assert window("day", zone("UTC"), instant)[0] == utc("2026-05-24")
    assert window("day", zone("America/New_York"), instant)[0] == utc("2026-05-23T04:00")


def test_the_hour_that_comes_twice_is_two_windows() -> None:
    first, second = at("2026-11-01T01:30"), at("2026-11-01T01:30", fold=1)
    assert second - first == HOUR
    assert window("hour", zone("America/New_York"), first)[1] == window("hour", zone("America/New_York"), second)[0]


def test_an_hour_begins_on_the_wall_where_the_offset_is_a_half() -> None:
    assert window("hour", zone("Asia/Kolkata"), utc("2026-05-24T10:00"))[0] == utc("2026-05-24T09:30")


def test_a_day_that_has_no_midnight_begins_with_its_first_moment() -> None:
    # Cairo, 24 April 2026: from 23:59:59 clocks go to 01:00.
    start, end = window("day", zone("Africa/Cairo"), utc("2026-04-24T12:00"))
    assert (start, end) == (utc("2026-04-23T22:00"), utc("2026-04-24T21:00"))


def test_a_day_that_a_country_skipped_takes_no_time() -> None:
    # Samoa went over the date line: after 29 December 2011 came the 31st.
    end = window("day", zone("Pacific/Apia"), at("2011-12-29T12:00", "Pacific/Apia"))[1]
    assert end == at("2011-12-31", "Pacific/Apia")
    assert window("day", zone("Pacific/Apia"), end)[0] == end


def test_a_day_whose_first_minute_comes_twice_begins_once() -> None:
    # St. John's, until 2011: at 00:01 clocks went back to 23:01 of the day before.
    name = "America/St_Johns"
    begin = at("2010-11-07", name)
    again = begin + 30 * 60_000
    assert datetime.fromtimestamp(again / 1000, zone(name)).day == 6
    assert window("day", zone(name), begin - 1)[1] == begin
    assert window("day", zone(name), again)[0] == begin
    assert window("month", zone(name), again) == (at("2010-11-01", name), at("2010-12-01", name))


def test_a_gap_over_midnight_ends_the_day_before() -> None:
    # Toronto, 30 March 1919: from 23:30 clocks went to 00:30 of the 31st.
    start, end = window("day", zone("America/Toronto"), utc("1919-03-31T04:30"))
    assert start == utc("1919-03-31T04:30")
    assert window("day", zone("America/Toronto"), start - 1)[1] == start
    assert (end - start) == 23.5 * HOUR


def clumsy_window(name: str, instant: int) -> tuple[int, int]:
    """The control: days of 24 hours from local midnight."""
    local = datetime.fromtimestamp(instant // 1000, zone(name))
    start = int(local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp() * 1000)
    return start, start + int(timedelta(days=1).total_seconds() * 1000)


def torn(find: object, starts: list[int], steps: int) -> list[int]:
    """The instants at which a window does not hold its instant, or does not end where the next begins."""
    bad = []
    for instant in starts:
        start, end = find(instant)  # type: ignore[operator]
        for _ in range(steps):
            if not start <= instant < end or find(end - 1) != (start, end) or find(end)[0] != end:
                bad.append(instant)
                break
            instant = end
            start, end = find(instant)
    return bad


@pytest.mark.parametrize("per", PERIODS)
def test_windows_follow_each_other_in_every_zone(per: str) -> None:
    print("seed", 7)
    draw = random.Random(7)
    for name in sorted(n for n in available_timezones() if n not in ("localtime", "posixrules", "Factory")):
        starts = [draw.randrange(utc("1900-01-01"), utc("2060-01-01")) for _ in range(3)]
        assert torn(lambda instant, name=name: window(per, zone(name), instant), starts, 4) == [], name  # type: ignore[misc]


@pytest.mark.parametrize("per", PERIODS)
@pytest.mark.parametrize(
    ("name", "year"),
    [
        ("America/New_York", 2026),
        ("Africa/Cairo", 2026),
        ("America/Sao_Paulo", 2018),
        ("America/Havana", 2026),
        ("America/St_Johns", 2010),
        ("America/Nuuk", 2026),
        ("Australia/Lord_Howe", 2026),
        ("Pacific/Apia", 2011),
        ("America/Toronto", 1919),
    ],
)
def test_windows_follow_each_other_through_a_year_of_odd_clocks(name: str, year: int, per: str) -> None:
    first = utc(f"{year}-01-01")
    minutes = range(first, first + 366 * 24 * HOUR, 7 * HOUR + 60_000)
    assert torn(lambda instant: window(per, zone(name), instant), list(minutes), 1) == []


def test_control_days_of_24_hours_are_torn_apart() -> None:
    first = utc("2026-01-01")
    minutes = range(first, first + 366 * 24 * HOUR, 7 * HOUR)
    assert len(torn(lambda instant: clumsy_window("America/New_York", instant), list(minutes), 1)) > 0
