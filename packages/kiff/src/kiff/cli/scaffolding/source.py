"""Python source of plain values, laid out as formatters do: on one line where it fits, else one item a line.

Whatever a text holds, its source is one valid literal: nothing of it can end the literal or hide from a reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kiff.cli.safe_text import width

WIDTH = 120


class Name(str):
    """Text that is source already, such as a name or `Risk.HIGH`."""

    __slots__ = ()


class Call(NamedTuple):
    """A call: what is called, arguments by position, arguments by name. `spread`: one argument a line always."""

    called: str
    given: tuple[Any, ...] = ()
    named: Mapping[str, Any] = {}
    spread: bool = False


def source(value: Any, *, indent: int = 0, before: int = 0, after: int = 0) -> str:
    """The source of a value.

    Args:
        value: what JSON has, tuples, `Name`, `Call`, nested at will.
        indent: of the line it starts on.
        before, after: columns that are taken on its first and on its last line.
    """
    if not _spreads(value):
        flat = _flat(value)
        if before + width(flat) + after <= WIDTH:
            return flat
    if isinstance(value, str):
        return value if isinstance(value, Name) else _wrapped(value, indent)
    opening, items, closing = _parts(value)
    if not items:
        return opening + closing
    inner = indent + 4
    lines = [
        f"{' ' * inner}{head}{source(item, indent=inner, before=inner + len(head), after=1)}," for head, item in items
    ]
    return "\n".join([opening, *lines, " " * indent + closing])


def assigned(name: str, value: Any, type: str = "") -> str:
    """`name = value`, as a statement of a module."""
    start = f"{name}: {type} = " if type else f"{name} = "
    return start + source(value, before=len(start))


def text(value: str) -> str:
    """A text as a literal in the quotes that take fewer escapes, with nothing in it that a reader cannot see."""
    quote = '"' if value.count('"') <= value.count("'") else "'"
    return quote + "".join(_escaped(each, quote) for each in value) + quote


def _escaped(each: str, quote: str) -> str:
    return f"\\{each}" if each == quote else repr(each)[1:-1]


def _spreads(value: Any) -> bool:
    if isinstance(value, Call):
        return value.spread or any(map(_spreads, (*value.given, *value.named.values())))
    if isinstance(value, dict):
        return any(map(_spreads, value.values()))
    return isinstance(value, list | tuple) and any(map(_spreads, value))


def _flat(value: Any) -> str:
    if isinstance(value, str):
        return value if isinstance(value, Name) else text(value)
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    opening, items, closing = _parts(value)
    lone = "," if closing == ")" and type(value) is tuple and len(items) == 1 else ""
    return opening + ", ".join(head + _flat(item) for head, item in items) + lone + closing


def _parts(value: Any) -> tuple[str, list[tuple[str, Any]], str]:
    """What opens it, its items (each with what stands before it), what closes it."""
    if isinstance(value, Call):
        named = [(f"{name}=", item) for name, item in value.named.items()]
        return f"{value.called}(", _plain(value.given) + named, ")"
    if isinstance(value, dict):
        return "{", [(f"{text(key)}: ", item) for key, item in value.items()], "}"
    return ("[", _plain(value), "]") if isinstance(value, list) else ("(", _plain(value), ")")


def _plain(items: Iterable[Any]) -> list[tuple[str, Any]]:
    return [("", item) for item in items]


def _wrapped(value: str, indent: int) -> str:
    """A long text as several literals in parentheses, broken behind spaces where there are any."""
    inner = " " * (indent + 4)
    room = WIDTH - len(inner)
    lines = [""]
    for piece in re.findall(r"\S{1,30}\s?|\s", value):
        if lines[-1] and width(text(lines[-1] + piece)) > room:
            lines.append("")
        lines[-1] += piece
    return "\n".join(["(", *(inner + text(line) for line in lines), " " * indent + ")"])
