"""Facts that give no answer: an EvaluationError that names the leaf and repeats no value, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from expr_cases import SCOPE, facts

from kiff.domain.expr import EvaluationError, compile

NAN, INF = float("nan"), float("inf")
SECRET = "4929-1234"


def refused(text: str, env: Any) -> EvaluationError:
    with pytest.raises(EvaluationError) as caught:
        compile(text, SCOPE, None)(env)
    return caught.value


def changed(path: str, *value: Any) -> dict[str, Any]:
    """Facts with another value at a path; without a value it is taken away."""
    env: Any = facts()
    *outer, last = path.split(".")
    holder = env
    for name in outer:
        holder = holder[name]
    if value:
        holder[last] = value[0]
    else:
        del holder[last]
    return env  # type: ignore[no-any-return]


WRONG: list[tuple[str, str, Any]] = [
    ("parameters.count > 5", "parameters.count", True),
    ("parameters.count > 5", "parameters.count", 5.5),
    ("parameters.count > 5", "parameters.count", "5"),
    ("parameters.count > 5", "parameters.count", None),
    ("5 < parameters.count + 1", "parameters.count", True),
    ("parameters.count in [1, 7]", "parameters.count", True),
    ("parameters.count in [1, parameters.count]", "parameters.count", 1.0),
    ("parameters.ratio > 5", "parameters.ratio", True),
    ("parameters.ratio <= 5", "parameters.ratio", NAN),
    ("parameters.ratio + 1 > 5", "parameters.ratio", NAN),
    ("parameters.ratio - 1 > 5", "parameters.ratio", INF),
    ("parameters.ratio > parameters.ratio", "parameters.ratio", "5"),
    ("parameters.amount > 50", "parameters.amount", True),
    ("parameters.amount > 50", "parameters.amount", "60"),
    ("!(parameters.amount > 50)", "parameters.amount", NAN),
    ("parameters.amount > entity.total", "parameters.amount", False),
    ("parameters.amount > entity.total", "parameters.amount", NAN),
    ("parameters.amount + 1 > entity.total", "parameters.amount", True),
    ("parameters.amount + 1 > entity.total", "parameters.amount", NAN),
    ("parameters.amount + 1 > entity.total", "parameters.amount", INF),
    ("parameters.amount + 1 > entity.total", "parameters.amount", []),
    ("parameters.amount + 1", "parameters.amount", 0.5 + 2**-40),
    ("parameters.reason == 'a'", "parameters.reason", 5),
    ("parameters.reason.contains('a')", "parameters.reason", ["a"]),
    ("size(parameters.reason) > 1", "parameters.reason", ["a"]),
    ("size(parameters.tags) > 1", "parameters.tags", "new"),
    ("size(parameters.tags) > 1", "parameters.tags", ("new",)),
    ("'new' in parameters.tags", "parameters.tags", "renew"),
    ("'new' in parameters.tags", "parameters.tags", ["new", 5]),
    ("parameters.tags.all(t, t == 'new')", "parameters.tags", [None]),
    ("'new' in parameters.tags", "parameters.tags", ["new"] * 11),
    ("parameters.tags.exists(t, t == 'new')", "parameters.tags", ["new"] * 11),
    ("parameters.lines.all(l, l.n > 0)", "parameters.lines", [{"n": True}]),
    ("parameters.lines.all(l, l.n > 0)", "parameters.lines", [{}]),
    ("parameters.lines.all(l, l.price > 0)", "parameters.lines", [{"n": 1, "price": "1"}]),
    ("parameters.lines[0].n > 0", "parameters.lines", [[1]]),
    ("parameters.lines[0]", "parameters.lines", [{"n": 1, "price": True}]),
    ("parameters.tags", "parameters.tags", ["new", 5]),
    ("entity.vip", "entity.vip", 1),
    ("!entity.vip", "entity.vip", 0),
    ("entity.vip && true", "entity.vip", "true"),
    ("has(entity.owner) && has(entity.owner.age)", "entity.owner", [5]),
    ("now > timestamp(parameters.due)", "now", "2026-05-24T09:53:55Z"),
    ("now > timestamp(parameters.due)", "now", 5.5),
]


@pytest.mark.parametrize(("text", "path", "value"), WRONG)
def test_a_value_of_another_type_names_its_leaf(text: str, path: str, value: Any) -> None:
    assert refused(text, changed(path, value)).path == path


READ = sorted({(text, path) for text, path, _ in WRONG if not text.startswith("has(")})


@pytest.mark.parametrize(("text", "path"), READ)
def test_a_missing_value_names_its_leaf(text: str, path: str) -> None:
    error = refused(text, changed(path))
    assert (error.path, error.message) == (path, f"`{path}` is missing")


NO_RESULT = [
    ("1 / 0 == 1", "division by zero"),
    ("parameters.count % (parameters.count - 7) == 1", "division by zero"),
    ("1.0 / 0.0 == 1.0", "division by zero"),
    ("9223372036854775807 + parameters.count > 0", "a result is out of range"),
    ("-9223372036854775808 - parameters.count > 0", "a result is out of range"),
    ("-(-9223372036854775808) > 0", "a result is out of range"),
    ("-9223372036854775808 / -1 > 0", "a result is out of range"),
    ("-9223372036854775808 % -1 == 0", "a result is out of range"),
    ("9223372036854775807 * 2 > 0", "a result is out of range"),
    ("1e308 * 10.0 > 0.0", "a result is out of range"),
    ("1e308 * 10.0 - 1e308 * 10.0 == 0.0", "a result is out of range"),
    ("timestamp('9999-12-31T23:59:59Z') + duration('1s') > now", "a result is out of range"),
    ("timestamp('0001-01-01T00:00:00Z') - duration('1ms') > now", "a result is out of range"),
    ("timestamp('9999-12-31T23:59:59Z') - now > duration('1s')", "a result is out of range"),
    ("timestamp(parameters.reason) > now", "a text is no RFC 3339 time with a zone"),
    ("parameters.tags[2] == 'a'", "an index is outside of its list"),
    ("parameters.tags[-1] == 'a'", "an index is outside of its list"),
    ("parameters.lines[9].n == 1", "an index is outside of its list"),
    ("9007199254740992", "the result is too large for an exact JSON number"),
    ("1e300", "the result is too large for an exact JSON number"),
]


@pytest.mark.parametrize(("text", "message"), NO_RESULT)
def test_what_has_no_result_is_an_error(text: str, message: str) -> None:
    assert refused(text, facts()).message == message


ERRING = [
    "1 / 0 == 1 || true",
    "1 / 0 == 1 && false",
    "parameters.lines.exists(l, 1 / (l.n - 1) == 1)",
    "parameters.lines.all(l, 1 / (l.n - 1) == 5)",
    "parameters.count in [parameters.count, 1 / 0]",
]


@pytest.mark.parametrize("text", ERRING)
def test_an_error_is_never_swallowed_by_what_stands_beside_it(text: str) -> None:
    assert refused(text, facts()).message == "division by zero"


@pytest.mark.parametrize("amount", [10.0**15 + 0.5, 2.0**53 / 10, 1e300, -1e300])
def test_an_amount_too_large_to_be_exact_is_an_error_where_it_is_added(amount: float) -> None:
    assert refused("parameters.amount - 1", changed("parameters.amount", amount)).path == "parameters.amount"


ENVIRONMENTS: list[Any] = [
    {},
    None,
    5,
    "parameters",
    [],
    {"parameters": None},
    {"parameters": []},
    {"parameters": "amount"},
]


@pytest.mark.parametrize("env", ENVIRONMENTS)
@pytest.mark.parametrize("text", ["parameters.amount > 50", "has(parameters.amount)", "parameters.lines.all(l, true)"])
def test_facts_of_any_shape_are_an_error_and_not_a_crash(text: str, env: Any) -> None:
    refused(text, env)


class Hostile(dict[str, Any]):
    """Facts that fail whenever they are touched."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(SECRET)


def test_facts_that_fail_when_they_are_read_are_an_error_too() -> None:
    error = refused("parameters.count > 5", Hostile())
    assert error.__cause__ is None
    assert SECRET not in str(error)


@pytest.mark.parametrize("text", sorted({text for text, _, _ in WRONG}))
def test_no_message_repeats_a_value(text: str) -> None:
    env = facts()
    env["parameters"] = dict.fromkeys(env["parameters"], SECRET)
    env["entity"] = dict.fromkeys(env["entity"], SECRET)
    env["now"] = SECRET
    try:
        compile(text, SCOPE, None)(env)
    except EvaluationError as error:
        assert SECRET not in f"{error!r} {error} {error.message} {error.path} {error.__cause__}"


def test_an_optional_field_that_is_missing_is_not_blamed() -> None:
    error = refused("has(entity.risk) ? entity.risk > 5 : parameters.count > 5", changed("parameters.count"))
    assert error.path == "parameters.count"
