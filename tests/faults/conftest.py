"""What the fault tests share: the outside ledger's process, and a book of it for each test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from outside import Book, running
from postgres_server import NoPostgres, Server, durable_server

sys.path.append(str(Path(__file__).parents[1] / "server"))  # `served` and `hooked`: a server, and a webhook's target

_NUMBERS = count()


@pytest.fixture(scope="session")
def ledger_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running(tmp_path_factory.mktemp("outside") / "ledger.jsonl") as port:
        yield port


@pytest.fixture
def book(ledger_port: int) -> Book:
    """An empty page of the outside ledger."""
    return Book(ledger_port, f"book{next(_NUMBERS)}")


@pytest.fixture(scope="session")
def durable() -> Server:
    """A PostgreSQL that may be broken."""
    try:
        return durable_server()
    except NoPostgres as missing:
        pytest.skip(str(missing))
