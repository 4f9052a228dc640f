"""The digest a decision is bound to: equal for equal values in every language, and for nothing else."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from kiff_guard import arguments
from kiff_guard.arguments import digest, freeze, same, snapshot
from kiff_guard.errors import ArgumentsRefused

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, max_size=5))
def test_the_bytes_are_those_of_rfc_8785(args: dict[str, Any]) -> None:
    assert arguments._canonical(freeze(args).args) == rfc8785.dumps(args)


@pytest.mark.parametrize(
    "number", [1e-7, 5e-324, 1e21, 1.5e300, 1e16, 123456789012345680000.0, 9924735206968236.0, -1e-6]
)
def test_numbers_are_written_as_ecmascript_writes_them(number: float) -> None:
    assert arguments._canonical(freeze({"n": number}).args) == rfc8785.dumps({"n": number})


def test_names_stand_in_utf_16_order() -> None:
    assert list(freeze({"\uffff": 1, "\U0001f600": 2, "a": 3}).args) == ["a", "\U0001f600", "\uffff"]


def test_equal_arguments_have_one_digest_and_others_another() -> None:
    one = freeze({"amount": 49.0, "of": {"b": 1, "a": [True, None]}})
    assert freeze('{"of": {"a": [true, null], "b": 1.0}, "amount": 49}') == one
    for other in (
        {"amount": "49"},
        {"amount": 49.1},
        {"amount": True},
        {"Amount": 49},
        {"amount": [49]},
        {"amount": None},
    ):
        assert freeze(other).digest != freeze({"amount": 49}).digest
    assert freeze({"yes": 1}).digest != freeze({"yes": True}).digest


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    pass


@dataclass
class Order:
    id: str
    lines: tuple[int, ...]


class Line(NamedTuple):
    sku: str
    count: int


class Model:
    def model_dump(self, mode: str) -> dict[str, Any]:
        return {"mode": mode}


WRITTEN = [
    (Colour.RED, "red"),
    (Text("a"), "a"),
    (Order("o", (1, 2)), {"id": "o", "lines": [1, 2]}),
    (Line("s", 3), {"sku": "s", "count": 3}),
    (Model(), {"mode": "json"}),
    (Decimal("49.00"), 49),
    (Decimal("49.90"), 49.9),
    (Decimal("0.1000000000000000055"), "0.1000000000000000055"),
    (date(2026, 1, 2), "2026-01-02"),
    (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (PurePosixPath("/a/b"), "/a/b"),
    ({3, 1}, [1, 3]),
]


@pytest.mark.parametrize(
    ("value", "written"), WRITTEN, ids=[type(value).__name__ + str(n) for n, (value, _) in enumerate(WRITTEN)]
)
def test_what_tools_take_beside_json_is_written_as_everybody_writes_it(value: Any, written: Any) -> None:
    assert freeze({"value": value}).args == {"value": written}


def endless() -> Any:
    inner: list[Any] = []
    inner.append(inner)
    return inner


REFUSED = {
    "no object": "[1]",
    "no JSON": "{'a': 1}",
    "a name twice": '{"amount": 1, "amount": 9999}',
    "a name twice, inside": '{"of": {"a": 1, "a": 2}}',
    "no number": '{"a": NaN}',
    "infinity": {"a": float("inf")},
    "bytes": {"a": b"x"},
    "an object": {"a": object()},
    "a name that is no text": {1: 2},
    "half a character": {"a": "\ud800"},
    "without an end": {"a": endless()},
    "too deep": '{"a":' * 40 + "1" + "}" * 40,
    "far too deep": "[" * 100_000,
    "too large": {"a": "x" * 300_000},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_decision_can_be_bound_to_is_refused(name: str) -> None:
    with pytest.raises(ArgumentsRefused):
        freeze(REFUSED[name])
    assert not same(REFUSED[name], freeze({}).digest)


def test_nothing_and_an_empty_text_are_a_call_without_arguments() -> None:
    assert freeze(None) == freeze("") == freeze("{}") == freeze({})


def test_what_is_changed_later_reaches_neither_the_copy_nor_the_digest() -> None:
    inner = {"card": "4111"}
    args = {"of": [inner]}
    frozen, looked = freeze(args), snapshot(args)
    inner["card"] = "evil"
    assert frozen.args == {"of": [{"card": "4111"}]}
    assert not same(args, frozen.digest, looked)


@given(st.dictionaries(texts, values, max_size=4), st.dictionaries(texts, values, max_size=4))
def test_equal_snapshots_are_equal_digests(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert same(one, freeze(one).digest, snapshot(one))
    if snapshot(one) == snapshot(other):
        assert freeze(one).digest == freeze(other).digest


def test_a_snapshot_does_not_depend_on_who_else_holds_the_values() -> None:
    shared = ["x" * 100]
    assert snapshot({"a": shared, "b": shared}) == snapshot({"a": ["x" * 100], "b": ["x" * 100]})


def test_any_result_has_a_digest_or_none_and_raises_nothing() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert digest({"a": 1.0}) == digest({"a": 1}) != digest({"a": 2})
    assert digest(object).startswith("repr-sha256:")
    assert digest(Rude()) == ""
