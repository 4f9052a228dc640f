"""One process at a time in a file: `flock` where the system has it, an exclusive file beside it elsewhere (Windows).

The system lets go of a `flock` when its process dies. A lock file stays then, and a message says to remove it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from kiff_guard.errors import LedgerError

_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.01


class Way(Protocol):
    """How a file is held alone."""

    def take(self, descriptor: int, path: str) -> bool:
        """Hold it, if nobody else does."""

    def let_go(self, descriptor: int, path: str) -> None: ...

    def held(self, path: str) -> str:
        """What to tell who waited in vain."""


class Flock:
    """By the system, on the file itself."""

    def __init__(self, fcntl: Any) -> None:
        self._fcntl = fcntl

    def take(self, descriptor: int, path: str) -> bool:
        try:
            self._fcntl.flock(descriptor, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def let_go(self, descriptor: int, path: str) -> None:
        self._fcntl.flock(descriptor, self._fcntl.LOCK_UN)

    def held(self, path: str) -> str:
        return f"another process keeps `{path}` locked: look which of them hangs"


class LockFile:
    """By a second file that only one can make."""

    def take(self, descriptor: int, path: str) -> bool:
        try:
            made = os.open(f"{path}.lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return False
        except PermissionError:  # Windows answers so while another process is removing it
            if os.name != "nt":
                raise
            return False
        os.write(made, str(os.getpid()).encode())
        os.close(made)
        return True

    def let_go(self, descriptor: int, path: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(f"{path}.lock")

    def held(self, path: str) -> str:
        return f"`{path}.lock` is there: another process writes, or died doing so; if none runs, remove that file"


def _way() -> Way:
    try:
        import fcntl
    except ImportError:
        return LockFile()
    return Flock(fcntl)


WAY = _way()


@contextmanager
def locked(descriptor: int, path: str, *, timeout_seconds: float) -> Iterator[None]:
    """Hold a file alone.

    Args:
        descriptor: the open file.
        path: where it is.
        timeout_seconds: how long to wait for others.

    Raises:
        LedgerError: another process held it all that time.
        OSError: files cannot be locked there.
    """
    way, deadline, pause = WAY, time.monotonic() + timeout_seconds, _FIRST_PAUSE
    while not way.take(descriptor, path):
        if time.monotonic() > deadline:
            raise LedgerError(way.held(path))
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    try:
        yield
    finally:
        way.let_go(descriptor, path)
