"""A chained file, as it is written: where it ends, whether it is still the same, what a crash left in it.

The rule: while the file is locked its last byte is the end of a whole line, and the next line goes on from that one.
Nothing in it is ever changed; only what a crash left half-written is taken out, and kept beside the file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from stat import S_ISREG

from kiff_guard.errors import LedgerError
from kiff_guard.ledgers import line as lines
from kiff_guard.ledgers.line import Line, Seal, Unreadable
from kiff_guard.ledgers.lock import locked

Rows = list[tuple[str, bytes]]
"""(kind, members of its kind): lines before they have a number, a time and a place in the chain."""

_CHUNK = 65_536
_HEADER_BEGINS = b'{"seq":0,"kind":"header",'
_FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_ASIDE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Moved(LedgerError):
    """The file is no longer at its path."""


class Chain:
    """One open chained file. Not for two threads at once.

    Args:
        path: absolute; made with mode 0600 if it is not there.
        fsync: whether a line is on the disk when `extend` returns.
        seal: what makes the hashes.
        timeout_seconds: how long to wait for other processes.
        clock: seconds since 1970.

    Raises:
        LedgerError: it cannot be opened or made.

    Attributes:
        set_aside: files with the half-written lines that were found.
    """

    def __init__(
        self, path: str, *, fsync: bool, seal: Seal, timeout_seconds: float, clock: Callable[[], float]
    ) -> None:
        self.path = path
        self.set_aside: list[str] = []
        self._fsync = fsync
        self._seal = seal
        self._timeout = timeout_seconds
        self._clock = clock
        self._notes: Rows = []
        self._broken: LedgerError | None = None
        self._seq, self._head, self._end = -1, "", -1
        self._file = self._opened()

    def extend(self, rows: Rows) -> None:
        """Write lines, all or none; durable on return.

        Raises:
            LedgerError: none was written, or (where `fsync` failed) nobody can tell.
        """
        if self._broken is not None:
            raise self._broken
        try:
            with self._alone():
                self._catch_up()
                self._put([*self._notes, *rows])
                self._notes = []
        except LedgerError:
            raise
        except OSError as error:
            raise self._failed("written", error) from error

    def close(self) -> None:
        os.close(self._file)

    def _alone(self) -> AbstractContextManager[None]:
        return locked(self._file, self.path, timeout_seconds=self._timeout)

    # Where it ends.

    def _catch_up(self) -> None:
        """Go on from where the file ends now: other processes may have written, and one may have died writing."""
        held = os.fstat(self._file)
        if not S_ISREG(held.st_mode):
            raise LedgerError(f"`{self.path}` is not a regular file")
        self._must_be_there(held)
        if self._end < 0:
            self._begin(held.st_size)
        elif held.st_size < self._end:
            raise LedgerError(f"`{self.path}` is shorter than it was: it was cut; keep it, and take a new file")
        elif held.st_size > self._end:
            self._follow(held.st_size)

    def _must_be_there(self, held: os.stat_result) -> None:
        with suppress(FileNotFoundError):
            there = os.stat(self.path)
            if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                return
        raise Moved(
            f"`{self.path}` was moved, removed or replaced while it was written; the next receipt begins it anew"
        )

    def _begin(self, size: int) -> None:
        whole = self._whole(size)
        if whole == 0:
            self._must_be_ours(size)
            self._take_out(0, size, 1)
            self._seq, self._head, self._end = -1, "", 0
            self._put([(lines.HEADER, self._header())])
            return
        self._must_fit(next(self._rows(0, whole)))
        last = self._checked(self._between(self._whole(whole - 1), whole - 1), "its last line")
        self._seq, self._head, self._end = last.seq, last.hash, whole
        self._take_out(whole, size, last.seq + 1)

    def _follow(self, size: int) -> None:
        """Take up what others have written since. Their lines must go on where ours ended."""
        for raw in self._rows(self._end, size):
            name = f"line {self._seq + 2}"
            found = self._checked(raw, name)
            if found.seq != self._seq + 1 or found.members["prev"] != self._head:
                raise self._damaged(name, "it does not go on where the one before ends")
            self._seq, self._head, self._end = found.seq, found.hash, self._end + len(raw) + 1
        self._take_out(self._end, size, self._seq + 1)

    # Writing.

    def _put(self, rows: Rows) -> None:
        data, seq, head = bytearray(), self._seq, self._head
        at = _timestamp(self._clock())
        for kind, body in rows:
            seq += 1
            row, head = lines.put(seq, kind, at, body, head, self._seal)
            data += row
        try:
            _write_fully(self._file, data)
        except BaseException:
            self._undo()
            raise
        self._sync()
        self._seq, self._head, self._end = seq, head, self._end + len(data)

    def _undo(self) -> None:
        """Take out what was written in part. If that fails too, it is found like what a crash left."""
        try:
            os.ftruncate(self._file, self._end)
        except OSError:
            self._end = -1

    def _sync(self) -> None:
        if not self._fsync:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            # What a failed fsync did not write, a later one may not write either, and report success.
            self._broken = self._failed("made durable", error)
            raise self._broken from error

    def _opened(self) -> int:
        try:
            with suppress(FileNotFoundError):
                return os.open(self.path, _FLAGS)
            made = os.open(self.path, _FLAGS | os.O_CREAT, 0o600)
            self._sync_folder()
        except FileNotFoundError as error:
            raise LedgerError(f"`{self.path}` cannot be made: its folder is not there, make it first") from error
        except OSError as error:
            raise self._failed("opened", error) from error
        return made

    def _sync_folder(self) -> None:
        """A new file is durable when its folder is. Windows opens no folders."""
        if not self._fsync or not hasattr(os, "O_DIRECTORY"):
            return
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _header(self) -> bytes:
        file = os.urandom(16).hex()
        return lines.members({"format": lines.FORMAT, "version": lines.VERSION, "file": file, "seal": self._seal.name})

    # What a crash left.

    def _take_out(self, start: int, size: int, seq: int) -> None:
        """Keep a half-written line in a file of its own, and take it out of this one. Nothing is dropped."""
        if start == size:
            return
        torn = self._between(start, size)
        kept = f"{self.path}.torn-{seq}-{os.urandom(4).hex()}"
        made = os.open(kept, _ASIDE, 0o600)
        try:
            _write_fully(made, torn)
            os.fsync(made)
        finally:
            os.close(made)
        self._sync_folder()
        os.ftruncate(self._file, start)
        self.set_aside.append(kept)
        self._notes.append((lines.SET_ASIDE, _note(kept, torn)))
        _warn(f"a half-written line of `{self.path}`, left by a crash, is kept in `{kept}`")

    # Reading. Seek and read: Windows has no pread, and nobody else uses this descriptor.

    def _between(self, start: int, end: int) -> bytes:
        os.lseek(self._file, start, os.SEEK_SET)
        parts = []
        while start < end and (part := os.read(self._file, end - start)):
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _rows(self, start: int, end: int) -> Iterator[bytes]:
        """Every whole line between, without its line break."""
        held = b""
        while start < end:
            part = self._between(start, min(end, start + _CHUNK))
            start += len(part)
            *whole, held = (held + part).split(b"\n")
            yield from whole
            if len(held) > lines.BYTES_LIMIT:
                raise self._damaged("a line", "it is too long")

    def _whole(self, end: int) -> int:
        """Where the last whole line before `end` ends, its line break included; 0 if there is none."""
        while end > 0:
            start = max(0, end - _CHUNK)
            at = self._between(start, end).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            end = start
        return 0

    def _checked(self, raw: bytes, name: str) -> Line:
        try:
            found = lines.read(raw)
        except Unreadable as error:
            raise self._damaged(name, str(error)) from None
        if found.hash != self._seal(found.sealed):
            raise self._damaged(name, "its hash is not that of its text")
        return found

    def _must_be_ours(self, size: int) -> None:
        """A file without one whole line: only the beginning of a header may be taken out of the way."""
        if not _HEADER_BEGINS.startswith(self._between(0, min(size, len(_HEADER_BEGINS)))):
            raise self._foreign()

    def _must_fit(self, raw: bytes) -> None:
        try:
            first = lines.read(raw)
        except Unreadable:
            raise self._foreign() from None
        if first.kind != lines.HEADER or first.members["format"] != lines.FORMAT:
            raise self._foreign()
        version, seal = first.members["version"], first.members["seal"]
        if version != lines.VERSION:
            raise LedgerError(f"`{self.path}` has version {version!r} of the format, and this is {lines.VERSION}")
        if seal != self._seal.name:
            raise LedgerError(f"`{self.path}` is sealed with {seal!r}, this ledger with `{self._seal.name}`: see `key`")
        if first.hash != self._seal(first.sealed):
            raise self._damaged("its header", "its hash is not that of its text, or `key` is another one")

    # Words.

    def _foreign(self) -> LedgerError:
        return LedgerError(
            f"`{self.path}` is not a receipts file of a guard: give a new file, or one that a guard wrote"
        )

    def _damaged(self, name: str, why: str) -> LedgerError:
        return LedgerError(f"`{self.path}`: {name} is damaged ({why}): keep the file, verify it, and take a new one")

    def _failed(self, done: str, error: OSError) -> LedgerError:
        failure = LedgerError(f"`{self.path}` cannot be {done}: {error.strerror or error}")
        failure.errno = error.errno
        return failure


def _write_fully(file: int, data: bytes | bytearray) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _note(kept: str, torn: bytes) -> bytes:
    from hashlib import sha256

    held = {"kept_in": os.path.basename(kept), "bytes": len(torn), "sha256": sha256(torn).hexdigest()}
    return lines.members(held)


def _timestamp(seconds: float) -> str:
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1000):03d}Z"


def _warn(message: str) -> None:
    import logging

    logging.getLogger("kiff_guard").warning(message)
