"""A server process: the socket, the tower, and a clean end. `kiff up` and `kiff serve` start it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from kiff.runtime.ports import Executor
from kiff.server.app import application
from kiff.server.listening import BACKLOG, listen, url_of
from kiff.server.protocol import BoundedProtocol
from kiff.server.routes import ROUTES
from kiff.server.settings import DRAIN_SECONDS, ServerSettings
from kiff.server.tower import Tower

ANSWER_SECONDS = 10
"""How long of DRAIN_SECONDS its clients may wait for answers. Whoever is cut off asks again, with the same id."""
KEEP_ALIVE_SECONDS = 75


class Serving:
    """A socket and a tower behind it.

    Args:
        bound: a socket to listen on; without one, the address of the settings, which takes connections at once.

    Raises:
        InvalidInput: the address cannot be bound; it says why.
        StoreError, KeyUnusable: as `Tower`.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        executors: Mapping[str, Executor] | None = None,
        bound: socket.socket | None = None,
        **options: Any,
    ) -> None:
        self.settings = settings
        self._server: _Server | None = None
        self._stopped = False
        self._socket = bound or listen(settings.host, settings.port)
        try:
            self.tower = Tower(settings, executors=executors, **options)
        except BaseException:
            self._socket.close()
            raise

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return self.settings.public_url or self.local_url

    @property
    def local_url(self) -> str:
        """Where a program on this machine reaches it, with no proxy between."""
        return url_of(self._socket)

    def run(self, ready: Callable[[], None] | None = None) -> None:
        """Serves until SIGINT or SIGTERM; requests in work are answered first, and executors waited for."""
        protocol = type("Protocol", (BoundedProtocol,), {"limits": self.settings.limits})
        config = uvicorn.Config(
            application(self.tower, ROUTES),
            http=protocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=ANSWER_SECONDS,
            backlog=BACKLOG,
        )
        self._server = _Server(config, ready or _nothing, self.tower.drain)
        self._server.should_exit = self._stopped
        _spare_the_collector()
        try:
            asyncio.run(self._server.until_told(self._socket))
        finally:
            self._socket.close()
            self.tower.close(self._server.rest())

    def stop(self) -> None:
        """Ends `run` as a signal would; from any thread."""
        self._stopped = True
        if self._server is not None:
            self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn, stopped by a signal without raising it again: the caller's own end is a normal one.

    Args:
        ready: called once it takes connections.
        ending: called once it stops: it ends answers that have no end of their own, before the others are waited for.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending
        self._told_at: float | None = None

    async def until_told(self, bound: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
                loop.add_signal_handler(number, self.handle_exit, number, None)
        await self._serve([bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._told_at = time.monotonic()
        self._ending()
        await super().shutdown(sockets)

    def rest(self) -> float:
        """How much of DRAIN_SECONDS is left, once the answers are out."""
        taken = 0.0 if self._told_at is None else time.monotonic() - self._told_at
        return max(1.0, DRAIN_SECONDS - taken)


def _nothing() -> None:
    return None


def _spare_the_collector() -> None:
    """What was imported and compiled stays for good, so it is looked through no more; and what a request leaves is
    mostly gone by itself. Measured: a tenth more decisions a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
