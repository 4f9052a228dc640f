"""The machine's clock as the runtime sees it."""

from __future__ import annotations

import re

import pytest

from kiff.runtime import clock
from kiff.runtime.clock import SystemClock, Ulids

SECOND = 1_000_000_000
HOUR_MS = 3_600_000


class Hands:
    """What the machine's two clocks show."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = 1_800_000_000 * SECOND, 5 * SECOND
        monkeypatch.setattr(clock.time, "time_ns", lambda: self.wall)
        monkeypatch.setattr(clock.time, "monotonic_ns", lambda: self.monotonic)

    def pass_by(self, seconds: int) -> None:
        self.wall += seconds * SECOND
        self.monotonic += seconds * SECOND


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def test_it_shows_the_wall_clock(hands: Hands) -> None:
    shown = SystemClock()
    hands.pass_by(90)
    assert shown.now() == hands.wall // 1_000_000


def test_after_a_step_back_time_goes_on_so_that_things_still_expire(hands: Hands) -> None:
    shown = SystemClock()
    before = shown.now()
    hands.wall -= 3_600 * SECOND
    assert shown.now() == before
    hands.pass_by(60)
    assert shown.now() == before + 60_000


def test_a_step_forward_and_back_does_not_stop_the_time(hands: Hands) -> None:
    shown = SystemClock()
    before = shown.now()
    hands.wall += 24 * 3_600 * SECOND
    assert shown.now() == before + 24 * HOUR_MS
    hands.wall -= 24 * 3_600 * SECOND
    hands.pass_by(900)
    assert shown.now() == before + 24 * HOUR_MS + 900_000


def test_ids_are_ulids_that_do_not_repeat() -> None:
    ids = Ulids()
    drawn = [ids.draw() for _ in range(10_000)]
    assert len(set(drawn)) == len(drawn)
    assert all(re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", each) for each in drawn)
