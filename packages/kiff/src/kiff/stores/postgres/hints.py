"""Hints between processes: which logs grew. Nothing depends on them; without them news is late, and no more than that.

They are not sent in a commit: the server lets only one transaction at a time commit a NOTIFY.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import asyncpg
from msgspec import json

from kiff.runtime.rows import LogHead
from kiff.stores.postgres.failures import LOST

CHANNEL = "kiff_moved"
PACE_SECONDS = 0.05
"""How often hints are sent at most."""
AGAIN_SECONDS = 1.0
"""How soon a lost connection is made again."""
MOST_BYTES = 7_000
"""Of one hint; the server takes 8,000."""


class Hints:
    """Says to the other processes what this one appended, and hears what they say.

    Args:
        moved: called with the heads that others moved; only their tenant and size are told.
    """

    def __init__(self, url: str, moved: Callable[[list[LogHead]], None]) -> None:
        self._url = url
        self._moved = moved
        self._me = secrets.token_hex(8)
        self._grown: dict[str, int] = {}
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="kiff-hints", daemon=True)
        self._thread.start()

    def tell(self, heads: Iterable[LogHead]) -> None:
        """Soon, and from another thread."""
        with self._lock:
            first = not self._grown
            self._grown.update({head.tenant: head.size for head in heads})
        if first and self._grown:
            self._awake()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._awake()
        self._thread.join()

    def _awake(self) -> None:
        """Whoever tells has committed already: that nobody passes hints on any more must not become their error."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        while not self._closed:
            try:
                connection = await asyncpg.connect(self._url, timeout=5.0, command_timeout=5.0)
            except (asyncpg.PostgresError, *LOST):
                await self._rest(AGAIN_SECONDS)
                continue
            try:
                await connection.add_listener(CHANNEL, self._heard)
                await self._send_all(connection)
            except (asyncpg.PostgresError, *LOST):
                await self._rest(AGAIN_SECONDS)
            finally:
                with suppress(asyncpg.PostgresError, *LOST):
                    await connection.close(timeout=1.0)

    async def _send_all(self, connection: Any) -> None:
        while not self._closed:
            await self._rest(None if not connection.is_closed() else 0)
            if connection.is_closed():
                return
            for hint in self._hints():
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, hint)
            await asyncio.sleep(PACE_SECONDS)

    async def _rest(self, seconds: float | None) -> None:
        """Until there is something to tell, or the end; a lost connection is noticed once a second."""
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_SECONDS if seconds is None else seconds):
                await self._wake.wait()
        if not self._closed:
            self._wake.clear()

    def _hints(self) -> list[str]:
        with self._lock:
            grown, self._grown = self._grown, {}
        told, part = [], {}
        for tenant, size in grown.items():
            part[tenant] = size
            if len(json.encode(part)) > MOST_BYTES:
                told.append(part)
                part = {}
        return [json.encode([self._me, each]).decode() for each in [*told, part] if each]

    def _heard(self, connection: object, process: int, channel: str, hint: str) -> None:
        """What somebody else sent, or anybody who may connect: it is only a reason to look."""
        with suppress(Exception):
            whose, grown = json.decode(hint, type=tuple[str, dict[str, int]])
            if whose != self._me:
                self._moved([LogHead(tenant, "", size, b"", b"", 0) for tenant, size in grown.items()])
