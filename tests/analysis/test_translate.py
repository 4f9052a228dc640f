"""What the solver is told of a condition is what the evaluator says: on the same facts, the same answer."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kiff.analysis.prove.smt import Term, solve
from kiff.analysis.prove.study import says
from kiff.analysis.prove.translate import truth
from kiff.analysis.prove.world import World
from kiff.domain.expr import (
    BOOL,
    DOUBLE,
    INT,
    TIMESTAMP,
    Decimal,
    Expression,
    ExpressionError,
    Field,
    ListOf,
    Object,
    String,
    compile,
)

pytestmark = pytest.mark.slow

USD = Decimal("USD", 2)
SCOPE = {
    "parameters": Object(
        {
            "i": Field(INT),
            "j": Field(INT),
            "x": Field(DOUBLE),
            "s": Field(String(8)),
            "t": Field(String(8)),
            "b": Field(BOOL),
            "amount": Field(USD),
            "tags": Field(ListOf(String(8), 4)),
            "numbers": Field(ListOf(INT, 4)),
            "risk": Field(INT, optional=True),
        }
    ),
    "entity": Object({"total": Field(USD), "kind": Field(String(4, ("a", "bb", "é")))}),
    "now": TIMESTAMP,
}
TEXTS = ("", "a", "ab", "é", "😀")
CONDITIONS = 250


def number(chance: random.Random, depth: int) -> str:
    """A whole number."""
    if depth == 0:
        return chance.choice(["parameters.i", "parameters.j", str(chance.randrange(-9, 10)), "size(parameters.tags)"])
    if chance.random() < 0.15:
        return f"({condition(chance, depth - 1)} ? {number(chance, depth - 1)} : {number(chance, depth - 1)})"
    return f"({number(chance, depth - 1)} {chance.choice('+-*/%')} {number(chance, depth - 1)})"


def amount(chance: random.Random, depth: int) -> str:
    if depth == 0:
        return chance.choice(["parameters.amount", "entity.total"])
    factor = chance.choice(["2", "0.5", "-3", "1.25", "parameters.i"])
    others = (f"{amount(chance, depth - 1)} {chance.choice('+-')} {amount(chance, depth - 1)}",)
    return f"({chance.choice([*others, f'{amount(chance, depth - 1)} * {factor}'])})"


def text(chance: random.Random) -> str:
    return chance.choice(["parameters.s", "parameters.t", "entity.kind", *(f'"{each}"' for each in ("a", "bb", "é"))])


def condition(chance: random.Random, depth: int) -> str:
    compares = chance.choice(["==", "!=", "<", "<=", ">", ">="])
    plain: list[Callable[[], str]] = [
        lambda: f"{number(chance, 1)} {compares} {number(chance, 1)}",
        lambda: f"{amount(chance, 1)} {compares} {amount(chance, 1)}",
        lambda: f"parameters.amount {compares} {chance.randrange(0, 20000) / 100}",
        lambda: (
            f"parameters.x + {chance.randrange(8) / 4} {compares} {chance.choice(['0.5', 'parameters.x * 2.0', '3'])}"
        ),
        lambda: f"{text(chance)} {compares} {text(chance)}",
        lambda: f"{text(chance)} in [{text(chance)}, {text(chance)}]",
        lambda: f"{text(chance)}.{chance.choice(['startsWith', 'endsWith', 'contains'])}({text(chance)})",
        lambda: f"size({text(chance)}) {compares} {chance.randrange(3)}",
        lambda: f"has(parameters.risk) && parameters.risk {compares} {chance.randrange(3)}",
        lambda: f'now {compares} timestamp("2026-05-24T09:53:55Z")',
        lambda: f"parameters.numbers.{chance.choice(['exists', 'all'])}(n, n {compares} 2)",
        lambda: '"a" in parameters.tags',
        lambda: "parameters.b",
    ]
    if depth == 0:
        return chance.choice(plain)()
    joined = f"({condition(chance, depth - 1)}) {chance.choice(['&&', '||'])} ({condition(chance, depth - 1)})"
    return chance.choice([joined, joined, f"!({condition(chance, depth - 1)})"])


def facts(chance: random.Random) -> dict[str, Any]:
    parameters = {
        "i": chance.randrange(-5, 6),
        "j": chance.choice([0, 1, -1, 3, 2**53 - 1]),
        "x": chance.randrange(-8, 9) / 4,
        "s": chance.choice(TEXTS),
        "t": chance.choice(TEXTS),
        "b": chance.random() < 0.5,
        "amount": chance.randrange(0, 20000) / 100,
        "tags": [chance.choice(TEXTS) for _ in range(chance.randrange(3))],
        "numbers": [chance.randrange(5) for _ in range(chance.randrange(3))],
    }
    if chance.random() < 0.5:
        parameters["risk"] = chance.randrange(3)
    entity = {"total": chance.randrange(0, 20000) / 100, "kind": chance.choice(["a", "bb", "é"])}
    return {"parameters": parameters, "entity": entity, "now": 1_779_616_435_000 + chance.randrange(-1, 2)}


def pinned(world: World, env: dict[str, Any]) -> Iterator[Term]:
    """That the world is these facts."""
    for unknown in list(world.read.values()):
        value: Any = env
        for name in unknown.path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            if isinstance(unknown.type, Decimal):
                yield unknown.term == round(value * 100)
            else:
                yield unknown.term == world.literal(value, unknown.type)
    yield world.present(("parameters", "risk")) == ("risk" in env["parameters"])


def sound(source: random.Random) -> Iterator[Expression]:
    while True:
        try:
            yield compile(condition(source, source.randrange(3)), SCOPE)
        except ExpressionError:
            continue


def test_a_condition_is_true_false_or_failed_for_the_solver_as_for_the_evaluator() -> None:
    seed = int(os.environ.get("KIFF_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed: {seed} (KIFF_TEST_SEED repeats it)")
    chance, seen = random.Random(seed), set()
    for _, expression in zip(range(CONDITIONS), sound(chance), strict=False):
        world = World([expression.node])
        said = truth(expression.node, world)
        outcomes = {
            "true": said.true,
            "failed": said.failed,
            "false": world.z3.Not(world.z3.Or(said.true, said.failed)),
        }
        env = facts(chance)
        known = list(pinned(world, env))
        real = says(expression, env)
        seen.add(real)
        assert solve([*known, outcomes[real]], 10).answer == "yes", (expression.text, env, real)
        for other in outcomes.keys() - {real} if not world.vague else ():
            assert solve([*known, outcomes[other]], 10).answer == "no", (expression.text, env, real, other)
    assert seen == {"true", "false", "failed"}


def test_a_wrong_reading_would_be_noticed() -> None:
    """The control: a division that rounds down is told from one that goes towards zero."""
    expression = compile("parameters.i / 2 == -1", SCOPE)
    world = World([expression.node])
    said = truth(expression.node, world)
    env = facts(random.Random(1)) | {"parameters": {"i": -3}}
    assert says(expression, env) == "true"
    term = world.value(("parameters", "i"), INT)
    assert solve([term == -3, said.true]).answer == "yes"
    assert solve([term == -3, term / 2 == -1]).answer == "no"
