"""Cases as text: a new test file, or more cases at the end of one that is there, which stays as it is otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from kiff.analysis.cases.document import Json
from kiff.domain import loader
from kiff.errors import InvalidDomain, InvalidInput

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*( [A-Za-z0-9_./()-]+)*")
_WORDS = frozenset(("true", "false", "null"))
"""What YAML 1.2 takes for something else than text."""
_ITEM = re.compile(r"^( *)- ", re.MULTILINE)


def new_file(domain: str, policy: str | None, cases: Iterable[Json]) -> str:
    """A test file with these cases.

    Args:
        domain, policy: the files that it names.
    """
    lines = ["# What the gate says at each threshold now: read it before you keep it.", f"domain: {flow(domain)}"]
    lines += [] if policy is None else [f"policy: {flow(policy)}"]
    return "\n".join((*lines, "cases:", *_written(cases, "  "))) + "\n"


def appended(text: str, cases: Sequence[Json]) -> tuple[str, int]:
    """A test file with those of the cases that it does not have yet, and how many these are.

    Raises:
        InvalidInput: `cases` is not the last key of the file, or not a list with an item a line.
    """
    before = loader.read(text)
    known = {each["name"] for each in before.value.get("cases", ())}
    new = [case for case in cases if case["name"] not in known]
    if not new:
        return text, 0
    after = text.rstrip() + "\n" + "\n".join(_written(new, _indent(text, before))) + "\n"
    if _read(after) != before.value | {"cases": [*before.value.get("cases", ()), *new]}:
        raise _not_last()
    return after, len(new)


def flow(value: object) -> str:
    """A value on one line of YAML, with quotes only where they are needed."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def _written(cases: Iterable[Json], indent: str) -> Iterator[str]:
    for case in cases:
        (name, said), *rest = case.items()
        yield f"{indent}- {name}: {flow(said)}"
        yield from (f"{indent}  {key}: {flow(value)}" for key, value in rest)


def _read(text: str) -> object:
    try:
        return loader.read(text).value
    except InvalidDomain:
        return None


def _indent(text: str, document: loader.Document) -> str:
    """How far the items of `cases` stand in."""
    line = document.lines.get(("cases", 0))
    if line is None:
        raise _not_last()
    found = _ITEM.match(text.splitlines()[line - 1])
    if found is None:
        raise _not_last()
    return found[1]


def _not_last() -> InvalidInput:
    message = "cases can only be added to a file whose last key is `cases`, with an item a line"
    return InvalidInput(message, field="--write", hint="name a file that is not there yet")
