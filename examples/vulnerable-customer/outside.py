"""The world outside of KIFF: everything that reaches a customer goes through this mailroom, as often as it is asked.

Each effect is one line of JSON in the mailroom's own file, on disk before it is answered. The idempotency key is
written beside it and otherwise ignored: KIFF must be right anyway.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


class Mailroom:
    """Keeps its book in `file`. KIFF never reads it; whoever counts effects does."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def reach(self, customer: str, effect: str, *, key: str) -> None:
        """Reaches the customer, again at every call."""
        line = json.dumps({"customer": customer, "effect": effect, "key": key}) + "\n"
        book = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(book, line.encode())
            os.fsync(book)
        finally:
            os.close(book)

    def effects(self) -> list[dict[str, str]]:
        """Everything that ever reached a customer, oldest first, read back from the file."""
        if not self._file.exists():
            return []
        return [json.loads(line) for line in self._file.read_text("utf-8").splitlines()]


def mailroom() -> Mailroom:
    """The one the executors use. Its book is $MAILROOM_FILE, or `mailroom.jsonl` beside this program."""
    return Mailroom(Path(os.environ.get("MAILROOM_FILE") or Path(__file__).with_name("mailroom.jsonl")))
