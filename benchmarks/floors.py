"""The machine's floors: what no implementation gets under. Everything else is told as a ratio to them."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import astuple

from benchmarks.subject import AGENT, PARAMETERS, Prepared
from kiff.ledger.keys import Ed25519Signer
from kiff.runtime.ports import Append
from kiff.stores import sqlite as store

Statements = list[tuple[str, list[tuple[Any, ...]]]]


def cpu_us(call: Callable[[], object], *, rounds: int = 9, seconds: float = 0.05) -> float:
    """CPU microseconds of one call: the best of some rounds, each at least `seconds` long."""
    call()
    started = time.process_time()
    call()
    count = max(1, int(seconds / max(time.process_time() - started, 1e-6)))
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(count):
            call()
        best = min(best, (time.process_time() - started) / count)
    return best * 1e6


def signature_us() -> float:
    """One Ed25519 signature over a receipt's length of bytes."""
    signer = Ed25519Signer(Ed25519PrivateKey.generate())
    core = bytes(1000)
    return cpu_us(lambda: signer.sign(core))


def fsync_us(count: int = 200) -> float:
    """One 700-byte append and fsync, wall time, median."""
    with tempfile.TemporaryDirectory() as folder:
        handle = os.open(Path(folder) / "floor", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        times = []
        for _ in range(count):
            started = time.perf_counter()
            os.write(handle, bytes(700))
            os.fsync(handle)
            times.append(time.perf_counter() - started)
        os.close(handle)
    return sorted(times)[count // 2] * 1e6


def commits_of_executes(prepared: Prepared, count: int) -> list[tuple[Statements, Statements]]:
    """The very rows that `count` lone executes write: for each, the statements of its two commits."""
    captured: list[Append] = []

    class Captured(store.SqliteStore):
        def append(self, batch: Append) -> None:
            batch.receipts = list(batch.receipts)
            captured.append(batch)
            super().append(batch)

    with prepared.runtime(store=Captured) as runtime:
        captured.clear()
        for number in range(count):
            runtime.execute(AGENT, entity=f"order:{number}", action="AUTO_REFUND", parameters=PARAMETERS).result()
        commits = [statements(batch) for batch in captured if batch.records]
    return list(zip(commits[::2], commits[1::2], strict=True))


def statements(batch: Append) -> Statements:
    """A commit's rows but the head and the tiles, which a group writes once."""
    found: Statements = [(store._INSERT[store.RecordRow], [astuple(row) for row in batch.records])]
    for row in batch.rows:
        found.append((store._PUT[type(row)], [astuple(row)]))
    found.append((store._INSERT[store.Receipt], [astuple(row) for row in batch.receipts]))
    return [(sql, rows) for sql, rows in found if rows]


class RawGroupCommit:
    """The least that is durable: callers queue their rows, one thread binds what waits and commits once."""

    def __init__(self, path: Path, limit: int = 256) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        for pragma in ("synchronous = FULL", "wal_autocheckpoint = 0", "cache_size = -65536"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._head = 0
        self._limit = limit
        self._waiting: list[tuple[Statements, Future[None]]] = []
        self._ready = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def submit(self, statements: Statements) -> Future[None]:
        future: Future[None] = Future()
        with self._ready:
            self._waiting.append((statements, future))
            self._ready.notify()
        return future

    def close(self) -> None:
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join()
        self._connection.close()

    def commit(self, group: list[Statements]) -> None:
        """One transaction for a group: the head once, then every row, by statement."""
        self._head += 1
        bound: dict[str, list[tuple[Any, ...]]] = {}
        for statements in group:
            for sql, rows in statements:
                bound.setdefault(sql, []).extend(rows)
        run = self._connection
        run.execute("BEGIN IMMEDIATE")
        head = ("raw", "raw", self._head, bytes(32), bytes(256), self._head)
        run.execute(f"{store._INSERT[store.LogHead]} ON CONFLICT (tenant) DO UPDATE SET size = excluded.size", head)
        for sql, rows in bound.items():
            run.executemany(sql, rows)
        run.execute("COMMIT")

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._waiting and not self._closed:
                    self._ready.wait()
                group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
            if not group:
                return
            self.commit([statements for statements, _ in group])
            for _, future in group:
                future.set_result(None)
