"""Server-sent events as they pass by: whole events, byte for byte, and the JSON in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from kiff_guard.mcp.message import read_of_server

EVENT_LIMIT = 64 * 1024 * 1024
_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LINE = re.compile(rb"\r\n|\n|\r")


def events(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut where events end. One that is too long to be looked at is passed on in pieces."""
    held = b""
    for chunk in chunks:
        held += chunk
        cut = max((end.end() for end in _END.finditer(held)), default=len(held) if len(held) > EVENT_LIMIT else 0)
        if cut:
            yield from _each(held[:cut])
            held = held[cut:]
    if held:
        yield held


def _each(block: bytes) -> Iterator[bytes]:
    start = 0
    for end in _END.finditer(block):
        yield block[start : end.end()]
        start = end.end()
    if start < len(block):
        yield block[start:]


def message_in(event: bytes) -> Any:
    """The JSON that an event carries; None if it carries none."""
    data = [line[5:].removeprefix(b" ") for line in _LINE.split(event) if line.startswith(b"data:")]
    return read_of_server(b"\n".join(data)) if data else None


def event_of(message: bytes) -> bytes:
    """A message of our own as an event."""
    data = b"".join(b"data: %b\n" % line for line in _LINE.split(message.strip()))
    return b"event: message\n" + data + b"\n"
