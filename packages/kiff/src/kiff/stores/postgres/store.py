"""PostgreSQL as a store: one statement a load, one an append, so a lane pays two round trips a batch.

Any number of processes write the same database: the head's compare-and-set in the append is the only gate between them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import astuple

from kiff.errors import StoreConflict
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.receipt import Receipt
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Append, Clock, Key, Slice
from kiff.runtime.rows import (
    KEYS,
    LAST_SEQ,
    ActiveDomain,
    CheckpointRow,
    Delivery,
    DomainVersion,
    LogHead,
    NoteRow,
    RecordRow,
    Row,
    SealedKey,
    TileRow,
    TimerRow,
    delivery_id,
)
from kiff.stores.postgres.connections import ANSWER_SECONDS, EVERYONE, LONG_SECONDS, Connection, Connections
from kiff.stores.postgres.failures import translated
from kiff.stores.postgres.hints import Hints
from kiff.stores.postgres.migrate import prepare
from kiff.stores.postgres.outbox import BACKLOGS, LEASE
from kiff.stores.postgres.statements import SELECT, append, load
from kiff.stores.postgres.turns import Turns
from kiff.stores.tables import COLUMNS, TABLES, UNSIGNED

T = TypeVar("T", bound=Struct)

CONNECTIONS = 8
"""How many a process has at most: lanes that commit, and readers."""


class PostgresStore:
    """A KIFF database on a PostgreSQL server.

    Args:
        url: `postgresql://user@host/database`; what it leaves out, the PG* variables say.
        clock: where `now` comes from; the database's clock, when not given.
        read_only: for tools that only look; append refuses.
        connections: how many there are at most.

    Raises:
        StoreUnavailable: it cannot be reached. SchemaTooNew, SchemaTooOld: `kiff migrate` says more.
    """

    exclusive = False

    def __init__(
        self, url: str, *, clock: Clock | None = None, read_only: bool = False, connections: int = CONNECTIONS
    ) -> None:
        self._url = url
        self._clock = clock
        seconds = LONG_SECONDS if read_only else ANSWER_SECONDS
        self._connections = Connections(url, connections, read_only=read_only, answer_seconds=seconds)
        self._hints: Hints | None = None
        self._resources = ExitStack()
        self._still: Connection | None = None
        self._turns = Turns(self._connections)
        try:
            prepare(self._connections, make=not read_only)
        except BaseException:
            self._connections.close()
            raise

    def load(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        tenants = tuple(tenants)
        if len(tenants) == 1:
            self._turns.wait_for(tenants[0])
        return self.peek(tenants, keys)

    def leave(self, tenants: Iterable[str]) -> None:
        for tenant in tenants:
            self._turns.leave(tenant)

    def peek(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        tenants, rows = tuple(tenants), dict[Key, Row | None].fromkeys(keys)
        groups: dict[tuple[type, str], list[str]] = {}
        for kind, tenant, id in rows:
            groups.setdefault((kind, tenant), []).append(id)
        groups = dict(sorted(groups.items(), key=lambda group: (_ORDER[group[0][0]], group[0][1])))
        values: list[Any] = [tenants]
        for (_, tenant), ids in groups.items():
            values += (tenant, ids)
        sql = load(tuple(kind for kind, _ in groups))
        whose = _whose({*tenants, *(tenant for _, tenant in groups)})
        now, heads, *found = self._ask(whose, lambda raw: raw.fetchrow(sql, *values))
        for (kind, tenant), several in zip(groups, found, strict=True):
            at = COLUMNS[kind].index(KEYS[kind])
            for columns in several:
                rows[(kind, tenant, columns[at])] = kind(*columns)
        loaded: dict[str, LogHead | None] = dict.fromkeys(tenants)
        loaded.update({columns[0]: LogHead(*columns) for columns in heads})
        return Slice(now if self._clock is None else self._clock.now(), loaded, rows)

    def row(self, kind: type[T], tenant: str, id: str) -> T | None:
        found = self._all(kind, tenant, f"{SELECT[kind]} WHERE tenant = $1 AND {KEYS[kind]} = $2", tenant, id)
        return found[0] if found else None

    def append(self, batch: Append) -> None:
        by_kind: dict[type[Struct], list[Struct]] = {}
        for row in (*batch.records, *batch.rows, *batch.tiles, *batch.checkpoints):
            by_kind.setdefault(type(row), []).append(row)
        bound = {kind: _columns(rows) for kind, rows in by_kind.items()}
        if receipts := list(batch.receipts):  # last: they are signed while the others are bound
            bound[Receipt] = _columns(receipts)
        bound = dict(sorted(bound.items(), key=lambda kind: _ORDER[kind[0]]))
        values: list[Any] = []
        for old, new in batch.heads:
            values += (*astuple(new), *(() if old is None else (old.size, old.root)))
        values += [column for columns in bound.values() for column in columns]
        if batch.gone:
            values += map(list, zip(*((each.tenant, each.id, each.version) for each in batch.gone), strict=True))
        sql = append(tuple(old is None for old, _ in batch.heads), tuple(bound), bool(batch.gone))
        tenants = {tenant for columns in bound.values() for tenant in columns[0]}
        whose = _whose(tenants | {new.tenant for _, new in batch.heads} | {each.tenant for each in batch.gone})
        if not self._turns.write(whose, lambda raw: raw.fetchval(sql, *values)):
            self._turns.lost(whose)
            moved = ", ".join(f"`{new.tenant}`" for _, new in batch.heads)
            raise StoreConflict(f"the log of {moved} moved since it was loaded", tenant=batch.heads[0][1].tenant)
        if self._hints is not None:
            self._hints.tell(new for _, new in batch.heads)

    def follow(self, moved: Callable[[list[LogHead]], None]) -> None:
        """Calls `moved`, in a thread of its own, with heads that others moved. A hint: it may be late, or lost."""
        self._hints = Hints(self._url, moved)

    def heads(self) -> list[LogHead]:
        return self._all(LogHead, EVERYONE, f"{SELECT[LogHead]} ORDER BY tenant")

    def records(self, tenant: str, *, entity: str | None = None, after: int = -1, limit: int = 1000) -> list[RecordRow]:
        where, values = "", list[str]()
        if entity is not None:
            where, values = ("AND entity = $4", [entity]) if entity else ("AND entity IS NULL", [])
        sql = f"{SELECT[RecordRow]} WHERE tenant = $1 AND seq > $2 {where} ORDER BY seq LIMIT $3"
        return self._all(RecordRow, tenant, sql, tenant, after, limit, *values)

    def leaves(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[bytes]:
        sql = "SELECT leaf FROM records WHERE tenant = $1 AND seq > $2 ORDER BY seq LIMIT $3"
        return [leaf for (leaf,) in self._rows(tenant, sql, tenant, after, limit)]

    def receipt(self, tenant: str, receipt_id: str) -> Receipt | None:
        found = self._all(Receipt, tenant, f"{SELECT[Receipt]} WHERE tenant = $1 AND id = $2", tenant, receipt_id)
        return found[0] if found else None

    def receipts(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[Receipt]:
        sql = f"{SELECT[Receipt]} WHERE tenant = $1 AND seq > $2 ORDER BY seq LIMIT $3"
        return self._all(Receipt, tenant, sql, tenant, after, limit)

    def entities(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[EntityState]:
        sql = f"{SELECT[EntityState]} WHERE tenant = $1 AND entity > $2 ORDER BY entity LIMIT $3"
        return self._all(EntityState, tenant, sql, tenant, after, limit)

    def approvals(self, tenant: str, *, status: str | None = None, limit: int = 1000) -> list[ApprovalRequest]:
        where, values = ("", ()) if status is None else ("AND status = $3", (status,))
        sql = f"{SELECT[ApprovalRequest]} WHERE tenant = $1 {where} ORDER BY opened_at, id LIMIT $2"
        return self._all(ApprovalRequest, tenant, sql, tenant, limit, *values)

    def clearances(self, tenant: str, *, status: str | None = None, limit: int = 1000) -> list[Clearance]:
        where, values = ("", ()) if status is None else ("AND status = $3", (status,))
        where += _IN_DOUBT if status in ("open", "unknown") else ""
        sql = f"{SELECT[Clearance]} WHERE tenant = $1 {where} ORDER BY cleared_at, id LIMIT $2"
        return self._all(Clearance, tenant, sql, tenant, limit, *values)

    def unsigned(self) -> list[str]:
        return [tenant for (tenant,) in self._rows(EVERYONE, UNSIGNED)]

    def snapshot(self) -> PostgresStore:
        """A repeatable-read transaction on a connection of its own; for one thread."""
        still = PostgresStore(self._url, clock=self._clock, read_only=True, connections=1)
        connection = still._resources.enter_context(still._connections.taken(EVERYONE))
        with translated():
            connection.run(lambda raw: raw.execute(_STILL))
            connection.run(lambda raw: raw.fetchval("SELECT count(*) FROM heads"))  # it starts with its first read
        still._still = connection
        return still

    def tenants(self) -> list[str]:
        tables = [table for row, table in TABLES.items() if row not in (NoteRow, SealedKey)]
        parts = [f"({_next_by_next(table, 'tenant')})" for table in tables]
        return sorted(tenant for (tenant,) in self._rows(EVERYONE, " UNION ".join(parts)))

    def subjects(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[str]:
        sql = _next_by_next("records", "entity", within="tenant = $1", after="entity > $2")
        return [entity for (entity,) in self._rows(tenant, f"{sql} LIMIT $3", tenant, after, limit)]

    def rows(self, kind: type[T], tenant: str, *, after: str = "", limit: int = 1000) -> list[T]:
        key = KEYS[kind]
        sql = f"{SELECT[kind]} WHERE tenant = $1 AND {key} > $2 ORDER BY {key} LIMIT $3"
        return self._all(kind, tenant, sql, tenant, after, limit)

    def count(self, kind: type, tenant: str) -> int:
        sql = f"SELECT count(*) FROM {TABLES[kind]} WHERE tenant = $1"
        return int(self._ask(tenant, lambda raw: raw.fetchval(sql, tenant, timeout=LONG_SECONDS)))

    def active_domains(self) -> list[ActiveDomain]:
        return self._all(ActiveDomain, EVERYONE, f"{SELECT[ActiveDomain]} ORDER BY tenant, entity_type")

    def domain_versions(self) -> list[DomainVersion]:
        return self._all(DomainVersion, EVERYONE, f"{SELECT[DomainVersion]} ORDER BY tenant, version")

    def due(self, now: int, *, limit: int = 256) -> list[Clearance | ApprovalRequest | TimerRow]:
        clause = "WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at LIMIT $2"
        clearances = self._all(Clearance, EVERYONE, f"{SELECT[Clearance]} {clause}", now, limit)
        approvals = self._all(ApprovalRequest, EVERYONE, f"{SELECT[ApprovalRequest]} {clause}", now, limit)
        return [*clearances, *approvals, *self._all(TimerRow, EVERYONE, f"{SELECT[TimerRow]} {clause}", now, limit)]

    def open_clearances(self, limit: int = 10_000) -> list[Clearance]:
        sql = f"{SELECT[Clearance]} WHERE status = 'open' {_IN_DOUBT} ORDER BY tenant, cleared_at LIMIT $1"
        return self._all(Clearance, EVERYONE, sql, limit)

    def backlogs(self, now: int) -> list[tuple[str, str]]:
        return [(tenant, endpoint) for tenant, endpoint in self._rows(EVERYONE, BACKLOGS, now)]

    def lease(self, tenant: str, endpoint: str, now: int, until: int, *, limit: int) -> list[Delivery]:
        found = self._all(Delivery, tenant, LEASE, tenant, endpoint, now, until, limit)
        return sorted(found, key=lambda row: row.seq)

    def deliveries(
        self, tenant: str, endpoint: str, *, status: str | None = None, after: int = -1, limit: int = 1000
    ) -> list[Delivery]:
        where, values = ("", ()) if status is None else ("AND status = $5", (status,))
        sql = f"{SELECT[Delivery]} WHERE tenant = $1 AND id >= $2 AND id <= $3 {where} ORDER BY id LIMIT $4"
        first, last = delivery_id(endpoint, after + 1), delivery_id(endpoint, LAST_SEQ)
        return self._all(Delivery, tenant, sql, tenant, first, last, limit, *values)

    def tile(self, tenant: str, level: int, number: int) -> bytes | None:
        sql = f"{SELECT[TileRow]} WHERE tenant = $1 AND level = $2 AND number = $3"
        found = self._all(TileRow, tenant, sql, tenant, level, number)
        return found[0].hashes if found else None

    def checkpoint(self, tenant: str, *, size: int | None = None) -> CheckpointRow | None:
        where, values = ("", ()) if size is None else ("AND size = $2", (size,))
        sql = f"{SELECT[CheckpointRow]} WHERE tenant = $1 {where} ORDER BY size DESC LIMIT 1"
        found = self._all(CheckpointRow, tenant, sql, tenant, *values)
        return found[0] if found else None

    def checkpoints(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[CheckpointRow]:
        sql = f"{SELECT[CheckpointRow]} WHERE tenant = $1 AND size > $2 ORDER BY size LIMIT $3"
        return self._all(CheckpointRow, tenant, sql, tenant, after, limit)

    def close(self) -> None:
        """Lets go of every connection. Calling it twice is fine."""
        if self._hints is not None:
            self._hints.close()
        self._still = None
        self._resources.close()
        self._connections.close()

    def _all(self, kind: type[T], whose: str, sql: str, *values: Any) -> list[T]:
        return [kind(*columns) for columns in self._rows(whose, sql, *values)]

    def _rows(self, whose: str, sql: str, *values: Any) -> list[Any]:
        found: list[Any] = self._ask(whose, lambda raw: raw.fetch(sql, *values))
        return found

    def _ask(self, whose: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
        if self._still is None:
            return self._turns.ask(whose, work)
        with translated():
            return self._still.run(work)


_ORDER = {kind: number for number, kind in enumerate(TABLES)}
"""Kinds always stand in one order: each order would be a statement of its own, to be planned and kept."""
_STILL = """
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL idle_in_transaction_session_timeout = 0;
"""
_IN_DOUBT = " AND status IN ('open', 'unknown')"
"""The words of the partial index: a plan that goes by it must see them."""


def _columns(rows: Iterable[Struct]) -> list[list[Any]]:
    """The rows of one kind as an array a column; the first one is that of the tenants."""
    return [list(column) for column in zip(*map(astuple, rows), strict=True)]


def _whose(tenants: set[str]) -> str:
    return tenants.pop() if len(tenants) == 1 else EVERYONE


def _next_by_next(table: str, column: str, *, within: str = "true", after: str = "true") -> str:
    """The different values of an indexed column, in order, each found from the one before; no row is read."""
    first = f"SELECT min({column}) FROM {table} WHERE {within} AND {after}"
    following = f"SELECT min({column}) FROM {table} WHERE {within} AND {column} > found.value"
    return (
        f"WITH RECURSIVE found(value) AS ({first} UNION ALL SELECT ({following})"
        " FROM found WHERE found.value IS NOT NULL) SELECT value FROM found WHERE value IS NOT NULL"
    )
