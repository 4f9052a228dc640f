"""Connections to PostgreSQL for code that waits: any thread takes one, asks, and gives it back.

Each has an event loop of its own, run by whichever thread holds it, so that a question wakes no other thread.
A connection that was lost is thrown away; the next one that takes its place says whether the server is there.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import asyncpg

from kiff.errors import StoreUnavailable
from kiff.stores.postgres.failures import explained, translated
from kiff.stores.postgres.schema import SCHEMA

T = TypeVar("T")

EVERYONE = "*"
"""What a connection is set to whose question is about all tenants."""
CONNECT_SECONDS, WAIT_SECONDS = 5.0, 10.0
"""For a connection; for one that is free."""
ANSWER_SECONDS, LONG_SECONDS = 4.0, 60.0
"""For the answer to one question, and to one that reads much. A connection that went silent is given up so soon that
calls are still answered within ten seconds."""
_SETTINGS = {
    "application_name": "kiff",
    "search_path": SCHEMA,
    "plan_cache_mode": "force_generic_plan",  # one plan a statement: every one of them goes by its key
    "jit": "off",
    "idle_in_transaction_session_timeout": "5s",  # so long can a process that hangs keep others from a tenant
    "lock_timeout": "10s",
    "TimeZone": "UTC",
}


class Connection:
    """One connection and its loop. For one thread at a time."""

    def __init__(self, raw: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._raw = raw
        self._loop = loop
        self._tenant: str | None = None
        self._astray = False

    def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """What `work` brings, given the driver's connection."""
        try:
            return self._loop.run_until_complete(_awaited(work(self._raw)))
        except asyncpg.PostgresError:
            raise  # the server's own words: both sides know where they stand
        except BaseException:
            self._astray = True  # no answer in time, or the driver lost its place: another question may get this answer
            raise

    def belongs(self, tenant: str) -> None:
        """Sets whose rows the database shows: the second wall between tenants (row-level security)."""
        if self._tenant != tenant:
            self._tenant = None  # until the server has said so
            sql = "SELECT set_config('kiff.tenant', $1, false)"
            self.run(lambda raw: raw.execute(sql, tenant, timeout=CONNECT_SECONDS))
            self._tenant = tenant

    @property
    def tenant(self) -> str | None:
        return self._tenant

    @property
    def lost(self) -> bool:
        return self._astray or bool(self._raw.is_closed())

    def close(self) -> None:
        """Lets go of the socket, whatever state the driver is in. Calling it twice is fine."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(_gone(self._raw, politely=not self._astray))
            self._loop.close()


class Connections:
    """At most `most` connections to one database.

    Args:
        read_only: the server refuses to write.
        answer_seconds: how long one answer may take; as long as it takes, for work that somebody watches.
    """

    def __init__(self, url: str, most: int, *, read_only: bool = False, answer_seconds: float | None = None) -> None:
        self._url = url
        self._answer_seconds = answer_seconds
        self._settings = _SETTINGS | ({"default_transaction_read_only": "on"} if read_only else {})
        self._free: deque[Connection] = deque()
        self._room = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._closed = False
        self._beside = ThreadPoolExecutor(most, thread_name_prefix="kiff-postgres")

    def ask(self, tenant: str, work: Callable[[Any], Awaitable[T]], *, writing: bool = False) -> T:
        """What `work` brings, with a connection that shows the rows of this tenant.

        Args:
            writing: a connection that is lost leaves open what happened. A mere question is asked again, once.

        Raises:
            StoreError: as `kiff.stores.postgres.failures` says.
        """
        if asyncio._get_running_loop() is not None:  # a coroutine asks: its thread has a loop that may not run another
            return self._beside.submit(self._ask, tenant, work, writing).result()
        return self._ask(tenant, work, writing)

    def _ask(self, tenant: str, work: Callable[[Any], Awaitable[T]], writing: bool) -> T:
        with self.taken(tenant) as connection:
            try:
                with translated(writing=writing):
                    return connection.run(work)
            except StoreUnavailable:
                if writing or not connection.lost:
                    raise
        with self.taken(tenant) as connection, translated():
            return connection.run(work)

    @contextmanager
    def taken(self, tenant: str) -> Iterator[Connection]:
        """A connection for as long as the block takes; one that shows this tenant's rows already, if there is one.

        Raises:
            StoreUnavailable: the server cannot be reached, or every connection stays in use.
        """
        if not self._room.acquire(timeout=WAIT_SECONDS):
            raise StoreUnavailable("every connection to the database is in use; give it more, or shed load")
        try:
            connection = self._take(tenant)
            try:
                yield connection
            finally:
                self._give(connection)
        finally:
            self._room.release()

    def open(self) -> Connection:
        """A connection of its own, which the caller closes.

        Raises:
            StoreUnavailable: the server cannot be reached.
        """
        loop = asyncio.new_event_loop()
        try:
            raw = loop.run_until_complete(self._connect())
        except BaseException as error:
            loop.close()
            if isinstance(error, ValueError):  # of what reads the URL, and its words may repeat the password
                message = "the URL of the database cannot be used; expected postgresql://USER@HOST:PORT/DATABASE"
                raise StoreUnavailable(message) from None
            if isinstance(error, Exception):
                raise explained(error) from error
            raise
        return Connection(raw, loop)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            free, self._free = list(self._free), deque()
        if asyncio._get_running_loop() is not None:
            self._beside.submit(_close, free).result()
        else:
            _close(free)
        self._beside.shutdown()

    def _take(self, tenant: str) -> Connection:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            fitting = next((each for each in reversed(self._free) if each.tenant == tenant), None)
            connection = fitting or (self._free.pop() if self._free else None)
            if fitting is not None:
                self._free.remove(fitting)
        if connection is not None:
            try:
                return self._shown(connection, tenant)
            except StoreUnavailable:
                pass  # the server went, and may have come back, while nobody asked
        return self._shown(self.open(), tenant)

    def _shown(self, connection: Connection, tenant: str) -> Connection:
        """The connection, set to the tenant; what cannot be set is closed."""
        try:
            with translated():
                connection.belongs(tenant)
        except BaseException:
            connection.close()
            raise
        return connection

    def _give(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and not connection.lost:
                self._free.append(connection)
                return
            # What became of one may have become of those that nobody used since: none of them is waited for.
            others, self._free = list(self._free), deque()
        _close([connection, *others])

    def _connect(self) -> Awaitable[Any]:
        return asyncpg.connect(  # type: ignore[no-any-return]
            self._url,
            timeout=CONNECT_SECONDS,
            command_timeout=self._answer_seconds,
            statement_cache_size=1_000,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            server_settings=self._settings,
        )


def _close(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()


async def _gone(raw: Any, *, politely: bool) -> None:
    if politely:
        with suppress(Exception):
            await raw.close(timeout=1.0)
    # What the driver still waited for is of no interest to anybody.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    raw.terminate()  # a server that is gone cannot be told
    await asyncio.sleep(0)  # the loop closes the socket in its next round


async def _awaited(work: Awaitable[T]) -> T:
    return await work
