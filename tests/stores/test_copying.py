"""A store is copied whole: every kind of row there is, to every kind of store, or nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from kiff.errors import Conflict, StoreRefused
from kiff.runtime.ports import Append, Store
from kiff.runtime.rows import KEYS, CheckpointRow, LogHead, SealedKey, TileRow
from kiff.stores import conformance_rows as some
from kiff.stores.conformance_rows import ACME, ZEBRA
from kiff.stores.copying import Target, copy, counts, new_database
from kiff.stores.keyring import INSTALLATION
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore
from kiff.stores.tables import TABLES

SIZE = 256 * 256 + 300
"""Records of a log whose tiles have three levels. Only their places matter, so most of them are not there."""

pytestmark = pytest.mark.slow
Place = tuple[Callable[[], AbstractContextManager[Target]], Callable[[], Store]]


def full() -> MemoryStore:
    """A store with a row of every kind, for two tenants, and keys of the installation."""
    store = MemoryStore()
    for tenant in (ACME, ZEBRA):
        tiles = [
            *(TileRow(tenant, 0, number, number.to_bytes(32) * 256) for number in range(SIZE // 256)),
            TileRow(tenant, 1, 0, b"\x01" * 32 * 256),
            TileRow(tenant, 1, 1, b"\x02" * 32),
            TileRow(tenant, 2, 0, b"\x03" * 32),
        ]
        records = [some.record(tenant, seq, None if seq % 3 else some.ORDER) for seq in range(2_500)]
        receipts = [some.receipt(tenant, f"rcpt_{seq:05}", seq) for seq in range(2_100)]
        notes = [CheckpointRow(tenant, size, b"note") for size in (1, 300)]
        head = LogHead(tenant, f"log_{tenant}", SIZE, b"\x07" * 32, b"\x01" * 64, 9)
        store.append(Append([(None, head)], some.rows(tenant), records, receipts, tiles, notes))
    store.append(Append([], [SealedKey(INSTALLATION, "master", b"\1" * 32, b"sealed")], [], (), [], []))
    return store


def everything(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = {"heads": store.heads()}
    for tenant in (ACME, ZEBRA, INSTALLATION):
        places = [(0, number) for number in range(300)] + [(1, 0), (1, 1), (2, 0)]
        found |= {
            f"{tenant} records": store.records(tenant, limit=10_000),
            f"{tenant} receipts": store.receipts(tenant, limit=10_000),
            f"{tenant} checkpoints": store.checkpoints(tenant, limit=10_000),
            f"{tenant} tiles": [store.tile(tenant, level, number) for level, number in places],
        }
        found |= {f"{tenant} {kind.__name__}": store.rows(kind, tenant, limit=10_000) for kind in KEYS}
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """(what fills an empty store, what opens it)."""
    if request.param == "sqlite":
        path = tmp_path / "copy.db"
        return lambda: new_database(path), lambda: SqliteStore(path)
    url = request.getfixturevalue("fresh_database")
    from kiff.stores.postgres import PostgresStore
    from kiff.stores.postgres.copying import filling

    PostgresStore(url).close()
    return lambda: filling(url), lambda: PostgresStore(url)


def test_every_kind_of_row_is_copied(place: Place) -> None:
    fill, opened = place
    source = full()
    with fill() as target:
        told = copy(source, target, sealed_keys=True)
    assert set(told) == set(TABLES.values()), "a kind that is in no page is lost"
    with closing(opened()) as copied:
        assert everything(copied) == everything(source)
        assert counts(copied, sealed_keys=True) == counts(source, sealed_keys=True) == told


def test_sealed_keys_stay_where_they_are_of_use(place: Place) -> None:
    fill, opened = place
    with fill() as target:
        told = copy(full(), target, sealed_keys=False)
    with closing(opened()) as copied:
        assert copied.rows(SealedKey, INSTALLATION) == copied.rows(SealedKey, ACME) == []
        assert counts(copied, sealed_keys=False) == told


@pytest.mark.parametrize("pages", [0, 1, 7, 30])
def test_an_error_on_the_way_leaves_nothing(place: Place, tmp_path: Path, pages: int) -> None:
    fill, opened = place
    with pytest.raises(ZeroDivisionError), fill() as target:
        copy(full(), _failing_after(target, pages), sealed_keys=True)
    assert list(tmp_path.iterdir()) == []
    with closing(opened()) as copied:
        assert (copied.heads(), copied.tenants(), copied.rows(SealedKey, INSTALLATION)) == ([], [], [])


def test_rows_that_are_there_are_not_written_over(place: Place) -> None:
    fill, opened = place
    with fill() as target:
        copy(full(), target, sealed_keys=True)
    with closing(opened()) as copied:
        before = everything(copied)
    with pytest.raises((StoreRefused, Conflict)), fill() as target:
        copy(full(), target, sealed_keys=True)
    with closing(opened()) as copied:
        assert everything(copied) == before


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    with pytest.raises(Conflict, match="is there already"), new_database(path) as target:
        copy(full(), target, sealed_keys=True)
        path.write_text("somebody's")
    assert (path.read_text(), [each.name for each in tmp_path.iterdir()]) == ("somebody's", ["copy.db"])


class _failing_after:
    """A target that breaks after some pages."""

    def __init__(self, target: Target, pages: int) -> None:
        self._target = target
        self._left = pages

    def put(self, rows: list[Any]) -> None:
        if self._left == 0:
            raise ZeroDivisionError
        self._left -= 1
        self._target.put(rows)
