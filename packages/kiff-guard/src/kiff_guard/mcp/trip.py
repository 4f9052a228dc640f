"""One request on its way to a server behind a URL: what it asks, and how far it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

from kiff_guard.mcp import message as protocol
from kiff_guard.mcp.message import Key
from kiff_guard.mcp.sse import Event as Happening
from kiff_guard.mcp.upstream import Exchange, Headers


@dataclass(eq=False)
class Trip:
    """One request, until it is answered; or the stream of GET, that nothing is the answer to.

    Attributes:
        line: its body.
        message: what it says.
        sent: the server has it, or never gets it.
        answered: its answer is there.
        last_event: where its stream can be taken up again.
        retry_seconds: how long the server wants to be left alone before that.
        headers: those of the answer.
        session: the session that it is sent in.
    """

    line: bytes = b""
    message: dict[str, Any] = field(default_factory=dict)
    sent: Event = field(default_factory=Event)
    answered: bool = False
    last_event: str = ""
    retry_seconds: float | None = None
    headers: Headers = field(default_factory=list)
    session: str = ""
    _stopped: bool = False
    _exchange: Exchange | None = None
    _lock: Lock = field(default_factory=Lock)

    @property
    def key(self) -> Key | None:
        id = self.message.get("id")
        return protocol.key_of(id) if "method" in self.message and protocol.is_id(id) else None

    @property
    def method(self) -> str:
        return str(self.message.get("method", ""))

    @property
    def version(self) -> str:
        """The version that it says itself, as requests do since 2026; "" for an older one."""
        return protocol.version_of(self.message)

    @property
    def is_stopped(self) -> bool:
        return self._stopped

    def on(self, exchange: Exchange) -> None:
        """It is on this line now."""
        with self._lock:
            self._exchange = exchange
            stopped = self._stopped
        self.sent.set()
        if stopped:
            exchange.stop()

    def stop(self) -> None:
        """Nobody waits for it any more: whoever reads sees the end."""
        with self._lock:
            self._stopped, exchange = True, self._exchange
        if exchange is not None:
            exchange.stop()

    def saw(self, event: Happening) -> None:
        self.last_event = event.id or self.last_event
        self.retry_seconds = event.retry_seconds if event.retry_seconds is not None else self.retry_seconds

    def is_answer(self, message: Any) -> bool:
        is_one = isinstance(message, dict) and protocol.is_answer(message) and protocol.is_id(message.get("id"))
        return is_one and protocol.key_of(message["id"]) == self.key
