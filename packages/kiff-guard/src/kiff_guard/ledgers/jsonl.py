"""The receipts of a guard in a file of its own: appended only, every line chained to the one before, durable on return.

Many threads and many processes may write to one file. A thread that comes while another one writes leaves its line
with it: they share one write and one `fsync`. The file is locked while it grows, and only then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from kiff_guard.errors import ConfigurationError, LedgerError
from kiff_guard.forks import renew_after_fork
from kiff_guard.ledgers import line as lines
from kiff_guard.ledgers.chain import Chain, Moved
from kiff_guard.ledgers.line import Seal

KEY_BYTES = 16


class JSONLLedger:
    """A receipts file.

    Args:
        path: the file; made with mode 0600 when the first receipt comes. Its folder has to be there.
        fsync: False trades the newest lines, at a power cut, for speed. A killed process loses nothing either way.
        key: with a secret of at least 16 bytes nobody without it can write lines that verify.
        lock_timeout_seconds: how long to wait for other processes.
        clock: seconds since 1970.

    Attributes:
        blocking: it waits for a disk; to be called beside an event loop, never in it.
        set_aside: files with the half-written lines that a crash had left, and this ledger took out of the way.
    """

    blocking = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fsync: bool = True,
        key: bytes | str | None = None,
        lock_timeout_seconds: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self.set_aside: list[str] = []
        self._options: dict[str, Any] = {
            "fsync": fsync,
            "seal": Seal(_secret(key)),
            "timeout_seconds": lock_timeout_seconds,
            "clock": clock,
        }
        self._chain: Chain | None = None
        self._waiting: list[_Entry] = []
        self._bringing = Lock()
        self._writing = Lock()
        renew_after_fork(self)

    def open(self, receipt: Any) -> None:
        """Keep that a call is about to run; durable on return.

        Raises:
            LedgerError: it could not be kept, so the call must not run.
        """
        self._keep(lines.OPENED, receipt)

    def append(self, receipt: Any) -> None:
        """Keep what became of a call; durable on return.

        Raises:
            LedgerError: it could not be kept.
        """
        self._keep(lines.SETTLED, receipt)

    def close(self) -> None:
        """Let go of the file. A receipt that comes later opens it again."""
        with self._writing:
            self._let_go()

    def _keep(self, kind: str, receipt: Any) -> None:
        entry = _Entry(kind, _body(receipt))
        with self._bringing:
            self._waiting.append(entry)
        with self._writing:
            if not entry.done:
                self._write_all()
        if entry.failure is not None:
            raise _of_this_thread(entry.failure) from entry.failure

    def _write_all(self) -> None:
        """Write what all threads have brought so far. INVARIANT: each of them is told, whatever happens here."""
        with self._bringing:
            batch, self._waiting = self._waiting, []
        failure: LedgerError | None = LedgerError(f"`{self.path}`: the write was interrupted")
        try:
            self._extend([(entry.kind, entry.body) for entry in batch])
            failure = None
        except LedgerError as error:
            failure = error
        finally:
            for entry in batch:
                entry.done, entry.failure = True, failure

    def _extend(self, rows: list[tuple[str, bytes]]) -> None:
        if self._chain is None:
            self._chain = Chain(self.path, **self._options)
            self._chain.set_aside = self.set_aside
        try:
            self._chain.extend(rows)
        except Moved:
            self._let_go()
            raise

    def _let_go(self) -> None:
        chain, self._chain = self._chain, None
        if chain is not None:
            chain.close()

    def after_fork(self) -> None:
        """The child got the parent's descriptor and, with it, the parent's lock. It needs its own."""
        self._waiting, self._bringing, self._writing = [], Lock(), Lock()
        self._let_go()


class _Entry:
    """A line that a thread waits for."""

    __slots__ = ("body", "done", "failure", "kind")

    def __init__(self, kind: str, body: bytes) -> None:
        self.kind = kind
        self.body = body
        self.done = False
        self.failure: LedgerError | None = None


def _body(receipt: Any) -> bytes:
    """Written by the thread that brings it: what cannot be written is its own failure and nobody else's."""
    try:
        return lines.members({"receipt": receipt.as_dict() if hasattr(receipt, "as_dict") else dict(receipt)})
    except (ValueError, TypeError, RecursionError) as error:
        raise LedgerError(f"a receipt cannot be written as JSON: {error}") from error


def _secret(key: bytes | str | None) -> bytes | None:
    if key is None:
        return None
    secret = key.encode() if isinstance(key, str) else bytes(key)
    if len(secret) < KEY_BYTES:
        raise ConfigurationError(f"`key` has {len(secret)} bytes: take at least {KEY_BYTES} random ones, or none")
    return secret


def _of_this_thread(failure: LedgerError) -> LedgerError:
    """The same failure once more: one exception raised in two threads would carry the tracebacks of both."""
    own = LedgerError(str(failure))
    own.errno = failure.errno
    return own
