"""Taking turns at a tenant that several processes write: whoever waits for the head's row lock does not step in vain.

Only a head that was lost lately is locked, and only for so long; a process that is alone keeps its two round trips.
Nothing depends on it: the head's compare-and-set is what keeps writers apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple, TypeVar

from kiff.stores.postgres.connections import Connection, Connections
from kiff.stores.postgres.failures import translated

T = TypeVar("T")

CONTENDED_SECONDS = 5.0
"""How long turns are taken after a head was lost to another process."""
TURN_SECONDS = 6.0
"""How long a turn is waited for: longer than the server lets a process that hangs keep its own."""
_LOCK = "SELECT 1 FROM heads WHERE tenant = $1 FOR UPDATE"


class Turn(NamedTuple):
    """A transaction that holds the head's lock, for the thread that has it."""

    connection: Connection
    thread: int
    end: ExitStack


class Turns:
    """Which tenants are contended, and whose turn this process has."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._until: dict[str, float] = {}
        self._held: dict[str, Turn] = {}

    def lost(self, tenant: str) -> None:
        """Another process moved the head first."""
        self._until[tenant] = time.monotonic() + CONTENDED_SECONDS

    def wait_for(self, tenant: str) -> None:
        """Waits for the turn, if there is anybody to wait for.

        Raises:
            StoreError: the server cannot be reached, or the turn did not come.
        """
        if self._until.get(tenant, 0.0) < time.monotonic():
            self._until.pop(tenant, None)
            return
        self.leave(tenant)  # whoever loads twice begins again
        with ExitStack() as taken:
            connection = taken.enter_context(self._connections.taken(tenant))
            taken.callback(_rolled_back, connection)
            with translated():
                # A statement of its own: what waits for a lock sees the other rows as they were before it waited.
                connection.run(lambda raw: raw.execute("BEGIN"))
                connection.run(lambda raw: raw.fetch(_LOCK, tenant, timeout=TURN_SECONDS))
            self._held[tenant] = Turn(connection, threading.get_ident(), taken.pop_all())

    def leave(self, tenant: str) -> None:
        """Lets the next one have its turn. Again, it changes nothing."""
        turn = self._held.pop(tenant, None)
        if turn is not None:
            turn.end.close()

    def ask(self, tenant: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """A question, in the transaction of this thread's turn if it has one."""
        turn = self._mine(tenant)
        if turn is None:
            return self._connections.ask(tenant, work)
        with translated():
            return turn.connection.run(work)

    def write(self, tenant: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """Something that is written, and committed.

        Raises:
            StoreInDoubt: the connection was lost.
        """
        turn = self._mine(tenant)
        if turn is None:
            return self._connections.ask(tenant, work, writing=True)
        with translated(writing=True):
            written = turn.connection.run(work)
            turn.connection.run(lambda raw: raw.execute("COMMIT"))
        self.leave(tenant)
        return written

    def _mine(self, tenant: str) -> Turn | None:
        turn = self._held.get(tenant)
        return turn if turn is not None and turn.thread == threading.get_ident() else None


def _rolled_back(connection: Connection) -> None:
    """Ends what was begun and not committed. With a connection that is lost the server ends it."""
    if not connection.lost:
        with suppress(Exception):  # it is lost now
            connection.run(_rollback)


async def _rollback(raw: Any) -> None:
    if raw.is_in_transaction():
        await raw.execute("ROLLBACK")
