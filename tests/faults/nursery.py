"""Workers that are killed: one process after another, each a runtime over a shared database.

A nursery is a process that has everything imported and forks a worker for each plan, so that a life costs
milliseconds. The worker writes what callers were told to the pipe it shares with the nursery, a line in one write:
what is in the pipe was acknowledged. It kills itself at the point that its plan names.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from callers import Caller, answered
from crash_child import LateStore, Trap
from outside import Book
from refund_shop import WAIT, open_shop, paying, refund

from kiff import Runtime
from kiff.protocol.clearance import Clearance
from kiff.runtime.ports import Append, Store
from kiff.stores.postgres import PostgresStore

THREADS = 3
ORDER = "order:ord_001"


class Died(NamedTuple):
    """How a worker ended, and what callers had been told by then."""

    status: int
    told: list[dict[str, Any]]

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Nursery:
    """The process as a test holds it. For one thread."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def raise_one(self, folder: Path, url: str, book: Book, point: str, occurrence: int, **more: Any) -> Died:
        """One worker's life.

        Args:
            point: where it dies, at the n-th time it comes there once it has started.
            more: work: one | storm, seed, name, mutant.
        """
        plan = {"folder": str(folder), "url": url, "port": book.port, "book": book.name, "point": point}
        plan |= {"occurrence": occurrence, "work": "one", "seed": 0, "name": "w", "mutant": ""} | more
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(plan).encode() + b"\n")
        self._process.stdin.flush()
        told: list[dict[str, Any]] = []
        while line := self._process.stdout.readline():
            said = json.loads(line)
            if "ended" in said:
                return Died(said["ended"], told)
            told.append(said)
        raise AssertionError("the nursery ended")


@contextmanager
def nursery() -> Iterator[Nursery]:
    with subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


class EagerStore:
    """The mutant that runs an executor before the clearance is durable. Between the two it passes `eager`."""

    exclusive = False

    def __init__(self, store: PostgresStore, book: Book, probe: Callable[[str], None]) -> None:
        self._store = store
        self._book = book
        self._probe = probe

    def append(self, batch: Append) -> None:
        for row in batch.rows:
            if isinstance(row, Clearance) and row.status == "open":
                self._book.debit(row.id, row.entity.partition(":")[2], 49)
                self._probe("eager")
        self._store.append(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def work(plan: dict[str, Any]) -> None:
    """A worker's whole life."""
    folder, book = Path(plan["folder"]), Book(plan["port"], plan["book"])
    trap = Trap(plan["point"], plan["occurrence"])
    durable = PostgresStore(plan["url"])
    store: Store = durable
    if plan["mutant"] == "late":
        store = LateStore(durable, [ORDER])
    elif plan["mutant"] == "eager":
        store = EagerStore(durable, book, trap.passed)
    runtime = open_shop(folder, paying(book), store=store, probe=trap.passed, slots=64)
    trap.arm()
    if plan["work"] == "one":
        answer = answered(lambda: refund(runtime, ORDER, id="prop_one"))
        _tell(trap, {"receipt": answer.receipt_id, "operation": answer.clearance_id, "status": answer.status})
    else:
        threads = [threading.Thread(target=_storm, args=(runtime, trap, plan, n), daemon=True) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    runtime.close()


def _storm(runtime: Runtime, trap: Trap, plan: dict[str, Any], number: int) -> None:
    """Callers who go on until the process is killed."""

    def told(said: dict[str, Any]) -> None:
        _tell(trap, said)

    caller = Caller(runtime, told, plan["seed"] + number, f"{plan['name']}{number}", crowd=plan["name"])
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        caller.live()


def _tell(trap: Trap, said: dict[str, Any]) -> None:
    os.write(1, json.dumps(said).encode() + b"\n")
    trap.passed("answered")


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                work(json.loads(line))
            except BaseException:  # noqa: BLE001  whatever it was, it must not become a second nursery
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        os.write(1, json.dumps({"ended": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


if __name__ == "__main__":
    main()
