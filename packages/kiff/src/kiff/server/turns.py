"""Turns at what takes long: one at a time for a tenant, a few for all, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kiff.errors import Overloaded


class Turns:
    """Who may work now. A tenant that asks often waits for itself, and takes no turn of another.

    Args:
        at_once: how many may work at once.
        patience_seconds: how long one waits.
    """

    def __init__(self, at_once: int, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._one: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._any = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def take(self, tenant: str) -> AsyncIterator[None]:
        """A turn for the tenant.

        Raises:
            Overloaded: there was none in time.
        """
        own = self._one[tenant]
        try:
            async with asyncio.timeout(self._patience_seconds) as waiting:
                await own.acquire()
                try:
                    await self._any.acquire()
                except BaseException:
                    own.release()
                    raise
                waiting.reschedule(None)
        except TimeoutError:
            raise Overloaded("others are at it, and each takes its time; try again shortly") from None
        try:
            yield
        finally:
            self._any.release()
            own.release()
