"""The embedded store: one SQLite file, one writer process, WAL, synchronous=FULL, one commit per batch.

Driver errors are translated here and nowhere else: refused rows (StoreRefused), a store that cannot serve
(StoreUnavailable), content that is not what was written (StoreCorrupt).
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import orjson
from msgspec import Struct
from msgspec.structs import astuple, fields

from kiff.errors import (
    KiffError,
    SchemaTooNew,
    StoreConflict,
    StoreCorrupt,
    StoreInUse,
    StoreRefused,
    StoreUnavailable,
)
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import Member, Tenant
from kiff.protocol.clearance import Clearance
from kiff.protocol.receipt import Receipt
from kiff.protocol.sealed import Sealed
from kiff.protocol.state import EntityState
from kiff.runtime.clock import SystemClock
from kiff.runtime.ports import Append, Clock, Key, Slice
from kiff.runtime.rows import (
    KEYS,
    LAST_SEQ,
    ActiveDomain,
    Blob,
    CheckpointRow,
    Delivery,
    DomainVersion,
    Hooks,
    LogHead,
    NoteRow,
    PolicyVersion,
    RecordRow,
    Row,
    SealedKey,
    TileRow,
    TimerRow,
    delivery_id,
)
from kiff.stores.durable_file import make_folder
from kiff.stores.leases import Leases
from kiff.stores.left_log import write_left_log_again
from kiff.stores.sqlite_schema import APPLICATION_ID, MIGRATIONS
from kiff.stores.tables import COLUMNS, TABLES, UNSIGNED, WRITTEN_ONCE

T = TypeVar("T", bound=Struct)

_BOOLEANS: dict[type, frozenset[int]] = {
    row: frozenset(at for at, field in enumerate(fields(row)) if field.type is bool)
    for row in (ApprovalRequest, Clearance, Member, Tenant)
}
"""SQLite keeps them as 0 and 1."""
_SELECT = {row: f"SELECT {', '.join(names)} FROM {TABLES[row]}" for row, names in COLUMNS.items()}
_INSERT = {
    row: f"INSERT INTO {TABLES[row]} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for row, names in COLUMNS.items()
}
_BY_KEY = {
    row: f"SELECT {', '.join(f't.{name}' for name in COLUMNS[row])} FROM json_each(?2) AS k"
    f" CROSS JOIN {TABLES[row]} AS t ON t.tenant = ?1 AND t.{key} = k.value"
    for row, key in KEYS.items()
}


def _upsert(row: type[Struct], key: str) -> str:
    """Insert, or replace the columns of the row with this key and of no other."""
    changes = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[row] if name not in ("tenant", key))
    return f"{_INSERT[row]} ON CONFLICT (tenant, {key}) DO UPDATE SET {changes}"


_PUT = {row: _upsert(row, key) for row, key in KEYS.items()} | {
    Blob: f"{_INSERT[Blob]} ON CONFLICT DO NOTHING",
    DomainVersion: _INSERT[DomainVersion],
    PolicyVersion: _INSERT[PolicyVersion],
    SealedKey: f"{_INSERT[SealedKey]} ON CONFLICT (tenant, id) DO UPDATE SET sealed = excluded.sealed"
    " WHERE sealed_keys.public = excluded.public",
}
_GONE = f"DELETE FROM {TABLES[Delivery]} WHERE tenant = ? AND id = ? AND version <= ?"
ROWS_AT_ONCE = 32
"""How many rows one statement writes at most: each number of them is a statement of its own, and is kept prepared."""


@lru_cache(maxsize=1024)
def _several(sql: str, count: int) -> str:
    """The statement of one row, for several."""
    before, values, after = sql.partition(_VALUES.search(sql)[0])  # type: ignore[index]  # every insert has values
    return before + ", ".join([values] * count) + after


_VALUES = re.compile(r"\(\?(?:, \?)*\)")
_PUT_TILE = f"{_INSERT[TileRow]} ON CONFLICT (tenant, level, number) DO UPDATE SET hashes = excluded.hashes"
_PUT_CHECKPOINT = f"{_INSERT[CheckpointRow]} ON CONFLICT DO NOTHING"
_MOVE_HEAD = (
    "UPDATE heads SET size = ?, root = ?, frontier = ?, last_at = ?"
    " WHERE tenant = ? AND size = ? AND root = ? AND log_id = ?"
)
_NEW_HEAD = f"{_INSERT[LogHead]} ON CONFLICT DO NOTHING"

_IN_DOUBT = " AND status IN ('open', 'unknown')"
"""The words of the partial index: SQLite uses it only where they stand in the query."""


def _next_endpoint(column: str) -> str:
    """Of the endpoint behind `found`: of the same tenant, or else the first of the next one."""
    some = f"SELECT {column} FROM {TABLES[Delivery]} WHERE"
    here = f"{some} tenant = found.tenant AND endpoint > found.endpoint ORDER BY endpoint LIMIT 1"
    return f"coalesce(({here}), ({some} tenant > found.tenant ORDER BY tenant, endpoint LIMIT 1))"


_BACKLOGS = (
    f"WITH RECURSIVE found(tenant, endpoint) AS (SELECT '', '' UNION ALL SELECT {_next_endpoint('tenant')},"
    f" {_next_endpoint('endpoint')} FROM found WHERE found.tenant IS NOT NULL)"
    f" SELECT tenant, endpoint FROM found WHERE EXISTS (SELECT 1 FROM {TABLES[Delivery]} AS d"
    " WHERE d.tenant = found.tenant AND d.endpoint = found.endpoint AND d.due_at <= ?1)"
)
"""Endpoint by endpoint, each found from the one before; of no one's deliveries more than one is read."""
_FIRST_IN_LINE = (
    f"{_SELECT[Delivery]} AS d WHERE tenant = ? AND endpoint = ? AND due_at <= ? AND (status = 'dead'"
    f" OR NOT EXISTS (SELECT 1 FROM {TABLES[Delivery]} AS e WHERE e.tenant = d.tenant AND e.endpoint = d.endpoint"
    " AND e.entity = d.entity AND e.status = 'due' AND e.seq < d.seq)) ORDER BY due_at, seq LIMIT ?"
)

COPY_BACK_BYTES = 4 << 20
"""After how many written bytes the write-ahead log is copied back, by its own thread."""
ROW_BYTES = 1_024
"""About what a row costs the write-ahead log, its pages and indexes included."""
BUSY_MS = 5_000
FORGET_SECONDS = 1.0
"""How soon it is tried again to empty the write-ahead log of what was erased, while somebody reads an older state."""
RECENT_ROWS = 16_384
"""How many rows are kept at hand that were read or written; the only writer's cannot be stale."""


class SqliteStore:
    """A KIFF database in one file.

    Args:
        path: created, with its folder, when it is not there.
        clock: where `now` comes from.
        read_only: for tools that look beside a running writer; append refuses.

    Raises:
        StoreInUse: another process writes this database.
        SchemaTooNew: it was written by a newer KIFF.
        StoreCorrupt: it is not a KIFF database, or is damaged.
        StoreUnavailable: it cannot be opened.
    """

    exclusive = True

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock | None = None, read_only: bool = False) -> None:
        self.path = Path(path).absolute()  # readers are opened later, and the program may have moved
        self._clock = clock or SystemClock()
        self._read_only = read_only
        self._readers: list[sqlite3.Connection] = []
        self._pool = threading.Lock()
        self._written = 0
        self._backlog = threading.Event()
        self._closed = False
        self._finish_checkpoint = False
        self._forgetting = False
        self._recent: dict[Key, Row] = {}
        self._older: dict[Key, Row] = {}
        self._heads: dict[str, LogHead] = {}
        self._hookless: set[Key] = set()
        self._leases = Leases()
        if read_only and not self.path.is_file():
            raise StoreUnavailable(f"there is no database at `{self.path}`", path=str(self.path))
        self._held = None if read_only else _only_writer(self.path)
        try:
            if not read_only:
                _make_left_log_durable(self.path)
            self._writer = self._connect()
            if not read_only:
                self._prepare()
            elif _known(self._writer, self.path) == 0:
                raise _not_ours(self.path)
        except BaseException:
            self._release()
            raise
        self._copier = threading.Thread(target=self._copy_back, name="kiff-wal", daemon=True)
        if not read_only:
            self._copier.start()

    def load(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        wanted: dict[tuple[type, str], list[str]] = {}
        rows: dict[Key, Row | None] = {}
        recent, older = self._recent, self._older
        for key in keys:
            row = rows[key] = recent.get(key) or older.get(key)
            if row is None and key not in self._hookless:
                wanted.setdefault((key[0], key[1]), []).append(key[2])
        with _translated(self.path):
            heads = {tenant: self._heads.get(tenant) or self._head(tenant) for tenant in tenants}
            for (kind, tenant), ids in wanted.items():
                at = COLUMNS[kind].index(KEYS[kind])
                for columns in self._writer.execute(_BY_KEY[kind], (tenant, orjson.dumps(ids).decode())):
                    row = rows[(kind, tenant, columns[at])] = _row(kind, columns)
                    if not self._read_only:
                        recent[(kind, tenant, columns[at])] = row
                if kind is Hooks and not self._read_only:  # most tenants have none, and every batch asks
                    self._hookless.update((kind, tenant, id) for id in ids if rows[(kind, tenant, id)] is None)
        return Slice(self._clock.now(), heads, rows)

    def peek(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        # What the lane keeps at hand was committed, so it may be read here; what is read here is kept nowhere.
        recent, older = self._recent, self._older
        rows: dict[Key, Row | None] = {key: recent.get(key) or older.get(key) for key in keys}
        missing = [key for key, row in rows.items() if row is None]
        heads = {tenant: self._heads.get(tenant) for tenant in tenants}
        with _translated(self.path), self._reader() as reader:
            for key in missing:
                kind, tenant, id = key
                found = reader.execute(
                    f"{_SELECT[kind]} WHERE tenant = ? AND {KEYS[kind]} = ?", (tenant, id)
                ).fetchone()
                rows[key] = None if found is None else _row(kind, found)
            for tenant in [tenant for tenant, head in heads.items() if head is None]:
                found = reader.execute(f"{_SELECT[LogHead]} WHERE tenant = ?", (tenant,)).fetchone()
                heads[tenant] = None if found is None else _row(LogHead, found)
        return Slice(self._clock.now(), heads, rows)

    def row(self, kind: type[T], tenant: str, id: str) -> T | None:
        found = self._all(kind, f"{_SELECT[kind]} WHERE tenant = ? AND {KEYS[kind]} = ?", tenant, id)
        return found[0] if found else None

    def append(self, batch: Append) -> None:
        if self._read_only:
            raise StoreUnavailable("the database was opened to be read only", path=str(self.path))
        writer = self._writer
        with _translated(self.path):
            if self._finish_checkpoint:
                self._finish_checkpoint = False
                writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            writer.execute("BEGIN IMMEDIATE")
            try:
                self._move_heads(batch)
                self._write(batch)
                self._forget(batch)
                writer.execute("COMMIT")
            except BaseException:
                for kept in (self._heads, self._recent, self._older, self._hookless):
                    kept.clear()
                _roll_back(writer)
                raise
        self._remember(batch)
        self._leases.give_back(batch.gone)
        if self._written >= COPY_BACK_BYTES or self._forgetting:
            self._written = 0
            self._backlog.set()

    def _forget(self, batch: Append) -> None:
        """Lets go of what is about to change: who saw the database's row must not find an older one at hand after."""
        for row in (*batch.rows, *batch.gone):
            key = (type(row), row.tenant, getattr(row, KEYS[type(row)]))
            self._recent.pop(key, None)
            self._older.pop(key, None)
            self._hookless.discard(key)

    def _remember(self, batch: Append) -> None:
        """Keeps what was just written: most of it is read again soon, and nobody else can have changed it."""
        if len(self._recent) > RECENT_ROWS:
            self._older = self._recent  # first: whoever peeks in between must not find an older row than before
            self._recent = {}
        for row in batch.rows:
            if type(row) not in WRITTEN_ONCE:
                self._recent[(type(row), row.tenant, getattr(row, KEYS[type(row)]))] = row
            if type(row) is Sealed and row.value is None:
                self._forgetting = True
        self._heads.update((new.tenant, new) for _, new in batch.heads)
        self._written += sum(len(record.body) for record in batch.records) + ROW_BYTES * len(batch.rows)
        self._written += sum(len(row.data) for row in batch.rows if isinstance(row, Blob))

    def _move_heads(self, batch: Append) -> None:
        for old, new in batch.heads:
            if old is None:
                moved = self._writer.execute(_NEW_HEAD, astuple(new))
            else:
                to = (new.size, new.root, new.frontier, new.last_at)
                moved = self._writer.execute(_MOVE_HEAD, (*to, old.tenant, old.size, old.root, old.log_id))
            if moved.rowcount != 1:
                raise StoreConflict(f"the log of `{new.tenant}` moved since it was loaded", tenant=new.tenant)

    def _write(self, batch: Append) -> None:
        self._insert(_INSERT[RecordRow], map(astuple, batch.records))
        by_kind: dict[type, list[Any]] = {}
        for row in batch.rows:
            by_kind.setdefault(type(row), []).append(astuple(row))
        for kind, values in by_kind.items():
            self._insert(_PUT[kind], values)
        for told in batch.gone:
            self._writer.execute(_GONE, (told.tenant, told.id, told.version))
        self._insert(_PUT_TILE, map(astuple, batch.tiles))
        self._insert(_PUT_CHECKPOINT, map(astuple, batch.checkpoints))
        self._insert(_INSERT[Receipt], map(astuple, batch.receipts))

    def _insert(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Many rows a statement: every statement lets go of the interpreter, and others are slow to give it back."""
        left = list(rows)
        for start in range(0, len(left), ROWS_AT_ONCE):
            some = left[start : start + ROWS_AT_ONCE]
            self._writer.execute(_several(sql, len(some)), [value for row in some for value in row])

    def heads(self) -> list[LogHead]:
        return self._all(LogHead, f"{_SELECT[LogHead]} ORDER BY tenant")

    def records(self, tenant: str, *, entity: str | None = None, after: int = -1, limit: int = 1000) -> list[RecordRow]:
        if entity is None:
            sql = f"{_SELECT[RecordRow]} WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?"
            return self._all(RecordRow, sql, tenant, after, limit)
        # Left to itself, SQLite walks the primary key, which is in the order asked for: the whole log, every time.
        if not entity:
            of_none = f"{_SELECT[RecordRow]} INDEXED BY records_of_none"
            sql = f"{of_none} WHERE tenant = ? AND entity IS NULL AND seq > ? ORDER BY seq LIMIT ?"
            return self._all(RecordRow, sql, tenant, after, limit)
        by_entity = f"{_SELECT[RecordRow]} INDEXED BY records_by_entity"
        sql = f"{by_entity} WHERE tenant = ? AND entity = ? AND seq > ? ORDER BY seq LIMIT ?"
        return self._all(RecordRow, sql, tenant, entity, after, limit)

    def leaves(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[bytes]:
        sql = "SELECT leaf FROM records WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?"
        with _translated(self.path), self._reader() as reader:
            return [leaf for (leaf,) in reader.execute(sql, (tenant, after, limit))]

    def unsigned(self) -> list[str]:
        with _translated(self.path), self._reader() as reader:
            return [tenant for (tenant,) in reader.execute(UNSIGNED)]

    def leave(self, tenants: Iterable[str]) -> None:
        """Nobody else waits."""

    def follow(self, moved: Callable[[list[LogHead]], None]) -> None:
        """There is one writer, and it knows."""

    def receipt(self, tenant: str, receipt_id: str) -> Receipt | None:
        found = self._all(Receipt, f"{_SELECT[Receipt]} WHERE tenant = ? AND id = ?", tenant, receipt_id)
        return found[0] if found else None

    def receipts(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[Receipt]:
        sql = f"{_SELECT[Receipt]} WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?"
        return self._all(Receipt, sql, tenant, after, limit)

    def entities(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[EntityState]:
        sql = f"{_SELECT[EntityState]} WHERE tenant = ? AND entity > ? ORDER BY entity LIMIT ?"
        return self._all(EntityState, sql, tenant, after, limit)

    def approvals(self, tenant: str, *, status: str | None = None, limit: int = 1000) -> list[ApprovalRequest]:
        where, values = _of_status(status)
        sql = f"{_SELECT[ApprovalRequest]} WHERE tenant = ? {where} ORDER BY opened_at, id LIMIT ?"
        return self._all(ApprovalRequest, sql, tenant, *values, limit)

    def clearances(self, tenant: str, *, status: str | None = None, limit: int = 1000) -> list[Clearance]:
        where, values = _of_status(status)
        where += _IN_DOUBT if status in ("open", "unknown") else ""
        sql = f"{_SELECT[Clearance]} WHERE tenant = ? {where} ORDER BY cleared_at, id LIMIT ?"
        return self._all(Clearance, sql, tenant, *values, limit)

    def snapshot(self) -> SqliteStore:
        """A read transaction on a connection of its own; for one thread."""
        still = SqliteStore(self.path, clock=self._clock, read_only=True)
        with _translated(self.path):
            still._writer.execute("BEGIN")
            still._writer.execute("SELECT count(*) FROM heads").fetchall()  # a transaction starts with its first read
        still._readers.append(still._writer)
        return still

    def tenants(self) -> list[str]:
        with _translated(self.path), self._reader() as reader:
            tables = [table for row, table in TABLES.items() if row not in (NoteRow, SealedKey)]
            found = {tenant for table in tables for (tenant,) in reader.execute(_next_by_next(table, "tenant"))}
        return sorted(found)

    def subjects(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[str]:
        sql = _next_by_next("records", "entity", within="tenant = ?1", after="entity > ?2")
        with _translated(self.path), self._reader() as reader:
            return [entity for (entity,) in reader.execute(f"{sql} LIMIT ?3", (tenant, after, limit))]

    def rows(self, kind: type[T], tenant: str, *, after: str = "", limit: int = 1000) -> list[T]:
        key = KEYS[kind]
        sql = f"{_SELECT[kind]} WHERE tenant = ? AND {key} > ? ORDER BY {key} LIMIT ?"
        return self._all(kind, sql, tenant, after, limit)

    def count(self, kind: type, tenant: str) -> int:
        with _translated(self.path), self._reader() as reader:
            sql = f"SELECT count(*) FROM {TABLES[kind]} WHERE tenant = ?"
            return int(reader.execute(sql, (tenant,)).fetchone()[0])

    def active_domains(self) -> list[ActiveDomain]:
        return self._all(ActiveDomain, f"{_SELECT[ActiveDomain]} ORDER BY tenant, entity_type")

    def domain_versions(self) -> list[DomainVersion]:
        return self._all(DomainVersion, f"{_SELECT[DomainVersion]} ORDER BY tenant, version")

    def due(self, now: int, *, limit: int = 256) -> list[Clearance | ApprovalRequest | TimerRow]:
        clause = "WHERE due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT ?"
        clearances = self._all(Clearance, f"{_SELECT[Clearance]} {clause}", now, limit)
        approvals = self._all(ApprovalRequest, f"{_SELECT[ApprovalRequest]} {clause}", now, limit)
        return [*clearances, *approvals, *self._all(TimerRow, f"{_SELECT[TimerRow]} {clause}", now, limit)]

    def open_clearances(self, limit: int = 10_000) -> list[Clearance]:
        sql = f"{_SELECT[Clearance]} WHERE status = 'open' {_IN_DOUBT} ORDER BY tenant, cleared_at LIMIT ?"
        return self._all(Clearance, sql, limit)

    def backlogs(self, now: int) -> list[tuple[str, str]]:
        with _translated(self.path), self._reader() as reader:
            return [(tenant, endpoint) for tenant, endpoint in reader.execute(_BACKLOGS, (now,))]

    def lease(self, tenant: str, endpoint: str, now: int, until: int, *, limit: int) -> list[Delivery]:
        values = (tenant, endpoint, now, limit + len(self._leases))
        return self._leases.take(self._all(Delivery, _FIRST_IN_LINE, *values), now, until, limit)

    def deliveries(
        self, tenant: str, endpoint: str, *, status: str | None = None, after: int = -1, limit: int = 1000
    ) -> list[Delivery]:
        where, values = _of_status(status)
        sql = f"{_SELECT[Delivery]} WHERE tenant = ? AND id >= ? AND id <= ? {where} ORDER BY id LIMIT ?"
        first, last = delivery_id(endpoint, after + 1), delivery_id(endpoint, LAST_SEQ)
        return self._all(Delivery, sql, tenant, first, last, *values, limit)

    def tile(self, tenant: str, level: int, number: int) -> bytes | None:
        sql = f"{_SELECT[TileRow]} WHERE tenant = ? AND level = ? AND number = ?"
        found = self._all(TileRow, sql, tenant, level, number)
        return found[0].hashes if found else None

    def checkpoint(self, tenant: str, *, size: int | None = None) -> CheckpointRow | None:
        sql = f"{_SELECT[CheckpointRow]} WHERE tenant = ?1 AND (?2 IS NULL OR size = ?2) ORDER BY size DESC LIMIT 1"
        found = self._all(CheckpointRow, sql, tenant, size)
        return found[0] if found else None

    def checkpoints(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[CheckpointRow]:
        sql = f"{_SELECT[CheckpointRow]} WHERE tenant = ? AND size > ? ORDER BY size LIMIT ?"
        return self._all(CheckpointRow, sql, tenant, after, limit)

    def close(self) -> None:
        """Copies the write-ahead log back and lets go of the file. Calling it twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._backlog.set()
        if self._copier.is_alive():
            self._copier.join()
        with self._pool:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
        self._writer.close()
        self._release()

    def _all(self, kind: type[T], sql: str, *args: Any) -> list[T]:
        with _translated(self.path), self._reader() as reader:
            return [_row(kind, columns) for columns in reader.execute(sql, args)]

    def _head(self, tenant: str) -> LogHead | None:
        columns = self._writer.execute(f"{_SELECT[LogHead]} WHERE tenant = ?", (tenant,)).fetchone()
        return None if columns is None else _row(LogHead, columns)

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each reader at work; they never wait for the writer."""
        with self._pool:
            reader = self._readers.pop() if self._readers else None
        reader = reader or self._connect()
        try:
            yield reader
        finally:
            with self._pool:
                if self._closed:
                    reader.close()
                else:
                    self._readers.append(reader)

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self._read_only else "rwc"
        # SQLite wants to make two files beside it even to read. Where it may not, and nothing waits in them, nobody
        # writes this database: it can be read as it is.
        still = self._read_only and not os.access(self.path.parent, os.W_OK) and not _waiting(self.path)
        quoted = str(self.path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        with _translated(self.path):
            connection = sqlite3.connect(
                f"file:{quoted}?mode={mode}{'&immutable=1' if still else ''}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
            )
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            connection.execute("PRAGMA cell_size_check = ON")
            return connection

    def _prepare(self) -> None:
        writer = self._writer
        with _translated(self.path):
            version = _known(writer, self.path)
            writer.execute("PRAGMA journal_mode = WAL").fetchall()
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute("PRAGMA fullfsync = ON")  # where a plain fsync does not reach the medium
            writer.execute("PRAGMA wal_autocheckpoint = 0")
            writer.execute("PRAGMA secure_delete = ON").fetchall()  # what is erased is overwritten
            writer.execute("PRAGMA cache_size = -65536")
            for number in range(version, len(MIGRATIONS)):
                head = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number + 1};"
                writer.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[number]} {head} COMMIT;")
            # A file that may not be written says so now: BEGIN IMMEDIATE alone would be content to read it.
            writer.executescript(f"BEGIN IMMEDIATE; PRAGMA user_version = {len(MIGRATIONS)}; ROLLBACK;")

    def _copy_back(self) -> None:
        """Copies the write-ahead log into the database beside the writer, so that no commit pays for it."""
        while True:
            self._backlog.wait(FORGET_SECONDS if self._forgetting else None)
            self._backlog.clear()
            if self._closed:
                return
            try:
                with _translated(self.path), self._reader() as connection:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                    if self._forgetting:
                        self._forgetting = False  # first: what is erased meanwhile asks for it again
                        if not _emptied(connection):
                            self._forgetting = True
            except KiffError:
                continue  # the writer meets the same trouble, and tells
            # The writer copies the few pages that came meanwhile; then the log starts over instead of growing.
            self._finish_checkpoint = True

    def _release(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _next_by_next(table: str, column: str, *, within: str = "true", after: str = "true") -> str:
    """The different values of an indexed column, in order, each found from the one before; no row is read."""
    first = f"SELECT min({column}) FROM {table} WHERE {within} AND {after}"
    following = f"SELECT min({column}) FROM {table} WHERE {within} AND {column} > found.value"
    return (
        f"WITH RECURSIVE found(value) AS ({first} UNION ALL SELECT ({following})"
        " FROM found WHERE found.value IS NOT NULL) SELECT value FROM found WHERE value IS NOT NULL"
    )


def _row(kind: type[T], columns: tuple[Any, ...]) -> T:
    booleans = _BOOLEANS.get(kind)
    if booleans is not None:
        return kind(*(bool(v) if at in booleans else v for at, v in enumerate(columns)))
    return kind(*columns)


def _emptied(connection: sqlite3.Connection) -> bool:
    """Empties the write-ahead log, which holds earlier states of the rows, unless somebody still reads one."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return not busy
    except sqlite3.OperationalError:
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")


def _roll_back(connection: sqlite3.Connection) -> None:
    """Undoes what was begun; SQLite may have done so by itself."""
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:
            return  # the error that led here says what is wrong


def _only_writer(path: Path) -> int:
    """Holds the lock file beside the database for as long as this process lives.

    Raises:
        StoreInUse: another process holds it. StoreUnavailable: it cannot be made.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        make_folder(path.parent)
        held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"`{lock}` cannot be made: {error.strerror}", path=str(path)) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        pid = os.pread(held, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(held)
        message = f"`{path}` is written by process {pid}; one process at a time writes a SQLite database"
        raise StoreInUse(message, path=str(path), pid=pid) from error
    try:
        os.ftruncate(held, 0)
        os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(held)
        raise StoreUnavailable(f"`{lock}` cannot be written: {error.strerror}", path=str(path)) from error
    return held


def _make_left_log_durable(path: Path) -> None:
    try:
        write_left_log_again(path)
    except OSError as error:
        raise StoreUnavailable(f"`{path}` cannot serve: {error.strerror}", path=str(path)) from error


def _waiting(path: Path) -> bool:
    """Whether a write-ahead log holds what is not in the file yet."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _of_status(status: str | None) -> tuple[str, tuple[str, ...]]:
    """A condition that an index can serve; `? IS NULL OR status = ?` cannot be."""
    return ("", ()) if status is None else ("AND status = ?", (status,))


def _not_ours(path: Path) -> StoreCorrupt:
    return StoreCorrupt(f"`{path}` is not a KIFF database", path=str(path), hint="check the path")


def _known(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a database that is ours; 0 for an empty one.

    Raises:
        SchemaTooNew, StoreCorrupt.
    """
    with _translated(path):
        [(application,)] = connection.execute("PRAGMA application_id").fetchall()
        [(version,)] = connection.execute("PRAGMA user_version").fetchall()
        [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    if tables and application != APPLICATION_ID:
        raise _not_ours(path)
    if version > len(MIGRATIONS):
        message = f"`{path}` has schema {version}, this KIFF knows {len(MIGRATIONS)}; use a newer KIFF"
        raise SchemaTooNew(message, path=str(path), schema=version)
    return int(version)


_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NOT_TEXT = "Could not decode to UTF-8"  # the driver's own words; SQLite has no code for it
_REFUSED = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeError,
)


class _translated:
    """Driver errors as KIFF's own. A class, because a generator would cost more, several times a commit."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        path = str(self._path)
        if isinstance(error, _REFUSED):
            raise StoreRefused(f"`{self._path.name}` refuses the rows: {error}", path=path) from error
        if isinstance(error, sqlite3.Error):
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT or _NOT_TEXT in str(error):
                raise StoreCorrupt(f"`{path}` is damaged: {error}", path=path) from error
            raise StoreUnavailable(f"`{path}` cannot serve: {error}", path=path) from error
