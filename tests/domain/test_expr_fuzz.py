"""Any text compiles or is an ExpressionError, any facts have a value or are an EvaluationError."""

from __future__ import annotations

import random
from typing import Any

import pytest
from expr_cases import SCOPE, chance, facts
from test_expr_values import TRUE

from kiff.domain.expr import EvaluationError, Expression, ExpressionError, compile, rendered

pytestmark = pytest.mark.slow

ROUNDS = 3_000
TOKENS = (
    *"()[]{}.,?:!-+*/%<>=&|\"'\\@#~ \n\t",
    *("&&", "||", "==", "!=", "<=", ">=", " in ", "has(", "size(", "timestamp(", "duration(", ".exists(", ".all("),
    *("true", "false", "null", "0", "1", "0.5", "1e9", "0x1F", "9223372036854775807", "1e999", "''", '"a"', "'1h'"),
    *(
        "parameters",
        "entity",
        "now",
        ".amount",
        ".count",
        ".tags",
        ".lines",
        ".risk",
        ".owner",
        ".id",
        "[0]",
        "l",
        "l.n",
    ),
    *(".contains(", ".matches(", "\ud800", "\x00", "é", "😀", "//", "'''", 'r"', "\\u00e9", "{0}", "%s"),
)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**53,
        2**70,
        10**400,
        0.1,
        -0.0,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "a",
        "\ud800",
    ),
    *([], [[]], ["a"], [None], {}, {"n": 1}, [{"n": 1, "price": 0.005}], b"a", (), object(), "2026-05-24T09:53:55Z"),
)


def compiled(text: str) -> Expression | None:
    """The expression; None when it is refused, and the refusal is whole."""
    try:
        return compile(text, SCOPE, None)
    except ExpressionError as error:
        assert error.problems
        for problem in error.problems:
            assert 0 <= problem.start <= problem.end <= len(text)
            assert problem.message
            assert rendered(problem, text).count("\n") == 2
        return None


def mutated(source: random.Random, text: str) -> str:
    for _ in range(source.randrange(1, 4)):
        start = source.randrange(len(text) + 1)
        end = min(len(text), start + source.choice((0, 0, 1, 1, 2, 9)))
        text = text[:start] + source.choice((*TOKENS, "")) + text[end:]
    return text


def test_token_soup_compiles_or_is_refused() -> None:
    source = chance()
    for _ in range(ROUNDS):
        compiled("".join(source.choices(TOKENS, k=source.randrange(1, 12))))


def test_mutated_conditions_compile_or_are_refused_and_evaluate_or_err() -> None:
    source, kept = chance(), 0
    for _ in range(ROUNDS):
        expression = compiled(mutated(source, source.choice(TRUE)))
        kept += expression is not None
        if expression is not None:
            answer(expression, facts())
    assert kept > ROUNDS / 60, "hardly any mutation was still a condition"


def answer(expression: Expression, env: Any) -> Any:
    expression.values(env)
    try:
        return expression(env)
    except EvaluationError as error:
        assert error.message
        return None


def spoiled(source: random.Random) -> Any:
    """Facts of which a few values were replaced, at any depth."""
    env: Any = facts()
    for _ in range(source.randrange(1, 4)):
        holder: Any = env
        while isinstance(holder, (dict, list)) and holder:
            key = source.choice(list(holder)) if isinstance(holder, dict) else source.randrange(len(holder))
            if source.random() < 0.4 or not isinstance(holder[key], (dict, list)) or not holder[key]:
                holder[key] = source.choice(VALUES)
                break
            holder = holder[key]
    return env


def test_facts_of_any_kind_evaluate_or_err() -> None:
    source = chance()
    expressions = [compile(text, SCOPE) for text in TRUE]
    for _ in range(ROUNDS // 10):
        env = spoiled(source)
        for expression in expressions:
            assert answer(expression, env) in (True, False, None)


@pytest.mark.parametrize("env", [*VALUES, {"parameters": object()}], ids=lambda value: type(value).__name__)
def test_facts_that_are_no_facts_evaluate_or_err(env: Any) -> None:
    for text in TRUE:
        assert answer(compile(text, SCOPE), env) in (True, False, None)
