"""What a document's shape says about it: `SCHEMA` read as sentences, every problem with its place.

Only the keywords that `SCHEMA` uses are read; the tests hold this file against a full implementation.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from kiff.domain.issue import Finding, Path, did_you_mean, shown
from kiff.domain.schema import SCHEMA


def shape(value: Any) -> list[Finding]:
    """Everything about the document's shape that the schema does not allow."""
    found: list[Finding] = []
    _look(value, SCHEMA, (), found)
    return found


# Known to the format and not enforced by this version: a rule that loads and does nothing would be a hole.
_LATER = {
    "kiff.yaml": (
        "attributes",
        "grants",
        "groups",
        "limits",
        "payloads",
        "policy",
        "rules",
        "schedules",
        "timeouts",
    ),
    "transition": ("when", "set"),
    "action": ("when", "otherwise", "rules", "limits", "grants", "compensate"),
    "approval policy": ("quorum", "binds", "human_only", "evidence"),
    "permissions": ("separate",),
    "parameter schema": ("default", "optional", "sensitive"),
}

_NOUNS = {
    "null": "nothing",
    "boolean": "a yes-or-no value",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "a mapping",
}
_KINDS = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}


def _look(value: Any, schema: dict[str, Any], path: Path, found: list[Finding]) -> None:
    schema = _resolved(schema)
    kind = _kind(value)
    if "anyOf" in schema:
        options = [_resolved(option) for option in schema["anyOf"]]
        schema = next((o for o in options if _fits(kind, o)), {"type": [o["type"] for o in options]})
    if not _fits(kind, schema):
        found.append(_wrong_kind(value, kind, schema, path))
    elif kind == "object":
        _look_in_object(value, schema, path, found)
    elif kind == "array":
        _look_in_array(value, schema, path, found)
    elif kind == "string":
        found.extend(_text_problems(value, schema, path))
    elif value is not None and "minimum" in schema and value < schema["minimum"]:
        message = f"expected at least {schema['minimum']}, found {shown(value)}"
        found.append(Finding(path, "out_of_range", message))


def _kind(value: Any) -> str:
    if type(value) is float and value.is_integer():
        return "integer"
    return _KINDS.get(type(value), "object")


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _fits(kind: str, schema: dict[str, Any]) -> bool:
    wanted = schema.get("type", kind)
    wanted = wanted if isinstance(wanted, list) else [wanted]
    return kind in wanted or (kind == "integer" and "number" in wanted)


def _wrong_kind(value: Any, kind: str, schema: dict[str, Any], path: Path) -> Finding:
    wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    nouns = " or ".join(_NOUNS[w] for w in wanted)
    found = _NOUNS[kind] if kind in ("null", "array", "object") else f"{_NOUNS[kind]}, {shown(value)}"
    fix = ""
    if wanted == ["array"] and kind == "string":
        fix = f"write `[{value}]`" if len(value) <= 40 else "put it in a list"
    elif wanted == ["string"] and kind in ("boolean", "integer", "number"):
        fix = "put it in quotes"
    elif kind == "null":
        fix = "give it a value or remove the key"
    return Finding(path, "wrong_type", f"expected {nouns}, found {found}", fix)


def _look_in_object(value: dict[str, Any], schema: dict[str, Any], path: Path, found: list[Finding]) -> None:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            found.append(Finding(path, "missing_key", f"expected the key `{name}` in this {schema['title']}"))
    for key, item in value.items():
        if "propertyNames" in schema:
            names = _resolved(schema["propertyNames"])
            found.extend(_text_problems(key, names, (*path, key)))
        if key in known:
            _look(item, known[key], (*path, key), found)
        elif schema.get("additionalProperties"):
            _look(item, schema["additionalProperties"], (*path, key), found)
        elif "additionalProperties" in schema:
            found.append(_unknown_key(key, schema, path))


def _unknown_key(key: str, schema: dict[str, Any], path: Path) -> Finding:
    if key in _LATER.get(schema["title"], ()):
        message = f"`{key}` is not supported yet, so nothing would enforce it"
        return Finding((*path, key), "not_supported_yet", message, "remove it")
    known = schema["properties"]
    fix = did_you_mean(key, known) or f"known keys: {', '.join(known)}"
    article = "an" if schema["title"][0] in "aeiou" else "a"
    return Finding((*path, key), "unknown_key", f"{shown(key)} is not a key of {article} {schema['title']}", fix)


def _look_in_array(value: list[Any], schema: dict[str, Any], path: Path, found: list[Finding]) -> None:
    if len(value) < schema.get("minItems", 0):
        found.append(Finding(path, "empty_list", "expected at least one item, found none"))
    for index, item in enumerate(value):
        _look(item, schema.get("items", {}), (*path, index), found)


def _text_problems(value: str, schema: dict[str, Any], path: Path) -> list[Finding]:
    if "enum" in schema and value not in schema["enum"]:
        message = f"expected one of {', '.join(schema['enum'])}, found {shown(value)}"
        return [Finding(path, "not_one_of", message, did_you_mean(value, schema["enum"]))]
    if "pattern" in schema and not _pattern(schema["pattern"]).fullmatch(value):
        message = f"{shown(value)} is not a {schema['title']}: expected {schema['description']}"
        return [Finding(path, "malformed", message)]
    if len(value) > schema.get("maxLength", len(value)):
        message = f"expected at most {schema['maxLength']} characters, found {len(value)}"
        return [Finding(path, "too_long", message)]
    return []


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """INVARIANT: only for the patterns of `SCHEMA`, which are ours and anchored; a tenant's go to RE2."""
    return re.compile(text.removeprefix("^").removesuffix("$"))
