"""Budgets: windows of the calendar and windows that slide, held against a list of everything that was added."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from kiff.domain.measure import amount_of
from kiff.gate.counts import PARTS
from kiff.gate.limits import Reserved, commit, look, release, reserve, unused, usage_id
from kiff.protocol.limit import Hold, Limit, Usage

HOUR, DAY = 3_600_000, 86_400_000
SEEDS = range(25)


def at(text: str, zone: str = "America/New_York") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


NOON = at("2026-05-24T12:00")


def budget(most: float = 100, per: str = "day", unit: str = "", zone: str = "America/New_York") -> Limit:
    return Limit(id="cap", kind="budget", max=most, per=per, unit=unit, timezone=zone)


def empty(limit: Limit) -> Usage:
    return unused(limit, "acme", usage_id("shop", limit, "bob"))


def test_an_amount_over_what_is_left_is_refused_until_the_window_ends() -> None:
    usage = reserve(budget(), empty(budget()), NOON, 60).usage
    verdict = look(budget(), usage, NOON, 41)
    assert (verdict.fits, verdict.used, verdict.remaining) == (False, 60, 40)
    assert verdict.retry_after_ms == 12 * HOUR
    assert (verdict.window_start, verdict.window_end) == (at("2026-05-24"), at("2026-05-25"))


def test_an_amount_over_the_cap_never_fits() -> None:
    assert look(budget(), None, NOON, 101).retry_after_ms is None


def test_a_negative_amount_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0"):
        look(budget(), None, NOON, -1)
    with pytest.raises(ValueError, match="from 0"):
        reserve(budget(), empty(budget()), NOON, -1, force=True)


def test_reserving_what_does_not_fit_is_a_failure() -> None:
    with pytest.raises(ValueError, match="has no room"):
        reserve(budget(), empty(budget()), NOON, 101)


def test_what_cannot_be_written_exactly_is_not_forced_either() -> None:
    usage = reserve(budget(), empty(budget()), NOON, 2**53 - 1, force=True).usage
    with pytest.raises(ValueError, match="from 0"):
        reserve(budget(), usage, NOON, 1, force=True)


def test_nothing_may_be_added_to_a_full_budget() -> None:
    usage = reserve(budget(), empty(budget()), NOON, 100).usage
    assert look(budget(), usage, NOON, 0).fits
    assert not look(budget(), usage, NOON, 1).fits


def test_ten_cents_thirty_times_are_three_dollars() -> None:
    limit = budget(3, unit="USD")
    usage = empty(limit)
    for _ in range(30):
        usage = reserve(limit, usage, NOON, amount_of(limit, 0.1)).usage
    assert (look(limit, usage, NOON, 0).remaining, look(limit, usage, NOON, 1).fits) == (0, False)


def test_what_is_held_counts_as_what_is_spent() -> None:
    held, hold = reserve(budget(), empty(budget()), NOON, 70)
    spent = commit(held, hold)
    assert look(budget(), held, NOON, 31).used == look(budget(), spent, NOON, 31).used == 70
    assert held.state != spent.state


def test_what_is_released_is_free_again() -> None:
    assert look(budget(), release(*reserve(budget(), empty(budget()), NOON, 70)), NOON, 100).fits


def test_ten_pending_refunds_cannot_all_be_granted_past_the_cap() -> None:
    usage = empty(budget())
    fitted = 0
    while look(budget(), usage, NOON, 30).fits:
        usage, fitted = reserve(budget(), usage, NOON, 30).usage, fitted + 1
    assert fitted == 3


def test_a_held_proposal_that_is_decided_again_fits_in_what_it_held() -> None:
    usage, hold = reserve(budget(), empty(budget()), NOON, 70)
    assert not look(budget(), usage, NOON, 70).fits
    assert look(budget(), release(usage, hold), NOON, 70).fits


def test_a_grant_may_let_more_through_than_the_cap() -> None:
    usage, hold = reserve(budget(), empty(budget()), NOON, 130, force=True)
    verdict = look(budget(), commit(usage, hold), NOON, 0)
    assert (verdict.used, verdict.remaining, verdict.fits) == (130, 0, False)


def test_another_max_goes_on_with_the_row() -> None:
    usage = reserve(budget(100), empty(budget(100)), NOON, 70).usage
    assert usage.id == usage_id("shop", budget(50), "bob")
    assert not look(budget(50), usage, NOON, 1).fits
    assert look(budget(200), usage, NOON, 130).fits


@pytest.mark.parametrize("settle", [commit, release])
@pytest.mark.parametrize("per", ["day", "24h"])
def test_a_hold_of_an_ended_window_leaves_the_present_one_alone(
    per: str, settle: Callable[[Usage, Hold], Usage]
) -> None:
    limit = budget(per=per)
    usage, old = reserve(limit, empty(limit), NOON, 70)
    usage = reserve(limit, usage, NOON + 2 * DAY, 70).usage
    assert settle(usage, old) is usage


@pytest.mark.parametrize("per", ["day", "24h"])
def test_settling_twice_makes_nothing_negative_and_spends_nothing_more(per: str) -> None:
    usage, hold = reserve(budget(per=per), empty(budget(per=per)), NOON, 70)
    for first in (commit, release):
        for second in (commit, release):
            once = first(usage, hold)
            assert second(once, hold) == once


def test_a_hold_is_not_settled_in_another_row() -> None:
    hold = reserve(budget(), empty(budget()), NOON, 70).hold
    other = unused(budget(), "acme", usage_id("shop", budget(), "eve"))
    with pytest.raises(ValueError, match="counted in the row"):
        commit(other, hold)
    with pytest.raises(ValueError, match="counted in the row"):
        release(other, msgspec.structs.replace(hold, usage=""))


def test_a_clock_that_steps_back_over_midnight_stays_in_the_new_day() -> None:
    usage = reserve(budget(), empty(budget()), at("2026-05-25T00:00"), 70).usage
    assert look(budget(), usage, at("2026-05-24T23:59:59"), 31).used == 70


def test_a_clock_that_steps_back_frees_nothing_of_a_sliding_window() -> None:
    limit = budget(per="1h")
    usage = reserve(limit, empty(limit), NOON, 70).usage
    usage = reserve(limit, usage, NOON - 10 * HOUR, 30).usage
    assert look(limit, usage, NOON - 10 * HOUR, 1).used == 100
    assert look(limit, usage, NOON + HOUR - 1, 1).used == 100


@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-05-24", 24)])
def test_a_day_is_as_long_as_the_clocks_make_it(day: str, hours: int) -> None:
    usage = reserve(budget(), empty(budget()), at(day), 100).usage
    assert look(budget(), usage, at(day) + hours * HOUR - 1, 1).used == 100
    assert look(budget(), usage, at(day) + hours * HOUR, 1).used == 0


def test_a_row_keeps_its_window_when_zone_data_say_another() -> None:
    usage = reserve(budget(), empty(budget()), NOON, 70).usage
    longer = usage.state.replace(str(at("2026-05-25")).encode(), str(at("2026-05-25T01:00")).encode())
    usage = msgspec.structs.replace(usage, state=longer)
    assert look(budget(), usage, at("2026-05-25T00:59"), 1).used == 70
    after = look(budget(), usage, at("2026-05-25T01:00"), 1)
    assert (after.used, after.window_start) == (0, at("2026-05-25T01:00"))


def test_a_sliding_window_says_when_enough_has_left_it() -> None:
    limit = budget(per="1h")
    usage = reserve(limit, empty(limit), NOON, 60).usage
    usage = reserve(limit, usage, NOON + HOUR // 2, 40).usage
    assert look(limit, usage, NOON + HOUR // 2, 60).retry_after_ms == HOUR // 2
    assert look(limit, usage, NOON + HOUR // 2, 61).retry_after_ms == HOUR
    assert not look(limit, usage, NOON + HOUR - 1, 60).fits
    assert look(limit, usage, NOON + HOUR, 60).fits


class Book:
    """The reference: every amount that was added, when, and what became of it. Nothing is summed up before."""

    def __init__(self, limit: Limit, seed: int) -> None:
        print("seed", seed)
        self.limit, self.usage, self.draw = limit, empty(limit), random.Random(seed)
        self.open: list[tuple[int, int, Hold]] = []
        self.spent: list[tuple[int, int]] = []

    def counted(self, applies: Callable[[int], bool]) -> int:
        held = sum(amount for when, amount, _ in self.open if applies(when))
        return held + sum(amount for when, amount in self.spent if applies(when))

    def settle_one(self) -> None:
        when, amount, hold = self.open.pop(self.draw.randrange(len(self.open)))
        if self.draw.random() < 0.6:
            self.usage = commit(self.usage, hold)
            self.spent.append((when, amount))
        else:
            self.usage = release(self.usage, hold)

    def try_one(self, now: int) -> bool:
        amount = self.draw.choice([0, 1, 7, 30, 99])
        fits = look(self.limit, self.usage, now, amount).fits
        if fits:
            reserved: Reserved = reserve(self.limit, self.usage, now, amount)
            self.usage = reserved.usage
            self.open.append((now, amount, reserved.hold))
        return fits


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("zone", "start"), [("America/New_York", "2026-10-25"), ("Australia/Lord_Howe", "2026-04-01")])
def test_a_calendar_budget_is_the_sum_of_its_days_entries(zone: str, start: str, seed: int) -> None:
    book, now, refused = Book(budget(250, zone=zone), seed), at(start, zone), 0
    local = ZoneInfo(zone)
    for _ in range(250):
        now += book.draw.choice([0, 1, HOUR // 3, HOUR, 5 * HOUR])
        refused += not book.try_one(now)
        if book.open and book.draw.random() < 0.5:
            book.settle_one()
        today = datetime.fromtimestamp(now // 1000, local).date()
        exact = book.counted(lambda when, today=today: datetime.fromtimestamp(when // 1000, local).date() == today)  # type: ignore[misc]
        assert look(book.limit, book.usage, now, 0).used == exact <= 250
    assert refused > 10


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("per", [1, 61, 3600])
def test_a_sliding_budget_counts_never_shorter_and_at_most_a_part_longer(per: int, seed: int) -> None:
    book, now, refused, span = Book(budget(500, per=f"{per}s"), seed), NOON, 0, per * 1000
    for _ in range(250):
        now += book.draw.choice([0, 1, span // 200, span // PARTS, span // PARTS + 1, span // 7])
        refused += not book.try_one(now)
        if book.open and book.draw.random() < 0.5:
            book.settle_one()
        exact = book.counted(lambda when, since=now - span: when > since)  # type: ignore[misc]
        longest = book.counted(lambda when, since=now - span - span // PARTS: when > since)  # type: ignore[misc]
        assert exact <= look(book.limit, book.usage, now, 0).used <= min(longest, 500)
    assert refused > 10


def test_a_sliding_budget_does_count_longer_where_it_sums_up() -> None:
    limit, last = budget(per="64s"), NOON + 1000
    usage = reserve(limit, reserve(limit, empty(limit), NOON, 60).usage, last, 40).usage
    assert look(limit, usage, NOON + 64_000, 0).used == 100
    assert look(limit, usage, last + 63_999, 0).used == 100
    assert look(limit, usage, last + 64_000, 0).used == 0


def most_in_any(entries: list[int], span: int) -> int:
    """The most entries that any window of this length has."""
    return max(sum(start <= when < start + span for when in entries) for start in entries)


def test_a_sliding_budget_holds_in_every_window_across_the_full_hour() -> None:
    limit, usage, entries = budget(100, per="1h"), empty(budget(100, per="1h")), []
    for now in range(NOON - 10 * 60_000, NOON + 10 * 60_000, 5_000):
        if look(limit, usage, now, 1).fits:
            usage = reserve(limit, usage, now, 1).usage
            entries.append(now)
    assert most_in_any(entries, HOUR) == 100


def test_control_a_counter_that_starts_anew_each_hour_lets_more_through() -> None:
    limit, usage, entries = budget(100, per="hour"), empty(budget(100, per="hour")), []
    for now in range(NOON - 10 * 60_000, NOON + 10 * 60_000, 5_000):
        if look(limit, usage, now, 1).fits:
            usage = reserve(limit, usage, now, 1).usage
            entries.append(now)
    assert most_in_any(entries, HOUR) > 100


@pytest.mark.parametrize("per", ["1s", "61s", "1h", "30d"])
def test_the_row_of_a_sliding_budget_stays_small(per: str) -> None:
    limit = budget(10**12, per=per)
    span = {"1s": 1000, "61s": 61_000, "1h": HOUR, "30d": 30 * DAY}[per]
    usage, largest = empty(limit), 0
    for step in range(400):
        usage = reserve(limit, usage, NOON + step * (span // PARTS + 1), 10**9).usage
        largest = max(largest, len(msgspec.json.decode(usage.state)["buckets"]))
    assert 60 <= largest <= PARTS + 1
    assert len(usage.state) < 4096
