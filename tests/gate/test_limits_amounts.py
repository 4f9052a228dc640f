"""What a limit means in whole numbers, and what is refused because it means nothing."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

import pytest

from kiff.domain.measure import amount_of, measure_of, whole
from kiff.protocol.limit import Limit

BUDGET: dict[str, Any] = {"id": "cap", "kind": "budget", "max": 5000, "per": "day", "unit": "USD"}
RATE: dict[str, Any] = {"id": "calls", "kind": "rate", "max": 20, "per": "1h"}
PLACES: dict[str, Any] = {"id": "places", "kind": "concurrency", "max": 2}


def usd(value: Any) -> int:
    return amount_of(Limit(**BUDGET), value)


@pytest.mark.parametrize(
    "value",
    [
        -0.01,
        -1,
        Decimal("-5"),
        49.999,
        0.001,
        Decimal("0.005"),
        Decimal("1.00000000000000000000000000000000000001"),
        Decimal("1e-999999999999999999"),
        Decimal("1e999999999999999999"),
        float("nan"),
        float("inf"),
        float("-inf"),
        Decimal("sNaN"),
        2**53,
        2**53 // 100 + 1,
        True,
        "49",
        None,
    ],
    ids=repr,
)
def test_an_amount_that_cannot_be_added_exactly_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="`cap`"):
        usd(value)


def test_the_refusal_does_not_repeat_the_amount() -> None:
    with pytest.raises(ValueError) as refused:
        usd(73.123)
    assert "73" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "cents"),
    [
        (0, 0),
        (0.0, 0),
        (-0.0, 0),
        (Decimal("0E-9"), 0),
        (49, 4900),
        (49.99, 4999),
        (0.07, 7),
        (1.1, 110),
        (1e3, 100_000),
        (Decimal("49.990"), 4999),
        (Decimal("0.01"), 1),
    ],
)
def test_an_amount_is_read_as_it_is_written(value: Any, cents: int) -> None:
    assert usd(value) == cents


def test_every_cent_up_to_a_thousand_is_exact() -> None:
    assert [usd(cents / 100) for cents in range(100_001)] == list(range(100_001))


def test_a_callers_decimal_context_changes_nothing() -> None:
    with decimal.localcontext(prec=2):
        assert usd(Decimal("1234567.89")) == 123_456_789


@pytest.mark.parametrize(("unit", "minor"), [("JPY", 7), ("", 7), ("KWD", 7000), ("CLF", 70_000)])
def test_the_unit_says_how_many_decimals_there_are(unit: str, minor: int) -> None:
    assert amount_of(Limit(**BUDGET | {"unit": unit}), 7) == minor


@pytest.mark.parametrize("unit", ["JPY", ""])
def test_without_decimals_a_fraction_is_refused(unit: str) -> None:
    with pytest.raises(ValueError, match="at most 0 decimals"):
        amount_of(Limit(**BUDGET | {"unit": unit}), 0.5)


@pytest.mark.parametrize("amount", [-1, 2**53, 1.0, True, None])
def test_only_whole_minor_units_are_counted(amount: Any) -> None:
    with pytest.raises(ValueError, match="whole minor units"):
        whole(Limit(**BUDGET), amount)


@pytest.mark.parametrize(
    ("limit", "field"),
    [
        (RATE | {"kind": "speed"}, "kind"),
        (RATE | {"per": ""}, "per"),
        (RATE | {"per": "day"}, "per"),
        (RATE | {"per": "1h\n"}, "per"),
        (RATE | {"per": "0s"}, "per"),
        (RATE | {"per": "367d"}, "per"),
        (RATE | {"max": 2.5}, "max"),
        (RATE | {"max": -1}, "max"),
        (RATE | {"max": float("nan")}, "max"),
        (RATE | {"max": float("inf")}, "max"),
        (RATE | {"max": "20"}, "max"),
        (RATE | {"burst": 0}, "burst"),
        (RATE | {"burst": 1.5}, "burst"),
        (PLACES | {"max": 0.5}, "max"),
        (PLACES | {"per": "1h"}, "per"),
        (BUDGET | {"per": "year"}, "per"),
        (BUDGET | {"per": ""}, "per"),
        (BUDGET | {"unit": "usd"}, "unit"),
    ],
)
def test_a_limit_that_means_nothing_is_refused_by_name(limit: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"`{field}` of the limit `{limit['id']}`"):
        measure_of(Limit(**limit))


@pytest.mark.parametrize("cap", [-1, 0.001, float("nan"), 2**53])
def test_a_cap_that_is_no_amount_is_refused(cap: float) -> None:
    with pytest.raises(ValueError, match="`cap`"):
        measure_of(Limit(**BUDGET | {"max": cap}))


def test_a_budget_in_no_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="`Mars/Base` is not a time zone"):
        measure_of(Limit(**BUDGET | {"timezone": "Mars/Base"}))


def test_the_cap_of_a_budget_is_in_minor_units() -> None:
    assert measure_of(Limit(**BUDGET | {"max": 49.5})).cap == 4950
