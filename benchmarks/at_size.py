"""What a log of a million records changes: opening, deciding, reading, proving, verifying, folding, memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from benchmarks.durable import in_turn
from benchmarks.grown import Grown
from benchmarks.lines import figure, ratio
from benchmarks.subject import AGENT, PARAMETERS, Prepared, domain, from_threads
from kiff import Runtime
from kiff.analysis import verify_leaves
from kiff.analysis.history import pages
from kiff.protocol.state import EntityState
from kiff.runtime.step.fold import transition
from kiff.stores.sqlite import SqliteStore

SAMPLES = 200
EVENTS = 100_000
CALLERS = 64
WARM = 100
TENANT = "default"
ROOT = Path(__file__).resolve().parents[1]


def measure(folder: Path, records: int, rounds: int, count: int) -> None:
    """Prints everything that is measured on a log of about `records` records, and beside a log as small as can be."""
    big = Grown(folder / "big", records)
    size, gigabytes = _size(big), big.path.stat().st_size / 1e9
    built = f"{big.seconds:.0f} s"
    figure(f"a log of {size:,} records ({gigabytes:.2f} GB), built in", built, f"({size / big.seconds:,.0f} records/s)")
    (folder / "small").mkdir()
    small = Prepared(folder / "small", WARM + count)
    _opening(big)
    _deciding(small, big, rounds, count)
    _reading(big)
    _verifying(big)
    _folding(big)
    _memory(small, big, count)


def _size(log: Prepared) -> int:
    with closing(SqliteStore(log.path, read_only=True)) as store:
        [head] = store.heads()
    return head.size


def _opening(big: Grown, times: int = 5) -> None:
    taken = []
    for order in big.paid(times):
        started = time.perf_counter()
        with big.open() as runtime:
            _execute(runtime, order)
            taken.append((time.perf_counter() - started) * 1e3)
    figure("opened, and the first call executed", _middle_and_worst(taken), "under 1000 ms")


def _deciding(small: Prepared, big: Grown, rounds: int, count: int) -> None:
    """The same calls in turn on both logs."""
    costs: tuple[list[float], list[float]] = ([], [])

    def on_small() -> float:
        with small.runtime() as runtime:
            return _executes(runtime, range(WARM + count), costs[0])

    def on_big() -> float:
        orders = big.paid(WARM + count)
        with big.open() as runtime:
            return _executes(runtime, orders, costs[1])

    alone, beside = in_turn(rounds, on_small, on_big)
    got = f"{count / beside:.0f} /s, and {count / alone:.0f} /s"
    ratio(f"executes, 64 callers, time over {_size(small):,} records", beside / alone, "at most 1.30", got)
    few, many = (median(taken) / count * 1e6 for taken in costs)
    ratio("the same, processor time", many / few, "at most 1.30", f"{many:.0f} us, and {few:.0f} us")


def _executes(runtime: Runtime, orders: Sequence[int], costs: list[float]) -> float:
    """Seconds for the orders after the first ones, which prepare statements and read pages."""
    from_threads(CALLERS, WARM, lambda number: _execute(runtime, orders[number]))
    started, spent = time.perf_counter(), time.process_time()
    from_threads(CALLERS, len(orders) - WARM, lambda number: _execute(runtime, orders[WARM + number]))
    costs.append(time.process_time() - spent)
    return time.perf_counter() - started


def _reading(big: Grown) -> None:
    orders = big.refunded[:: max(1, len(big.refunded) // SAMPLES)]
    with big.open() as runtime:
        runtime.checkpoint().result()
        timelines = [_milliseconds(lambda n=n: runtime.timeline(AGENT, f"order:{n}")) for n in orders]
        ids = [_receipt_of(runtime, order) for order in orders]
        proofs = [_milliseconds(lambda id=id: runtime.read.receipt(id, proof=True)) for id in ids]
    figure("one entity's timeline, median and worst", _middle_and_worst(timelines), "under 5 ms")
    figure("a receipt with its proof, median and worst", _middle_and_worst(proofs), "under 2 ms")


def _receipt_of(runtime: Runtime, order: int) -> str:
    records = runtime.timeline(AGENT, f"order:{order}")
    return next(str(record["data"]["receipt"]["id"]) for record in records if record["kind"] == "decision_recorded")


def _verifying(big: Grown, times: int = 3) -> None:
    rates = []
    for _ in range(times):
        with closing(big.store()) as store:
            started = time.perf_counter()
            verdict = verify_leaves(store, big.keys)
            rates.append(verdict.records / (time.perf_counter() - started))
        assert verdict.status == "valid", verdict.problems
    got = f"{median(rates):,.0f} /s"
    figure(f"leaves, root and {verdict.checkpoints} signed heads verified, records", got, "at least 100,000 /s")


def _folding(big: Grown, times: int = 5) -> None:
    events = _events(big)
    domains = {domain().version: domain()}
    rates = []
    for _ in range(times):
        started = time.perf_counter()
        states: dict[str, EntityState] = {}
        for record in events:
            entity = record["entity"]
            state = states.get(entity) or EntityState(TENANT, entity, "", None, 0)
            event = record["data"]["event"]
            governs = domains[record["versions"]["domain"]]
            states[entity] = transition(governs, state, event["type"], event.get("payload", {}), 0).entity
        rates.append(len(events) / (time.perf_counter() - started))
    figure("decoded events folded in memory", f"{median(rates):,.0f} /s", "at least 300,000 /s")


def _events(big: Grown) -> list[dict[str, Any]]:
    with closing(big.store()) as store:
        records = (orjson.loads(row.body) for page in pages(store, TENANT) for row in page)
        return list(islice((record for record in records if record["kind"] == "event_ingested"), EVENTS))


def _memory(small: Prepared, big: Grown, count: int) -> None:
    """Each in a process of its own."""
    few, many = (
        _megabytes("deciding", path, orders)
        for path, orders in ((small.copy(), range(count)), (big.path, big.paid(count)))
    )
    figure(
        "most memory while executing, small log and large",
        f"{few:.0f} and {many:.0f} MB",
        "at most 64 MB more",
    )
    few, many = (_megabytes("verifying", log.path, ()) for log in (small, big))
    figure("most memory while verifying, small log and large", f"{few:.0f} and {many:.0f} MB", "no more")


def _megabytes(what: str, path: Path, orders: Sequence[int]) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", what, str(path), *map(str, orders)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout) / 1e6


def _execute(runtime: Runtime, order: int) -> None:
    answer = runtime.execute(AGENT, entity=f"order:{order}", action="AUTO_REFUND", parameters=PARAMETERS).result()
    assert answer.executed, answer


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def _middle_and_worst(taken: list[float]) -> str:
    return f"{median(taken):.2f} and {max(taken):.2f} ms"
