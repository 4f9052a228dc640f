"""The SQL of a load and of an append: one statement each, so each is one round trip, one snapshot, all or nothing."""

from __future__ import annotations

import types
from functools import lru_cache
from typing import Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields

from kiff.protocol.receipt import Receipt
from kiff.protocol.state import EntityState
from kiff.runtime.rows import KEYS, CheckpointRow, Delivery, LogHead, NoteRow, RecordRow, Runway, SealedKey, TileRow
from kiff.stores.postgres.outbox import TAKE_OUT
from kiff.stores.tables import COLUMNS, REFUSED_TWICE, TABLES, WRITTEN_ONCE

NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
SELECT = {row: f"SELECT {', '.join(names)} FROM {TABLES[row]}" for row, names in COLUMNS.items()}
GUARDS = {
    EntityState: "entities.version <= excluded.version",
    Runway: "runways.fencing <= excluded.fencing",
    Delivery: "deliveries.version < excluded.version",
    NoteRow: "notes.times < excluded.times OR (notes.times = excluded.times AND excluded.body = '')",
}
"""Counts that only grow with what a row says: an older row in its place is refused. It is the second wall, and of
notes and deliveries, which move no head, the first."""
_TYPES = {str: "text", bytes: "bytea", int: "bigint", bool: "boolean"}


@lru_cache(maxsize=1024)
def load(kinds: tuple[type[Struct], ...]) -> str:
    """Heads of tenants ($1: text[]), and of each kind the rows of a tenant ($2: text) by their keys ($3: text[]), …

    One array of rows for each; asyncpg reads them as tuples.
    """
    parts = [f"ARRAY(SELECT ROW({', '.join(COLUMNS[LogHead])}) FROM heads WHERE tenant = ANY($1::text[]))"]
    for number, kind in enumerate(kinds):
        tenant, keys = 2 * number + 2, 2 * number + 3
        parts.append(
            f"ARRAY(SELECT ROW({', '.join(COLUMNS[kind])}) FROM {TABLES[kind]}"
            f" WHERE tenant = ${tenant}::text AND {KEYS[kind]} = ANY(${keys}::text[]))"
        )
    return f"SELECT {NOW}, {', '.join(parts)}"


@lru_cache(maxsize=1024)
def append(heads: tuple[bool, ...], kinds: tuple[type[Struct], ...], gone: bool = False) -> str:
    """Moves heads, and only if every one of them stood where it was loaded, writes the rows of each kind.

    Args:
        heads: of each, whether it is the first of its log. Its values: tenant, log_id, size, root, frontier, last_at,
            and of one that moves the size and root that it moved from.
        kinds: an array a column, in the order of `COLUMNS`.
        gone: deliveries are taken out: arrays of their tenants, ids and versions.

    Returns:
        A statement that gives whether the heads moved. If some did and others did not, or a guard refuses a row, it
        is an error (division by zero), and nothing happened.
    """
    taken = 0
    parts: list[str] = []
    for number, first in enumerate(heads):
        parts.append(f"head{number} AS ({_first_head(taken) if first else _moved_head(taken)})")
        taken += 6 if first else 8
    all_moved = " + ".join(f"(SELECT count(*) FROM head{number})" for number in range(len(heads)))
    go = f"({all_moved}) = {len(heads)}" if heads else "true"
    parts.append(f"gate AS (SELECT {go} AS open)")
    checks = []
    for number, kind in enumerate(kinds):
        values = [f"${taken + at}::{column}[]" for at, column in enumerate(types_of(kind), 1)]
        rows = f"SELECT * FROM unnest({', '.join(values)}) WHERE (SELECT open FROM gate)"
        parts.append(f"rows{number} AS ({_insert(kind)} {rows} {_conflict(kind)})")
        if kind in GUARDS:
            checks.append(f"(SELECT count(*) FROM rows{number}) = cardinality({values[0]})")
        taken += len(values)
    if gone:
        parts.append(f"gone AS ({TAKE_OUT.format(*(f'${taken + at}' for at in (1, 2, 3)))})")
    if len(heads) > 1:
        parts[len(heads)] += f", begun AS (SELECT ({all_moved}) > 0 AS moved)"
    held = " AND ".join(checks) or "true"
    untouched = "NOT open" if len(heads) < 2 else "(NOT open AND NOT (SELECT moved FROM begun))"
    guard = f", 1 / (CASE WHEN {untouched} OR (open AND {held}) THEN 1 ELSE 0 END)" if checks or len(heads) > 1 else ""
    return f"WITH {', '.join(parts)} SELECT open{guard} FROM gate"


def _first_head(taken: int) -> str:
    values = ", ".join(f"${taken + at}::{column}" for at, column in enumerate(types_of(LogHead), 1))
    return f"{_insert(LogHead)} VALUES ({values}) ON CONFLICT DO NOTHING RETURNING 1"


def _moved_head(taken: int) -> str:
    tenant, log, size, root, frontier, at, old_size, old_root = (f"${taken + n}" for n in range(1, 9))
    return (
        f"UPDATE heads SET size = {size}::bigint, root = {root}::bytea, frontier = {frontier}::bytea,"
        f" last_at = {at}::bigint WHERE tenant = {tenant}::text AND log_id = {log}::text"
        f" AND heads.size = {old_size}::bigint AND heads.root = {old_root}::bytea RETURNING 1"
    )


def _insert(kind: type[Struct]) -> str:
    return f"INSERT INTO {TABLES[kind]} ({', '.join(COLUMNS[kind])})"


def _conflict(kind: type[Struct]) -> str:
    """What becomes of a row whose key is there already. Records and receipts have no second one: that is refused."""
    if kind in (RecordRow, Receipt) or kind in REFUSED_TWICE:
        return ""
    if kind is SealedKey:  # sealed again, perhaps, and never another one
        same = "sealed_keys.public = excluded.public"
        return f"ON CONFLICT (tenant, id) DO UPDATE SET sealed = excluded.sealed WHERE {same}"
    if kind is CheckpointRow or kind in WRITTEN_ONCE:
        return "ON CONFLICT DO NOTHING"
    if kind is TileRow:
        return "ON CONFLICT (tenant, level, number) DO UPDATE SET hashes = excluded.hashes"
    key = KEYS[kind]
    changes = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[kind] if name not in ("tenant", key))
    update = f"ON CONFLICT (tenant, {key}) DO UPDATE SET {changes}"
    return f"{update} WHERE {GUARDS[kind]} RETURNING 1" if kind in GUARDS else update


@lru_cache(maxsize=64)
def types_of(kind: type[Struct]) -> tuple[str, ...]:
    """The column types of a kind of row."""
    return tuple(_type(field.type) for field in fields(kind))


def _type(annotation: object) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        [annotation] = [each for each in get_args(annotation) if each is not type(None)]
    if annotation in _TYPES:
        return _TYPES[annotation]
    return "text"  # a Literal
