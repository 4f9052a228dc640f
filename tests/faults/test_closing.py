"""Closing, dying and coming back: what was taken in is served or found again, and one process writes
(DESIGN invariant 17)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import interrupted_program
import pytest
from aftermath import problems
from outside import Book
from refund_shop import (
    AGENT,
    HUMAN,
    STRIPE,
    WAIT,
    Held,
    domain,
    kinds,
    open_shop,
    paid,
    paying,
    refund,
)

from kiff.errors import Closed, Conflict, KiffError, StoreInUse

pytestmark = pytest.mark.slow


def test_closing_waits_for_the_executors_that_run(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    runtime = open_shop(tmp_path, held)
    calls = [refund(runtime, paid(runtime, f"ord_{number}")) for number in range(4)]
    held.wait_for(4)
    closing = threading.Thread(target=runtime.close)
    closing.start()
    held.let_go()
    closing.join(WAIT)
    assert all(call.result(0).executed for call in calls)
    with open_shop(tmp_path, paying(book)) as again:
        assert len(book.debits()) == 4
        assert problems(tmp_path, again, book, []) == []


def test_closing_without_waiting_leaves_the_outcome_unknown(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    runtime = open_shop(tmp_path, held)
    order = paid(runtime, "ord_001")
    call = refund(runtime, order)
    held.wait_for()
    runtime.close(timeout=0)
    with pytest.raises(Conflict):
        call.result(0)
    with open_shop(tmp_path, paying(book)) as again:
        assert [operation.status for operation in again.read.operations()] == ["unknown"]
        assert refund(again, order).result(WAIT).reason == "entity_busy"
        assert problems(tmp_path, again, book, []) == []
        held.let_go()


def test_what_waits_when_it_closes_is_served(tmp_path: Path, book: Book) -> None:
    stuck, gate = threading.Event(), threading.Event()

    def probe(point: str) -> None:
        if point == "load" and stuck.is_set():
            assert gate.wait(WAIT)

    runtime = open_shop(tmp_path, paying(book), probe=probe)
    order = paid(runtime, "ord_001")
    stuck.set()
    asked = [runtime.ingest(STRIPE, type="ORDER_NOTED", entity=order) for _ in range(20)]
    closing = threading.Thread(target=runtime.close)
    closing.start()
    gate.set()
    closing.join(WAIT)
    assert all(pending.result(0).applied for pending in asked)


def test_a_closed_runtime_takes_nothing_in(tmp_path: Path, book: Book) -> None:
    runtime = open_shop(tmp_path, paying(book))
    order = paid(runtime, "ord_001")
    runtime.close()
    runtime.close()
    for attempt in (
        lambda: refund(runtime, order),
        lambda: runtime.propose(AGENT, entity=order, action="AUTO_REFUND"),
        lambda: runtime.ingest(STRIPE, type="ORDER_NOTED", entity=order),
        lambda: runtime.grant(HUMAN, "appr_1", "yes"),
        lambda: runtime.settle(HUMAN, "clr_1", "failed"),
        lambda: runtime.activate(AGENT, domain(timeout_seconds=2)),
        lambda: runtime.checkpoint(),
    ):
        with pytest.raises(Closed):
            attempt()
    with open_shop(tmp_path, paying(book)) as again:
        assert kinds(again, order) == ["event_ingested", "state_changed"] * 2


def test_a_runtime_that_is_closing_takes_nothing_in(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    runtime = open_shop(tmp_path, held)
    order, other = paid(runtime, "ord_001"), paid(runtime, "ord_002")
    refund(runtime, order)
    held.wait_for()
    closing = threading.Thread(target=runtime.close)
    closing.start()
    try:
        with pytest.raises(Closed):
            for _ in range(200):
                runtime.ingest(STRIPE, type="ORDER_NOTED", entity=other).result(WAIT)
    finally:
        held.let_go()
        closing.join(WAIT)


def test_a_second_runtime_on_one_database_is_refused(tmp_path: Path, book: Book) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        order = paid(runtime, "ord_001")
        with pytest.raises(StoreInUse):
            open_shop(tmp_path, paying(book))
        assert refund(runtime, order).result(WAIT).executed
    with open_shop(tmp_path, paying(book)) as runtime:
        assert problems(tmp_path, runtime, book, []) == []


@contextmanager
def program(folder: Path, book: Book, work: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that uses the runtime, once it is at work."""
    plan = json.dumps({"folder": str(folder), "port": book.port, "book": book.name, "work": work})
    with subprocess.Popen(
        [sys.executable, interrupted_program.__file__, plan], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b'"at work"\n'
            yield process
        finally:
            process.kill()


def test_another_process_on_the_database_is_refused_and_named(tmp_path: Path, book: Book) -> None:
    with program(tmp_path, book, "hang") as process:
        with pytest.raises(StoreInUse) as refused:
            open_shop(tmp_path, paying(book))
        assert refused.value.detail["pid"] == str(process.pid)
    with open_shop(tmp_path, paying(book)) as runtime:
        assert [operation.status for operation in runtime.read.operations()] == ["unknown"]
        assert problems(tmp_path, runtime, book, []) == []


@pytest.mark.parametrize(("work", "outcome"), [("hang", "unknown"), ("tidy", "succeeded")])
def test_ctrl_c_while_an_executor_runs_leaves_a_database_that_recovers(
    tmp_path: Path, book: Book, work: str, outcome: str
) -> None:
    with program(tmp_path, book, work) as process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=WAIT)
        assert b"KeyboardInterrupt" in said and process.returncode == -signal.SIGINT
    with open_shop(tmp_path, paying(book)) as runtime:
        assert [operation.status for operation in runtime.read.operations()] == [outcome]
        assert len(book.debits()) == (outcome == "succeeded")
        assert problems(tmp_path, runtime, book, []) == []


def test_ctrl_c_in_the_middle_of_writing_loses_nothing_that_was_acknowledged(tmp_path: Path, book: Book) -> None:
    with program(tmp_path, book, "write") as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(50)]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=WAIT)
    acknowledged = [json.loads(line) for line in [*told, *rest.splitlines()]]
    with open_shop(tmp_path, paying(book)) as runtime:
        assert problems(tmp_path, runtime, book, acknowledged) == []
        assert refund(runtime, paid(runtime, "ord_after")).result(WAIT).executed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("point", ["stepped", "run"])
def test_a_lane_that_breaks_tells_whoever_waits_and_takes_nothing_in(tmp_path: Path, book: Book, point: str) -> None:
    broken = threading.Event()

    def probe(at: str) -> None:
        if at == point and broken.is_set():
            raise RuntimeError("can't start new thread")

    runtime = open_shop(tmp_path, paying(book), probe=probe)
    try:
        order = paid(runtime, "ord_001")
        broken.set()
        with pytest.raises(KiffError):
            refund(runtime, order).result(2)
        with pytest.raises(KiffError):
            refund(runtime, order).result(2)
    finally:
        runtime.close()
    with open_shop(tmp_path, paying(book)) as again:
        assert book.debits() == []
        assert problems(tmp_path, again, book, []) == []
