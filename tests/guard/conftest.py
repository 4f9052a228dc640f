"""What the guard's tests share: a served KIFF, and pauses that are as short as can be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))  # `served`: one served tower for all tests

from kiff_guard import transport

if TYPE_CHECKING:  # the guard's own tests also run where there is no KIFF: tests/frameworks/matrix.toml
    from own_tenant import OwnTenant
    from served import Served


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that the tests of a module share."""
    from served import served

    with served(tmp_path_factory.mktemp("data")) as shop:
        yield shop


@pytest.fixture
def own(shop: Served) -> OwnTenant:
    """A tenant of the test's own."""
    from own_tenant import OwnTenant

    return OwnTenant(shop)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits as shortly as can be before it asks again."""
    monkeypatch.setattr(transport, "FIRST_PAUSE_SECONDS", 0.001)
