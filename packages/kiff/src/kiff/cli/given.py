"""Values on a command line: `-p amount=49.0`, or a JSON object as text, from a file (`@FILE`), or from stdin (`-`)."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kiff.canonical import parse
from kiff.errors import InvalidJson

_LITERAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?|true|false|null", re.ASCII)


def pairs(given: Sequence[str], whole: str | None, *, flag: str) -> dict[str, Any]:
    """The parameters of a call.

    Args:
        given: `name=value`; a value is JSON when it is a number, true, false, null, or begins with [ { ".
        whole: a JSON object; see `whole_object`.
        flag: what the user calls `whole`.

    Raises:
        click.UsageError: not of that form, or a name is given twice.
    """
    found = {} if whole is None else whole_object(whole, flag=flag)
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"expected NAME=VALUE, found `{pair}`")
        if name in found:
            raise click.UsageError(f"`{name}` is given twice")
        found[name] = _value(name, text)
    return found


def whole_object(text: str, *, flag: str) -> dict[str, Any]:
    """A JSON object: the text itself, `@FILE`, or `-` for stdin.

    Raises:
        click.UsageError: it cannot be read, or is not one JSON object.
    """
    try:
        raw = _raw(text)
        value = parse(raw).value
    except OSError as error:
        raise click.UsageError(f"{flag}: `{text.removeprefix('@')}` cannot be read: {error.strerror}") from error
    except InvalidJson as error:
        raise click.UsageError(f"{flag}: {error.message}") from error
    if not isinstance(value, dict):
        raise click.UsageError(f"{flag}: expected a JSON object")
    return value


def _raw(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    return Path(text[1:]).read_bytes() if text.startswith("@") else text.encode("utf-8", "surrogateescape")


def _value(name: str, text: str) -> Any:
    if not _LITERAL.fullmatch(text) and not text.startswith(("[", "{", '"')):
        return text
    try:
        return parse(text.encode("utf-8", "surrogateescape")).value
    except InvalidJson as error:
        raise click.UsageError(f"`{name}` begins like JSON and is none: {error.message}") from error
