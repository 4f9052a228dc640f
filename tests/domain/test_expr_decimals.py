"""Money is exact: every way of comparing and adding amounts says what decimal.Decimal says."""

from __future__ import annotations

import operator
import os
import random
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

import pytest
from expr_cases import chance

from kiff.domain.expr import Decimal as Amount
from kiff.domain.expr import EvaluationError, Field, ListOf, Object, closures, compile

pytestmark = pytest.mark.slow

ROUNDS = 20_000 if os.environ.get("KIFF_SOAK") == "1" else 600
DIGITS = {"JPY": 0, "USD": 2, "KWD": 3, "CLF": 4}
OPS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EXACT = Context(prec=60)


@pytest.fixture(params=["doubles", "integers"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are compared in doubles where those hold them, else in integers: tests run with and without the first."""
    if request.param == "integers":
        monkeypatch.setattr(closures, "_linear", lambda op, terms, exact: exact)


def scope(unit: str) -> dict[str, Any]:
    amount = Field(Amount(unit, DIGITS[unit]))
    return {"p": Object({"a": amount, "b": amount, "c": amount, "list": Field(ListOf(amount.type, 3))})}


def amount(chance: random.Random, digits: int) -> Decimal:
    """Small and large ones, of at most 15 significant digits, often next to one another."""
    units = chance.choice((0, 1, 5, 4999, 5000, 5001, 10**15 - 1, 10**15 - 2, 10 ** chance.randrange(15)))
    return Decimal(chance.choice((-1, 1)) * (units + chance.randrange(-1, 2)) % 10**15).scaleb(-digits, EXACT)


def json(value: Decimal) -> int | float:
    """What `kiff.canonical` makes of a number with this text."""
    return int(value) if value == int(value) else float(value)


def agree(text: str, unit: str, wanted: bool, **values: Any) -> None:
    condition = compile(text, scope(unit))
    assert condition({"p": values}) is wanted, (text, values)


def cases(chance: random.Random) -> tuple[str, str, Decimal, Decimal, Decimal]:
    unit, op = chance.choice(list(DIGITS)), chance.choice(list(OPS))
    a, b, c = (amount(chance, DIGITS[unit]) for _ in range(3))
    return unit, op, a, chance.choice((a, b)), c


def test_a_leaf_is_beside_a_literal_what_decimals_are() -> None:
    source = chance()
    for _ in range(ROUNDS):
        unit, op, a, b, _ = cases(source)
        agree(f"p.a {op} {b:f}", unit, OPS[op](a, b), a=json(a))


def test_leaves_are_beside_leaves_what_decimals_are() -> None:
    source = chance()
    for _ in range(ROUNDS):
        unit, op, a, b, _ = cases(source)
        agree(f"p.a {op} p.b", unit, OPS[op](a, b), a=json(a), b=json(b))


@pytest.mark.usefixtures("both")
def test_sums_are_what_decimals_are() -> None:
    source = chance()
    for _ in range(ROUNDS):
        unit, op, a, b, c = cases(source)
        plus, total = source.choice((("+", EXACT.add(b, c)), ("-", EXACT.subtract(b, c))))
        a = source.choice((a, total))
        if abs(a.scaleb(DIGITS[unit])) < 10**15:
            agree(f"p.a {op} p.b {plus} p.c", unit, OPS[op](a, total), a=json(a), b=json(b), c=json(c))


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("factor", ["0.5", "0.015", "3", "-0.1", "1e2", "0.000001"])
def test_products_are_what_decimals_are(factor: str) -> None:
    source = chance()
    for _ in range(ROUNDS // 2):
        unit, op, a, b, _ = cases(source)
        wanted = OPS[op](a, EXACT.multiply(b, Decimal(factor)))
        agree(f"p.a {op} {factor} * p.b", unit, wanted, a=json(a), b=json(b))


def test_what_is_given_back_is_the_nearest_number_of_the_exact_result() -> None:
    source = chance()
    for _ in range(ROUNDS):
        unit, _, a, b, c = cases(source)
        total = EXACT.add(EXACT.subtract(a, b), c)
        if abs(total.scaleb(DIGITS[unit])) < 10**15:
            given = compile("p.a - p.b + p.c", scope(unit), None)({"p": {"a": json(a), "b": json(b), "c": json(c)}})
            assert (type(given), given) == (type(json(total)), json(total))


def test_membership_is_what_decimals_say() -> None:
    source = chance()
    for _ in range(ROUNDS // 2):
        unit, _, a, b, c = cases(source)
        agree(f"p.a in [{b:f}, {c:f}]", unit, a in (b, c), a=json(a))
        agree("p.a in p.list", unit, a in (b, c), a=json(a), list=[json(b), json(c)])


@pytest.mark.usefixtures("both")
def test_whole_amounts_are_exact_up_to_the_largest_json_integer() -> None:
    large = 2**53 - 1
    agree("p.a - p.b == 0.01", "USD", False, a=large, b=large)
    agree("p.a - p.b < 0.01", "USD", True, a=large, b=large)
    agree("p.a + p.a > p.b + p.b + 1.99", "USD", True, a=large, b=large - 1)


@pytest.mark.usefixtures("both")
def test_numbers_that_are_no_amounts_are_refused_where_they_are_added() -> None:
    source = chance()
    for _ in range(ROUNDS // 2):
        noise = source.uniform(-1e6, 1e6)
        if round(noise, 2) != noise:
            with pytest.raises(EvaluationError):
                compile("p.a + 1 > 50", scope("USD"))({"p": {"a": noise}})


PLANTED: dict[str, Callable[..., Any]] = {
    "_scaled": lambda value, scale: value * scale,
    "_linear": lambda op, terms, exact: lambda env: sums_of_doubles(op, terms, env),
}


def sums_of_doubles(op: str, terms: list[Any], env: Any) -> bool:
    return OPS[op](sum(factor * env["p"][leaf.path[1]] for leaf, factor in terms), 0)


@pytest.mark.parametrize("name", PLANTED)
def test_control_adding_as_doubles_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closures, "_linear", lambda op, terms, exact: exact)
    monkeypatch.setattr(closures, name, PLANTED[name])
    with pytest.raises(AssertionError):
        test_sums_are_what_decimals_are()
