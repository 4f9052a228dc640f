"""What is no condition, said at load: every problem, its code, its place and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from expr_cases import SCOPE, USD

from kiff.domain.expr import BOOL, INT, ExpressionError, Field, ListOf, Object, Problem, String, Type, compile, rendered


def problems(text: str, expected: Type | None = BOOL) -> list[tuple[str, str]]:
    """Each problem as its code and the text it is about."""
    return [(each.code, text[each.start : each.end]) for each in raised(text, expected)]


def raised(text: str, expected: Type | None = BOOL) -> tuple[Problem, ...]:
    with pytest.raises(ExpressionError) as caught:
        compile(text, SCOPE, expected)
    return caught.value.problems


SYNTAX = [
    ("", ""),
    ("  // nothing", ""),
    ("entity.vip &&", ""),
    ("(entity.vip", ""),
    ("entity.vip)", ")"),
    ("entity..vip", "."),
    ("entity.vip = true", "="),
    ("entity.vip and true", "and"),
    ("entity.vip == 'yes", "'"),
    ("parameters.count > 5u", "u"),
    ("parameters.count > 1.", ""),
    ("parameters.count in [1,]", "]"),
    ("!", ""),
    ("a ? b", ""),
    ("x @ y", "@"),
    ("parameters.reason == 'a\nb'", "'"),
    (r'parameters.reason == "\d"', r'"\d"'),
    (r'parameters.reason == "\ud800"', r'"\ud800"'),
    (r'parameters.reason == "\U00110000"', r'"\U00110000"'),
    (r'parameters.reason == b"x"', '"x"'),
    ('now > timestamp("2026-05-24")', '"2026-05-24"'),
    ('now > timestamp("2026-05-24T09:53:55")', '"2026-05-24T09:53:55"'),
    ('now > timestamp("2026-02-30T00:00:00Z")', '"2026-02-30T00:00:00Z"'),
    ('now > timestamp("0001-01-01T00:00:00+01:00")', '"0001-01-01T00:00:00+01:00"'),
    ('now - now > duration("3d")', '"3d"'),
    ('now - now > duration("1.0001s")', '"1.0001s"'),
    ('now - now > duration("999999999h")', '"999999999h"'),
]


@pytest.mark.parametrize(("text", "place"), SYNTAX)
def test_a_text_that_is_no_expression_is_a_syntax_error_where_it_stops(text: str, place: str) -> None:
    assert problems(text) == [("syntax_error", place)]


REFUSED = [
    # names
    ("amuont > 1", "unknown_name", "amuont"),
    ("parameters.amuont > 1", "unknown_name", "parameters.amuont"),
    ('parameters["amuont"] > 1', "unknown_name", 'parameters["amuont"]'),
    ("parameters.extra.any == 1", "unknown_name", "parameters.extra.any"),
    ("has(parameters.amuont)", "unknown_name", "parameters.amuont"),
    ("lenght(parameters.reason) > 1", "unknown_name", "lenght(parameters.reason)"),
    ("parameters.reason.begins('a')", "unknown_name", "parameters.reason.begins('a')"),
    ("kiff.len(parameters)", "unknown_name", "kiff.len(parameters)"),
    # types
    ("parameters.count", "type_mismatch", "parameters.count"),
    ("'true'", "type_mismatch", "'true'"),
    ("parameters.count == '5'", "type_mismatch", "parameters.count == '5'"),
    ("parameters.ratio == '5'", "type_mismatch", "parameters.ratio == '5'"),
    ("entity.vip == 1", "type_mismatch", "entity.vip == 1"),
    ("entity.vip < true", "type_mismatch", "entity.vip < true"),
    ("1 < parameters.count < 5", "type_mismatch", "1 < parameters.count < 5"),
    ("now > '2026-05-24T09:53:55Z'", "type_mismatch", "now > '2026-05-24T09:53:55Z'"),
    ("now > 5", "type_mismatch", "now > 5"),
    ("now + now > now", "type_mismatch", "now + now"),
    ("now - parameters.due > duration('1h')", "type_mismatch", "now - parameters.due"),
    ("now - 5 > now", "type_mismatch", "now - 5"),
    ("parameters.count && true", "type_mismatch", "parameters.count"),
    ("!parameters.count", "type_mismatch", "parameters.count"),
    ("parameters.count ? true : false", "type_mismatch", "parameters.count"),
    ("entity.vip ? 1 : 'a'", "type_mismatch", "entity.vip ? 1 : 'a'"),
    ("-parameters.reason == 1", "type_mismatch", "-parameters.reason"),
    ("-entity.vip", "type_mismatch", "-entity.vip"),
    ("parameters.count + entity.vip > 1", "type_mismatch", "parameters.count + entity.vip"),
    ("parameters.count * parameters.ratio > 1.0", "type_mismatch", "parameters.count * parameters.ratio"),
    ("parameters.ratio % 2 == 0", "type_mismatch", "parameters.ratio % 2"),
    ("9223372036854775808 > 1", "type_mismatch", "9223372036854775808"),
    ("1e999 > 1.0", "type_mismatch", "1e999"),
    ("parameters.ratio + 9007199254740993 > 1.0", "type_mismatch", "parameters.ratio + 9007199254740993"),
    ("parameters.count.x == 1", "type_mismatch", "parameters.count.x"),
    ("parameters.count[0] == 1", "type_mismatch", "parameters.count[0]"),
    ("parameters.tags['a'] == 'a'", "type_mismatch", "parameters.tags['a']"),
    ("parameters[0] == 1", "type_mismatch", "parameters[0]"),
    ("parameters.either == 1", "type_mismatch", "parameters.either"),
    ("'a' in parameters.reason", "type_mismatch", "parameters.reason"),
    ("1 in parameters.tags", "type_mismatch", "1 in parameters.tags"),
    ("parameters.count in [1, 'a']", "type_mismatch", "parameters.count in [1, 'a']"),
    ("parameters.reason.contains(1)", "type_mismatch", "1"),
    ("parameters.count.contains('a')", "type_mismatch", "parameters.count"),
    ("size(parameters.count) > 1", "type_mismatch", "parameters.count"),
    ("size() > 1", "type_mismatch", "size()"),
    ("size('a', 'b') > 1", "type_mismatch", "size('a', 'b')"),
    ("parameters.reason.contains()", "type_mismatch", "parameters.reason.contains()"),
    ("has(parameters)", "type_mismatch", "has(parameters)"),
    ("has(parameters.amount > 1)", "type_mismatch", "has(parameters.amount > 1)"),
    ("has()", "type_mismatch", "has()"),
    ("timestamp(parameters.count) < now", "type_mismatch", "parameters.count"),
    ("parameters.reason.exists(c, true)", "type_mismatch", "parameters.reason"),
    ("parameters.tags.exists(1, true)", "type_mismatch", "1"),
    ("parameters.tags.exists(now, true)", "type_mismatch", "now"),
    ("parameters.tags.exists(for, true)", "type_mismatch", "for"),
    ("parameters.tags.exists(t, t)", "type_mismatch", "t"),
    ("parameters.tags.exists(t, parameters.tags.exists(t, true))", "type_mismatch", "t"),
    ("duration(parameters.due) > duration('1h')", "not_supported", "parameters.due"),
    # enums
    ("entity.currency == 'usd'", "not_in_enum", "'usd'"),
    ("'GBP' != entity.currency", "not_in_enum", "'GBP'"),
    ("entity.currency in ['USD', 'GBP']", "not_in_enum", "'GBP'"),
    # what is left out
    ("parameters.reason.matches('a')", "not_supported", "parameters.reason.matches('a')"),
    ("size(parameters.tags.filter(t, true)) > 1", "not_supported", "parameters.tags.filter(t, true)"),
    ("parameters.tags.map(t, t) == 1", "not_supported", "parameters.tags.map(t, t)"),
    ("parameters.reason.size() > 1", "not_supported", "parameters.reason.size()"),
    ("int(parameters.ratio) > 1", "not_supported", "int(parameters.ratio)"),
    ("parameters.reason + 'a' == 'b'", "not_supported", "parameters.reason + 'a'"),
    ("parameters.tags + parameters.tags == 'b'", "not_supported", "parameters.tags + parameters.tags"),
    ("parameters.tags == parameters.tags", "not_supported", "parameters.tags == parameters.tags"),
    ("parameters.lines[0] == parameters.lines[1]", "not_supported", "parameters.lines[0] == parameters.lines[1]"),
    ("parameters.lines[0] in parameters.lines", "not_supported", "parameters.lines[0] in parameters.lines"),
    ("parameters.count == null", "not_supported", "null"),
    ("size([1, 2]) > 1", "not_supported", "[1, 2]"),
    # units
    ("parameters.amount > parameters.fee", "wrong_unit", "parameters.fee"),
    ("parameters.amount + parameters.fee > 1", "wrong_unit", "parameters.fee"),
    ("parameters.amount > parameters.count", "wrong_unit", "parameters.count"),
    ("parameters.amount > parameters.ratio", "wrong_unit", "parameters.ratio"),
    ("parameters.amount + parameters.count > 1", "wrong_unit", "parameters.count"),
    ("parameters.amount > 50.005", "wrong_unit", "50.005"),
    ("parameters.amount in [1, 50.005]", "wrong_unit", "50.005"),
    ("parameters.amount > 1234567890123456", "wrong_unit", "1234567890123456"),
    ("parameters.amount > 1e-20", "wrong_unit", "1e-20"),
    ("parameters.amount / 2 > 1", "wrong_unit", "parameters.amount / 2"),
    ("parameters.amount / entity.total > 0.5", "wrong_unit", "parameters.amount / entity.total"),
    ("parameters.amount % 2 == 0", "wrong_unit", "parameters.amount % 2"),
    ("parameters.amount * entity.total > 1", "wrong_unit", "parameters.amount * entity.total"),
    ("parameters.amount * parameters.ratio > 1", "wrong_unit", "parameters.ratio"),
    ("parameters.amount * 1e-11 > 1", "wrong_unit", "parameters.amount * 1e-11"),
    ("parameters.amount == 'a'", "type_mismatch", "'a'"),
    # presence
    ("entity.risk > 5", "may_be_missing", "entity.risk"),
    ("entity['risk'] > 5", "may_be_missing", "entity['risk']"),
    ("entity.risk > 5 && has(entity.risk)", "may_be_missing", "entity.risk"),
    ("has(entity.risk) || entity.risk > 5", "may_be_missing", "entity.risk"),
    ("!has(entity.risk) && entity.risk > 5", "may_be_missing", "entity.risk"),
    ("has(entity.risk) ? true : entity.risk > 5", "may_be_missing", "entity.risk"),
    ("(has(entity.risk) || entity.vip) && entity.risk > 5", "may_be_missing", "entity.risk"),
    ("(has(entity.risk) && entity.vip) || entity.risk > 5", "may_be_missing", "entity.risk"),
    ("(entity.vip ? has(entity.risk) : true) && entity.risk > 5", "may_be_missing", "entity.risk"),
    ("!(!has(entity.risk) && entity.vip) && entity.risk > 5", "may_be_missing", "entity.risk"),
    ("(!has(entity.risk) && entity.vip) || entity.risk > 5", "may_be_missing", "entity.risk"),
    ("entity.owner.id == 'a'", "may_be_missing", "entity.owner"),
    ("has(entity.owner.age)", "may_be_missing", "entity.owner"),
    ("has(entity.owner) && entity.owner.age > 5", "may_be_missing", "entity.owner.age"),
    ("parameters.lines.exists(l, l.note == 'a')", "may_be_missing", "l.note"),
    ("has(parameters.lines[0].note) && parameters.lines[1].note == 'a'", "may_be_missing", "parameters.lines[1].note"),
    (
        "parameters.lines.all(l, has(l.note)) && parameters.lines[0].note == 'a'",
        "may_be_missing",
        "parameters.lines[0].note",
    ),
    ("parameters.lines.exists(l, has(l.note)) && parameters.lines.exists(l, l.note == '')", "may_be_missing", "l.note"),
]


@pytest.mark.parametrize(("text", "code", "place"), REFUSED)
def test_a_mistake_is_one_problem_at_its_place(text: str, code: str, place: str) -> None:
    assert problems(text) == [(code, place)]


MANY = "a.n > b.n && b.n > c.n && c.n > a.n"
COSTLY = [
    ("parameters.letter.contains('a')", "`parameters.letter` a `maxLength`"),
    ("parameters.letter == parameters.letter", "`parameters.letter` a `maxLength`"),
    ("parameters.all_lines.exists(l, l.n > 5)", "`parameters.all_lines` a `maxItems`"),
    (
        "parameters.lines.all(a, parameters.lines.all(b, parameters.lines.all(c, a.n > b.n && b.n > c.n && c.n > 5)))",
        "split",
    ),
]


@pytest.mark.parametrize(("text", "fix"), COSTLY)
def test_what_may_take_too_long_is_refused_with_the_bound_to_declare(text: str, fix: str) -> None:
    (problem,) = raised(text)
    assert problem.code == "too_costly"
    assert fix in problem.fix


HUGE = {
    "brackets": "(" * 2000 + "entity.vip" + ")" * 2000,
    "negations": "!" * 4000 + "entity.vip",
    "alternatives": " || ".join(["entity.vip"] * 200),
    "indexes": "parameters" + "[0]" * 1300,
    "selects": "parameters" + ".a" * 2000,
    "choices": "true ? " * 500 + "true" + " : true" * 500,
    "length": "entity.vip" + " " * 4090,
}


@pytest.mark.parametrize("name", sorted(HUGE.keys() - {"brackets"}))
def test_a_huge_text_is_a_problem_and_not_a_crash(name: str) -> None:
    assert [each.code for each in raised(HUGE[name])] == ["too_costly"]


def test_ten_thousand_brackets_are_a_problem_and_not_a_crash() -> None:
    assert [each.code for each in raised("(" * 10_000 + "entity.vip" + ")" * 10_000)] == ["too_costly"]


def test_brackets_alone_are_no_nesting() -> None:
    assert compile(HUGE["brackets"], SCOPE).reads == ("entity.vip",)


def test_every_problem_is_told_at_once_in_the_order_of_the_text() -> None:
    text = (
        "entity.risk > 5 || parameters.amuont == entity.currency && entity.currency == 'usd' || parameters.either == 1"
    )
    assert problems(text) == [
        ("may_be_missing", "entity.risk"),
        ("unknown_name", "parameters.amuont"),
        ("not_in_enum", "'usd'"),
        ("type_mismatch", "parameters.either"),
    ]


FIXES = [
    ("parameters.amuont > 1", "did you mean `amount`?"),
    ("parmeters.amount > 1", "did you mean `parameters`?"),
    ("entity.currency == 'usd'", "did you mean `USD`?"),
    ("parameters.reason.startswith('a')", "did you mean `startsWith`?"),
    ("entity.risk > 5", "write `has(entity.risk) && …` before it"),
    ("parameters.amount > parameters.count", "give it `unit: USD` too"),
    ("parameters.amount / entity.total > 0.5", "write `a > b * 0.5` for `a / b > 0.5`"),
    ("parameters.amount > 50.005", "write at most 2 decimals"),
    ("parameters.either == 1", "give it one type"),
    ("parameters.count * parameters.ratio > 1.0", "give both the type number, or both the type integer"),
    ("entity.vip and true", "write `&&`"),
    ("now > '2026-05-24T09:53:55Z'", "write `timestamp(…)` around a text"),
]


@pytest.mark.parametrize(("text", "fix"), FIXES)
def test_a_problem_says_what_to_write_instead(text: str, fix: str) -> None:
    assert [each.fix for each in raised(text)] == [fix]


EXPECTED: list[tuple[str, Type, str]] = [
    ("parameters.fee", USD, "wrong_unit"),
    ("parameters.count", USD, "wrong_unit"),
    ("parameters.amount * 0.5", USD, "wrong_unit"),
    ("5.005", USD, "wrong_unit"),
    ("parameters.amount", INT, "type_mismatch"),
    ("parameters.ratio", INT, "type_mismatch"),
    ("'GBP'", String(3, ("USD", "EUR")), "not_in_enum"),
    ("parameters.tags", ListOf(INT, 10), "type_mismatch"),
    ("parameters.lines[0]", Object({"size": Field(INT)}), "type_mismatch"),
]


@pytest.mark.parametrize(("text", "expected", "code"), EXPECTED)
def test_a_value_that_does_not_fit_what_is_expected_is_refused(text: str, expected: Type, code: str) -> None:
    assert [each.code for each in raised(text, expected)] == [code]


def test_a_problem_is_rendered_with_a_caret_line_under_its_place() -> None:
    text = "entity.vip &&\n\tparameters.amuont > 5"
    assert rendered(*raised(text), text) == (
        "`parameters` has no field `amuont` (did you mean `amount`?)\n  \tparameters.amuont > 5\n  \t^^^^^^^^^^^^^^^^^"
    )


@pytest.mark.parametrize("make", [lambda t: t + " &&", lambda t: t + " == ''"])
def test_every_problem_of_a_broken_text_can_be_rendered(make: Callable[[str], Any]) -> None:
    text = make("entity.owner")
    assert all(rendered(problem, text).count("\n") == 2 for problem in raised(text))


@pytest.mark.parametrize("text", ['"\\\n" == "a"', '"""\\\n"""', '"\\\x1b"', '"\\\u2028" == ""'], ids=ascii)
def test_a_message_is_one_line_whatever_the_author_wrote(text: str) -> None:
    for problem in raised(text):
        assert problem.message.isprintable()
