"""Parameter schemas: what each keyword refuses, named by path, all at once, without repeating the value."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from kiff.domain import check, compile_parameters
from kiff.domain.schema_problems import schema_problems
from kiff.domain.units import MINOR_DIGITS

USD = {"type": "number", "exclusiveMinimum": 0, "maximum": 100, "unit": "USD"}
LINES = {
    "type": "array",
    "minItems": 1,
    "maxItems": 2,
    "items": {
        "type": "object",
        "properties": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}, "count": {"type": "integer"}},
        "required": ["sku"],
    },
}

REFUSED: list[tuple[Any, Any, str]] = [
    ({"type": "number"}, True, "a number"),
    ({"type": "number"}, "49", "a number"),
    ({"type": "number"}, None, "a number"),
    ({"type": "integer"}, 1.5, "a whole number"),
    ({"type": "integer"}, False, "a whole number"),
    ({"type": "string"}, 5, "a text"),
    ({"type": "boolean"}, 1, "true or false"),
    ({"type": "array"}, {}, "a list"),
    ({"type": "object"}, [], "an object"),
    ({"type": "null"}, 0, "null"),
    ({"type": ["string", "number"]}, [], "a text or a number"),
    ({"type": "number", "minimum": 5}, 4.999, "at least 5"),
    ({"type": "number", "maximum": 5}, 5.001, "at most 5"),
    ({"type": "number", "exclusiveMinimum": 5}, 5, "above 5"),
    ({"type": "number", "exclusiveMaximum": 5}, 5, "below 5"),
    ({"type": "number", "minimum": 5, "exclusiveMinimum": 5}, 5, "above 5"),
    ({"type": "number", "maximum": 5, "exclusiveMaximum": 6}, 5.5, "at most 5"),
    (USD, 0, "above 0 and at most 100"),
    (USD, 100.01, "above 0 and at most 100"),
    ({"type": "number", "maximum": 5}, float("nan"), "at most 5"),
    ({"type": "number", "unit": "USD"}, float("nan"), "an amount in USD with at most 2 decimals"),
    (USD, 49.999, "an amount in USD with at most 2 decimals"),
    ({"type": "number", "unit": "JPY"}, 1.5, "an amount in JPY with at most 0 decimals"),
    ({"type": "number", "unit": "KWD"}, 0.0001, "an amount in KWD with at most 3 decimals"),
    ({"type": "number", "unit": "USD"}, 1e-7, "an amount in USD with at most 2 decimals"),
    ({"enum": ["USD", "EUR"]}, "usd", "one of USD, EUR"),
    ({"enum": [1]}, True, "1"),
    ({"enum": [True]}, 1, "true"),
    ({"enum": [[1, {"a": 2}]]}, [1, {"a": 3}], "[1, {'a': 2}]"),
    ({"const": "yes"}, "no", "yes"),
    ({"const": 0}, False, "0"),
    ({"type": "string", "minLength": 2}, "😀", "at least 2 long"),
    ({"type": "string", "maxLength": 2}, "日本語", "at most 2 long"),
    ({"type": "string", "pattern": "^re_"}, "xre_", "a text that matches `^re_`"),
    ({"type": "string", "pattern": "^a$"}, "a\n", "a text that matches `^a$`"),
    ({"type": "array", "minItems": 1}, [], "at least 1 long"),
]
ACCEPTED: list[tuple[Any, Any]] = [
    ({}, None),
    ({}, [1, {"a": None}]),
    ({"type": "number"}, 5),
    ({"type": "integer"}, 5.0),
    ({"type": ["string", "null"]}, None),
    ({"type": "number", "minimum": 5, "maximum": 5}, 5),
    (USD, 49),
    (USD, 49.5),
    (USD, 49.99),
    (USD, 0.01),
    ({"type": "number", "unit": "KWD"}, 1.999),
    ({"enum": [1, "1"]}, 1.0),
    ({"enum": [[1, {"a": 2}]]}, [1.0, {"a": 2}]),
    ({"type": "string", "minLength": 1, "maxLength": 1}, "😀"),
    ({"type": "string", "pattern": "b+"}, "abbc"),
    ({"type": "string", "pattern": "^日.語$"}, "日本語"),
    (LINES, [{"sku": "ABC", "count": 2}, {"sku": "D"}]),
]


def wrong(schema: Any, value: Any) -> list[str]:
    assert list(schema_problems(schema, ())) == []
    found = compile_parameters(["p"], {"p": schema})({"p": value})
    return [detail.get("expected", code) for code, detail in found]


@pytest.mark.parametrize(("schema", "value", "expected"), REFUSED)
def test_refused(schema: Any, value: Any, expected: str) -> None:
    if value is None:
        assert compile_parameters([], {"p": schema})({"p": None})[0][1]["expected"] == expected
    else:
        assert wrong(schema, value) == [expected]


@pytest.mark.parametrize(("schema", "value"), ACCEPTED)
def test_accepted(schema: Any, value: Any) -> None:
    assert compile_parameters([], {"p": schema})({"p": value}) == ()


def test_all_problems_at_once_by_path() -> None:
    check = compile_parameters(
        ["amount", "reason", "lines"], {"amount": USD, "lines": LINES, "note": {"type": "string"}}
    )
    found = check({"amount": True, "lines": [{"sku": "a", "colour": 1}, {"count": 1.5}], "note": 5, "amuont": 3})
    assert [(code, detail["parameter"]) for code, detail in found] == [
        ("invalid_parameter", "amount"),
        ("missing_parameter", "reason"),
        ("invalid_parameter", "lines[0].sku"),
        ("invalid_parameter", "lines[0].colour"),
        ("missing_parameter", "lines[1].sku"),
        ("invalid_parameter", "lines[1].count"),
        ("invalid_parameter", "note"),
        ("invalid_parameter", "amuont"),
    ]


def test_unknown_parameters_are_refused_with_a_suggestion() -> None:
    ((code, detail),) = compile_parameters(["amount"], {"reason": {}})({"amount": 1, "raeson": "x"})
    assert code == "invalid_parameter"
    assert detail == {
        "parameter": "raeson",
        "expected": "one of amount, reason",
        "message": "`raeson` is not a known parameter, did you mean `reason`?",
    }


def test_without_schemas_anything_goes_but_the_required() -> None:
    check = compile_parameters(["amount"], None)
    assert check({"amount": "", "other": [1]}) == ()
    assert check({"other": 1}) == (("missing_parameter", {"parameter": "amount"}),)
    assert check({"amount": None}) == (("missing_parameter", {"parameter": "amount"}),)


def test_no_schemas_at_all_is_not_the_same_as_an_empty_set() -> None:
    assert compile_parameters([], None)({"x": 1}) == ()
    assert compile_parameters([], {})({"x": 1})[0][1]["expected"] == "no parameters"


def test_a_required_null_counts_where_the_schema_lists_it() -> None:
    check = compile_parameters(["a"], {"a": {"type": ["string", "null"]}})
    assert check({"a": None}) == ()
    assert check({}) == (("missing_parameter", {"parameter": "a"}),)
    for silent in ({}, {"type": "string"}, {"enum": [0, False, ""]}):
        missing = (("missing_parameter", {"parameter": "a"}),)
        assert compile_parameters(["a"], {"a": silent})({"a": None}) == missing


def test_a_message_never_repeats_the_value() -> None:
    secret = "s3cret-" * 10
    for schema in (
        {"type": "number"},
        {"type": "string", "maxLength": 3},
        {"enum": ["a"]},
        {"pattern": "^x", "type": "string"},
    ):
        assert "s3cret" not in str(compile_parameters(["p"], {"p": schema})({"p": secret}))


def test_evil_patterns_take_no_time_to_speak_of() -> None:
    evil = compile_parameters(["p"], {"p": {"type": "string", "pattern": "^(a+)+$"}})
    assert evil({"p": "a" * 50_000 + "!"}) != ()
    assert evil({"p": "a" * 50_000}) == ()


def test_decimals_are_counted_as_they_are_written() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed: {seed}")
    chance = random.Random(seed)
    for unit in ("JPY", "USD", "KWD", "CLF"):
        check = compile_parameters(["p"], {"p": {"type": "number", "unit": unit}})
        for _ in range(3000):
            value = chance.choice((1, -1)) * chance.random() * 10 ** chance.randrange(-8, 16)
            value = round(value, chance.randrange(0, 7)) if chance.random() < 0.8 else value
            exact = Decimal(repr(value)).as_tuple().exponent
            decimals = 0 if Decimal(repr(value)) % 1 == 0 else -int(exact)
            assert (check({"p": value}) == ()) == (decimals <= MINOR_DIGITS[unit]), (seed, unit, value)


BAD_SCHEMAS = [
    ("{minimum: 5}", "minimum"),
    ("{type: string, maximum: 5}", "maximum"),
    ("{type: number, minimum: 5, maximum: 4}", "minimum"),
    ("{type: string, minLength: 5, maxLength: 4}", "minLength"),
    ("{type: string, unit: USD}", "unit"),
    ("{type: number, unit: usd}", "unit"),
    ("{type: number, unit: XXX}", "unit"),
    ("{type: string, pattern: '('}", "pattern"),
    ("{type: string, pattern: '(?=a)'}", "pattern"),
    ("{type: string, pattern: '(a)\\1'}", "pattern"),
    ("{type: string, enum: [a, 5]}", "enum"),
    ("{type: number, const: true}", "const"),
    ("{type: object, properties: {a: {type: string}}, required: [b]}", "required"),
    ("{type: object, properties: {a: {type: string, minimum: 1}}}", "properties.a.minimum"),
    ("{type: array, items: {unit: USD}}", "items.unit"),
]


@pytest.mark.parametrize(("schema", "where"), BAD_SCHEMAS)
def test_a_schema_that_says_less_than_it_seems_is_refused(schema: str, where: str) -> None:
    domain, issues = check(f"actions:\n  - name: A\n    parameters:\n      p: {schema}\n")
    assert domain is None
    errors = [(issue.code, issue.line, issue.path) for issue in issues if issue.level == "error"]
    assert errors == [("bad_schema", 4, f"actions[0].parameters.p.{where}")]


@pytest.mark.parametrize("schema", ["{}", "{type: string, minimun: 5}", "{$ref: x}", "{anyOf: []}", "{format: email}"])
def test_unknown_keywords_are_refused(schema: str) -> None:
    _, issues = check(f"actions: [{{name: A, parameters: {{p: {schema}}}}}]")
    errors = [issue.code for issue in issues if issue.level == "error"]
    assert errors == ([] if schema == "{}" else ["unknown_key"])


def test_a_long_pattern_is_refused() -> None:
    _, issues = check(f"actions: [{{name: A, parameters: {{p: {{type: string, pattern: {'a' * 513}}}}}}}]")
    assert [issue.code for issue in issues if issue.level == "error"] == ["too_long"]
