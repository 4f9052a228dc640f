"""Values that a parameter schema speaks of: an ordinary one first, then those at its edges and just past them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import ceil, floor
from typing import Any

from kiff.analysis.boundaries.sample_text import sample_text
from kiff.domain.parameters import compile_parameters, types_of
from kiff.domain.units import MINOR_DIGITS

Schema = Mapping[str, Any]
LONGEST = 2_000
"""Texts and lists of more are not written out."""
_PLAIN_DIGITS = 2  # a number without a unit is looked at in hundredths
_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
_WORDS = "example text "


def examples(schema: Schema | None) -> list[Any]:
    """Values to try, in order: the first one conforms, when one that does was found. Repeats are possible.

    Args:
        schema: of a parameter or an attribute; None where nothing is said.
    """
    if schema is None:
        return ["x"]
    found = [schema["const"]] if "const" in schema else list(schema.get("enum", ()))
    found += [schema["default"]] if "default" in schema else []
    if not ("const" in schema or "enum" in schema):
        found += [value for name in types_of(dict(schema)) for value in _MAKERS[name](schema)]
    return sorted(found, key=lambda value: not conforms(value, schema))  # stable: otherwise as they came


def conforms(value: Any, schema: Schema | None) -> bool:
    """Whether a schema admits a value."""
    return schema is None or not compile_parameters(("it",), {"it": dict(schema)})({"it": value})


def digits_of(schema: Schema | None) -> int:
    """How many decimals the values of a schema are told apart by."""
    if schema is None or "unit" in schema:
        return MINOR_DIGITS.get((schema or {}).get("unit", ""), _PLAIN_DIGITS)
    return 0 if types_of(dict(schema)) == ["integer"] else _PLAIN_DIGITS


def beside(value: Fraction, digits: int) -> Iterator[int | float]:
    """A number of so many decimals, and its neighbours; where it has more decimals, those around it."""
    scale = 10**digits
    below, above = floor(value * scale), ceil(value * scale)
    for minor in dict.fromkeys((below, above, below - 1, above + 1)):
        yield plain(Fraction(minor, scale))


def plain(value: Fraction) -> int | float:
    """As JSON has it: 49, 49.99."""
    return int(value) if value.denominator == 1 else float(value)


def _numbers(schema: Schema) -> Iterator[int | float]:
    digits = digits_of(schema)
    edges = [each for word in _BOUNDS if word in schema for each in beside(exactly(schema[word]), digits)]
    yield 1
    yield from sorted(edges, key=lambda each: (each < 0, each == 0, abs(each)))
    yield 0


def exactly(value: float) -> Fraction:
    """The number that an author wrote: 0.1 is a tenth."""
    return Fraction(repr(value))


def _texts(schema: Schema) -> Iterator[str]:
    least, most = schema.get("minLength", 0), min(schema.get("maxLength", LONGEST), LONGEST)
    if "pattern" in schema:
        text = sample_text(schema["pattern"], least, most)
        yield from () if text is None else (text,)
    size = min(max(least, len(_WORDS) - 1), most)
    for length in (size, least, least - 1, most, most + 1):
        if 0 <= length < LONGEST:
            yield (_WORDS * (length // len(_WORDS) + 1))[:length]


def _lists(schema: Schema) -> Iterator[list[Any]]:
    items = examples(schema["items"]) if "items" in schema else ["x"]
    least, most = schema.get("minItems", 0), schema.get("maxItems", LONGEST)
    for length in (max(least, min(1, most)), 0, least - 1, most, most + 1):
        if 0 <= length <= LONGEST // 20:
            yield items[:1] * length
    yield from ([each] for each in items[1:])


def _objects(schema: Schema) -> Iterator[dict[str, Any]]:
    inner = {name: examples(each) for name, each in schema.get("properties", {}).items()}
    must = {name: inner.get(name, ["x"])[0] for name in schema.get("required", ())}
    yield must
    for name, values in inner.items():
        yield from ({**must, name: value} for value in values)


_MAKERS: dict[str, Any] = {
    "number": _numbers,
    "integer": _numbers,
    "string": _texts,
    "boolean": lambda schema: (True, False),
    "array": _lists,
    "object": _objects,
    "null": lambda schema: (None,),
}
