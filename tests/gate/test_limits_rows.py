"""Rows and holds of limits: their names, what fits into them, places that are taken, and why reading is not enough."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from kiff.canonical import is_canonical
from kiff.gate.limits import commit, look, release, reserve, unused, usage_id
from kiff.protocol.limit import Hold, Limit, Usage

NOW = 1_779_616_435_011
PLACES = Limit(id="places", kind="concurrency", max=2)
CAP = Limit(id="cap", kind="budget", max=100, per="day", unit="USD")
LIMITS = (PLACES, CAP, msgspec.structs.replace(CAP, per="1h"), Limit(id="calls", kind="rate", max=3, per="1h"))


def empty(limit: Limit) -> Usage:
    return unused(limit, "acme", usage_id("shop", limit, "bob"))


def changed(**fields: Any) -> str:
    return usage_id("shop", msgspec.structs.replace(CAP, **fields), "bob")


# Names


@pytest.mark.parametrize(
    "fields",
    [
        {"per": "week"},
        {"per": "24h"},
        {"unit": "EUR"},
        {"unit": ""},
        {"timezone": "America/New_York"},
        {"id": "cap2"},
        {"kind": "rate", "per": "24h"},
        {"kind": "concurrency", "per": ""},
    ],
)
def test_a_limit_that_counts_something_else_begins_a_new_row(fields: dict[str, Any]) -> None:
    assert changed(**fields) != changed()


@pytest.mark.parametrize("fields", [{"max": 5}, {"over": "require_approval"}, {"amount": "parameters.sum"}])
def test_a_limit_that_counts_the_same_goes_on_with_its_row(fields: dict[str, Any]) -> None:
    assert changed(**fields) == changed()


def test_one_window_written_in_two_ways_is_one_row() -> None:
    assert changed(per="60m") == changed(per="1h")


def test_no_two_keys_share_a_row() -> None:
    keys = ["", "a", "A", "a/b", "a b", "é", "e\u0301", "a" * 64, "a" * 65, "a" * 66, "a\n", "\x00", "~", ",", "a,"]
    keys += [usage_id("shop", CAP, key).rpartition("/")[2] for key in ("a b", "a" * 65)]
    ids = {usage_id(scope, CAP, key) for key in keys for scope in ("", "shop", "shop/a", "a" * 65)}
    assert len(ids) == 4 * len(keys)


@pytest.mark.parametrize("key", ["bob", "x" * 10_000, "'; DROP TABLE usages; --", "../..", "日本語\r\n"])
def test_a_name_is_short_and_safe_whatever_the_key(key: str) -> None:
    limit = Limit(id="i" * 64, kind="budget", max=1, per="month", unit="USD", timezone="America/North_Dakota/New_Salem")
    assert re.fullmatch(r"[A-Za-z0-9_.:@,~+/-]{1,300}", usage_id("s" * 500, limit, key))


def test_a_short_key_can_be_read() -> None:
    assert usage_id("refund-ops:REFUND", CAP, "bob@acme") == "refund-ops:REFUND/cap/budget,day,USD,UTC/bob@acme"


# Rows


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.id)
@pytest.mark.parametrize("other", LIMITS, ids=lambda limit: limit.id)
def test_a_row_that_counts_in_another_way_is_not_read(limit: Limit, other: Limit) -> None:
    if limit is other:
        assert look(limit, empty(limit), NOW).fits
        return
    with pytest.raises(ValueError, match="counts in another way"):
        look(limit, empty(other), NOW)


@pytest.mark.parametrize(
    "state",
    [b"", b"{}", b"null", b'{"way":"calendar","spent":"0"}', b'{"way":"other"}', b'{"way":"calendar","spent":0.5}'],
)
def test_a_row_that_cannot_be_read_lets_nothing_through(state: bytes) -> None:
    usage = msgspec.structs.replace(empty(CAP), state=state)
    with pytest.raises((ValueError, msgspec.DecodeError)):
        look(CAP, usage, NOW)


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.id} {limit.per}")
def test_rows_are_canonical_and_holds_survive_json(limit: Limit) -> None:
    usage, hold = reserve(limit, empty(limit), NOW, holder="clr_1")
    assert is_canonical(usage.state)
    assert is_canonical(commit(usage, hold).state)
    assert msgspec.json.decode(msgspec.json.encode([hold]), type=list[Hold]) == [hold]
    assert commit(usage, msgspec.json.decode(msgspec.json.encode(hold), type=Hold)) == commit(usage, hold)


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.id} {limit.per}")
def test_no_row_and_an_empty_one_are_the_same(limit: Limit) -> None:
    assert look(limit, None, NOW) == look(limit, empty(limit), NOW)


# Places


def test_no_more_hold_a_place_than_there_are() -> None:
    usage = empty(PLACES)
    for holder in ("clr_1", "clr_2"):
        usage = reserve(PLACES, usage, NOW, holder=holder).usage
    verdict = look(PLACES, usage, NOW)
    assert (verdict.fits, verdict.used, verdict.retry_after_ms) == (False, 2, None)
    with pytest.raises(ValueError, match="no room"):
        reserve(PLACES, usage, NOW, holder="clr_3")


@pytest.mark.parametrize("given", [{"holder": ""}, {"holder": "a", "amount": 2}, {"holder": "a", "amount": 0}])
def test_a_place_has_exactly_one_holder(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one named holder"):
        reserve(PLACES, empty(PLACES), NOW, force=True, **given)


def test_who_has_a_place_takes_no_second_one() -> None:
    one = msgspec.structs.replace(PLACES, max=1)
    usage, hold = reserve(one, empty(one), NOW, holder="clr_1")
    assert reserve(one, usage, NOW, holder="clr_1") == (usage, hold)


@pytest.mark.parametrize("end", [commit, release])
def test_an_operation_that_has_ended_gives_its_place_back_once(end: Any) -> None:
    usage, first = reserve(PLACES, empty(PLACES), NOW, holder="clr_1")
    usage = end(reserve(PLACES, usage, NOW, holder="clr_2").usage, first)
    assert look(PLACES, usage, NOW).used == 1
    assert end(usage, first) is usage


def test_a_grant_makes_a_place_that_is_gone_afterwards() -> None:
    usage = empty(PLACES)
    for holder in ("clr_1", "clr_2"):
        usage = reserve(PLACES, usage, NOW, holder=holder).usage
    usage, extra = reserve(PLACES, usage, NOW, holder="clr_3", force=True)
    assert look(PLACES, usage, NOW).used == 3
    assert not look(PLACES, release(usage, extra), NOW).fits


# Two callers at once


def admitted(limit: Limit, callers: int, at_once: int) -> int:
    """How many of the callers get through when so many read the row before any of them writes it."""
    row, through = empty(limit), 0
    for first in range(0, callers, at_once):
        seen = row
        for caller in range(first, first + at_once):
            if look(limit, seen, NOW).fits:
                row, through = reserve(limit, seen, NOW, holder=f"clr_{caller}").usage, through + 1
    return through


@pytest.mark.parametrize(
    ("limit", "cap"), [(PLACES, 2), (LIMITS[3], 3), (CAP, 10_000)], ids=["places", "rate", "budget"]
)
def test_one_after_the_other_exactly_as_many_get_through_as_may(limit: Limit, cap: int) -> None:
    assert admitted(limit, cap + 50, at_once=1) == cap


@pytest.mark.parametrize(
    ("limit", "cap"), [(PLACES, 2), (LIMITS[3], 3), (CAP, 10_000)], ids=["places", "rate", "budget"]
)
def test_control_callers_who_read_before_others_write_get_past_the_cap(limit: Limit, cap: int) -> None:
    assert admitted(limit, 2 * cap + 50, at_once=2) > cap
