"""The calls that waited for a person when an earlier gateway ended, read from its receipts.

A client starts a gateway with every session, and reviewers take their time: without this, a call that was granted in
between would be held again. What is read here is only which approval to ask KIFF about; KIFF decides.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import Any

BYTES_LIMIT = 32 * 1024 * 1024
"""How much of the end of the file is read."""
HELD_LIMIT = 10_000

Key = tuple[str, str, str]


class Held:
    """Approvals by agent, tool and digest of the arguments; each is given once. After that the guard remembers."""

    def __init__(self, path: str = "") -> None:
        self._approvals = _read(path) if path else OrderedDict()
        self._lock = Lock()

    def take(self, agent: str, tool: str, digest: str) -> str | None:
        with self._lock:
            return self._approvals.pop((agent, tool, digest), None)


def _read(path: str) -> OrderedDict[Key, str]:
    held: OrderedDict[Key, str] = OrderedDict()
    for receipt in _receipts(path):
        key = tuple(receipt.get(name) for name in ("agent", "tool", "args_hash"))
        approval = receipt.get("approval_id")
        if not all(isinstance(part, str) for part in (*key, approval)) or not key[2] or not approval:
            continue
        known: Any = key
        held.pop(known, None)
        if receipt.get("outcome") == "approval_required":
            held[known] = str(approval)
            if len(held) > HELD_LIMIT:
                held.popitem(last=False)
    return held


def _receipts(path: str) -> Iterator[dict[str, Any]]:
    """The receipts at the end of a file, oldest first. What is none is passed over: it decides nothing."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - BYTES_LIMIT))
            for line in file:
                receipt = _receipt(line)
                if receipt is not None:
                    yield receipt
    except OSError:
        return


def _receipt(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    receipt = told.get("receipt") if isinstance(told, dict) and told.get("kind") == "settled" else None
    return receipt if isinstance(receipt, dict) else None
