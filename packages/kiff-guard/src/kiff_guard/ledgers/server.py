"""Tells a KIFF server which tools were seen, now and then, so that nobody has to remember `observe_push`.

What a call came to, KIFF knows already: it decided, and the guard reports how it ended. This ledger adds the calls it
was never asked about. Names of tools and types of parameters go out, values never.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

from kiff_guard.catalog import Catalog
from kiff_guard.errors import ConfigurationError
from kiff_guard.forks import renew_after_fork
from kiff_guard.receipt import OBSERVED_STATE

WHO_LIMIT = 64
"""How many agents, each by adapter, are told of; further ones are not."""
NO_ADAPTER = "python"
"""The adapter of calls that no adapter brought."""


class Who(NamedTuple):
    """Whose calls they were: of each KIFF keeps the newest list."""

    agent: str
    adapter: str


@dataclass
class Seen:
    """What somebody called so far, and how many of those calls were sent."""

    mode: str
    catalog: Catalog = field(default_factory=Catalog)
    calls: int = 0
    sent: int = 0


class ServerLedger:
    """Sends the tools seen to a KIFF server, from a thread of its own. It keeps no receipt and stops no tool.

    Args:
        client: an `HTTPClient`, or whatever has `observe_guard`.
        every: seconds between two messages; nothing is sent when nothing was called.
        close_within: how many seconds `close` waits for the last message.

    Attributes:
        blocking: `append` only counts.
        failure: why the last message could not be sent; None if it was. The next one has all of it.
    """

    blocking = False

    def __init__(self, client: Any, *, every: float = 60.0, close_within: float = 5.0) -> None:
        if not every > 0:
            raise ConfigurationError(f"`every` is {every!r}: give seconds, more than none")
        if not hasattr(client, "observe_guard"):
            raise ConfigurationError("`client` has no `observe_guard`: give an HTTPClient")
        self.failure: Exception | None = None
        self._client = client
        self._every = every
        self._close_within = close_within
        self._seen: dict[Who, Seen] = {}
        self._lock = Lock()
        self._thread: Thread | None = None
        self._ending = Event()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The child has what its parent saw; neither its thread, nor what that thread held."""
        self._lock, self._thread = Lock(), None
        for seen in self._seen.values():
            seen.catalog.after_fork()

    def append(self, receipt: Any) -> None:
        """Count one call; sent later."""
        who = Who(receipt.agent, receipt.adapter or NO_ADAPTER)
        mode = "observe" if receipt.state == OBSERVED_STATE else "enforce"
        with self._lock:
            if not receipt.tool or (who not in self._seen and len(self._seen) >= WHO_LIMIT):
                return
            seen = self._seen.setdefault(who, Seen(mode))
        seen.catalog.record(receipt.agent, receipt.tool, receipt.args)
        with self._lock:  # counted after it is in the catalog: what is counted as sent was there to be sent
            seen.mode, seen.calls = mode, seen.calls + 1
            if self._thread is None:
                self._start()

    def close(self) -> None:
        """Send what is left. A server that does not answer is waited for no longer than `close_within`."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._ending.set()
            thread.join(self._close_within)

    def _start(self) -> None:
        self._ending = Event()
        self._thread = Thread(target=self._run, args=(self._ending,), name="kiff-guard-server-ledger", daemon=True)
        self._thread.start()

    def _run(self, ending: Event) -> None:
        while not ending.wait(self._every):
            self._send()
        self._send()

    def _send(self) -> None:
        failure: Exception | None = None
        with self._lock:
            news = [(who, seen, seen.calls) for who, seen in self._seen.items() if seen.calls > seen.sent]
        for who, seen, calls in news:
            try:
                self._client.observe_guard(who.agent, who.adapter, seen.mode, self._tools(seen.catalog))
                seen.sent = calls
            except Exception as error:  # noqa: BLE001  # whatever a client raises: the next message has it all again
                failure = error
        if news:
            self._note(failure)

    def _tools(self, catalog: Catalog) -> Any:
        from kiff_guard.observation import observations

        return observations(catalog, getattr(self._client, "tool_map", None))

    def _note(self, failure: Exception | None) -> None:
        if failure is not None and self.failure is None:
            from logging import getLogger

            getLogger("kiff_guard").warning("the tools seen could not be sent, and will be again: %s", failure)
        self.failure = failure
