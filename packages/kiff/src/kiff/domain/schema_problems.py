"""What can be wrong with a parameter schema beyond its shape: anything that makes it mean less than it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kiff.domain.issue import Finding, Path, did_you_mean, shown
from kiff.domain.parameters import NOUNS, PYTHON_TYPES, searcher, types_of
from kiff.domain.units import MINOR_DIGITS

_APPLIES_TO = {
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "unit": "number",
    "minLength": "string",
    "maxLength": "string",
    "pattern": "string",
    "items": "array",
    "minItems": "array",
    "maxItems": "array",
    "properties": "object",
    "required": "object",
}
_PAIRS = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))


def schema_problems(schema: dict[str, Any], path: Path) -> Iterator[Finding]:
    """Every problem of a schema of the right shape, nested schemas included."""
    types = types_of(schema) if "type" in schema else []
    for word, needs in _APPLIES_TO.items():
        if word in schema and needs not in types and not (needs == "number" and "integer" in types):
            message = f"`{word}` says nothing about a value that is not {NOUNS[needs]}"
            yield Finding((*path, word), "bad_schema", message, f"write `type: {needs}` beside it")
    for least, most in _PAIRS:
        if least in schema and most in schema and schema[least] > schema[most]:
            yield Finding((*path, least), "bad_schema", f"`{least}` is above `{most}`: no value fits")
    yield from _unit_problems(schema, path)
    yield from _pattern_problems(schema, path)
    yield from _value_problems(schema, types, path)
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {name: None}):
            fix = did_you_mean(name, schema["properties"])
            yield Finding((*path, "required"), "bad_schema", f"{shown(name)} is not among `properties`", fix)
    for name, inner in schema.get("properties", {}).items():
        yield from schema_problems(inner, (*path, "properties", name))
    if "items" in schema:
        yield from schema_problems(schema["items"], (*path, "items"))


def _unit_problems(schema: dict[str, Any], path: Path) -> Iterator[Finding]:
    unit = schema.get("unit", "USD")
    if unit not in MINOR_DIGITS:
        message = f"expected an ISO 4217 currency code, found {shown(unit)}"
        yield Finding((*path, "unit"), "bad_schema", message, did_you_mean(unit, MINOR_DIGITS))


def _pattern_problems(schema: dict[str, Any], path: Path) -> Iterator[Finding]:
    if "pattern" not in schema:
        return
    try:
        searcher(schema["pattern"])
    except ValueError as error:
        message = f"{shown(schema['pattern'])} is not an RE2 pattern: {error}"
        fix = "RE2 has no look-around and no back-references"
        yield Finding((*path, "pattern"), "bad_schema", message, fix)


def _value_problems(schema: dict[str, Any], types: list[str], path: Path) -> Iterator[Finding]:
    """Values that the schema lists and its own type refuses."""
    values = [("const", schema["const"])] if "const" in schema else []
    values += [("enum", value) for value in schema.get("enum", ())]
    fitting = {python for name in types for python in PYTHON_TYPES[name]}
    for word, value in values:
        if types and type(value) not in fitting:
            message = f"{shown(value)} in `{word}` is not of type {' or '.join(types)}"
            yield Finding((*path, word), "bad_schema", message)
