"""The schema as it is published: every property with examples, all of them out of one document that loads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from kiff.domain.issue import Path
from kiff.domain.schema import SCHEMA
from kiff.domain.schema_example import EXAMPLE

Pointer = tuple[str | int, ...]
"""A place in the schema: `("$defs", "rule", "properties", "id")`."""

Said = tuple[Pointer, Path, Any]
"""A property, the place in a document where it is, and its value there."""

_MOST = 3
_TYPES: dict[type, str] = {dict: "object", list: "array", str: "string"}


def schema_json() -> str:
    """The published text of the schema."""
    return json.dumps(published(), indent=2, ensure_ascii=False) + "\n"


def published() -> dict[str, Any]:
    """The schema, with `examples` on every property that the example document says something for."""
    schema = deepcopy(SCHEMA)
    for pointer, values in examples().items():
        place: Any = schema
        for step in pointer:
            place = place[step]
        place["examples"] = values
    return schema


def examples() -> dict[Pointer, list[Any]]:
    """Place of a property -> what the example document says there: one list or mapping, or a few plain values."""
    found: dict[Pointer, list[Any]] = {}
    for pointer, _, value in said(EXAMPLE):
        values = found.setdefault(pointer, [])
        value = value[:1] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        if value not in values and len(values) < (1 if isinstance(value, dict | list) else _MOST):
            values.append(value)
    return found


def said(value: Any, schema: dict[str, Any] = SCHEMA, at: Pointer = (), path: Path = ()) -> Iterator[Said]:
    """Everything that a valid document says for a property, with the place of the property and its own."""
    schema, at = _meant(value, schema, at)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from said(item, schema["items"], (*at, "items"), (*path, index))
    for key, item in value.items() if isinstance(value, dict) else ():
        if key in schema.get("properties", {}):
            where: Pointer = (*at, "properties", key)
            yield where, (*path, key), item
            yield from said(item, schema["properties"][key], where, (*path, key))
        else:
            yield from said(item, schema["additionalProperties"], (*at, "additionalProperties"), (*path, key))


def _meant(value: Any, schema: dict[str, Any], at: Pointer) -> tuple[dict[str, Any], Pointer]:
    """The schema without references and alternatives, and its place."""
    schema, at = _resolved(schema, at)
    options = [_resolved(option, (*at, "anyOf", i)) for i, option in enumerate(schema.get("anyOf", ()))]
    fitting = [(option, place) for option, place in options if option["type"] == _TYPES.get(type(value))]
    return fitting[0] if fitting else (schema, at)


def _resolved(schema: dict[str, Any], at: Pointer) -> tuple[dict[str, Any], Pointer]:
    if "$ref" not in schema:
        return schema, at
    name = schema["$ref"].rpartition("/")[2]
    return SCHEMA["$defs"][name], ("$defs", name)
