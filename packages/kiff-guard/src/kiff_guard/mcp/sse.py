"""Server-sent events as they pass by: whole events, byte for byte, and the JSON in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kiff_guard.mcp.message import read_of_server

EVENT_LIMIT = 64 * 1024 * 1024
_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LINE = re.compile(rb"\r\n|\n|\r")


class Event(NamedTuple):
    """One event.

    Attributes:
        data: what it carries; b"" for nothing.
        id: where a stream that broke can be taken up again; "" if it cannot be here.
        retry_seconds: how long the server wants to be left alone before that.
    """

    data: bytes = b""
    id: str = ""
    retry_seconds: float | None = None


def events(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut where events end. One that is too long to be looked at is passed on in pieces."""
    held = bytearray()
    for chunk in chunks:
        seen = max(0, len(held) - 3)  # the longest end has four bytes
        held += chunk
        cut = max((end.end() for end in _END.finditer(held, seen)), default=0)
        cut = cut or (len(held) if len(held) > EVENT_LIMIT else 0)
        if cut:
            yield from _each(bytes(held[:cut]))
            del held[:cut]
    if held:
        yield bytes(held)


def is_whole(piece: bytes) -> bool:
    """Is it an event to its end?"""
    return piece.endswith((b"\n\n", b"\r\r", b"\n\r", b"\n\r\n", b"\r\r\n"))


def read(event: bytes) -> Event:
    """What stands in an event."""
    data: list[bytes] = []
    id, retry = "", None
    for line in _LINE.split(event):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"id" and b"\0" not in value:
            id = value.decode("latin-1")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            retry = int(value) / 1000
    return Event(b"\n".join(data), id, retry)


def _each(block: bytes) -> Iterator[bytes]:
    start = 0
    for end in _END.finditer(block):
        yield block[start : end.end()]
        start = end.end()
    if start < len(block):
        yield block[start:]


def message_in(event: bytes) -> Any:
    """The JSON that an event carries; None if it carries none."""
    data = read(event).data
    return read_of_server(data) if data else None


def event_of(message: bytes) -> bytes:
    """A message of our own as an event."""
    data = b"".join(b"data: %b\n" % line for line in _LINE.split(message.strip()))
    return b"event: message\n" + data + b"\n"
