"""Rates: GCRA in whole numbers, held against the same rule in fractions, and against what it promises."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from kiff.gate.limits import commit, look, release, reserve, unused, usage_id
from kiff.protocol.limit import Hold, Limit, Usage

NOW = 1_779_616_435_011
SEEDS = range(40)


def rate(most: int = 20, per: str = "1h", burst: int | None = None) -> Limit:
    return Limit(id="calls", kind="rate", max=most, per=per, burst=burst)


def empty(limit: Limit) -> Usage:
    return unused(limit, "acme", usage_id("shop", limit, "bob"))


def took(limit: Limit, usage: Usage, now: int, times: int = 1) -> Usage:
    for _ in range(times):
        usage = reserve(limit, usage, now).usage
    return usage


def broken_promise(admitted: list[int], tokens: int, span: int, burst: int) -> tuple[int, int] | None:
    """Two instants with more calls between them, both ends included, than a burst and what came back meanwhile."""
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            if last - first + 1 > burst + (admitted[last] - start) * tokens // span:
                return start, admitted[last]
    return None


def test_one_more_than_the_burst_is_refused() -> None:
    usage = took(rate(burst=3), empty(rate(burst=3)), NOW, times=3)
    verdict = look(rate(burst=3), usage, NOW)
    assert (verdict.fits, verdict.used, verdict.remaining) == (False, 3, 0)


def test_without_a_burst_max_may_come_at_once() -> None:
    usage = took(rate(most=5), empty(rate(most=5)), NOW, times=5)
    assert not look(rate(most=5), usage, NOW).fits


def test_a_max_of_zero_lets_nothing_through_and_never_will() -> None:
    verdict = look(rate(most=0, burst=5), None, NOW)
    assert (verdict.fits, verdict.retry_after_ms) == (False, None)


def test_more_at_once_than_the_burst_never_fits() -> None:
    verdict = look(rate(burst=3), None, NOW, amount=4)
    assert (verdict.fits, verdict.retry_after_ms) == (False, None)


def test_reserving_what_does_not_fit_is_a_failure() -> None:
    usage = took(rate(burst=1), empty(rate(burst=1)), NOW)
    with pytest.raises(ValueError, match="has no room"):
        reserve(rate(burst=1), usage, NOW)


def test_a_grant_over_the_cap_is_paid_for_by_the_calls_after_it() -> None:
    limit = rate(most=60, per="1h", burst=1)
    usage = reserve(limit, took(limit, empty(limit), NOW), NOW, force=True).usage
    assert look(limit, usage, NOW).used == 2
    assert look(limit, usage, NOW).retry_after_ms == 120_000


def test_a_token_does_not_come_back() -> None:
    reserved = reserve(rate(), empty(rate()), NOW)
    assert release(*reserved) is reserved.usage
    assert commit(*reserved) is reserved.usage


def test_a_clock_that_steps_back_lets_nothing_more_through() -> None:
    usage = took(rate(burst=2), empty(rate(burst=2)), NOW, times=2)
    assert not look(rate(burst=2), usage, NOW - 86_400_000).fits


def test_a_lower_max_goes_on_with_the_row_and_never_forgets() -> None:
    before, after = rate(most=3, per="1s"), rate(most=1, per="1s")
    usage = took(before, empty(before), NOW, times=2)  # paid for at NOW + 666.67 ms
    assert usage.id == usage_id("shop", after, "bob")
    assert look(after, usage, NOW).used == 1
    assert look(after, usage, NOW).retry_after_ms == 667


def test_the_verdict_says_the_same_from_its_recorded_facts() -> None:
    verdict = look(rate(burst=1), took(rate(burst=1), empty(rate(burst=1)), NOW), NOW)
    assert verdict.facts == {
        "limit": "calls",
        "kind": "rate",
        "amount": 1,
        "used": 1,
        "cap": 1,
        "retry_after_ms": 180_000,
    }
    assert type(verdict)(**verdict.facts) == verdict


def test_a_hold_says_that_the_token_is_taken() -> None:
    hold = reserve(rate(), empty(rate()), NOW).hold
    assert hold == Hold(usage_id("shop", rate(), "bob"), "calls", "rate", 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_decides_as_the_rule_in_fractions_does(seed: int) -> None:
    print("seed", seed)
    draw = random.Random(seed)
    tokens, span, burst = draw.randint(1, 9_973), draw.choice([1, 7, 60, 3600]), draw.randint(1, 12)
    limit, cost, paid = rate(tokens, f"{span}s", burst), Fraction(span * 1000, tokens), Fraction(0)
    usage, now, answers = empty(limit), NOW, set()
    for _ in range(300):
        now += draw.choice([0, 0, 1, int(cost), int(cost) + 1, int(2 * cost), -draw.randint(0, 3 * int(cost) + 3)])
        amount = draw.choice([1, 1, 1, 0, 2, 3])
        expected = max(paid, now) + amount * cost - now <= cost * burst
        assert look(limit, usage, now, amount).fits is expected
        answers.add(expected)
        if expected:
            paid = max(paid, Fraction(now)) + amount * cost
            usage = reserve(limit, usage, now, amount).usage
    assert answers == {True, False}


@pytest.mark.parametrize("seed", SEEDS)
def test_it_fits_when_it_was_said_to_and_not_a_millisecond_before(seed: int) -> None:
    print("seed", seed)
    draw = random.Random(seed)
    limit = rate(draw.randint(1, 997), f"{draw.choice([60, 3600])}s", draw.randint(1, 5))
    usage, now, waits = empty(limit), NOW, 0
    for _ in range(60):
        verdict = look(limit, usage, now)
        if verdict.fits:
            usage = reserve(limit, usage, now).usage
            continue
        assert verdict.retry_after_ms is not None
        assert not look(limit, usage, now + verdict.retry_after_ms - 1).fits
        now += verdict.retry_after_ms
        assert look(limit, usage, now).fits
        waits += 1
    assert waits > 10


def admitted_with(tokens: int, burst: int, draw: random.Random) -> list[int]:
    limit = rate(tokens, "1s", burst)
    usage, now, admitted = empty(limit), NOW, []
    for _ in range(800):
        now += draw.choice([0, 1, 1, 2, 3, 5])
        if look(limit, usage, now).fits:
            usage = reserve(limit, usage, now).usage
            admitted.append(now)
    return admitted


@pytest.mark.parametrize("seed", range(8))
def test_no_interval_has_more_than_a_burst_and_what_came_back(seed: int) -> None:
    print("seed", seed)
    draw = random.Random(seed)
    tokens, burst = draw.choice([7, 33, 299, 331]), draw.randint(1, 6)
    admitted = admitted_with(tokens, burst, draw)
    assert len(admitted) > 4
    assert broken_promise(admitted, tokens, 1000, burst) is None


def test_control_a_cost_rounded_to_milliseconds_breaks_the_promise() -> None:
    tokens, paid, admitted = 299, 0, []
    for now in range(NOW, NOW + 2_000):
        if max(paid, now) + 1000 // tokens - now <= 1000 // tokens:
            paid = max(paid, now) + 1000 // tokens
            admitted.append(now)
    assert broken_promise(admitted, tokens, 1000, 1) is not None


def test_no_rounding_adds_up_over_a_long_storm() -> None:
    limit = rate(most=7, per="1s", burst=1)
    usage, now, count = empty(limit), NOW, 0
    while now < NOW + 200_000:
        usage = took(limit, usage, now)
        count += 1
        now += look(limit, usage, now).retry_after_ms or 0
    assert 1390 < count <= 1 + 7 * 200
