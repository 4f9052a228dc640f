"""The world outside of KIFF: mail, billing and the desk, which do whatever they are asked, as often as they are asked.

Every effect is one line of JSON in a file of its own, on disk before it is answered. The idempotency key is written
beside it and otherwise ignored, as some systems do: KIFF must be right anyway.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Outside:
    """What happened, in order.

    Args:
        file: only ever appended to. KIFF never reads it; whoever counts effects does.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def do(self, action: str, ticket: str, parameters: dict[str, Any], *, key: str) -> None:
        """Makes one effect, again at every call."""
        effect = {"action": action, "ticket": ticket, "parameters": parameters, "key": key}
        book = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(book, json.dumps(effect).encode() + b"\n")
            os.fsync(book)
        finally:
            os.close(book)

    def effects(self, ticket: str | None = None) -> list[dict[str, Any]]:
        """Every effect ever made, oldest first, read back from the file; or those of one ticket."""
        if not self._file.exists():
            return []
        book = [json.loads(line) for line in self._file.read_text("utf-8").splitlines()]
        return [effect for effect in book if ticket in (None, effect["ticket"])]


def outside() -> Outside:
    """Where the executors make their effects: $OUTSIDE_FILE, or `outside.jsonl` beside this program."""
    return Outside(Path(os.environ.get("OUTSIDE_FILE") or Path(__file__).with_name("outside.jsonl")))
