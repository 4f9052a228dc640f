"""Data on stdout: a table for people, tab separated values for pipes, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

from kiff.cli.safe_text import visible, width

F = TypeVar("F", bound=Callable[..., Any])

MOST_ROWS = 1_000_000
"""What `--limit` may ask for at most."""
FORMATS = ("auto", "text", "json", "jsonl")
SCHEMA = "v1"
"""The version of the JSON that commands print, in its member `kiff`. It may gain members, never lose them."""

_COLOURS = {"ok": "green", "held": "yellow", "wrong": "red", "head": "bright_black"}


def output_option(command: F) -> F:
    """Adds `-o`, and `--json` for `-o json`."""
    shorthand = click.option("--json", "output", flag_value="json", help="The same as -o json.")
    choice = click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="auto",
        show_default=True,
        help="auto: a table on a terminal, tab separated values in a pipe.",
    )
    return shorthand(choice(command))


def print_json(value: Any) -> None:
    """One JSON document. Everything outside of ASCII is escaped, so it is safe on a terminal too."""
    print(_json(value, indent=2))


def print_rows(output: str, name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows in the format that was asked for.

    Args:
        name: what the rows are called in JSON.
        columns: what a table shows, in order; JSON shows all members.
    """
    if output == "json":
        print_json({"kiff": SCHEMA, name: list(rows)})
    elif output == "jsonl":
        for row in rows:
            print(_json({"kiff": SCHEMA, **row}))
    elif output == "text" or sys.stdout.isatty():
        _table(columns, [[visible(row.get(column)) for column in columns] for row in rows])
    else:
        print("\t".join(columns))
        for row in rows:
            print("\t".join(visible(row.get(column)) for column in columns))


def print_fields(output: str, fields: Mapping[str, Any]) -> None:
    """One thing: a field a line for people and pipes, one object for programs. What is empty is not shown to people."""
    if output == "json":
        print_json({"kiff": SCHEMA, **fields})
    elif output == "jsonl":
        print(_json({"kiff": SCHEMA, **fields}))
    else:
        rows = [{"field": name, "value": _cell(value)} for name, value in fields.items() if value not in (None, [], ())]
        print_rows(output, "fields", ("field", "value"), rows)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return _json(value) if isinstance(value, dict | list | tuple) else value


def painted(text: str, role: str) -> str:
    """The text in a colour, where somebody looks: on a terminal, without NO_COLOR, or with KIFF_COLOR=always."""
    wanted = os.environ.get("KIFF_COLOR") == "always" or (sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    return click.style(text, fg=_COLOURS[role]) if wanted else text


def _table(columns: Sequence[str], cells: list[list[str]]) -> None:
    """Aligned columns; the last one is not padded."""
    widths = [max([len(column), *(width(row[at]) for row in cells)]) for at, column in enumerate(columns)]
    print(painted(_line(list(columns), widths), "head"))
    for row in cells:
        print(_line(row, widths))


def _line(cells: list[str], widths: list[int]) -> str:
    padded = [cell + " " * (size - width(cell)) for cell, size in zip(cells, widths, strict=True)]
    return "  ".join(padded).rstrip()


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, separators=None if indent else (",", ":")).replace("\x7f", "\\u007f")
