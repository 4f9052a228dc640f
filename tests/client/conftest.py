"""Fixtures: a served tower, and a server of our own that does not behave."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))  # `served`: one served tower for all tests

from misbehaving import Misbehaving
from served import Served, served

from kiff.client import connection, stream


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that the tests of a module share; each uses orders of its own."""
    with served(tmp_path_factory.mktemp("data")) as shop:
        yield shop


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    """A server that answers what it is told to."""
    with Misbehaving() as server:
        yield server


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are as short as can be."""
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(stream, "FIRST_PAUSE_SECONDS", 0.001)
