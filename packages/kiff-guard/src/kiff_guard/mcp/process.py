"""A server that the gateway starts, and that speaks over its stdin and stdout."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock, Thread, Timer
from typing import TYPE_CHECKING, Any

from kiff_guard.mcp import ending
from kiff_guard.mcp import message as protocol
from kiff_guard.mcp.desk import note
from kiff_guard.mcp.lines import Writer, lines

if TYPE_CHECKING:
    from kiff_guard.mcp.stdio import Gateway

LINE_LIMIT = 256 * 1024 * 1024


class ServerProcess:
    """One process. What is written to it is what its reader gets, in that order.

    Args:
        command: starts it.
        environment: all that it is given of one.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = list(command)
        self._environment = dict(environment)

    @property
    def lock(self) -> Lock:
        return self._input.lock

    @property
    def broken(self) -> bool:
        return self._input.broken

    def start(self, gateway: Gateway) -> None:
        """Starts it.

        Raises:
            OSError: that is not possible.
        """
        answers = self._start()
        self._ending = ending.Ending(self._told)
        Thread(target=self._await, daemon=True).start()
        self._answers = Thread(target=self._read, args=(gateway, answers), name="server", daemon=True)
        self._answers.start()

    def _start(self) -> int:
        """Gives the descriptor that its output comes from."""
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        try:
            self._process = subprocess.Popen(self._command, stdin=theirs_in, stdout=theirs_out, env=self._environment)
        except OSError:
            os.close(ours_in)
            os.close(ours_out)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self._input = Writer(ours_out)
        return ours_in

    def write(self, line: bytes, message: Any) -> None:
        self._input.write(line)

    def write_locked(self, line: bytes, message: Any) -> None:
        self._input.write_locked(line)

    def finish(self, is_busy: Callable[[], bool]) -> None:
        """The client is gone. A server finishes its calls, and ends when its input ends; one that does not is told."""
        self._input.close()
        patience = time.monotonic() + ending.FINISH_SECONDS
        while is_busy() and self._process.poll() is None and time.monotonic() < patience:
            time.sleep(ending.LOOK_SECONDS)
        for end in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(ending.EXIT_SECONDS)
                return
            except subprocess.TimeoutExpired:
                end()

    def stop(self) -> None:
        self._process.terminate()

    def wait(self) -> int:
        """Until it has ended, and all that it said was read. Gives its exit code, as a shell does."""
        self._ending.wait()
        code = self._process.wait()
        self._answers.join(ending.EXIT_SECONDS)
        if self._ending.signal:
            return 128 + self._ending.signal
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        self._input.close()

    def _await(self) -> None:
        self._process.wait()
        self._ending.over()

    def _told(self, is_first: bool) -> None:
        if is_first:
            self._process.terminate()
            timer = Timer(ending.EXIT_SECONDS, self._process.kill)
            timer.daemon = True
            timer.start()
        else:
            self._process.kill()

    def _read(self, gateway: Gateway, fd: int) -> None:
        try:
            for line in lines(fd, LINE_LIMIT):
                if line is None:
                    note(f"an answer of the server was dropped: it is longer than {LINE_LIMIT} bytes")
                else:
                    gateway.receive(line, protocol.read_of_server(line))
        finally:
            os.close(fd)
