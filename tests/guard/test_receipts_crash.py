"""Killed in the middle of writing, a process loses nothing it acknowledged, and leaves a file to go on in."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from receipt_cases import lines_of

from kiff_guard.ledgers import JSONLLedger
from kiff_guard.ledgers.verify import verify

pytestmark = pytest.mark.slow

ROUNDS = 40

WRITER = """
import sys, threading
from kiff_guard.ledgers import JSONLLedger
ledger = JSONLLedger(sys.argv[1])
def work(thread):
    number = 0
    while True:
        receipt = {"receipt_id": f"rcpt_{sys.argv[2]}_{thread}_{number}", "tool": "refund", "reason": "x" * 3000}
        ledger.open(receipt)
        ledger.append(receipt)
        sys.stdout.write(receipt["receipt_id"] + "\\n")
        sys.stdout.flush()
        number += 1
for thread in range(4):
    threading.Thread(target=work, args=(thread,), daemon=True).start()
threading.Event().wait()
"""


def test_killed_again_and_again_it_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "receipts.jsonl", set()
    for number in range(ROUNDS):
        acknowledged |= _killed(path, number, after=3 + number)
        JSONLLedger(path).append({"receipt_id": f"after_{number}"})
        found = verify(path)
        assert found.problems == []
    kept = {line["receipt"]["receipt_id"] for line in lines_of(path) if line["kind"] == "settled"}
    assert acknowledged - kept == set()
    assert len(acknowledged) > ROUNDS
    assert sum(name.startswith("after_") for name in kept) == ROUNDS


def _killed(path: Path, number: int, *, after: int) -> set[str]:
    """What a writer said it had kept, before it was killed."""
    command = [sys.executable, "-c", WRITER, str(path), str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(after)]
        writer.send_signal(signal.SIGKILL)
        told += writer.stdout.readlines()
    return {line.strip() for line in told if line.endswith("\n")}
