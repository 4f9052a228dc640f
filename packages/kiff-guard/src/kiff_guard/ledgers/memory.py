"""Receipts in this process's memory: the default. The newest are kept; what must last goes to a file or a server."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from kiff_guard.forks import renew_after_fork
from kiff_guard.receipt import Receipt

KEPT = 10_000


class MemoryLedger:
    """The newest receipts, oldest first.

    Args:
        keep: how many at most.

    Attributes:
        dropped: how many older ones had to go.
    """

    blocking = False

    def __init__(self, keep: int = KEPT) -> None:
        self._receipts: list[Receipt] = []
        self._keep = keep
        self._lock = Lock()
        self.dropped = 0
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The child has what its parent had, and a lock of its own."""
        self._lock = Lock()

    def append(self, receipt: Receipt) -> None:
        with self._lock:
            self._receipts.append(receipt)
            if len(self._receipts) > 2 * self._keep:  # in one go, so that it costs nothing per receipt
                self._trim()

    def __iter__(self) -> Iterator[Receipt]:
        with self._lock:
            self._trim()
            return iter(tuple(self._receipts))

    def __len__(self) -> int:
        return min(len(self._receipts), self._keep)

    def _trim(self) -> None:
        too_many = len(self._receipts) - self._keep
        if too_many > 0:
            del self._receipts[:too_many]
            self.dropped += too_many
