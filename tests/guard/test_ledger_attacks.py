"""Where receipts could be lost, reordered or told falsely: each of these was so once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from receipt_cases import raw_receipt

from kiff_guard import Guard, steps
from kiff_guard.catalog import Catalog
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import LedgerError
from kiff_guard.ledgers import JSONLLedger, Ledgers, MemoryLedger, ServerLedger
from kiff_guard.ledgers.verify import verify
from kiff_guard.receipt import Receipt

ARGS = {"order_id": "ord_1", "amount": 49.0}
PATIENCE_SECONDS = 20.0


class Slow:
    """A ledger whose disk answers when it is told to.

    Args:
        verb: which of its verbs waits.
    """

    blocking = True

    def __init__(self, verb: str) -> None:
        self.lines: list[tuple[str, str]] = []
        self.arrived, self.goes_on = threading.Event(), threading.Event()
        self._verb = verb

    def open(self, receipt: Receipt) -> None:
        self._write("open", receipt)

    def append(self, receipt: Receipt) -> None:
        self._write("append", receipt)

    def _write(self, verb: str, receipt: Receipt) -> None:
        if verb == self._verb:
            self.arrived.set()
            assert self.goes_on.wait(PATIENCE_SECONDS)
        self.lines.append((verb, receipt.execution))


def guarding(ledger: Any, client: ScriptedClient | None = None) -> tuple[Guard, ScriptedClient]:
    client = client or ScriptedClient()
    return Guard(client, "acme", "a", mode="enforce", ledger=ledger), client


async def cancelled(waiting: asyncio.Task[Any], ledger: Slow) -> None:
    """The caller goes while the disk is busy; the disk goes on after that."""
    assert await asyncio.to_thread(ledger.arrived.wait, PATIENCE_SECONDS)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ledger.goes_on.set()


async def until(done: Any) -> None:
    async def ends() -> None:
        while not done():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(ends(), PATIENCE_SECONDS)


async def cancelled_in_the_queue(settling: Any) -> None:
    """The only thread is busy; the caller goes while its step waits for one."""
    busy, begun = threading.Event(), threading.Event()
    steps._threads().submit(lambda: (begun.set(), busy.wait(PATIENCE_SECONDS)))
    await until(begun.is_set)
    waiting = asyncio.create_task(settling)
    await until(lambda: steps._threads()._work_queue.qsize())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    busy.set()


async def tool() -> str:
    return "done"


def test_who_is_cancelled_while_the_end_is_written_leaves_one_receipt_and_kiff_is_told() -> None:
    async def run() -> None:
        ledger = Slow("append")
        guard, client = guarding(ledger)
        await cancelled(asyncio.create_task(guard.aevaluate("refund", ARGS, tool)), ledger)
        await until(lambda: client.settles)
        assert [each.status for each in client.settles] == ["succeeded"]
        assert ledger.lines == [("open", "unknown"), ("append", "succeeded")]

    asyncio.run(run())


def test_who_is_cancelled_before_the_end_could_begin_to_be_written_loses_no_receipt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All threads are busy: the write was taken off their queue, and nobody knew of it."""

    async def run() -> None:
        monkeypatch.setattr(steps, "THREADS", 1)
        monkeypatch.setattr(steps, "_pool", None)
        ledger = Slow("none")
        guard, client = guarding(ledger)
        decision = await guard.adecide_only("refund", ARGS)
        await cancelled_in_the_queue(guard.asettle(decision, result="done"))
        await until(lambda: client.settles)
        assert ledger.lines == [("open", "unknown"), ("append", "succeeded")]
        steps._threads().shutdown()

    asyncio.run(run())


def test_who_is_cancelled_before_kiff_could_be_told_has_it_told_with_the_next_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        monkeypatch.setattr(steps, "THREADS", 1)
        monkeypatch.setattr(steps, "_pool", None)
        guard, client = guarding([])
        decision = await guard.adecide_only("refund", ARGS)
        await cancelled_in_the_queue(guard.asettle(decision, result="done"))
        await guard.adecide_only("refund", {**ARGS, "order_id": "ord_2"})
        assert [each.status for each in client.settles] == ["succeeded"]
        steps._threads().shutdown()

    asyncio.run(run())


def test_an_opening_that_is_still_written_does_not_come_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is cancelled meanwhile: the call did not run, and the file was called broken."""

    async def run() -> None:
        monkeypatch.setattr(steps, "_pool", None)
        ledger = Slow("open")
        guard, client = guarding(ledger)
        await cancelled(asyncio.create_task(guard.adecide_only("refund", ARGS)), ledger)
        await until(lambda: client.settles)
        await asyncio.to_thread(steps._threads().shutdown)
        assert [verb for verb, _ in ledger.lines] in (["open", "append"], ["append"])
        assert ledger.lines[-1] == ("append", "not_run")

    asyncio.run(run())


def test_a_receipt_that_could_not_be_written_is_written_with_the_next_one(tmp_path: Path) -> None:
    """A full disk that is full no longer: it waited for the end of the process, and died with it."""
    full = [True]

    class Filling(JSONLLedger):
        def append(self, receipt: Any) -> None:
            if full[0]:
                raise LedgerError("no space left")
            super().append(receipt)

    guard, _ = guarding(Filling(tmp_path / "receipts.jsonl"))
    guard.evaluate("refund", ARGS, lambda: 1)
    full[0] = False
    guard.evaluate("refund", {**ARGS, "order_id": "ord_2"}, lambda: 2)
    found = verify(tmp_path / "receipts.jsonl")
    assert (found.problems, found.receipts, found.unsettled) == ([], 2, [])


def test_a_receipt_that_one_of_several_ledgers_did_not_take_comes_to_the_others_once() -> None:
    full = [True]

    class Filling:
        def __init__(self) -> None:
            self.kept: list[Receipt] = []

        def append(self, receipt: Receipt) -> None:
            if full[0]:
                raise OSError("no space left")
            self.kept.append(receipt)

    first, filling, last = MemoryLedger(), Filling(), MemoryLedger()
    guard, _ = guarding(Ledgers(first, filling, last))
    guard.evaluate("refund", ARGS, lambda: 1)
    for _ in range(3):
        with pytest.raises(LedgerError):
            guard.flush()
    full[0] = False
    guard.flush()
    assert [len(list(each)) for each in (first, filling.kept, last)] == [1, 1, 1]


def test_a_tool_is_counted_as_sent_only_when_it_was_there_to_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that left between the count and the catalog: the tool in it was never told of."""
    told: list[list[str]] = []

    class Told:
        def observe_guard(self, agent: str, adapter: str, mode: str, tools: list[Any]) -> None:
            told.append([each.name for each in tools])

    ledger = ServerLedger(Told(), every=3600.0)
    record = Catalog.record

    def record_later(self: Catalog, *call: Any) -> None:
        ledger._send()
        record(self, *call)

    monkeypatch.setattr(Catalog, "record", record_later)
    Guard(ledger=ledger).observe("refund", ARGS)
    ledger.close()
    assert told[-1:] == [["refund"]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system with fork")
@pytest.mark.parametrize("ledger", ["MemoryLedger()", "ServerLedger(Told(), every=3600.0, close_within=0.1)"])
@pytest.mark.slow
def test_a_child_does_not_wait_for_what_a_thread_of_its_parent_held(ledger: str) -> None:
    """Every lock is held while the process forks: a tool of the child would have waited for ever."""
    program = f"""
import os, threading
from kiff_guard import Guard
from kiff_guard.ledgers import MemoryLedger, ServerLedger
class Told:
    def observe_guard(self, *about, **more): pass
ledger = {ledger}
guard = Guard(ledger=ledger)
guard.observe("refund", {{"amount": 1}})
locks = [ledger._lock, guard.catalog._lock, *(each.catalog._lock for each in getattr(ledger, "_seen", {{}}).values())]
for lock in locks:
    assert lock.acquire(timeout=5)
pid = os.fork()
if pid == 0:
    guard.observe("refund", {{"amount": 2}})
    guard.close()
    os._exit(7)
for lock in locks:
    lock.release()
import time
ends = time.monotonic() + 10
while time.monotonic() < ends:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        raise SystemExit(0 if os.waitstatus_to_exitcode(status) == 7 else 1)
    time.sleep(0.01)
os.kill(pid, 9)
raise SystemExit("the child waits")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_memory_has_what_it_had_after_a_fork() -> None:
    ledger = MemoryLedger()
    ledger.append(raw_receipt("gr_1"))  # type: ignore[arg-type]
    ledger.after_fork()
    assert len(list(ledger)) == 1
