"""Several server processes behind one address: who starts them, replaces those that end, and ends them all.

The parent serves no request, opens no store and imports no operator's code: what a worker does cannot reach it. A
worker is a fresh interpreter, so a replacement runs what is installed and written by then. It learns its work from
its stdin, where no other user sees it, and reads on there: at the end of that pipe its parent has gone, and so does it.

    SIGINT, SIGTERM   every worker answers what it has, and ends; one that takes too long is killed. Again: all are
    SIGHUP            one worker after the other is replaced; the old one ends when the new one serves
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from msgspec import DecodeError, Struct, json, structs

from kiff.errors import KiffError
from kiff.server.listening import again
from kiff.server.settings import DRAIN_SECONDS, ServerSettings

log = logging.getLogger("kiff.workers")
COMMAND = (sys.executable, "-P", "-c", "from kiff.cli.worker import main; main()")
START_SECONDS = 60.0
"""After which a worker that does not serve yet is taken for one that cannot."""
KILL_SECONDS = DRAIN_SECONDS + 5.0
SETTLED_SECONDS = 5.0
"""A worker that lived so long did not end because of how it starts: the next one is started at once."""
LEAST_REST_SECONDS, MOST_REST_SECONDS = 0.25, 5.0
"""Between attempts, twice as long each time."""


class Work(Struct, frozen=True):
    """What a worker is told.

    Args:
        socket: the number of the file it inherits.
        executors: the operator's Python file; None for none.
        tenant: made by this worker if it is not there, with a token for its first administrator; None for none.
    """

    settings: ServerSettings
    socket: int = -1
    executors: Path | None = None
    tenant: str | None = None


class Serves(Struct, frozen=True):
    """What a worker says once it takes connections.

    Args:
        login_token: for the first administrator of the tenant it made.
    """

    login_token: str | None = None


class NotStarted(Exception):
    """A worker ended, or did not come to serve. What was wrong it said itself, on stderr.

    Args:
        code: its exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"it ended with {code}")
        self.code = code


class Workers:
    """The parent.

    Args:
        work: what workers are told, as it is now; asked again for every replacement.
        sockets: one for each worker, on one address.
        tenant: the first one, made before anybody else comes.
        serving: called once all of them serve.
    """

    def __init__(
        self, work: Callable[[], Work], sockets: list[socket.socket], tenant: str, serving: Callable[[Serves], None]
    ) -> None:
        self._slots = [_Slot(number, bound, work) for number, bound in enumerate(sockets, 1)]
        self._tenant = tenant
        self._serving = serving

    def run(self) -> int:
        """Until SIGINT or SIGTERM. Returns the exit code: 0, or that of a worker that cannot start at the beginning.

        Raises:
            KiffError: of `work`, at the beginning.
        """
        return asyncio.run(self._run())

    async def _run(self) -> int:
        loop, end, replace = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._told_to_end, end)
        loop.add_signal_handler(signal.SIGHUP, replace.set)
        serving, ending = asyncio.create_task(self._serve(replace)), asyncio.create_task(end.wait())
        try:
            await asyncio.wait([serving, ending], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        except NotStarted as failed:
            return failed.code
        finally:
            for task in (serving, ending):
                task.cancel()
            await asyncio.gather(serving, ending, return_exceptions=True)
            await asyncio.gather(*(slot.stop() for slot in self._slots))
        return 0

    async def _serve(self, replace: asyncio.Event) -> None:
        """Until it is cancelled. The first worker goes ahead: it makes what is to be made once."""
        first, *others = self._slots
        serves = await first.fill(self._tenant)
        for slot in others:
            await slot.fill()
        self._serving(serves)
        async with asyncio.TaskGroup() as group:
            for slot in self._slots:
                group.create_task(slot.keep())
            group.create_task(self._replace(replace))

    async def _replace(self, asked: asyncio.Event) -> None:
        while await asked.wait():
            asked.clear()
            for slot in self._slots:
                try:
                    await slot.fill()
                except (NotStarted, KiffError) as error:
                    log.error("a worker cannot be replaced; the old ones go on", extra=slot.failed(error))
                    break

    def _told_to_end(self, end: asyncio.Event) -> None:
        if end.is_set():
            for slot in self._slots:
                slot.kill()
        end.set()


class _Slot:
    """The place of one worker, which is filled again whenever it is empty.

    Args:
        bound: its socket, which outlives its workers.
    """

    def __init__(self, number: int, bound: socket.socket, work: Callable[[], Work]) -> None:
        self._number = number
        self._bound = bound
        self._work = work
        self._turn = asyncio.Lock()
        self._worker: _Worker | None = None
        self._leaving: _Worker | None = None

    async def fill(self, tenant: str | None = None) -> Serves:
        """Starts a worker, and ends the one that it replaces.

        Raises:
            NotStarted, KiffError: it did not start; the one before goes on.
        """
        async with self._turn:
            started = await _Worker.start(self._next(tenant))
            self._leaving, self._worker = self._worker, started
            log.info("a worker serves", extra={"worker": self._number, "pid": started.pid})
            if self._leaving is not None:
                await self._leaving.stop()
                self._leaving = None
        return started.serves

    async def keep(self) -> None:
        """Fills the place again whenever its worker ends, for ever."""
        rest = 0.0
        while True:
            worker = self._worker
            assert worker is not None, "it was filled before it is kept"
            code = await worker.ended()
            if worker is self._worker:  # nobody replaced it
                self._worker = None
                about = {"worker": self._number, "pid": worker.pid, "exit_code": code}
                log.error("a worker ended; another one takes its place", extra=about)
                rest = 0.0 if worker.lived >= SETTLED_SECONDS else _longer(rest)
                await self._refill(rest)

    def failed(self, error: Exception) -> dict[str, object]:
        """What the log says of a worker that did not start."""
        return {"worker": self._number, "reason": getattr(error, "code", type(error).__name__)}

    def kill(self) -> None:
        for worker in (self._worker, self._leaving):
            if worker is not None:
                worker.kill()

    async def stop(self) -> None:
        self._bound.close()
        await asyncio.gather(*(worker.stop() for worker in (self._worker, self._leaving) if worker is not None))

    async def _refill(self, rest: float) -> None:
        while self._worker is None:
            await asyncio.sleep(rest)
            try:
                await self.fill()
            except (NotStarted, KiffError) as error:
                log.error("a worker cannot start; it is tried again", extra=self.failed(error))
                rest = _longer(rest)
                self._give_up_queue()

    def _give_up_queue(self) -> None:
        """Nobody takes the connections that wait here: they end, and new ones go to the other workers."""
        with suppress(KiffError):
            self._bound = again(self._bound)

    def _next(self, tenant: str | None) -> Work:
        work = self._work()
        settings = structs.replace(work.settings, worker=self._number)
        if tenant is None:
            settings = structs.replace(settings, accept_rollback=())  # it is said once, and to the first of all
        return structs.replace(work, settings=settings, socket=self._bound.fileno(), tenant=tenant)


class _Worker:
    """A process that serves. `start` makes it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._born = monotonic()
        self.pid = process.pid
        self.serves = Serves()

    @classmethod
    async def start(cls, work: Work) -> _Worker:
        """A worker that takes connections.

        Raises:
            NotStarted: it does not.
        """
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[work.socket],
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the workers
        )
        worker = cls(process)
        try:
            worker.serves = await asyncio.wait_for(worker._told(work), START_SECONDS)
        except BaseException as error:
            worker.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise NotStarted(1) from error
            raise
        return worker

    @property
    def lived(self) -> float:
        """Seconds."""
        return monotonic() - self._born

    async def ended(self) -> int:
        """Waits for its end. Returns its exit code, or minus the signal that killed it."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Lets it answer what it has. One that takes too long is killed."""
        with suppress(ProcessLookupError):  # it ended
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), KILL_SECONDS)
        except TimeoutError:
            log.error("a worker did not end in time and is killed", extra={"pid": self.pid})
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def _told(self, work: Work) -> Serves:
        process = self._process
        assert process.stdin is not None and process.stdout is not None, "it was started with pipes"
        with suppress(ConnectionError):  # it ended: what it ended with says more
            process.stdin.write(json.encode(work, enc_hook=str) + b"\n")
            await process.stdin.drain()
        try:
            return json.decode(await process.stdout.readline(), type=Serves)
        except DecodeError:
            raise NotStarted(await process.wait() or 1) from None


def _longer(rest: float) -> float:
    return min(MOST_REST_SECONDS, max(LEAST_REST_SECONDS, 2 * rest))
