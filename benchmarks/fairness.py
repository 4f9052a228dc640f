"""One tenant's storm, and what it costs another: beside a queue that serves whoever came first, and beside the same
load spread evenly.

A storm is four thousand decisions of one tenant that always wait: each answer is followed by the next call. The quiet
tenant has a few callers, who ask one call after the other.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.lines import ratio
from benchmarks.subject import AGENT, PARAMETERS, STRIPE, domain, issue_refund
from kiff import Caller, Runtime
from kiff.runtime import lane
from kiff.runtime.queue import FairQueue
from kiff.stores.keyfile import load_or_create
from kiff.stores.sqlite import SqliteStore

TENANTS = 8
WAITING = 4_000
"""How many calls wait at any time, of all tenants together."""
CALLERS = 16
"""How many callers the quiet tenant has."""
QUIET = "quiet"


class FirstCome(FairQueue[Any]):
    """One line for all: fairness switched off, the control."""

    def put(self, tenant: str, item: Any, *, bounded: bool = True) -> None:
        super().put("all", item, bounded=bounded)


def measure(folder: Path, rounds: int, count: int) -> None:
    """Prints the two ratios.

    Args:
        rounds: how often each way of serving is measured, in turn.
        count: calls of the quiet tenant in each.
    """
    storm = {"storm": WAITING}
    spread = {f"t{number}": WAITING // TENANTS for number in range(TENANTS)}
    ways: dict[str, tuple[dict[str, int], type[FairQueue[Any]]]] = {
        "fair": (storm, FairQueue),
        "first come": (storm, FirstCome),
        "spread": (spread, FairQueue),
    }
    p99: dict[str, list[float]] = {name: [] for name in ways}
    for number, (name, (load, queue)) in itertools.product(range(rounds), ways.items()):
        p99[name].append(_p99_ms(folder / f"fairness-{name}-{number}.db", load, queue, count))
    fair, first, even = (median(p99[name]) for name in ways)
    ratio("p99 under another's storm, over a first-come queue", fair / first, "at most 0.20", f"{fair:.1f} ms")
    ratio("p99 under another's storm, over the same load spread", fair / even, "at most 2.00", f"{even:.1f} ms")


def _p99_ms(path: Path, load: dict[str, int], queue: type[FairQueue[Any]], count: int) -> float:
    """The p99 of the quiet tenant; of any of the tenants' own calls when the load is spread."""
    own = QUIET if "storm" in load else next(iter(load))
    with _runtime(path, {*load, own}, queue) as runtime:
        stop = threading.Event()
        storms = [_Storm(runtime, tenant, size, stop) for tenant, size in load.items()]
        for each in storms:
            each.start()
        waits = _waits_ms(runtime, own, count)
        stop.set()
        for each in storms:
            each.ended.wait()
    return waits[int(len(waits) * 0.99)]


def _waits_ms(runtime: Runtime, tenant: str, count: int) -> list[float]:
    """Milliseconds of each of `count` calls, sorted."""
    waits: list[float] = []

    def call() -> None:
        for _ in range(count // CALLERS):
            started = time.perf_counter()
            _decide(runtime, tenant).result()
            waits.append((time.perf_counter() - started) * 1e3)

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return sorted(waits)


class _Storm:
    """Keeps a number of one tenant's calls waiting, until it is told to stop."""

    def __init__(self, runtime: Runtime, tenant: str, size: int, stop: threading.Event) -> None:
        self.ended = threading.Event()
        self._runtime = runtime
        self._tenant = tenant
        self._size = size
        self._left = size
        self._stop = stop

    def start(self) -> None:
        for _ in range(self._size):
            self._ask()

    def _ask(self) -> None:
        _decide(self._runtime, self._tenant).add_done_callback(self._again)

    def _again(self, done: Future[Any]) -> None:
        """In the lane's thread, one answer after the other."""
        assert done.result().outcome == "allowed"
        if not self._stop.is_set():
            self._ask()
            return
        self._left -= 1
        if not self._left:
            self.ended.set()


def _decide(runtime: Runtime, tenant: str) -> Future[Any]:
    agent = Caller(AGENT.principal, AGENT.roles, tenant)
    return runtime.propose(agent, entity="order:1", action="NOTE", parameters=PARAMETERS)


@contextmanager
def _runtime(path: Path, tenants: set[str], queue: type[FairQueue[Any]]) -> Iterator[Runtime]:
    """A runtime whose tenants each have a paid order."""
    signer = load_or_create(path.with_name("fairness.pem"))
    fair, lane.FairQueue = lane.FairQueue, queue
    try:
        runtime = Runtime(SqliteStore(path), signer, executors={"refund.issue_refund": issue_refund}, max_waiting=10**6)
    finally:
        lane.FairQueue = fair
    with runtime:
        for tenant in tenants:
            owner = Caller(STRIPE.principal, (*STRIPE.roles, "tenant_owner"), tenant)
            runtime.activate(owner, domain()).result()
            for event in ("ORDER_PLACED", "ORDER_PAID"):
                runtime.ingest(owner, type=event, entity="order:1").result()
        yield runtime


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), 2, 240)
