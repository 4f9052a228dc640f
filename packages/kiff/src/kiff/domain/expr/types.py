"""What an expression can be: the types, and how the JSON Schema of a parameter becomes one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias, Union

import msgspec

from kiff.canonical import MAX_BYTES
from kiff.domain.units import MINOR_DIGITS

EXACT = 10**15  # amounts of fewer units are told apart by the doubles nearest to them
MAX_ITEMS = MAX_BYTES // 2  # a body of the largest size has no longer list, and no text over MAX_BYTES


class Scalar(msgspec.Struct, frozen=True):
    """`kind` is bool, int, double, timestamp or duration; at run time bool, int, int or float, milliseconds."""

    kind: str


class String(msgspec.Struct, frozen=True):
    """A text, of at most `max_length` characters; `enum`, when not empty, has every value it can take."""

    max_length: int = MAX_BYTES
    enum: tuple[str, ...] = ()
    kind: ClassVar[str] = "string"


class Decimal(msgspec.Struct, frozen=True):
    """An exact amount: at run time a JSON number, inside expressions an integer, scaled by 10^digits."""

    unit: str
    digits: int
    kind: ClassVar[str] = "decimal"


class ListOf(msgspec.Struct, frozen=True):
    item: Type
    max_items: int = MAX_ITEMS
    kind: ClassVar[str] = "list"


class Object(msgspec.Struct, frozen=True):
    """`open`: it may have fields that are not declared. They have no type, so only has() can ask about them.

    `one_of_many`: it is open, and conditions are written for others too. What stands under a has() of a field that is
    not declared here is meant for those: it is not looked at, and has no value.
    """

    fields: Mapping[str, Field]
    open: bool = False
    one_of_many: bool = False
    kind: ClassVar[str] = "object"


class Unusable(msgspec.Struct, frozen=True):
    """Something that no expression can read; `why` follows its name in the message."""

    why: str
    kind: ClassVar[str] = "unusable"


Type: TypeAlias = Union[Scalar, String, Decimal, ListOf, Object, Unusable]  # noqa: UP007 (it names itself)


class Field(NamedTuple):
    """Args: optional: it may be absent, so it is read under has(); sensitive: its value is never recorded."""

    type: Type
    optional: bool = False
    sensitive: bool = False


BOOL = Scalar("bool")
INT = Scalar("int")
DOUBLE = Scalar("double")
TIMESTAMP = Scalar("timestamp")
DURATION = Scalar("duration")
STRING = String()

_NOUNS = {
    "bool": "true or false",
    "int": "a whole number",
    "double": "a number",
    "timestamp": "a time",
    "duration": "a duration",
    "string": "a text",
    "list": "a list",
    "object": "an object",
}
PYTHON: dict[str, Collection[type]] = {
    "bool": (bool,),
    "double": frozenset((int, float)),
    "decimal": frozenset((int, float)),
    "string": (str,),
    "list": (list,),
    "object": (dict,),
}


def noun(type_: Type) -> str:
    """The type as messages call it."""
    return f"an amount in {type_.unit}" if isinstance(type_, Decimal) else _NOUNS.get(type_.kind, "unusable")


def type_of_schema(schema: Mapping[str, Any] | None) -> Type:
    """The type of what a parameter schema (`kiff.domain.schema`) admits. `Unusable` when that is not one type."""
    if schema is None:
        return Unusable("has no declared type")
    declared = schema.get("type", ())
    names = [declared] if isinstance(declared, str) else list(declared)
    if not names and all(type(value) is str for value in _listed(schema) or (None,)):
        names = ["string"]
    if len(names) != 1:
        return Unusable("has several types" if names else "has no declared type")
    make = _MAKERS.get(names[0])
    return make(schema) if make else Unusable("can only be null")


def _number(schema: Mapping[str, Any]) -> Type:
    if "unit" not in schema:
        return INT if "integer" in schema["type"] else DOUBLE  # a text, or a list of one
    digits = MINOR_DIGITS.get(schema["unit"])
    return Unusable("has an unknown unit") if digits is None else Decimal(schema["unit"], digits)


def _string(schema: Mapping[str, Any]) -> Type:
    values = _listed(schema)
    if not all(type(value) is str for value in values):
        return Unusable("has an enum of several types")
    longest = max(map(len, values)) if values else MAX_BYTES
    return String(min(longest, schema.get("maxLength", MAX_BYTES)), tuple(values))


def _array(schema: Mapping[str, Any]) -> Type:
    return ListOf(type_of_schema(schema.get("items")), min(schema.get("maxItems", MAX_ITEMS), MAX_ITEMS))


def _object(schema: Mapping[str, Any]) -> Type:
    must = schema.get("required", ())
    fields = {
        name: Field(type_of_schema(inner), name not in must, bool(inner.get("sensitive")))
        for name, inner in schema.get("properties", {}).items()
    }
    return Object(fields, open=not fields)


def _listed(schema: Mapping[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


_MAKERS = {
    "boolean": lambda schema: BOOL,
    "integer": _number,
    "number": _number,
    "string": _string,
    "array": _array,
    "object": _object,
}


def conforms(value: Any, type_: Type) -> bool:
    """Whether a run-time value has exactly this type, all the way down. True is no number, and NaN is not either."""
    if isinstance(type_, Unusable):
        return True
    if type(value) not in PYTHON.get(type_.kind, (int,)):
        return False
    if isinstance(type_, ListOf):
        return len(value) <= type_.max_items and all(conforms(item, type_.item) for item in value)
    if isinstance(type_, Object):
        return all(
            conforms(value[name], field.type) if name in value else field.optional
            for name, field in type_.fields.items()
        )
    if type(value) is not float or not isinstance(type_, Decimal):
        return type(value) is not float or value - value == 0
    return abs(value) * 10**type_.digits < EXACT and round(value, type_.digits) == value


def is_sensitive(type_: Type) -> bool:
    """Whether anything inside of such a value is sensitive."""
    if isinstance(type_, ListOf):
        return is_sensitive(type_.item)
    if isinstance(type_, Object):
        return any(field.sensitive or is_sensitive(field.type) for field in type_.fields.values())
    return False


def fits(found: Type, expected: Type) -> bool:
    """Whether a value of one type may stand where another is expected."""
    if isinstance(found, Decimal) and isinstance(expected, Decimal):
        return found.unit == expected.unit and found.digits <= expected.digits
    if isinstance(found, ListOf) and isinstance(expected, ListOf):
        return fits(found.item, expected.item)
    if isinstance(found, Object) and isinstance(expected, Object):
        return all(
            fits(found.fields[name].type, field.type) and found.fields[name].optional <= field.optional
            if name in found.fields
            else field.optional
            for name, field in expected.fields.items()
        )
    return found.kind == expected.kind or (found.kind, expected.kind) == ("int", "double")
