"""A server process: the socket, the tower, and a clean end. `kiff up` and `kiff serve` start it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from kiff.errors import InvalidInput
from kiff.runtime.ports import Executor
from kiff.server.app import application
from kiff.server.protocol import BoundedProtocol
from kiff.server.routes import ROUTES
from kiff.server.settings import ServerSettings
from kiff.server.tower import Tower

DRAIN_SECONDS = 10
KEEP_ALIVE_SECONDS = 75


class Serving:
    """A bound socket and a tower behind it. The socket takes connections from the first moment on.

    Raises:
        InvalidInput: the address cannot be bound; it says why.
        StoreError, KeyUnusable: as `Tower`.
    """

    def __init__(
        self, settings: ServerSettings, *, executors: Mapping[str, Executor] | None = None, **options: Any
    ) -> None:
        self.settings = settings
        self._server: _Server | None = None
        self._stopped = False
        self._socket = _bound(settings.host, settings.port)
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
        host, port = self._socket.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else shown}:{port}"

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
            timeout_graceful_shutdown=DRAIN_SECONDS,
            backlog=2048,
        )
        self._server = _Server(config, self.tower.streams.end)
        self._server.should_exit = self._stopped
        _spare_the_collector()
        try:
            asyncio.run(self._server.until_told(self._socket, ready))
        finally:
            self._socket.close()
            self.tower.close()

    def stop(self) -> None:
        """Ends `run` as a signal would; from any thread."""
        self._stopped = True
        if self._server is not None:
            self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn, stopped by a signal without raising it again: the caller's own end is a normal one.

    Args:
        ending: ends answers that have no end of their own, before the others are waited for.
    """

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def until_told(self, bound: socket.socket, ready: Callable[[], None] | None) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
                loop.add_signal_handler(number, self.handle_exit, number, None)
        if ready is not None:
            loop.call_soon(ready)
        await self._serve([bound])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its protocol asyncio knows a TCP socket, and switches off the delay that waits for a fuller packet.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(2048)
    except OSError as error:
        bound.close()
        message = f"`{host}:{port}` cannot be bound ({error.strerror}); choose another with --host and --port"
        raise InvalidInput(message, field="--port") from error
    return bound


def _spare_the_collector() -> None:
    """What was imported and compiled stays for good, so it is looked through no more; and what a request leaves is
    mostly gone by itself. Measured: a tenth more decisions a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
