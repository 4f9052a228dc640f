"""The condition language beside CEL itself: the same text, the same facts, the same answer.

The oracle is the C++ implementation. What may differ is listed, and nothing else may:

- an error is an error: CEL lets `true || x` and `false && x` swallow an error of x on either side, exists() and all()
  too, and goes on where a double became infinite;
- an integer and a double are compared exactly, CEL rounds integers beyond 2^53 (none are generated).

Amounts have no counterpart in CEL: it gets the scaled integers that our sentences stand for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from cel_expr_python import cel
from expr_cases import chance

from kiff.domain.expr import (
    BOOL,
    DOUBLE,
    INT,
    TIMESTAMP,
    Decimal,
    EvaluationError,
    Field,
    ListOf,
    Object,
    String,
    closures,
    compile,
)

ENVIRONMENTS = 16
SLICE, LONG = 6_000, 100_000
USD = Decimal("USD", 2)
ITEM = Object({"n": Field(INT), "price": Field(USD), "note": Field(String(8), optional=True)})
SCOPE = {
    "parameters": Object(
        {
            "i": Field(INT),
            "j": Field(INT),
            "x": Field(DOUBLE),
            "y": Field(DOUBLE),
            "s": Field(String(8)),
            "t": Field(String(8)),
            "b": Field(BOOL),
            "amount": Field(USD),
            "when": Field(String(40)),
            "tags": Field(ListOf(String(8), 4)),
            "numbers": Field(ListOf(INT, 4)),
            "items": Field(ListOf(ITEM, 3)),
        }
    ),
    "entity": Object(
        {
            "total": Field(USD),
            "risk": Field(INT, optional=True),
            "deep": Field(Object({"k": Field(INT), "c": Field(BOOL)})),
        }
    ),
    "schedule": Object({"office": Field(BOOL)}),
    "now": TIMESTAMP,
}
TEXTS = ("", "a", "ab", "b", "é", "😀", "a\nb", "A")
SPELLED = {"": '""', "a": '"a"', "ab": "'ab'", "b": '"\\x62"', "é": '"\\u00e9"', "😀": '"\\U0001F600"'}
SPELLED |= {"a\nb": '"""a\nb"""', "A": '"\\101"'}
TIMES = ("2026-05-24T09:53:55Z", "2026-05-24T12:00:00.5+02:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "soon")
DURATIONS = ("0s", "1h", "1h30m", "-1.5h", "250ms", "876000h")


class Side(NamedTuple):
    """One expression as we write it and as CEL is asked, and how tightly its outermost operator binds."""

    ours: str
    cel: str
    binds: int
    digits: int = 0  # of an amount


TERNARY, OR, AND, RELATION, SUM, PRODUCT, UNARY, ATOM = range(8)


class Sentences:
    """Random well-typed expressions. Brackets stand where the precedence asks for them, and rarely elsewhere."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.each = 0  # how many quantifiers are around

    def of(self, kind: str, depth: int) -> Side:
        leaves, nodes = getattr(self, f"{kind}_leaf"), getattr(self, f"{kind}_node")
        if depth <= 0 or self.chance.random() < 0.15:
            return leaves()
        if self.chance.random() < 0.08:
            return self.choice_of(kind, depth)
        return nodes(depth - 1)

    def choice_of(self, kind: str, depth: int) -> Side:
        test, then, other = self.of("bool", depth - 1), self.of(kind, depth - 1), self.of(kind, depth - 1)
        then, other = self.at_scale(then, other), self.at_scale(other, then)
        test, then = self.within(test, OR), self.within(then, OR)
        joined = (f"{a} ? {b} : {c}" for a, b, c in zip(test[:2], then[:2], other[:2], strict=True))
        return Side(*joined, TERNARY, then.digits)

    def within(self, side: Side, level: int) -> Side:
        """The side where something of `level` is expected."""
        if side.binds >= level and self.chance.random() > 0.05:
            return side
        return Side(f"({side.ours})", f"({side.cel})", ATOM, side.digits)

    def at_scale(self, side: Side, other: Side) -> Side:
        """What we do by ourselves when two amounts have different digits, CEL is told."""
        gain = other.digits - side.digits
        if gain <= 0:
            return side
        return Side(self.within(side, ATOM).ours, f"({side.cel}) * {10**gain}", PRODUCT, other.digits)

    def joined(self, op: str, left: Side, right: Side, level: int) -> Side:
        """Two sides and an operator that is left-associative."""
        left, right = self.at_scale(left, right), self.at_scale(right, left)
        left, right = self.within(left, level), self.within(right, level + 1)
        space = self.chance.choice((" ", " ", "\n"))
        ours, theirs = (f"{a}{space}{op} {b}" for a, b in zip(left[:2], right[:2], strict=True))
        return Side(ours, theirs, level, left.digits if level >= SUM else 0)

    def atom(self, text: str) -> Side:
        return Side(text, text, ATOM)

    def call(self, shape: str, *sides: Side, binds: int = ATOM) -> Side:
        return Side(shape.format(*(s.ours for s in sides)), shape.format(*(s.cel for s in sides)), binds)

    # bool

    def bool_leaf(self) -> Side:
        deep = 'entity["deep"].c'
        return self.atom(
            self.chance.choice(("true", "false", "parameters.b", "schedule.office", deep, "has(entity.risk)"))
        )

    def bool_node(self, depth: int) -> Side:
        weighted = (*(self.logic,) * 4, *(self.relation,) * 5, self.negation, self.membership, self.text_call)
        return self.chance.choice((*weighted, self.quantifier, self.guarded))(depth)

    def logic(self, depth: int) -> Side:
        op, level = self.chance.choice((("&&", AND), ("||", OR)))
        return self.joined(op, self.of("bool", depth), self.of("bool", depth), level)

    def negation(self, depth: int) -> Side:
        return self.call("!{}", self.within(self.of("bool", depth), UNARY), binds=UNARY)

    def relation(self, depth: int) -> Side:
        kinds = ("int", "double", "string", "amount", "time", "length", "bool")
        kind = self.chance.choice((*kinds, "int", "amount", "mixed"))
        ops = ("==", "!=") if kind == "bool" else ("==", "!=", "<", "<=", ">", ">=")
        left, right = (("int", "double"), ("double", "int"))[depth % 2] if kind == "mixed" else (kind, kind)
        return self.joined(self.chance.choice(ops), self.of(left, depth), self.of(right, depth), RELATION)

    def membership(self, depth: int) -> Side:
        kind, items = self.chance.choice((("string", "parameters.tags"), ("int", "parameters.numbers")))
        if self.chance.random() < 0.5:
            return self.joined("in", self.of(kind, depth), self.atom(items), RELATION)
        options = [self.of(kind, depth - 1) for _ in range(self.chance.randrange(4))]
        return self.joined(
            "in", self.of(kind, depth), self.call(f"[{', '.join('{}' for _ in options)}]", *options), RELATION
        )

    def text_call(self, depth: int) -> Side:
        name = self.chance.choice(("startsWith", "endsWith", "contains"))
        return self.call(f"{{}}.{name}({{}})", self.within(self.of("string", depth), ATOM), self.of("string", depth))

    def quantifier(self, depth: int) -> Side:
        kind, item = self.chance.choice(("exists", "all")), f"e{self.each}"
        self.each += 1
        source, conditions = self.chance.choice(
            (
                ("numbers", (f"{item} > {self.chance.randrange(-2, 3)}",)),
                ("tags", (f'{item} == "ab"', f'{item}.contains("a")')),
                (
                    "items",
                    (f"{item}.n % 2 == 0", f'has({item}.note) && {item}.note == "a"', f"{item}.n == parameters.i"),
                ),
            )
        )
        condition = self.chance.choice(conditions)
        side = self.joined(self.chance.choice(("&&", "||")), self.atom(condition), self.of("bool", depth - 1), OR)
        self.each -= 1
        return self.call(f"parameters.{source}.{kind}({item}, {{}})", side)

    def guarded(self, depth: int) -> Side:
        compared = self.joined(">", self.atom("entity.risk"), self.of("int", depth), RELATION)
        shapes = ("has(entity.risk) && {}", "!has(entity.risk) || {}")
        shape, level = self.chance.choice(((shapes[0], AND), (shapes[1], OR)))
        return self.call(shape, self.within(compared, RELATION), binds=level)

    # int

    def int_leaf(self) -> Side:
        literal = str(self.chance.choice((0, 1, 2, 3, 7, -1, -4, 10, 2**31, "0x1F", 2**53, 2**63 - 1, -(2**63))))
        read = ("parameters.i", "parameters.j", 'parameters["i"]', "entity.deep.k", "parameters.items[0].n")
        return self.chance.choice((self.atom(self.chance.choice(read)), Side(literal, literal, UNARY)))

    def int_node(self, depth: int) -> Side:
        shape = self.chance.randrange(6)
        if shape == 0:
            return self.call("size({})", self.of("string", depth))
        if shape == 1:
            return self.call("-{}", self.within(self.of("int", depth), ATOM), binds=UNARY)
        if shape == 2:
            return self.call("parameters.numbers[{}]", self.of("int", depth - 2))
        return self.arithmetic("int", depth, "+-*/%")

    def arithmetic(self, kind: str, depth: int, ops: str) -> Side:
        op = self.chance.choice(ops)
        return self.joined(op, self.of(kind, depth), self.of(kind, depth), SUM if op in "+-" else PRODUCT)

    # double

    def double_leaf(self) -> Side:
        literal = self.chance.choice(("0.0", "0.5", "2.0", "1e3", ".25", "-1.5", "1E-3", "1e300"))
        return self.chance.choice((Side(literal, literal, UNARY), self.atom("parameters.x"), self.atom("parameters.y")))

    def double_node(self, depth: int) -> Side:
        if self.chance.random() < 0.2:
            return self.call("-{}", self.within(self.of("double", depth), ATOM), binds=UNARY)
        return self.arithmetic("double", depth, "+-*/")

    # string

    def string_leaf(self) -> Side:
        literals = [self.atom(SPELLED[text]) for text in TEXTS]
        read = [self.atom(f"parameters.{name}") for name in ("s", "t", "tags[0]", "tags[1]")]
        return self.chance.choice(self.chance.choice((literals, read)))

    def string_node(self, depth: int) -> Side:
        return self.string_leaf() if depth <= 0 else self.choice_of("string", depth)

    # times

    def time_leaf(self) -> Side:
        written = self.atom(f'timestamp("{self.chance.choice(TIMES[:-1])}")')
        return self.chance.choice((self.atom("now"), self.atom("timestamp(parameters.when)"), written))

    def time_node(self, depth: int) -> Side:
        return self.joined(self.chance.choice("+-"), self.of("time", depth), self.of("length", depth), SUM)

    def length_leaf(self) -> Side:
        return self.atom(f'duration("{self.chance.choice(DURATIONS)}")')

    def length_node(self, depth: int) -> Side:
        kind = self.chance.choice(("time", "length"))
        op = "-" if kind == "time" else self.chance.choice("+-")
        return self.joined(op, self.of(kind, depth), self.of(kind, depth), SUM)

    # amounts

    def amount_leaf(self) -> Side:
        read = self.chance.choice(("parameters.amount", "entity.total", "parameters.items[0].price"))
        return Side(read, read, ATOM, 2)

    def amount_node(self, depth: int) -> Side:
        shape = self.chance.randrange(5)
        if shape == 0:
            side = self.within(self.of("amount", depth), ATOM)
            return Side(f"-{side.ours}", f"-{side.cel}", UNARY, side.digits)
        if shape == 1:
            return self.times(self.within(self.of("amount", depth), PRODUCT))
        if shape == 2:
            return self.beside_literal(self.of("amount", depth))
        return self.arithmetic("amount", depth, "+-")

    def times(self, side: Side) -> Side:
        factor, scaled, digits = self.chance.choice((("2", 2, 0), ("0.5", 5, 1), ("0.015", 15, 3), ("-1", -1, 0)))
        if side.digits + digits > 6:
            return side
        return Side(f"{side.ours} * {factor}", f"{side.cel} * {scaled}", PRODUCT, side.digits + digits)

    def beside_literal(self, side: Side) -> Side:
        op, cents = self.chance.choice("+-"), self.chance.randrange(0, 10_000, self.chance.choice((1, 50, 100)))
        side = self.within(side, SUM)
        scaled = cents * 10 ** (side.digits - 2)
        return Side(f"{side.ours} {op} {cents / 100:.2f}", f"{side.cel} {op} {scaled}", SUM, side.digits)


def facts(chance: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """One environment, for us and for CEL: there amounts are scaled, doubles always float, and now is a time."""
    cents = lambda: chance.choice((0, 1, 4999, 5000, chance.randrange(-10_000, 1_000_000)))  # noqa: E731
    number = lambda: chance.choice((0, 1, -1, 2, 7, chance.randrange(-50, 50), 2**53 - 1))  # noqa: E731
    real = lambda: chance.choice((0.0, 0.5, -2.0, 7.0, chance.uniform(-9, 9)))  # noqa: E731
    text = lambda: chance.choice(TEXTS)  # noqa: E731
    at = chance.choice((1_779_616_435_011, 0, -1, 253_402_300_799_999))
    theirs: dict[str, Any] = {
        "parameters": {
            "i": number(),
            "j": number(),
            "x": real(),
            "y": real(),
            "s": text(),
            "t": text(),
            "amount": cents(),
            "b": chance.random() < 0.5,
            "when": chance.choice(TIMES),
            "tags": [text() for _ in range(chance.randrange(4))],
            "numbers": [number() for _ in range(chance.randrange(4))],
            "items": [
                {"n": number(), "price": cents()} | ({"note": text()} if chance.random() < 0.5 else {})
                for _ in range(chance.randrange(3))
            ],
        },
        "entity": {"total": cents(), "deep": {"k": number(), "c": chance.random() < 0.5}},
        "schedule": {"office": chance.random() < 0.5},
        "now": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at),
    }
    if chance.random() < 0.5:
        theirs["entity"]["risk"] = number()
    return _ours(theirs) | {"now": at}, theirs


def _ours(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _ours(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_ours(inner) for inner in value]
    if name in ("amount", "total", "price"):
        value = value / 100
    return int(value) if isinstance(value, float) and value.is_integer() else value


def oracle() -> Any:
    fields = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    names = {name: cel.Type.TIMESTAMP if name == "now" else fields for name in SCOPE}
    return cel.NewEnv(variables=names)


ERROR = "an error"


def answer_of_cel(asked: Any, activation: Any) -> Any:
    found = asked.eval(activation)
    return ERROR if found.type() == cel.Type.ERROR else found.plain_value()


def answer_of_ours(expression: Any, env: dict[str, Any]) -> Any:
    try:
        return expression(env)
    except EvaluationError:
        return ERROR


def absorbs(text: str) -> bool:
    """Whether CEL may have an answer where we have an error: documented above."""
    return any(word in text for word in ("&&", "||", ".exists(", ".all(")) or "1e300" in text or "/" in text


class Disagreement(NamedTuple):
    ours: str
    cel: str
    env: dict[str, Any]
    answers: tuple[Any, Any]


def disagreements(chance: random.Random, evaluations: int) -> Iterator[Disagreement]:
    env = oracle()
    both = [facts(chance) for _ in range(ENVIRONMENTS)]
    activations = [(ours, env.Activation(theirs)) for ours, theirs in both]
    done = errors = absorbed = 0
    while done < evaluations:
        side = Sentences(chance).of("bool", chance.randrange(1, 5))
        expression = compile(side.ours, SCOPE)
        asked = env.compile(side.cel, disable_check=True)
        for facts_, activation in activations:
            answers = answer_of_ours(expression, facts_), answer_of_cel(asked, activation)
            done += 1
            errors += answers[0] is ERROR
            if answers[0] == answers[1] and type(answers[0]) is type(answers[1]):
                continue
            if answers[0] is ERROR and absorbs(side.cel):
                absorbed += 1
                continue
            yield Disagreement(side.ours, side.cel, facts_, answers)
    print(f"{done} evaluations, {errors} errors, {absorbed} of them absorbed by CEL")
    assert errors < done / 3, "too many errors: little was compared"


@pytest.fixture(name="chance")
def _chance() -> random.Random:
    return chance()


def test_a_slice_of_random_conditions_means_what_it_means_in_cel(chance: random.Random) -> None:
    assert next(disagreements(chance, SLICE), None) is None


@pytest.mark.slow
def test_a_hundred_thousand_evaluations_mean_what_they_mean_in_cel(chance: random.Random) -> None:
    assert next(disagreements(chance, LONG), None) is None


PLANTED = {
    "_quotient": lambda x, y: x // y,
    "_remainder": lambda x, y: x % y,
}


@pytest.mark.parametrize("name", PLANTED)
def test_control_a_planted_bug_is_found(name: str, chance: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closures, name, PLANTED[name])
    assert next(disagreements(chance, LONG), None)
