"""The store in memory: the readable reference for what every store does. Nothing here survives the process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sized
from typing import TypeVar

from msgspec import Struct

from kiff.errors import StoreConflict, StoreRefused
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.receipt import Receipt
from kiff.protocol.state import EntityState
from kiff.runtime.clock import SystemClock
from kiff.runtime.ports import Append, Clock, Key, Slice
from kiff.runtime.rows import (
    KEYS,
    ActiveDomain,
    Blob,
    CheckpointRow,
    Delivery,
    DomainVersion,
    LogHead,
    NoteRow,
    PolicyVersion,
    RecordRow,
    Row,
    SealedKey,
    TileRow,
    TimerRow,
)
from kiff.stores.leases import Leases

T = TypeVar("T", bound=Struct)


class MemoryStore:
    """Rows in dictionaries, one lock, all or nothing.

    Args:
        clock: where `now` comes from.
    """

    exclusive = True

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._heads: dict[str, LogHead] = {}
        self._rows: dict[Key, Row] = {}
        self._records: dict[str, list[RecordRow]] = {}
        self._receipts: dict[str, dict[str, Receipt]] = {}
        self._tiles: dict[tuple[str, int, int], TileRow] = {}
        self._checkpoints: dict[str, dict[int, CheckpointRow]] = {}
        self._leases = Leases()

    def load(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        with self._lock:
            heads = {tenant: self._heads.get(tenant) for tenant in tenants}
            return Slice(self._clock.now(), heads, {key: self._rows.get(key) for key in keys})

    peek = load

    def row(self, kind: type[T], tenant: str, id: str) -> T | None:
        with self._lock:
            found = self._rows.get((kind, tenant, id))
        return found if isinstance(found, kind) else None

    def append(self, batch: Append) -> None:
        receipts = list(batch.receipts)
        with self._lock:
            for old, new in batch.heads:
                if self._heads.get(new.tenant) != old:
                    raise StoreConflict(f"the log of `{new.tenant}` moved since it was loaded")
            stray = _dense(batch.records, {tenant: len(rows) for tenant, rows in self._records.items()})
            if stray is not None:
                raise StoreRefused(f"record {stray.seq} of `{stray.tenant}` does not follow the last one")
            for receipt in receipts:
                if receipt.id in self._receipts.get(receipt.tenant, ()):
                    raise StoreRefused(f"receipt `{receipt.id}` exists already")
            self._write(batch, receipts)

    def _write(self, batch: Append, receipts: list[Receipt]) -> None:
        for _, new in batch.heads:
            self._heads[new.tenant] = new
        for row in batch.rows:
            key = (type(row), row.tenant, getattr(row, KEYS[type(row)]))
            if not _stays(self._rows.get(key), row):
                self._rows[key] = row
        for told in batch.gone:
            there = self._rows.get((Delivery, told.tenant, told.id))
            if isinstance(there, Delivery) and there.version <= told.version:
                del self._rows[Delivery, told.tenant, told.id]
        self._leases.give_back(batch.gone)
        for record in batch.records:
            self._records.setdefault(record.tenant, []).append(record)
        for receipt in receipts:
            self._receipts.setdefault(receipt.tenant, {})[receipt.id] = receipt
        for tile in batch.tiles:
            self._tiles[tile.tenant, tile.level, tile.number] = tile
        for checkpoint in batch.checkpoints:
            self._checkpoints.setdefault(checkpoint.tenant, {}).setdefault(checkpoint.size, checkpoint)

    def heads(self) -> list[LogHead]:
        with self._lock:
            return [self._heads[tenant] for tenant in sorted(self._heads)]

    def records(self, tenant: str, *, entity: str | None = None, after: int = -1, limit: int = 1000) -> list[RecordRow]:
        with self._lock:
            rows = self._records.get(tenant, [])[after + 1 :]
            if entity is not None:
                rows = [row for row in rows if row.entity == (entity or None)]
            return rows[:limit]

    def leaves(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[bytes]:
        return [row.leaf for row in self.records(tenant, after=after, limit=limit)]

    def unsigned(self) -> list[str]:
        with self._lock:
            signed = {tenant: max(notes, default=0) for tenant, notes in self._checkpoints.items()}
            return [tenant for tenant, head in sorted(self._heads.items()) if signed.get(tenant, 0) < head.size]

    def leave(self, tenants: Iterable[str]) -> None:
        """Nobody else waits."""

    def follow(self, moved: Callable[[list[LogHead]], None]) -> None:
        """There is one writer, and it knows."""

    def receipt(self, tenant: str, receipt_id: str) -> Receipt | None:
        with self._lock:
            return self._receipts.get(tenant, {}).get(receipt_id)

    def receipts(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[Receipt]:
        with self._lock:
            found = [receipt for receipt in self._receipts.get(tenant, {}).values() if receipt.seq > after]
        return sorted(found, key=lambda receipt: receipt.seq)[:limit]

    def entities(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[EntityState]:
        found = [row for row in self._of(EntityState, tenant) if row.entity > after]
        return sorted(found, key=lambda row: row.entity)[:limit]

    def approvals(self, tenant: str, *, status: str | None = None, limit: int = 1000) -> list[ApprovalRequest]:
        found = [row for row in self._of(ApprovalRequest, tenant) if status in (None, row.status)]
        return sorted(found, key=lambda row: (row.opened_at, row.id))[:limit]

    def clearances(self, tenant: str, *, status: str | None = None, limit: int = 1000) -> list[Clearance]:
        found = [row for row in self._of(Clearance, tenant) if status in (None, row.status)]
        return sorted(found, key=lambda row: (row.cleared_at, row.id))[:limit]

    def snapshot(self) -> MemoryStore:
        still = MemoryStore(self._clock)
        with self._lock:
            still._heads = dict(self._heads)
            still._rows = dict(self._rows)
            still._records = {tenant: list(rows) for tenant, rows in self._records.items()}
            still._receipts = {tenant: dict(rows) for tenant, rows in self._receipts.items()}
            still._tiles = dict(self._tiles)
            still._checkpoints = {tenant: dict(rows) for tenant, rows in self._checkpoints.items()}
        return still

    def tenants(self) -> list[str]:
        with self._lock:
            logs = (self._heads, self._records, self._receipts, self._checkpoints)
            found = {tenant for log in logs for tenant in log}
            rows = {tenant for kind, tenant, _ in self._rows if kind not in (NoteRow, SealedKey)}
            return sorted(found | rows | {key[0] for key in self._tiles})

    def subjects(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[str]:
        with self._lock:
            found = {row.entity for row in self._records.get(tenant, ()) if row.entity is not None}
        return sorted(entity for entity in found if entity > after)[:limit]

    def rows(self, kind: type[T], tenant: str, *, after: str = "", limit: int = 1000) -> list[T]:
        key = KEYS[kind]
        found = [row for row in self._of(kind, tenant) if getattr(row, key) > after]
        return sorted(found, key=lambda row: str(getattr(row, key)))[:limit]

    def count(self, kind: type, tenant: str) -> int:
        logs: dict[type, Sized] = {
            RecordRow: self._records.get(tenant, ()),
            Receipt: self._receipts.get(tenant, ()),
            CheckpointRow: self._checkpoints.get(tenant, ()),
            TileRow: [key for key in self._tiles if key[0] == tenant],
        }
        return len(logs[kind] if kind in logs else self._of(kind, tenant))

    def active_domains(self) -> list[ActiveDomain]:
        return self._of(ActiveDomain)

    def domain_versions(self) -> list[DomainVersion]:
        return self._of(DomainVersion)

    def due(self, now: int, *, limit: int = 256) -> list[Clearance | ApprovalRequest | TimerRow]:
        rows: list[Clearance | ApprovalRequest | TimerRow] = [
            *self._of(Clearance),
            *self._of(ApprovalRequest),
            *self._of(TimerRow),
        ]
        timed = [(row.due_at, row) for row in rows if row.due_at is not None and row.due_at <= now]
        return [row for _, row in sorted(timed, key=lambda pair: pair[0])][:limit]

    def open_clearances(self, limit: int = 10_000) -> list[Clearance]:
        return [row for row in self._of(Clearance) if row.status == "open"][:limit]

    def backlogs(self, now: int) -> list[tuple[str, str]]:
        return sorted({(row.tenant, row.endpoint) for row in self._of(Delivery) if row.due_at <= now})

    def lease(self, tenant: str, endpoint: str, now: int, until: int, *, limit: int) -> list[Delivery]:
        rows = self.deliveries(tenant, endpoint, limit=sys.maxsize)
        first: dict[str, int] = {}
        for row in rows:
            if row.status == "due":
                first.setdefault(row.entity, row.seq)
        come = [row for row in rows if row.due_at <= now and (row.status == "dead" or first[row.entity] == row.seq)]
        return self._leases.take(sorted(come, key=lambda row: (row.due_at, row.seq)), now, until, limit)

    def deliveries(
        self, tenant: str, endpoint: str, *, status: str | None = None, after: int = -1, limit: int = 1000
    ) -> list[Delivery]:
        own = [row for row in self._of(Delivery, tenant) if row.endpoint == endpoint and row.seq > after]
        return sorted((row for row in own if status in (None, row.status)), key=lambda row: row.seq)[:limit]

    def tile(self, tenant: str, level: int, number: int) -> bytes | None:
        with self._lock:
            tile = self._tiles.get((tenant, level, number))
            return None if tile is None else tile.hashes

    def checkpoint(self, tenant: str, *, size: int | None = None) -> CheckpointRow | None:
        with self._lock:
            notes = self._checkpoints.get(tenant, {})
            return notes.get(max(notes) if size is None and notes else size or 0)

    def checkpoints(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[CheckpointRow]:
        with self._lock:
            notes = self._checkpoints.get(tenant, {})
            return [notes[size] for size in sorted(notes) if size > after][:limit]

    def close(self) -> None:
        """Nothing to let go of: what was kept stays readable until the object goes."""

    def _of(self, row: type[T], tenant: str | None = None) -> list[T]:
        with self._lock:
            return [
                value
                for (_, owner, _), value in self._rows.items()
                if isinstance(value, row) and tenant in (None, owner)
            ]


def _stays(before: Row | None, row: Row) -> bool:
    """Whether what is there is what its key will always mean."""
    if isinstance(row, SealedKey) and isinstance(before, SealedKey):
        return row.public != before.public
    return before is not None and isinstance(row, Blob | DomainVersion | PolicyVersion)


def _dense(records: list[RecordRow], sizes: dict[str, int]) -> RecordRow | None:
    """The first record that does not follow the one before it."""
    for record in records:
        if record.seq != sizes.get(record.tenant, 0):
            return record
        sizes[record.tenant] = record.seq + 1
    return None
