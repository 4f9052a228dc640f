"""docs/reference/kiff-yaml.md, made from the schema of the format and the document that says everything in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from kiff.domain.issue import Path
from kiff.domain.loader import read
from kiff.domain.published_schema import Pointer, said
from kiff.domain.schema import SCHEMA
from kiff.domain.schema_example import EXAMPLE
from kiff.errors import InvalidDomain

INTRO = """\
# kiff.yaml

Everything a kiff.yaml can say, made from its schema. `kiff check` says what is wrong with one, with the line and what
to do; an editor that knows JSON Schema completes it as you write, when the file begins with

```yaml
# yaml-language-server: $schema=https://kiff.dev/schemas/domain-v1.json
```

It is YAML 1.2 of the strictest kind: no aliases, no tags, no repeated keys, one document, at most 256 KiB. What a key
does not say is read in the strictest way, so a file grows from a few lines. The parts below are out of one document,
which stands at the end as a whole and is checked by the tests.
"""
WORDS = "What names, durations and the like look like."
_ROOM = 100
_NOUNS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_UNSTATED = ("array", "object")


class Section(NamedTuple):
    """One kind of mapping: what it is called, its schema, and the mappings of that kind in the example document."""

    title: str
    schema: dict[str, Any]
    examples: list[dict[str, Any]]


def page() -> str:
    parts = [INTRO]
    parts += [_section(each) for each in sections()]
    parts.append(f"## Words\n\n{WORDS}\n\n" + _table(("word", "what it is"), _words()))
    parts.append("## All of it\n\n" + fenced(list(block(EXAMPLE))))
    return "\n".join(parts)


def sections() -> list[Section]:
    """Every kind of mapping with keys of its own, in the order in which the document comes to them."""
    found: dict[Pointer, list[dict[str, Any]]] = {(): [EXAMPLE]}
    seen: dict[Pointer, set[Path]] = {}
    for pointer, path, _ in said(EXAMPLE):
        owner, place = pointer[:-2], path[:-1]
        if owner and place not in seen.setdefault(owner, set()):
            seen[owner].add(place)
            found.setdefault(owner, []).append(_at(EXAMPLE, place))
    return [Section(_at(SCHEMA, owner)["title"], _at(SCHEMA, owner), each) for owner, each in found.items()]


def covering(section: Section) -> list[dict[str, Any]]:
    """The first few mappings that say every key between them."""
    left, chosen = set(section.schema["properties"]), []
    for each in section.examples:
        if left & each.keys() and each not in chosen:
            chosen.append(each)
            left -= each.keys()
    return chosen


def _section(section: Section) -> str:
    required = section.schema.get("required", ())
    rows = [
        (f"`{key}`", kind(schema), _default(key, schema, required), _meaning(key, schema))
        for key, schema in section.schema["properties"].items()
    ]
    description = section.schema.get("description", "")
    table = _table(("key", "type", "when left out", "meaning"), rows)
    if section.schema is SCHEMA:
        return f"## The document\n\n{description}\n\n{table}"
    shown = covering(section)
    lines = list(block(shown if len(shown) > 1 else shown[0]))
    return f"## {section.title}\n\n{description}\n\n{table}\n{fenced(lines)}"


def _meaning(key: str, schema: dict[str, Any]) -> str:
    """The description, after the title where that says more than the key."""
    title, description = schema.get("title", key), _whole(schema)["description"].rstrip(".")
    return description if title.lower().replace(" ", "_") == key.lower() else f"{title}. {description}"


def _default(key: str, schema: dict[str, Any], required: list[str]) -> str:
    whole = _whole(schema)
    if key in required:
        return "*required*"
    return f"`{flow(whole['default'])}`" if "default" in whole else ""


def kind(schema: dict[str, Any]) -> str:
    """The type of a value, in words and links."""
    if "$ref" in schema:
        target = _whole(schema)
        return f"[{target['title'].lower()}](#{_anchor(target)})"
    if "anyOf" in schema:
        return " or ".join(kind(option) for option in schema["anyOf"])
    if "enum" in schema and "type" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}" if "items" in schema else "list"
    if schema.get("type") == "object":
        if "properties" in schema:
            return f"[{schema['title']}](#{_anchor(schema)})"
        return f"{_whole(schema['propertyNames'])['title']} → {kind(schema['additionalProperties'])}"
    return _NOUNS[schema["type"]] + _range(schema) if "type" in schema else "any value"


def _range(schema: dict[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None:
        return f", up to {schema['maxLength']} characters" if "maxLength" in schema else ""
    return f", {least} or more" if most is None else f", {least} to {most}"


def _words() -> Iterator[tuple[str, str]]:
    for schema in SCHEMA["$defs"].values():
        if schema.get("type") not in _UNSTATED:
            said_ = schema["description"].rstrip(".")
            values = f": {kind(schema)}" if "enum" in schema else ""
            yield f'<a id="{_anchor(schema)}"></a>{schema["title"].lower()}', said_ + values


def _anchor(schema: dict[str, Any]) -> str:
    """Of a section its heading; of a word a place in the table."""
    name = schema["title"].lower().replace(" ", "-")
    return name if schema.get("type") in _UNSTATED else f"word-{name}"


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] | schema if "$ref" in schema else schema


def _at(value: Any, path: Pointer) -> Any:
    for step in path:
        value = value[step]
    return value


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [" | ".join(row).replace("||", "\\|\\|") for row in (head, ("---",) * len(head), *rows)]
    return "".join(f"| {line} |\n".replace("|  |", "| |") for line in lines)


def fenced(lines: list[str]) -> str:
    return "```yaml\n" + "\n".join(lines) + "\n```\n"


def block(value: Any, indent: str = "") -> Iterator[str]:
    """YAML of a list or a mapping: short things on one line, long ones below each other."""
    for key, item in value.items() if isinstance(value, dict) else ((None, each) for each in value):
        head = f"{indent}- " if key is None else f"{indent}{flow(key)}: "
        line = head + flow(item)
        if len(line) <= _ROOM or not isinstance(item, dict | list):
            yield line
        elif key is None:
            first, *rest = block(item, indent + "  ")
            yield head + first.lstrip()
            yield from rest
        else:
            yield head.rstrip()
            yield from block(item, indent + "  ")


def flow(value: Any) -> str:
    """YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    simple = '"' in text and text.isprintable() and not set(text) & set("'\\")
    return f"'{text}'" if simple else json.dumps(text, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    """Whether the text stands for itself without quotes, in a list in brackets too."""
    if not text or set(text) & set("\n[]{},#'\"") or (text[0].isdigit() and set(text) & set(":-")):
        return False  # what starts like a time or a date is one for other readers
    try:
        document = read(f"[{text}, x]")
    except InvalidDomain:
        return False
    return not document.findings and document.value == [text, "x"]
