"""What the tests of every framework share: nothing has run yet, and a real KIFF with its address and key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import guards
import pytest
from stories.outside import INVOICES, ORDERS, tower_of
from towers import Tower, kiff_program, tower_in


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    guards.RAN.clear()


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


@pytest.fixture(scope="module")
def invoices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tower]:
    """A KIFF with accounts-payable, for the story of the invoice."""
    with tower_of(INVOICES, tmp_path_factory.mktemp("invoices")) as tower:
        yield tower


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tower]:
    """A KIFF with order-refunds, for the story of the ceiling."""
    with tower_of(ORDERS, tmp_path_factory.mktemp("orders")) as tower:
        yield tower
