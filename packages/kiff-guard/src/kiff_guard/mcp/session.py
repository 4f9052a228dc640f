"""What a client and a server agreed on when their session began, and what it takes to begin it again.

Sessions went out of the protocol in 2026. A client that is of a later version has none, and only its version is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from kiff_guard.mcp import headers
from kiff_guard.mcp import message as protocol
from kiff_guard.mcp.trip import Trip
from kiff_guard.mcp.upstream import Headers


class Session:
    """The one that is open.

    Attributes:
        id: the server's name for it; "" for a server that needs none.
        is_open: the client has said `initialize`, and the server agreed.
    """

    def __init__(self) -> None:
        self.id = ""
        self.is_open = False
        self._version = ""
        self._first: Trip | None = None
        self._then: Trip | None = None
        self._renewing = Lock()

    def headers(self, id: str) -> Headers:
        """What a message that does not say its version is sent with."""
        told = [(headers.SESSION, id)] if id else []
        return told + ([(headers.VERSION, headers.encoded(self._version))] if self._version else [])

    def asks(self, trip: Trip) -> None:
        """The client sends a request."""
        self._version = trip.version or self._version

    def agreed(self, trip: Trip, message: Any) -> None:
        """The server answered it. If that begins a session, what comes next is said in it."""
        result = message.get("result")
        if trip.method != protocol.INITIALIZE or not isinstance(result, dict):
            return
        version = result.get("protocolVersion")
        self._version = version if isinstance(version, str) else ""
        self.id = next((value for name, value in trip.headers if name.lower() == headers.SESSION.lower()), "")
        self._first, self.is_open = trip, True

    def begun(self, trip: Trip) -> None:
        """The client has said that it is ready."""
        self._then = trip

    @contextmanager
    def renewing(self, id: str) -> Iterator[tuple[Trip, Trip] | None]:
        """What the client said at the beginning; None if the session is another one already."""
        with self._renewing:
            if id != self.id or self._first is None or self._then is None:
                yield None
            else:
                self.id = ""
                yield Trip(self._first.line, self._first.message), Trip(self._then.line, self._then.message)
