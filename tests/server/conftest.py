"""Fixtures: one server a module for tests that leave it as they found it, and one of its own for those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, served


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that the tests of a module share; each uses orders of its own."""
    with served(tmp_path_factory.mktemp("data")) as shop:
        yield shop


@pytest.fixture
def own_shop(tmp_path: Path) -> Iterator[Served]:
    """A server for one test."""
    with served(tmp_path / "data") as shop:
        yield shop
