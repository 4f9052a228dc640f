"""What a document's shape says about it: a schema read as sentences, every problem with its place.

Only the keywords that our schemas use are read; the tests hold this file against a full implementation.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from kiff.domain.issue import Finding, Path, did_you_mean, shown
from kiff.domain.schema import SCHEMA


def shape(value: Any, schema: dict[str, Any] = SCHEMA) -> list[Finding]:
    """Everything about the document's shape that the schema does not allow.

    Args:
        schema: one of ours, with `$defs`.
    """
    found: list[Finding] = []
    _look(value, schema, (), _Found(schema["$defs"], found))
    return found


class _Found(NamedTuple):
    """What was found so far, under a schema's definitions."""

    defs: dict[str, Any]
    findings: list[Finding]


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


def _look(value: Any, schema: dict[str, Any], path: Path, found: _Found) -> None:
    schema = _resolved(schema, found.defs)
    kind = _kind(value)
    if "anyOf" in schema:
        options = [_resolved(option, found.defs) for option in schema["anyOf"]]
        schema = next((o for o in options if _fits(kind, o)), {"type": [o["type"] for o in options]})
    if not _fits(kind, schema):
        found.findings.append(_wrong_kind(value, kind, schema, path))
    elif kind == "object":
        _look_in_object(value, schema, path, found)
    elif kind == "array":
        _look_in_array(value, schema, path, found)
    elif kind == "string":
        found.findings.extend(_text_problems(value, schema, path))
    elif value is not None and value < schema.get("minimum", value):
        found.findings.append(
            Finding(path, "out_of_range", f"expected at least {schema['minimum']}, found {shown(value)}")
        )
    elif value is not None and value > schema.get("maximum", value):
        found.findings.append(
            Finding(path, "out_of_range", f"expected at most {schema['maximum']}, found {shown(value)}")
        )


def _kind(value: Any) -> str:
    if type(value) is float and value.is_integer():
        return "integer"
    return _KINDS.get(type(value), "object")


def _resolved(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    return defs[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


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


def _look_in_object(value: dict[str, Any], schema: dict[str, Any], path: Path, found: _Found) -> None:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            found.findings.append(Finding(path, "missing_key", f"expected the key `{name}` in this {schema['title']}"))
    for key, item in value.items():
        if "propertyNames" in schema:
            names = _resolved(schema["propertyNames"], found.defs)
            found.findings.extend(_text_problems(key, names, (*path, key)))
        if key in known:
            _look(item, known[key], (*path, key), found)
        elif schema.get("additionalProperties"):
            _look(item, schema["additionalProperties"], (*path, key), found)
        elif "additionalProperties" in schema:
            found.findings.append(_unknown_key(key, schema, path))


def _unknown_key(key: str, schema: dict[str, Any], path: Path) -> Finding:
    known = schema["properties"]
    fix = did_you_mean(key, known) or f"known keys: {', '.join(known)}"
    article = "an" if schema["title"][0] in "aeiou" else "a"
    return Finding((*path, key), "unknown_key", f"{shown(key)} is not a key of {article} {schema['title']}", fix)


def _look_in_array(value: list[Any], schema: dict[str, Any], path: Path, found: _Found) -> None:
    if len(value) < schema.get("minItems", 0):
        found.findings.append(Finding(path, "empty_list", "expected at least one item, found none"))
    for index, item in enumerate(value):
        _look(item, schema.get("items", {}), (*path, index), found)


def _text_problems(value: str, schema: dict[str, Any], path: Path) -> list[Finding]:
    if "enum" in schema and value not in schema["enum"]:
        message = f"expected one of {', '.join(schema['enum'])}, found {shown(value)}"
        return [Finding(path, "not_one_of", message, did_you_mean(value, schema["enum"]))]
    if "pattern" in schema and not _pattern(schema["pattern"]).fullmatch(value):
        message = f"{shown(value)} is not a {schema['title']}: expected {schema['description']}"
        return [Finding(path, "malformed", message)]
    if len(value) < schema.get("minLength", 0):
        return [Finding(path, "empty_text", "expected a text, found an empty one", "write it or remove the key")]
    if len(value) > schema.get("maxLength", len(value)):
        message = f"expected at most {schema['maxLength']} characters, found {len(value)}"
        return [Finding(path, "too_long", message)]
    return []


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """INVARIANT: only for the patterns of our schemas, which are our own and anchored; a tenant's go to RE2."""
    return re.compile(text.removeprefix("^").removesuffix("$"))
