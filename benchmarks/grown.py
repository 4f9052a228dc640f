"""A log of a given size, written by the engine itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from benchmarks.subject import AGENT, PARAMETERS, Prepared
from kiff import Runtime
from kiff.ledger import PublicKeys
from kiff.stores.keyfile import load_or_create
from kiff.stores.sqlite import SqliteStore

RECORDS_PER_ORDER = 6.5
"""Placed and paid are two records each; every other order is refunded, which is five."""
AT_ONCE = 512


class Grown(Prepared):
    """A database whose log has about `records` records: half of its orders are refunded, the other half is paid.

    Its runtimes work on the database itself: it is too large to copy for each run.
    """

    def __init__(self, folder: Path, records: int) -> None:
        folder.mkdir()
        started = time.perf_counter()
        orders = int(records / RECORDS_PER_ORDER)
        super().__init__(folder, orders)
        self.refunded = range(orders // 2)
        with self.open(slots=AT_ONCE) as runtime:
            for start in range(0, len(self.refunded), AT_ONCE):
                _refund(runtime, self.refunded[start : start + AT_ONCE])
        self._paid = list(range(orders // 2, orders))
        Random(7).shuffle(self._paid)
        self.seconds = time.perf_counter() - started
        self.keys = PublicKeys([load_or_create(folder / "key.pem").public])

    @contextmanager
    def open(self, **options: int) -> Iterator[Runtime]:
        with self._runtime(self.path, SqliteStore, **options) as runtime:
            yield runtime

    def store(self) -> SqliteStore:
        """The database for reading."""
        return SqliteStore(self.path, read_only=True)

    def paid(self, count: int) -> list[int]:
        """Orders that nobody refunded yet, from all over the log; each is given once."""
        assert count <= len(self._paid), "the log has too few orders for what is measured on it"
        taken, self._paid = self._paid[:count], self._paid[count:]
        return taken


def _refund(runtime: Runtime, orders: range) -> None:
    waiting = [runtime.execute(AGENT, entity=f"order:{n}", action="AUTO_REFUND", parameters=PARAMETERS) for n in orders]
    for pending in waiting:
        assert pending.result().executed
