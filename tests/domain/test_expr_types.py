"""From the schema of a parameter to the type that conditions see."""

from __future__ import annotations

from typing import Any

import pytest

from kiff.domain.expr import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    Decimal,
    Field,
    ListOf,
    Object,
    String,
    Type,
    Unusable,
    type_of_schema,
)

UNUSABLE: list[Any] = [
    None,
    {},
    {"title": "anything"},
    {"type": ["string", "integer"]},
    {"type": ["string", "null"]},
    {"type": "null"},
    {"type": "string", "enum": ["a", 1]},
    {"type": "string", "const": None},
    {"enum": ["a", 1]},
    {"enum": [1, 2]},
    {"type": "number", "unit": "XYZ"},
    {"type": "text"},
    {"type": []},
]


@pytest.mark.parametrize("schema", UNUSABLE)
def test_a_schema_of_no_type_or_several_is_unusable(schema: Any) -> None:
    assert isinstance(type_of_schema(schema), Unusable)


TYPES: list[tuple[dict[str, Any], Type]] = [
    ({"type": "boolean"}, BOOL),
    ({"type": "integer", "minimum": 0}, INT),
    ({"type": ["integer"]}, INT),
    ({"type": "number"}, DOUBLE),
    ({"type": "number", "unit": "USD"}, Decimal("USD", 2)),
    ({"type": "integer", "unit": "JPY"}, Decimal("JPY", 0)),
    ({"type": "number", "unit": "KWD"}, Decimal("KWD", 3)),
    ({"type": "string"}, STRING),
    ({"type": "string", "maxLength": 5}, String(5)),
    ({"type": "string", "enum": ["a", "bcd"]}, String(3, ("a", "bcd"))),
    ({"type": "string", "const": "abc"}, String(3, ("abc",))),
    ({"enum": ["a", "b"]}, String(1, ("a", "b"))),
    ({"type": "array", "items": {"type": "string"}, "maxItems": 5}, ListOf(STRING, 5)),
    ({"type": "array", "items": {"type": "integer"}}, ListOf(INT)),
    ({"type": "array", "maxItems": 5}, ListOf(Unusable("has no declared type"), 5)),
    ({"type": "object"}, Object({}, open=True)),
]


@pytest.mark.parametrize(("schema", "wanted"), TYPES)
def test_a_schema_of_one_type_is_that_type(schema: dict[str, Any], wanted: Type) -> None:
    assert type_of_schema(schema) == wanted


def test_a_property_is_optional_unless_required_and_keeps_what_is_sensitive() -> None:
    inner = {"id": {"type": "string"}, "iban": {"type": "string", "sensitive": True}}
    schema = {"type": "object", "properties": inner, "required": ["id"]}
    fields = {"id": Field(STRING), "iban": Field(STRING, optional=True, sensitive=True)}
    assert type_of_schema(schema) == Object(fields)


@pytest.mark.parametrize("type_", [BOOL, String(5, ("a",)), Decimal("USD", 2), ListOf(INT, 5), Unusable("why")])
def test_a_type_is_a_value(type_: Type) -> None:
    assert hash(type_) == hash(type_)
    with pytest.raises(AttributeError):
        type_.kind = "other"  # type: ignore[misc]
