"""Lines of bytes out of a pipe, as they come, and into one, whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Lock

_CHUNK = 64 * 1024


def lines(fd: int, limit: int) -> Iterator[bytes | None]:
    """Each line with its end. None stands for one that is longer than `limit`; the rest of it is passed over.

    Reads the descriptor itself, not a buffered file: a thread that waits here holds no lock that an exit would want.
    """
    parts: list[bytes] = []
    size, skipping = 0, False
    while chunk := _read(fd):
        *ended, rest = chunk.split(b"\n")
        for end in ended:
            yield None if skipping or size + len(end) > limit else b"".join([*parts, end, b"\n"])
            parts, size, skipping = [], 0, False
        size += len(rest)
        if skipping or size > limit:
            parts, skipping = [], True
        elif rest:
            parts.append(rest)
    if parts:
        yield b"".join(parts)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError:
        return b""


class Writer:
    """Writes whole lines to a descriptor, from many threads. Once it broke, it stays broken."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.lock = Lock()
        self.broken = False

    def write(self, data: bytes) -> bool:
        """Did it get there? It may not have been read."""
        with self.lock:
            return self.write_locked(data)

    def write_locked(self, data: bytes) -> bool:
        """The same for whoever holds the lock."""
        rest = memoryview(data)
        while rest and not self.broken:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except OSError:
                self.broken = True
        return not self.broken

    def close(self) -> None:
        """Ends the stream for whoever reads it."""
        with self.lock:
            self.broken, fd, self._fd = True, self._fd, -1
        if fd >= 0:
            os.close(fd)
