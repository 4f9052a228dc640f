"""Two conditions that say the same are told from two that do not."""

from __future__ import annotations

import pytest

from kiff.domain.expr import BOOL, DOUBLE, INT, Field, ListOf, Object, String, compile
from kiff.domain.expr.meaning import meaning

SCOPE = {
    "a": INT,
    "b": INT,
    "d": DOUBLE,
    "t": String(20),
    "names": ListOf(String(20), 10),
    "e": Object({"x": Field(INT, optional=True), "y": Field(BOOL)}),
}
ALIKE = [
    ("a < b", "  b>a "),
    ("a <= b", "b >= a"),
    ("a == b", "b == a"),
    ("a + 1 < b", "b > 1 + a"),
    ("e.y", "e['y']"),
    ("t in ['x', 'y']", 't in ["x", "y"]'),
    ("names.exists(n, n == t)", "names.exists(n, t == n)"),
]
UNLIKE = [
    ("a < b", "a > b"),
    ("a < b", "a <= b"),
    ("a - b > 0", "b - a > 0"),
    ("a == 1", "a == 2"),
    ("d == 1", "d == 1.5"),
    ("t == '1'", "t == '2'"),
    ("t.startsWith('a')", "t.endsWith('a')"),
    ("t in ['x', 'y']", "t in ['x', 'z']"),
    ("names.exists(n, n == t)", "names.all(n, n == t)"),
    ("has(e.x) && e.x > 1", "has(e.x) || e.y"),
    ("e.y", "!e.y"),
    ("e.y ? a < b : a > b", "e.y ? a > b : a < b"),
]


def of(text: str) -> object:
    return meaning(compile(text, SCOPE).node)


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_the_same_in_other_words(one: str, other: str) -> None:
    assert of(one) == of(other)
    assert hash(of(one)) == hash(of(other))


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_another_thing_in_like_words(one: str, other: str) -> None:
    assert of(one) != of(other)
