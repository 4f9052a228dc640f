"""Whether a write would be taken in: the process goes on, and its store answers."""

from __future__ import annotations

import asyncio
import time

from kiff.errors import KiffError, StoreUnavailable
from kiff.protocol.authority import Tenant
from kiff.runtime.ports import Store

FRESH_SECONDS = 1.0
"""How often the store is asked at most, however many want to know."""
PATIENCE_SECONDS = 2.0
_NOBODY = "kiff:readiness"
"""No tenant can be called so: what is asked for is not there, and that it is not there is the answer."""


class Readiness:
    """What the store says, asked once for everybody. For one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked_at = 0.0
        self._asking: asyncio.Task[str] | None = None

    async def failure(self) -> str:
        """The code of what is wrong with the store; empty when it answers."""
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked_at >= FRESH_SECONDS):
            self._asked_at = now
            self._asking = asyncio.create_task(asyncio.to_thread(self._ask))
        answered, _ = await asyncio.wait([self._asking], timeout=PATIENCE_SECONDS)
        return self._asking.result() if answered else StoreUnavailable.code

    def _ask(self) -> str:
        try:
            self._store.row(Tenant, _NOBODY, "tenant")
        except KiffError as error:
            return error.code
        return ""
