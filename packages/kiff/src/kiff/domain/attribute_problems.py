"""What an entity and its events hold: whether their schemas mean what they say, and whether what is set is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kiff.domain.document import Json
from kiff.domain.entries import written_actions, written_transitions
from kiff.domain.issue import Finding, Path, did_you_mean, shown
from kiff.domain.parameters import compile_parameters
from kiff.domain.schema_problems import schema_problems

OWN = ("id", "state", "version")
"""What every entity has, so no attribute is called that."""
_PLACES = {
    "default": "belongs to an attribute",
    "optional": "belongs to an attribute, or to a field of a payload",
    "sensitive": "belongs to a parameter",
}


def attribute_schemas(document: Json) -> Iterator[Finding]:
    """Do the schemas of attributes mean what they say, under names that are free?"""
    for name, schema in document.get("attributes", {}).items():
        path = ("attributes", name)
        if name in OWN:
            message = f"{shown(name)} cannot be an attribute: every entity has one that KIFF keeps"
            yield Finding(path, "reserved_attribute", message, "give it another name")
        yield from _misplaced(schema, path, ("default", "optional"))
        problems = list(schema_problems(schema, path))
        yield from problems
        if not problems:
            yield from _default_problems(name, schema, path)


def _default_problems(name: str, schema: Json, path: Path) -> Iterator[Finding]:
    if "default" not in schema:
        return
    if schema.get("optional"):
        message = "an attribute with a `default` is always there, so it is not optional"
        yield Finding((*path, "optional"), "bad_schema", message, "remove one of them")
    wrong = compile_parameters((), {name: schema})({name: schema["default"]})
    if wrong:
        expected = wrong[0][1].get("expected", "what its schema says")
        yield Finding((*path, "default"), "bad_schema", f"expected {expected}, found {shown(schema['default'])}")


def payload_schemas(document: Json) -> Iterator[Finding]:
    """Do the schemas of payloads mean what they say?"""
    for event, fields in document.get("payloads", {}).items():
        for name, schema in fields.items():
            path = ("payloads", event, name)
            yield from _misplaced(schema, path, ("optional",))
            yield from schema_problems(schema, path)


def parameter_words(document: Json) -> Iterator[Finding]:
    """Do the schemas of parameters only say what a parameter can keep?"""
    for path, action in written_actions(document):
        for name, schema in action.get("parameters", {}).items():
            yield from _misplaced(schema, (*path, "parameters", name), ("sensitive",))


def _misplaced(schema: Json, path: Path, allowed: tuple[str, ...]) -> Iterator[Finding]:
    """Words that would do nothing where they stand; inside of a schema there is no place for any of them."""
    for word, belongs in _PLACES.items():
        if word in schema and word not in allowed:
            message = f"`{word}` does nothing here: it {belongs}"
            yield Finding((*path, word), "bad_schema", message, "remove it")
    for inside, where in _inner(schema, path):
        yield from _misplaced(inside, where, ())


def _inner(schema: Json, path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    yield from ((each, (*path, "properties", name)) for name, each in schema.get("properties", {}).items())
    if "items" in schema:
        yield schema["items"], (*path, "items")


def unknown_attributes(document: Json) -> Iterator[Finding]:
    """Is everything that a transition sets an attribute?"""
    declared = document.get("attributes", {})
    for path, transition in written_transitions(document):
        for name in transition.get("set", {}):
            if name not in declared:
                message = f"{shown(name)} is not a declared attribute"
                fix = did_you_mean(name, declared) or "add it to `attributes`"
                yield Finding((*path, "set", name), "unknown_attribute", message, fix)
