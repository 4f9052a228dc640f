"""What a schema says about an unknown. What it says that is no formula is a name: the same schema says the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import ceil, floor
from typing import Any

from kiff.analysis.boundaries.examples import conforms, exactly
from kiff.analysis.boundaries.relations import Path
from kiff.analysis.prove.smt import Term
from kiff.analysis.prove.world import World
from kiff.domain.expr import type_of_schema
from kiff.domain.expr.types import Decimal, Object, Type, Unusable

Schema = Mapping[str, Any]
_SAID = frozenset(("type", "title", "description", "default", "optional", "sensitive", "unit"))
_NUMBERS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
_SCALARS = ("bool", "int", "decimal", "double", "string")


def fits(world: World, path: Path, schema: Schema | None) -> Term:
    """That whatever stands at a path conforms to a schema."""
    z3, type_ = world.z3, type_of_schema(schema)
    if schema is None:
        return z3.BoolVal(True)
    if isinstance(type_, Object):
        return z3.And(*_inside(world, path, schema))
    if isinstance(type_, Unusable) or type_.kind not in _SCALARS:
        return _named(world, path, schema)
    term = world.value(path, type_)
    return z3.And(*_said(world, path, schema, type_, term))


def _said(world: World, path: Path, schema: Schema, type_: Type, term: Term) -> Iterator[Term]:
    z3 = world.z3
    known = set(_SAID)
    if type_.kind in ("int", "decimal", "double"):
        yield from _bounds(schema, type_, term)
        known |= _NUMBERS
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if listed is not None:
        yield z3.Or(*(term == _value(world, value, type_) for value in listed))
        known |= {"const", "enum"}
    if type_.kind == "string":
        if world.has_texts:
            yield z3.Length(term) >= schema.get("minLength", 0)
            yield z3.Length(term) <= schema["maxLength"] if "maxLength" in schema else z3.BoolVal(True)
            known |= {"minLength", "maxLength"}
        else:  # a text is a number: those that we know and the schema refuses are no values
            refused = [code for code, text in world.texts().items() if not conforms(text, schema)]
            yield z3.And(*(term != code for code in refused))
    if schema.keys() - known:
        yield _named(world, path, schema)


def _bounds(schema: Schema, type_: Type, term: Term) -> Iterator[Term]:
    """The edges as numbers of the type: `minimum: 0.5` of a whole number is 1."""
    scale = 10**type_.digits if isinstance(type_, Decimal) else 1
    exact = type_.kind == "double"
    for word in _NUMBERS & schema.keys():
        edge = exactly(schema[word]) * scale
        match word:
            case "minimum":
                yield term >= (_real(edge) if exact else ceil(edge))
            case "maximum":
                yield term <= (_real(edge) if exact else floor(edge))
            case "exclusiveMinimum":
                yield term > (_real(edge) if exact else floor(edge))
            case _:
                yield term < (_real(edge) if exact else ceil(edge))


def _real(edge: Any) -> str:
    """A number as z3 reads it without loss."""
    return str(edge)


def _value(world: World, value: Any, type_: Type) -> Term:
    if isinstance(type_, Decimal):
        return world.z3.IntVal(int(exactly(value) * 10**type_.digits))
    return world.literal(value, type_)


def _inside(world: World, path: Path, schema: Schema) -> Iterator[Term]:
    z3 = world.z3
    for name, inner in schema.get("properties", {}).items():
        present = world.present((*path, name))
        if name in schema.get("required", ()):
            yield present
        yield z3.Implies(present, fits(world, (*path, name), inner))


def _named(world: World, path: Path, schema: Schema) -> Term:
    said = {word: schema[word] for word in sorted(schema) if word not in ("title", "description", "sensitive")}
    return world.free(f"fits:{'.'.join(path)}:{json.dumps(said, sort_keys=True)}")
