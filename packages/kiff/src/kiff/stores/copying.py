"""Everything that a store holds, from one place to another: every row as it is, and nothing made anew.

Log ids, record bytes, receipts and signed heads stay what they were, so every proof stays good.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from kiff.errors import Conflict, StoreUnavailable
from kiff.ledger.tiles import HEIGHT, WIDTH
from kiff.protocol.receipt import Receipt
from kiff.runtime.ports import Append, Store
from kiff.runtime.rows import (
    KEYS,
    Blob,
    CheckpointRow,
    DomainVersion,
    LogHead,
    NoteRow,
    PolicyVersion,
    RecordRow,
    SealedKey,
    TileRow,
)
from kiff.stores.durable_file import sync_file, sync_folder
from kiff.stores.keyring import INSTALLATION
from kiff.stores.sqlite import SqliteStore
from kiff.stores.tables import TABLES

PAGE = 1000
FEW = 32
"""How many at a time of the rows that can be large."""
_LARGE = (Blob, DomainVersion, PolicyVersion, NoteRow)

Counts = dict[str, int]
"""How many rows of each kind there are, by the name of their table."""


class Target(Protocol):
    """Where rows are put."""

    def put(self, rows: list[Any]) -> None:
        """Rows of one kind, at most PAGE, none of which is there."""


def copy(still: Store, target: Target, *, sealed_keys: bool) -> Counts:
    """Puts everything that a store holds into an empty one.

    Args:
        still: a snapshot.
        sealed_keys: those in its rows too; they are of use to whoever holds their root secret.

    Raises:
        StoreError: one of the two cannot serve.
    """
    found: Counter[str] = Counter()
    for rows in _contents(still, sealed_keys):
        target.put(rows)
        found[TABLES[type(rows[0])]] += len(rows)
    return dict(found)


def counts(store: Store, *, sealed_keys: bool) -> Counts:
    """How many rows there are of what `copy` puts."""
    whose = _tenants(store, sealed_keys)
    kinds = [kind for kind in TABLES if kind not in (LogHead, TileRow) and (sealed_keys or kind is not SealedKey)]
    found = {TABLES[kind]: sum(store.count(kind, tenant) for tenant in whose) for kind in kinds}
    found[TABLES[TileRow]] = sum(store.count(TileRow, tenant) for tenant in whose)
    found[TABLES[LogHead]] = len(store.heads())
    return {table: number for table, number in found.items() if number}


def _contents(still: Store, sealed_keys: bool) -> Iterator[list[Any]]:
    """Every row, in pages of one kind. Heads come last: what has none is not whole."""
    heads = {head.tenant: head for head in still.heads()}
    kinds = [kind for kind in KEYS if sealed_keys or kind is not SealedKey]
    for tenant in _tenants(still, sealed_keys):
        yield from _log(still, tenant, heads.get(tenant))
        for kind in kinds:
            yield from _rows(still, kind, tenant)
    ordered = list(heads.values())
    yield from (ordered[at : at + PAGE] for at in range(0, len(ordered), PAGE))


def _tenants(store: Store, sealed_keys: bool) -> list[str]:
    found = store.tenants()
    return [*found, INSTALLATION] if sealed_keys and INSTALLATION not in found else found


def _log(still: Store, tenant: str, head: LogHead | None) -> Iterator[list[Any]]:
    after = -1
    while records := still.records(tenant, after=after, limit=PAGE):
        yield records
        after = records[-1].seq
    after = -1
    while receipts := still.receipts(tenant, after=after, limit=PAGE):
        yield receipts
        after = receipts[-1].seq
    after = -1
    while notes := still.checkpoints(tenant, after=after, limit=PAGE):
        yield notes
        after = notes[-1].size
    tiles: list[Any] = []
    for level, number in _places(0 if head is None else head.size):
        hashes = still.tile(tenant, level, number)
        if hashes is not None:  # one that is missing is missing in the copy too, and `kiff verify` says so
            tiles.append(TileRow(tenant, level, number, hashes))
        if len(tiles) == FEW:
            yield tiles
            tiles = []
    if tiles:
        yield tiles


def _places(size: int) -> Iterator[tuple[int, int]]:
    """(level, number) of every tile that a log of this size has stored: of the lowest level full ones only."""
    yield from ((0, number) for number in range(size // WIDTH))
    level, hashes = 1, size >> HEIGHT
    while hashes:
        yield from ((level, number) for number in range(-(-hashes // WIDTH)))
        level, hashes = level + 1, hashes >> HEIGHT


def _rows(still: Store, kind: type[Struct], tenant: str) -> Iterator[list[Any]]:
    after, limit = "", FEW if kind in _LARGE else PAGE
    while page := still.rows(kind, tenant, after=after, limit=limit):
        yield page
        after = str(getattr(page[-1], KEYS[kind]))


class _StoreTarget:
    """Rows go into a store as into any other commit."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, rows: list[Any]) -> None:
        batch = Append([], [], [], [], [], [])
        kind = type(rows[0])
        if kind is LogHead:
            batch.heads = [(None, head) for head in rows]
        elif kind is RecordRow:
            batch.records = rows
        elif kind is Receipt:
            batch.receipts = rows
        elif kind is TileRow:
            batch.tiles = rows
        elif kind is CheckpointRow:
            batch.checkpoints = rows
        else:
            batch.rows = rows
        self._store.append(batch)


@contextmanager
def new_database(path: Path) -> Iterator[Target]:
    """A SQLite database to fill. It has its name once the block is left without an error; before, nothing is there.

    Raises:
        Conflict: there is a file of that name. StoreUnavailable: it cannot be made.
    """
    with new_file(path) as fresh:
        store = SqliteStore(fresh)
        try:
            yield _StoreTarget(store)
        finally:
            store.close()


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A name to write a database under, which becomes `path` when the block is left without an error.

    Raises:
        Conflict: there is a file of that name. StoreUnavailable: it cannot be made.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise _exists(path)
        yield fresh
        sync_file(fresh)
        os.link(fresh, path)  # never in place of a file that came meanwhile
        sync_folder(path.parent)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise StoreUnavailable(f"`{path}` cannot be written: {error.strerror}", path=str(path)) from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal", ".lock"):
            fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)


def _exists(path: Path) -> Conflict:
    return Conflict(f"`{path}` is there already; nothing is written over it", path=str(path))
