"""The world outside of KIFF: a bank that pays whatever it is asked to, as often as it is asked.

Every debit is one line of JSON in the bank's own file, on disk before it is answered. The idempotency key is
written beside it and otherwise ignored, as some banks do: KIFF must be right anyway.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Bank:
    """Args: file: the bank's book. KIFF never reads it; whoever counts effects does."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def pay(self, invoice: str, cents: int, *, key: str) -> None:
        """Makes a debit, again at every call."""
        line = json.dumps({"invoice": invoice, "cents": cents, "key": key}) + "\n"
        book = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(book, line.encode())
            os.fsync(book)
        finally:
            os.close(book)

    def debits(self, invoice: str | None = None) -> list[dict[str, Any]]:
        """Every debit ever made, oldest first, read back from the file; or those of one invoice."""
        if not self._file.exists():
            return []
        book = [json.loads(line) for line in self._file.read_text("utf-8").splitlines()]
        return [debit for debit in book if invoice in (None, debit["invoice"])]


def bank() -> Bank:
    """The bank the executors pay through. Its book is $BANK_FILE, or `bank.jsonl` beside this program."""
    return Bank(Path(os.environ.get("BANK_FILE") or Path(__file__).with_name("bank.jsonl")))
