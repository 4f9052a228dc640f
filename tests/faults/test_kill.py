"""kill -9 between decision and settle: nothing acknowledged is lost, no effect without a durable clearance, and
no second effect (DESIGN invariants 1, 16, 17).

A child process runs the shop on a real database and kills itself; the parent opens the same folder. A killed
process keeps what the kernel has; that a commit survives a power cut is fsync's word, which no process can test.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import crash_child
import pytest
from aftermath import problems
from outside import Book
from refund_shop import HUMAN, WAIT, open_shop, paid, paying, refund

from kiff import Runtime

pytestmark = pytest.mark.slow

DECISION = ("load", "stepped", "append", "appended", "run", "execute")
"""In the order they are passed; the effect is made between `execute` and `executed`."""
SETTLE = ("executed", "load", "stepped", "append", "appended", "answered")
POINTS = [(point, 1) for point in DECISION] + [(point, 2 if point in DECISION else 1) for point in SETTLE]
DURABLE = POINTS.index(("appended", 1))
EFFECT = POINTS.index(("executed", 1))
SETTLED = POINTS.index(("appended", 2))
ORDER = "order:ord_001"


def crash(folder: Path, book: Book, point: str, occurrence: int, **more: Any) -> list[dict[str, Any]]:
    """Runs a child to its death. Returns what it had been answered."""
    command = _command(folder, book, point, occurrence, **more)
    ran = subprocess.run(command, stdout=subprocess.PIPE, timeout=120, check=False)
    survived = more.get("work") == "storm" and ran.returncode == 0  # too short for so many occurrences
    assert survived or ran.returncode == -signal.SIGKILL, f"{point} {occurrence}: ended with {ran.returncode}"
    return [json.loads(line) for line in ran.stdout.splitlines()]


def _command(folder: Path, book: Book, point: str, occurrence: int, **more: Any) -> list[str]:
    plan = {"folder": str(folder), "port": book.port, "book": book.name, "point": point, "occurrence": occurrence}
    plan |= {"work": "one", "seed": 0, "late": False, "early": False} | more
    return [sys.executable, crash_child.__file__, json.dumps(plan)]


def with_one_order(folder: Path, book: Book) -> None:
    with open_shop(folder, paying(book)) as runtime:
        paid(runtime, "ord_001")


@pytest.mark.parametrize("at", range(len(POINTS)), ids=[f"{point}-{n}" for point, n in POINTS])
def test_a_kill_at_any_point_loses_nothing_and_repeats_nothing(tmp_path: Path, book: Book, at: int) -> None:
    with_one_order(tmp_path, book)
    acknowledged = crash(tmp_path, book, *POINTS[at])
    assert len(book.debits()) == (at >= EFFECT)
    with open_shop(tmp_path, paying(book)) as runtime:
        assert problems(tmp_path, runtime, book, acknowledged) == []
        operations = [operation.status for operation in runtime.read.operations()]
        expected = [] if at < DURABLE else ["unknown"] if at < SETTLED else ["succeeded"]
        assert operations == expected
        _go_on(runtime, book)
        assert len(book.debits("ord_001")) == 1
        assert problems(tmp_path, runtime, book, acknowledged) == []


def _go_on(runtime: Runtime, book: Book) -> None:
    """After a crash people look up outside what is unknown, and settle it; then the call is made again."""
    before = len(book.debits())
    for operation in runtime.read.operations(status="unknown"):
        busy = refund(runtime, operation.entity, amount=7).result(WAIT)
        assert (busy.reason, busy.reasons[0].detail["operation_id"]) == ("entity_busy", operation.id)
        assert refund(runtime, ORDER, id="prop_one").result(WAIT).status == "unknown"
        assert len(book.debits()) == before
        happened = any(debit["operation_id"] == operation.id for debit in book.debits())
        settled = runtime.settle(HUMAN, operation.id, "succeeded" if happened else "failed").result(WAIT)
        assert settled.late and settled.state == ("REFUNDED" if happened else "PAID")
    again = refund(runtime, ORDER).result(WAIT)
    assert again.executed or again.reason == "state_not_allowed"


def test_control_an_append_that_answers_before_it_is_durable_leaves_an_effect_without_a_clearance(
    tmp_path: Path, book: Book
) -> None:
    with_one_order(tmp_path, book)
    acknowledged = crash(tmp_path, book, "answered", 1, late=True)
    [debit] = book.debits()
    with open_shop(tmp_path, paying(book)) as runtime:
        found = problems(tmp_path, runtime, book, acknowledged)
        assert f"effect without a clearance: {debit['operation_id']}" in found
        assert f"acknowledged and lost: receipt {acknowledged[0]['receipt']}" in found
        assert refund(runtime, ORDER).result(WAIT).executed
        assert "2 effects on one order: ord_001" in problems(tmp_path, runtime, book, [])


@pytest.mark.parametrize("point", ["append", "appended"])
def test_a_kill_while_recovering_from_a_kill_is_recovered_from(tmp_path: Path, book: Book, point: str) -> None:
    with_one_order(tmp_path, book)
    crash(tmp_path, book, "executed", 1)
    for _ in range(2 if point == "append" else 1):
        crash(tmp_path, book, point, 1, early=True)
    with open_shop(tmp_path, paying(book)) as runtime:
        assert [operation.status for operation in runtime.read.operations()] == ["unknown"]
        assert problems(tmp_path, runtime, book, []) == []
        _go_on(runtime, book)
        assert len(book.debits("ord_001")) == 1


@pytest.mark.parametrize("point", ["load", "append", "appended"])
def test_a_kill_at_the_very_first_start_leaves_a_folder_that_opens(tmp_path: Path, book: Book, point: str) -> None:
    crash(tmp_path, book, point, 1, early=True)
    with open_shop(tmp_path, paying(book)) as runtime:
        paid(runtime, "ord_001")
        _go_on(runtime, book)
        assert len(book.debits("ord_001")) == 1
        assert problems(tmp_path, runtime, book, []) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_kill_in_a_storm_loses_nothing_and_repeats_nothing(tmp_path: Path, book: Book, seed: int) -> None:
    _storm(tmp_path, book, seed)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(150))
def test_many_kills_in_storms(tmp_path: Path, book: Book, number: int) -> None:
    _storm(tmp_path, book, random.SystemRandom().randrange(1 << 40))


def _storm(folder: Path, book: Book, seed: int) -> None:
    """Two lives: one killed by itself at a point, one from outside at any instant. Then everything is settled."""
    print(f"seed {seed}")
    draw = random.Random(seed)
    with_one_order(folder, book)
    point, occurrence = draw.choice([*DECISION, "executed", "answered"]), draw.randrange(1, 60)
    acknowledged = crash(folder, book, point, occurrence, work="storm", seed=draw.randrange(1 << 40))
    _expect_whole(folder, book, acknowledged, seed)
    acknowledged += _killed_after(folder, book, draw.randrange(1, 300), seed=draw.randrange(1 << 40))
    _expect_whole(folder, book, acknowledged, seed)
    with open_shop(folder, paying(book)) as runtime:
        debits = {debit["operation_id"] for debit in book.debits()}
        for operation in runtime.read.operations(status="unknown"):
            outcome = "succeeded" if operation.id in debits else "failed"
            runtime.settle(HUMAN, operation.id, outcome).result(WAIT)
        assert runtime.read.operations(status="unknown") == []
        succeeded = {operation.id for operation in runtime.read.operations(status="succeeded")}
        assert succeeded == debits, f"seed {seed}"
    _expect_whole(folder, book, [], seed)


def _expect_whole(folder: Path, book: Book, acknowledged: list[dict[str, Any]], seed: int) -> None:
    with open_shop(folder, paying(book)) as runtime:
        assert problems(folder, runtime, book, acknowledged) == [], f"seed {seed}"


def _killed_after(folder: Path, book: Book, answers: int, *, seed: int) -> list[dict[str, Any]]:
    """Runs a storm and kills it from outside, wherever it is, once it has told so many answers."""
    with subprocess.Popen(_command(folder, book, "never", 1, work="storm", seed=seed), stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(answers)]
        child.kill()
        lines += child.stdout.readlines()
    return [json.loads(line) for line in lines if line.endswith(b"\n")]
