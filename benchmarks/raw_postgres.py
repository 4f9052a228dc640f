"""The floor on PostgreSQL: rows that were made before, written by the same statements, with nothing around them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from benchmarks.on_postgres import OnPostgres, caller
from benchmarks.subject import PARAMETERS
from kiff.runtime.ports import Append
from kiff.runtime.rows import LogHead
from kiff.stores.postgres import PostgresStore
from kiff.stores.postgres.statements import append

Rows = dict[type[Struct], list[tuple[Any, ...]]]


def rows_of_decisions(place: OnPostgres, count: int) -> list[Rows]:
    """The very rows that `count` lone decisions write, the head left out."""
    captured: list[Append] = []

    class Captured(PostgresStore):
        def append(self, batch: Append) -> None:
            batch.receipts = list(batch.receipts)
            captured.append(batch)
            super().append(batch)

    agent = caller("ops-agent", "agent", "ops_agent", "default")
    with place.copy() as url, place.runtime(url, store=Captured) as runtime:
        captured.clear()
        for number in range(count):
            runtime.propose(agent, entity=f"order:{number}", action="AUTO_REFUND", parameters=PARAMETERS).result()
        taken = [_rows(batch) for batch in captured if batch.records]
    assert len(taken) == count, f"{len(taken)} commits for {count} decisions"
    return taken


def _rows(batch: Append) -> Rows:
    found: Rows = {}
    for row in (*batch.records, *batch.rows, *batch.receipts):
        found.setdefault(type(row), []).append(astuple(row))
    return found


class RawGroupCommit:
    """Callers queue their rows; one thread sends what waits as one statement, the head's compare-and-set with it."""

    def __init__(self, url: str, limit: int = 256) -> None:
        self._store = PostgresStore(url)
        self._head = self._store.load(["default"], []).heads["default"]
        self._limit = limit
        self._waiting: list[tuple[Rows, Future[None]]] = []
        self._ready = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def submit(self, rows: Rows) -> Future[None]:
        future: Future[None] = Future()
        with self._ready:
            self._waiting.append((rows, future))
            self._ready.notify()
        return future

    def close(self) -> None:
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join()
        self._store.close()

    def _commit(self, run: Callable[..., Any], group: list[Rows]) -> None:
        bound: Rows = {}
        for rows in group:
            for kind, some in rows.items():
                bound.setdefault(kind, []).extend(some)
        old = self._head
        assert old is not None, "the orders were paid"
        size = old.size + len(group)
        self._head = LogHead("default", old.log_id, size, size.to_bytes(32), bytes(256), old.last_at)
        values = [*astuple(self._head), old.size, old.root]
        for some in bound.values():
            values += map(list, zip(*some, strict=True))
        sql = append((False,), tuple(bound))
        assert run(lambda raw: raw.fetchval(sql, *values)), "nobody else moves this head"

    def _run(self) -> None:
        with self._store._connections.taken("default") as connection:
            while True:
                with self._ready:
                    while not self._waiting and not self._closed:
                        self._ready.wait()
                    group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                if not group:
                    return
                self._commit(connection.run, [rows for rows, _ in group])
                for _, future in group:
                    future.set_result(None)


def replayed(url: str, rows: list[Rows], size: int) -> None:
    """The same rows in groups of one size, one after the other, with no callers."""
    with closing(RawGroupCommit(url)) as group, group._store._connections.taken("default") as connection:
        for start in range(0, len(rows), size):
            group._commit(connection.run, rows[start : start + size])
