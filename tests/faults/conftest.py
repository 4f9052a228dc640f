"""What the fault tests share: the outside ledger's process, and a book of it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from outside import Book, running

_NUMBERS = count()


@pytest.fixture(scope="session")
def ledger_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running(tmp_path_factory.mktemp("outside") / "ledger.jsonl") as port:
        yield port


@pytest.fixture
def book(ledger_port: int) -> Book:
    """An empty page of the outside ledger."""
    return Book(ledger_port, f"book{next(_NUMBERS)}")
