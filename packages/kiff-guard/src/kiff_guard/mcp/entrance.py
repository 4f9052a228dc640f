"""Who may come in to a gateway that listens, and with what: requests for its server that can be read in one way."""

from __future__ import annotations

import email.message
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from kiff_guard.mcp import headers, reply
from kiff_guard.mcp import message as protocol
from kiff_guard.mcp.message import Unreadable

BODY_LIMIT = 16 * 1024 * 1024
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ONCE = (
    "Host", "Origin", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Authorization",
    headers.SESSION, "Mcp-Method", "Mcp-Name",
)  # fmt: skip
"""Headers that are read here and there: two readers would read two of one name differently."""

Told = email.message.Message


class Refused(Exception):
    """A request that is answered here.

    Args:
        status: the HTTP status.
        message: the JSON-RPC message that is its body.
        closes: what follows on the connection may be the rest of what was not read.
    """

    def __init__(self, status: int, message: dict[str, Any], *, closes: bool = False) -> None:
        super().__init__(status)
        self.status = status
        self.message = message
        self.closes = closes


class Entrance:
    """The way in.

    Args:
        path: where the server is found.
        is_local: only this machine may come.
        origins: web pages of other origins that may.
    """

    def __init__(self, path: str, is_local: bool, origins: Iterable[str]) -> None:
        self.path = path
        self.is_local = is_local
        self.origins = frozenset(origins)

    def admit(self, path: str, told: Told) -> None:
        """Only requests for the server, and none of a web page that was led here (DNS rebinding).

        Raises:
            Refused: it is something else.
        """
        if path != self.path:
            raise turned_away(404, f"the server is at {self.path}")
        for name in _ONCE:
            if len(told.get_all(name, [])) > 1:
                raise turned_away(400, f"the header {name} stands twice")
        host = told.get("Host", "")
        if self.is_local and _hostname(f"//{host}") not in LOOPBACK:
            raise turned_away(403, "the header Host names another machine")
        origin = told.get("Origin")
        if origin is not None and origin not in self.origins and origin != f"http://{host}":
            raise turned_away(403, "this origin may not use the gateway; --origin lets it")

    def preflight(self, told: Told) -> list[tuple[str, str]]:
        """What a browser is told that asks before it sends a page's request."""
        if told.get("Origin") not in self.origins:
            raise turned_away(405, "use POST")
        asked = told.get("Access-Control-Request-Headers", "")
        return [("Access-Control-Allow-Methods", "GET, POST, DELETE"), ("Access-Control-Allow-Headers", asked)]

    def for_a_page(self, told: Told) -> list[tuple[str, str]]:
        """What lets a page of a named origin read the answer."""
        origin = told.get("Origin", "")
        if origin not in self.origins:
            return []
        exposed = ("Access-Control-Expose-Headers", headers.SESSION)
        return [("Access-Control-Allow-Origin", origin), exposed, ("Vary", "Origin")]


def turned_away(status: int, why: str) -> Refused:
    """A request that is not read any further."""
    return Refused(status, reply.failure(None, protocol.INVALID_REQUEST, why), closes=True)


def length_of(told: Told) -> int:
    """How many bytes the body has.

    Raises:
        Refused: it does not say so, or it is packed, or too long.
    """
    length = told.get("Content-Length", "")
    if told.get("Transfer-Encoding") is not None or not (length.isascii() and length.isdigit()):
        raise turned_away(411, "a request has a Content-Length")
    if told.get("Content-Encoding", "identity").lower() != "identity":
        raise turned_away(415, "a request is not packed")
    if int(length) > BODY_LIMIT:
        raise turned_away(413, f"a request has at most {BODY_LIMIT} bytes")
    return int(length)


def check_type(told: Told) -> None:
    """The server reads the same letters as the gateway: in UTF-7 a text may hold a whole tool call."""
    given = email.message.Message()
    given["Content-Type"] = told.get("Content-Type", "application/json")
    charset = given.get_param("charset", "utf-8")
    if given.get_content_type() != "application/json" or str(charset).lower() not in ("utf-8", "utf8"):
        raise Unreadable("a request is application/json in UTF-8")


def check_header(told: Mapping[str, Any] | Told, name: str, said: Any) -> None:
    """Some servers go by the header: it says what the body says, or the request goes nowhere."""
    header = told.get(name)
    if header is not None and headers.decoded(header) != said:
        raise Unreadable(f"the header {name} says something else than the body", protocol.HEADER_MISMATCH)


def _hostname(netloc: str) -> str | None:
    try:
        return urlsplit(netloc).hostname
    except ValueError:
        return None
