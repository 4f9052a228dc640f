"""What the tests of every framework share: a real KIFF, and its address and key in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from towers import Tower, kiff_program, tower_in


@pytest.fixture(scope="session")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tower]:
    """A `kiff up` with refund-ops, shared: use orders of your own."""
    if not kiff_program().is_file():
        pytest.skip(f"needs a KIFF server: {kiff_program()} is missing; `make test` makes it, or set KIFF_BIN")
    with tower_in(tmp_path_factory.mktemp("tower")) as tower:
        yield tower


@pytest.fixture
def own_tower(tmp_path: Path) -> Iterator[Tower]:
    """A `kiff up` of the test's own."""
    with tower_in(tmp_path) as tower:
        yield tower


@pytest.fixture
def at_tower(tower: Tower, monkeypatch: pytest.MonkeyPatch) -> Tower:
    """The same, with its address and the agent's key in KIFF_URL and KIFF_API_KEY, as the pages read them."""
    monkeypatch.setenv("KIFF_URL", tower.url)
    monkeypatch.setenv("KIFF_API_KEY", tower.keys["agent"])
    return tower
