"""Receipts files for tests: written by a real guard, and damaged line by line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kiff_guard import Guard
from kiff_guard.ledgers import JSONLLedger
from kiff_guard.ledgers.line import Seal

KEY = b"k" * 32
Members = dict[str, Any]


def write(path: Path, calls: int = 3, **options: Any) -> Path:
    """The receipts of so many calls: each has an opening line and a settled one."""
    ledger = JSONLLedger(path, **options)
    guard = Guard(mode="observe", agent="support", ledger=ledger)
    for number in range(calls):
        guard.evaluate("refund", {"order_id": f"ord_{number}", "amount": 49.5}, run=lambda: "done")
    ledger.close()
    return path


def lines_of(path: Path) -> list[Members]:
    """Every line, the header first."""
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def put(path: Path, lines: list[Members]) -> None:
    """Write lines as they are given, whether their hashes are right or not."""
    path.write_text("".join(_text(line) + "\n" for line in lines), "ascii")


def change(path: Path, number: int, edit: Callable[[Members], Any], *, sealed_anew: bool = False) -> None:
    """Edit one line; sealed anew, its own hash is right again, as whoever can write the file could make it."""
    lines = lines_of(path)
    edit(lines[number])
    if sealed_anew:
        seal_anew(lines[number])
    put(path, lines)


def seal_anew(line: Members) -> None:
    line.pop("hash")
    line["hash"] = Seal()(_text(line).encode("ascii"))


def raw_receipt(name: str, **more: Any) -> Members:
    """As much of a receipt as a ledger needs."""
    return {"receipt_id": name, "agent": "support", "tool": "refund", "args": {}, **more}


def _text(line: Members) -> str:
    return json.dumps(line, separators=(",", ":"))
