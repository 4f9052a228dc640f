"""The process that is killed: it runs the shop, tells a pipe what it was answered, and kills itself at a point.

The points are those of the runtime's probe, and `answered`: after the pipe was told. One JSON line goes to
standard output per answer, in one write, so that a line there is an acknowledgement the process really had.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from outside import Book
from refund_shop import HUMAN, STRIPE, WAIT, large_refund, open_shop, paying, refund

from kiff import Runtime
from kiff.errors import ApprovalDecided
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Append, Key, Slice, Store
from kiff.runtime.rows import ActiveDomain, Runway
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

TENANT = "default"
ROUNDS = 40
THREADS = 6


class Trap:
    """Kills this process at the n-th time a point is passed, counted from when it is armed."""

    def __init__(self, point: str, occurrence: int) -> None:
        self._point = point
        self._left = occurrence
        self._armed = False
        self._lock = threading.Lock()

    def arm(self) -> None:
        self._armed = True

    def passed(self, point: str) -> None:
        if not self._armed or point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class LateStore:
    """The mutant: it says that a batch is written, and writes it only when it is closed.

    It answers from memory, where it has put what the database held.
    """

    exclusive = True

    def __init__(self, durable: Store, orders: Iterable[str]) -> None:
        self._durable = durable
        self._memory = MemoryStore()
        self._later: list[Append] = []
        [head] = durable.heads()
        keys: list[Key] = [(ActiveDomain, TENANT, "order")]
        for order in orders:
            keys += [(EntityState, TENANT, order), (Runway, TENANT, order)]
        rows = [row for row in durable.load((), keys).rows.values() if row is not None]
        records = durable.records(TENANT, limit=100_000)
        kept = [*rows, *durable.domain_versions()]
        self._memory.append(Append([(None, head)], kept, records, (), [], []))

    def append(self, batch: Append) -> None:
        batch.receipts = list(batch.receipts)
        self._memory.append(batch)
        self._later.append(batch)

    def load(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        return self._memory.load(tenants, keys)

    def close(self) -> None:
        for batch in self._later:
            self._durable.append(batch)
        self._durable.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)


def main(plan: dict[str, Any]) -> None:
    """Runs one plan: {folder, port, book, point, occurrence, work: one|storm, seed, late, early}."""
    folder = Path(plan["folder"])
    trap = Trap(plan["point"], plan["occurrence"])
    if plan["early"]:
        trap.arm()
    store: Store = SqliteStore(folder / "shop.db")
    if plan["late"]:
        store = LateStore(store, ["order:ord_001"])
    runtime = open_shop(folder, paying(Book(plan["port"], plan["book"])), store=store, probe=trap.passed, slots=256)
    trap.arm()
    if plan["work"] == "one":
        _told(trap, refund(runtime, "order:ord_001", id="prop_one").result(WAIT))
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda number: _storm(runtime, trap, plan["seed"] + number), range(THREADS)))
    runtime.close()


def _storm(runtime: Runtime, trap: Trap, seed: int) -> None:
    """Everything callers do, on four orders at a time that they share. What the gate refuses is part of it."""
    draw = random.Random(seed)
    for number in range(ROUNDS):
        entity = f"order:s{number // 2 * 4 + draw.randrange(4)}"
        for kind in ("ORDER_PLACED", "ORDER_PAID"):
            answer = runtime.ingest(STRIPE, type=kind, entity=entity).result(WAIT)
            _tell(trap, {"event": answer.event_id, "entity": entity})
        if draw.random() < 0.5:
            _told(trap, refund(runtime, entity).result(WAIT))
            continue
        hold = large_refund(runtime, entity).result(WAIT)
        _told(trap, hold)
        if hold.outcome == "approval_required" and draw.random() < 0.7:
            with suppress(ApprovalDecided):  # another thread was first
                runtime.grant(HUMAN, hold.approval_id, "verified").result(WAIT)
            again = large_refund(runtime, entity, id=hold.proposal_id, approval_id=hold.approval_id)
            _told(trap, again.result(WAIT))


def _told(trap: Trap, answer: Any) -> None:
    _tell(trap, {"receipt": answer.receipt_id, "operation": answer.clearance_id, "status": answer.status})


def _tell(trap: Trap, line: dict[str, Any]) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")
    trap.passed("answered")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
