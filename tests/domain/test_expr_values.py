"""What each construct means, and what a condition gives back."""

from __future__ import annotations

from typing import Any

import pytest
from expr_cases import SCOPE, USD, facts

from kiff.domain.expr import (
    DOUBLE,
    INT,
    STRING,
    Decimal,
    Field,
    ListOf,
    Object,
    Type,
    compile,
)
from kiff.domain.expr.node import Binary, Leaf, Literal, Scale, walk


def value(text: str, expected: Type | None = None) -> Any:
    return compile(text, SCOPE, expected)(facts())


def presence(**entity: Any) -> dict[str, Any]:
    env = facts()
    env["entity"] |= entity
    return env


TRUE = [
    # literals
    r'"a\x62\143\u00e9\U0001F600" == "abcé😀"',
    r"""'it\'s' == "it's" """,
    r'"\a\b\f\n\r\t\v\\\?\"\`" == """\a\b\f\n\r\t\v\\\?"\`"""',
    r"r'\d' == '\\d' && R'''a''' == 'a'",
    "'''a\nb''' == 'a\\nb'",
    "0x1F == 31 && -0x10 == -16",
    ".5 == 0.5 && 1e3 == 1000.0 && 1E-1 == 0.1",
    "-9223372036854775808 < -9223372036854775807",
    "true // and a comment",
    # precedence
    "1 + 2 * 3 == 7 && (1 + 2) * 3 == 9",
    "10 - 4 - 3 == 3 && 100 / 10 / 5 == 2",
    "true || false && false",
    "!false && !(true && false)",
    "false ? false : true ? true : false",
    "1 < 2 == true",
    "-2 * -3 == 6 && - -2 == 2 && !!true",
    # numbers
    "7 / 2 == 3 && -7 / 2 == -3 && 7 / -2 == -3",
    "7 % 4 == 3 && -7 % 4 == -3 && 7 % -4 == 3",
    "7.0 / 2.0 == 3.5",
    "parameters.ratio * 2 == 5.0 && parameters.ratio + 1 == 3.5",
    "parameters.ratio == 2.5 && parameters.ratio > 2 && 2 < parameters.ratio",
    "parameters.count > parameters.ratio && parameters.count == 7.0",
    "9007199254740993 > 9007199254740992.0",
    # texts
    "parameters.reason.startsWith('it') && parameters.reason.endsWith('ke') && parameters.reason.contains(' ')",
    "'a' < 'b' && 'B' < 'a' && 'z' < 'é' && '' < 'a'",
    "size('né😀') == 3 && size(parameters.tags) == 2",
    "entity.currency == 'USD' && 'EUR' != entity.currency && entity.currency in ['USD', 'EUR']",
    # lists and objects
    "'new' in parameters.tags && !('old' in parameters.tags)",
    "parameters.count in [1, 7] && !(parameters.count in []) && 7.0 in [parameters.count]",
    "parameters.tags[1] == 'gift' && parameters.tags[size(parameters.tags) - 1] == 'gift'",
    "parameters['count'] == 7 && parameters['tags'][0] == 'new' && parameters.lines[1]['n'] == 2",
    "parameters.lines.exists(l, l.n == 2) && !parameters.lines.exists(l, l.n == 3)",
    "parameters.lines.all(l, l.n > 0) && !parameters.lines.all(l, l.n > 1)",
    "parameters.tags.all(t, size(t) > 2)",
    "parameters.lines.exists(a, parameters.lines.exists(b, a.n > b.n && parameters.count == 7))",
    "(entity.vip ? parameters.lines[0] : parameters.lines[1]).n == 1",
    "(entity.vip ? parameters.tags : parameters.tags)[0] == 'new' && size(entity.vip ? 'a' : 'bc') == 1",
    # presence
    "has(parameters.count) && !has(entity.risk) && has(parameters['count'])",
    "!has(entity.risk) || entity.risk > 5",
    "has(entity.risk) ? entity.risk > 5 : true",
    "!(has(entity.risk) && entity.vip) || entity.risk > 5",
    "!has(entity.owner) || (has(entity.owner.age) && entity.owner.age > 5)",
    "has(parameters.lines[0].note) && parameters.lines[0].note == 'red'",
    "parameters.lines.exists(l, has(l.note) && l.note == 'red') && parameters.lines.exists(l, !has(l.note))",
    "has(parameters.extra.any) && !has(parameters.extra.other)",
    # times
    "now == timestamp('2026-05-24T09:53:55.011Z') && timestamp(parameters.due) < now",
    "timestamp('2026-05-24T12:00:00+02:00') == timestamp('2026-05-24T10:00:00Z')",
    "timestamp('2026-05-24T09:53:55.0119999Z') == now",
    "now - timestamp(parameters.due) == duration('11ms') && now - now == duration('0s')",
    "now + duration('1h30m') == duration('90m') + now && now - duration('1.5h') < now",
    "duration('-1h') < duration('1ms') && duration('1h') - duration('60m') == duration('0s')",
    "-duration('1h') == duration('-1h')",
    # amounts
    "parameters.amount <= 50 && parameters.amount > 49.98 && 49.99 == parameters.amount && parameters.amount != 49.9",
    "entity.total - parameters.amount == 50.01 && parameters.amount + 50.01 == entity.total",
    "parameters.amount + parameters.lines[1].price + 0.2 == 50.29",
    "entity.total * 0.015 == 1.5 && parameters.amount * 0.5 == 24.995 && 3 * parameters.amount == 149.97",
    "parameters.amount * 0.5 < entity.total * 0.25 && entity.total * parameters.count == 700",
    "-parameters.amount == -49.99",
    "parameters.amount in [49.99, 50] && !(parameters.amount in [49.9])",
    "(entity.vip ? parameters.amount : entity.total) < 50",
    "parameters.lines.all(l, l.price <= entity.total) && parameters.lines.exists(l, l.price == 0.10)",
]


@pytest.mark.parametrize("text", TRUE)
def test_what_is_true(text: str) -> None:
    assert value(text) is True


GIVEN: list[tuple[str, Type, Any]] = [
    ("parameters.count + 1", INT, 8),
    ("parameters.ratio * 2", DOUBLE, 5),
    ("parameters.count", DOUBLE, 7),
    ("0.0 * -1.0", DOUBLE, 0),
    ("entity.currency", STRING, "USD"),
    ("parameters.amount + entity.total", USD, 149.99),
    ("entity.total - 50", USD, 50),
    ("parameters.amount * 3", USD, 149.97),
    ("0.10", USD, 0.1),
    ("-5", USD, -5),
    ("parameters.amount * 0.5", Decimal("USD", 3), 24.995),
    ("parameters.tags", ListOf(STRING), ["new", "gift"]),
    ("parameters.lines[1]", Object({"n": Field(INT), "price": Field(USD)}), {"n": 2, "price": 0.1}),
]


@pytest.mark.parametrize(("text", "expected", "wanted"), GIVEN)
def test_a_value_is_given_back_as_plain_json(text: str, expected: Type, wanted: Any) -> None:
    given = value(text, expected)
    assert (type(given), repr(given)) == (type(wanted), repr(wanted))


@pytest.mark.parametrize("risk", [5, 6])
def test_an_optional_field_is_read_once_it_is_there(risk: int) -> None:
    condition = compile("has(entity.risk) && entity.risk > 5", SCOPE)
    assert condition(presence(risk=risk)) is (risk > 5)


def test_what_an_or_leaves_open_is_known_on_its_other_side() -> None:
    condition = compile("!has(entity.risk) || !has(entity.owner) || entity.risk > size(entity.owner.id)", SCOPE)
    assert condition(presence(risk=3, owner={"id": "ab"})) is True
    assert condition(presence(risk=3)) is True


def test_the_second_side_is_not_looked_at_when_the_first_decides() -> None:
    assert value("false && 1 / 0 == 1") is False
    assert value("true || 1 / 0 == 1") is True
    assert value("true ? true : 1 / 0 == 1") is True


READS = "entity.total > 50 && (has(entity.risk) || parameters.lines.exists(l, l.n > parameters.count)) && now == now"


def test_reads_are_the_leaves_in_order_of_appearance_without_variables() -> None:
    expected = ("entity.total", "entity.risk", "parameters.lines", "parameters.count", "now")
    assert compile(READS, SCOPE).reads == expected


def test_values_are_those_of_the_reads_that_are_there() -> None:
    env = facts()
    assert compile(READS, SCOPE).values(env) == {
        "entity.total": 100,
        "parameters.lines": env["parameters"]["lines"],
        "parameters.count": 7,
        "now": env["now"],
    }


@pytest.mark.parametrize("env", [{}, {"entity": None}, {"entity": {}}, {"entity": {"total": 1}, "parameters": 5}])
def test_values_of_facts_that_are_not_there_are_left_out(env: dict[str, Any]) -> None:
    found = compile(READS, SCOPE).values(env)
    assert found == ({"entity.total": 1} if "parameters" in env else {})


SECRET: dict[str, Type] = {
    "parameters": Object(
        {
            "iban": Field(STRING, sensitive=True),
            "person": Field(Object({"name": Field(STRING)}), sensitive=True),
            "people": Field(ListOf(Object({"n": Field(INT), "name": Field(STRING, sensitive=True)}), 5)),
            "n": Field(INT),
        }
    )
}


@pytest.mark.parametrize(
    "text",
    [
        "parameters.iban == 'a'",
        "parameters.person.name == 'a'",
        "parameters.people.exists(p, p.n == 1)",
        "parameters.people[0].n == 1",
        "has(parameters.iban)",
    ],
)
def test_values_leave_out_what_is_sensitive_or_holds_something_that_is(text: str) -> None:
    env = {"parameters": {"iban": "a", "person": {"name": "a"}, "people": [{"n": 1, "name": "a"}], "n": 1}}
    condition = compile(f"{text} && parameters.n == 1", SECRET)
    assert condition(env) is True
    assert condition.values(env) == {"parameters.n": 1}


def test_cost_counts_nodes_texts_and_items_at_worst() -> None:
    assert compile("parameters.count > 5", SCOPE).cost == 3
    assert compile("parameters.reason.contains('a')", SCOPE).cost == 3 + 500 // 10
    assert compile("parameters.lines.all(l, l.n > 5)", SCOPE).cost == 2 + 10 * (1 + 3)
    assert compile("entity.vip ? true : parameters.count > 5", SCOPE).cost == 2 + 3


def test_every_node_has_its_place_in_the_text() -> None:
    text = "parameters.amount * 0.50 > -12.5 || entity.vip"
    places = {type(node).__name__ + ":" + text[node.start : node.end] for node in walk(compile(text, SCOPE).node)}
    assert places == {
        f"Binary:{text}",
        "Binary:parameters.amount * 0.50 > -12.5",
        "Binary:parameters.amount * 0.50",
        "Leaf:parameters.amount",
        "Literal:0.50",
        "Literal:-12.5",
        "Leaf:entity.vip",
    }


def test_amounts_are_scaled_integers_in_the_tree() -> None:
    node = compile("parameters.amount * 0.50 > entity.total", SCOPE).node
    match node:
        case Binary(op=">", left=Binary(type=product, right=Literal(value=5, written="0.50")), right=Scale() as scale):
            assert product == Decimal("USD", 3)
            assert (scale.digits, scale.operand.type) == (1, USD)
        case _:
            pytest.fail(f"another tree: {node}")


def test_a_tree_is_a_value() -> None:
    one, other = (compile("parameters.count + 1 > 5", SCOPE).node for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert [leaf.path for leaf in walk(one) if isinstance(leaf, Leaf)] == [("parameters", "count")]


def test_conditions_are_equal_when_text_and_types_are() -> None:
    text = "parameters.count > 5"
    other = compile(text, {"parameters": Object({"count": Field(DOUBLE)})})
    assert compile(text, SCOPE) == compile(text, SCOPE) != other
    assert len({compile(text, SCOPE), compile(text, SCOPE), other}) == 2


def test_evaluate_is_the_same_as_a_call() -> None:
    condition = compile("parameters.amount < 50 && entity.vip", SCOPE)
    assert condition.evaluate(facts()) is condition(facts()) is True
