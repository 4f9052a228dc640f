"""`make soak-load`: an hour of decisions over HTTP, and every one that was acknowledged is found afterwards.

python -m benchmarks.soak          KIFF_SOAK_MINUTES (60) minutes, 300 decisions a second, two workers on PostgreSQL

It fails by an error, by an acknowledged receipt that is not there, by a log that does not verify, and, when it ran
for half an hour or more, by a process that keeps growing. Rates and waits are printed, and fail nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks import floors
from benchmarks.lines import figure, note
from benchmarks.on_postgres import OnPostgres
from benchmarks.steady import Told, steadily
from benchmarks.subject import domain
from kiff import Caller, Principal
from kiff.analysis import verify_leaves
from kiff.protocol.authority import Member
from kiff.server.settings import ServerSettings
from kiff.server.tower import Tower
from kiff.stores.keyring import published
from kiff.stores.postgres import PostgresStore

RATE, WORKERS, ORDERS = 300.0, 2, 1_000
SAMPLE_SECONDS = 2.0
SETTLED = 1 / 3
"""The part of a run in which memory may still grow: caches fill."""
MOST_MB_AN_HOUR, LEAST_MINUTES = 1.0, 30.0
TENANT = "bench"
LOG, LINES = "log", 10
"""What the servers said, and how much of it is shown."""
STRIPE = Caller(Principal("stripe", "service"), ("adapter",), TENANT)
MEMBERS = [
    Member(TENANT, "ops-agent", "agent", None, None, "ops_agent", True),
    Member(TENANT, "stripe", "service", None, None, "adapter", True),
]


class Growth:
    """How much memory each process of a server has, looked at beside the load."""

    def __init__(self, parent: int) -> None:
        self._parent = psutil.Process(parent)
        self._seen: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def mb_an_hour(self) -> dict[int, tuple[float, float]]:
        """Process -> (MB at the end, MB an hour after the first third), by the line that fits best."""
        self._stop.set()
        self._thread.join()
        told = {}
        for process, seen in self._seen.items():
            later = seen[int(len(seen) * SETTLED) :]
            told[process] = (later[-1][1], _slope(later) * 3600)
        return told

    def _look(self) -> None:
        second = 0.0
        while not self._stop.wait(SAMPLE_SECONDS):
            second += SAMPLE_SECONDS
            for each in (self._parent, *self._parent.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    self._seen[each.pid].append((second, each.memory_info().rss / 1e6))


def main() -> int:
    minutes = float(os.environ.get("KIFF_SOAK_MINUTES", "60"))
    with closing(OnPostgres(0)) as place, tempfile.TemporaryDirectory() as folder:
        note(
            f"{minutes:g} minutes, {RATE:g} decisions a second, {WORKERS} workers; everything on {os.cpu_count()} cores"
        )
        figure("floor: 700-byte append and fsync", f"{floors.fsync_us():.0f} us")
        figure("floor: SELECT 1 and its answer", f"{place.round_trip_us():.0f} us")
        url = place.server.fresh()
        key = _prepared(url, Path(folder))
        spent = place.seconds()
        with _served(url, Path(folder)) as (port, process):
            growth, before = Growth(process.pid), _seconds(process.pid)
            try:
                told = steadily(port, key, RATE, minutes * 60, ORDERS)
            finally:
                grown = growth.mb_an_hour()
            ours = _seconds(process.pid) - before
        count = max(1, len(told.waits))
        figure("processor time a decision, server and PostgreSQL", _pair(ours, place.seconds() - spent, count))
        return _judged(told, grown, url, place, minutes)


def _judged(told: Told, grown: dict[int, tuple[float, float]], url: str, place: OnPostgres, minutes: float) -> int:
    """Prints what was found. Returns 1 when something may not be."""
    count = len(told.waits)
    figure("answers", f"{count} ({count / minutes / 60:.1f} /s)")
    if count:
        p50, p99, p999 = (told.at(share) for share in (0.5, 0.99, 0.999))
        figure("ms from when it was due", f"p50 {p50:.1f}, p99 {p99:.1f}, p99.9 {p999:.1f}, worst {told.waits[-1]:.0f}")
    for process, (size, slope) in grown.items():
        figure(f"process {process}: MB, and MB an hour", f"{size:.1f}, {slope:+.2f}", "below 1")
    lost, verdict = _lost(told, url)
    [(late,)] = place.server.execute(url, LATE)
    figure("clearances whose end is not written down yet", f"{late}")
    figure("errors", f"{sum(told.errors.values())}", "0")
    for what, times in told.errors.most_common():
        note(f"{times} times {what}")
    figure("acknowledged, and not there", f"{lost}", "0")
    figure("the log, over every record", verdict, "valid")
    long_enough = minutes >= LEAST_MINUTES
    grows = long_enough and any(slope >= MOST_MB_AN_HOUR for _, slope in grown.values())
    return int(bool(told.errors) or lost > 0 or verdict != "valid" or grows or not count)


LATE = """
    SELECT count(*) FROM kiff.clearances
    WHERE status = 'open' AND due_at < (extract(epoch FROM clock_timestamp()) * 1000)::bigint - 5000
"""


def _lost(told: Told, url: str) -> tuple[int, str]:
    """How many acknowledged receipts are in no row, and whether the log verifies."""
    left, after = set(told.receipts), -1
    with closing(PostgresStore(url, read_only=True)) as store:
        while page := store.receipts(TENANT, after=after, limit=5_000):
            left.difference_update(receipt.id for receipt in page)
            after = page[-1].seq
        verdict = verify_leaves(store, published(store))
    return len(left), verdict.status if not verdict.problems else verdict.problems[0].message


def _prepared(url: str, data: Path) -> str:
    """A tenant with paid orders. Returns its agent's key."""
    tower = Tower(ServerSettings(data), store=PostgresStore(url))
    try:
        tower.found(TENANT, MEMBERS)
        tower.activate(TENANT, domain())
        for event in ("ORDER_PLACED", "ORDER_PAID"):
            for start in range(0, ORDERS, 200):
                numbers = range(start, start + 200)
                for waiting in [tower.runtime.ingest(STRIPE, type=event, entity=f"order:{n}") for n in numbers]:
                    waiting.result()
        return tower.mint(TENANT, "ops-agent", "soak")
    finally:
        tower.close()


@contextmanager
def _served(url: str, data: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """`kiff serve` as an operator starts it; its port, once it serves."""
    kiff = str(Path(sys.executable).with_name("kiff"))
    words = [kiff, "serve", "--workers", str(WORKERS), "--tenant", TENANT, "--port", "0", "-o", "json"]
    environment: dict[str, Any] = {**os.environ, "KIFF_STORE": url, "KIFF_DATA": str(data)}
    with (data / LOG).open("w") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=data)
    assert process.stdout is not None, "it was started with a pipe"
    try:
        port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()
        for line in (data / LOG).read_text().splitlines()[:LINES]:
            note(f"the server said {line}")


def _seconds(process: int) -> float:
    """Processor seconds of a process and its children so far."""
    parent = psutil.Process(process)
    return float(sum(sum(each.cpu_times()[:2]) for each in (parent, *parent.children(recursive=True))))


def _pair(ours: float, servers: float, count: int) -> str:
    return f"{ours / count * 1e6:.0f} + {servers / count * 1e6:.0f} us"


def _slope(points: list[tuple[float, float]]) -> float:
    """Of the line with the least squares."""
    if len(points) < 2:
        return 0.0
    middle_x, middle_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    over = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return float(over / sum((x - middle_x) ** 2 for x, _ in points))


if __name__ == "__main__":
    sys.exit(main())
