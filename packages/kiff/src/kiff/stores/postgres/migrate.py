"""Bringing a database up to date, and looking whether it is.

A KIFF works with a newer schema as long as that says so (`oldest`), so replicas are upgraded one after the other:
`kiff migrate` first, then each of them.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

from msgspec import Struct

from kiff.errors import InvalidInput, SchemaTooNew, SchemaTooOld, StoreConflict, StoreRefused
from kiff.stores.postgres.connections import EVERYONE, LONG_SECONDS, Connections
from kiff.stores.postgres.failures import translated
from kiff.stores.postgres.schema import APPEND_ONLY, MIGRATIONS, SCHEMA, TAKEN_OUT

_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TRIES = 5
_FIRST = f"""
    CREATE SCHEMA IF NOT EXISTS {SCHEMA};
    CREATE TABLE IF NOT EXISTS {SCHEMA}.schema_versions (version bigint PRIMARY KEY, oldest bigint NOT NULL);
"""


class Migrated(Struct, frozen=True):
    """Versions of the schema, before and after; 0 is an empty database."""

    before: int
    after: int


def migrate(url: str, *, role: str | None = None) -> Migrated:
    """Brings a database up to date, as its owner. Again, it changes nothing.

    Args:
        role: what KIFF will connect as: it may read, add and change, but change nothing of the log.

    Raises:
        SchemaTooNew: a newer KIFF was here. StoreError: the server refuses, or cannot be reached.
        InvalidInput: no role can be called so.
    """
    _require_role(role)
    with closing(Connections(url, 1)) as connections:
        before, _ = _found(connections)
        _require_known(before)
        _bring_up(connections)
        after, _ = _found(connections)
        if role is not None:
            with connections.taken(EVERYONE) as connection, translated():
                connection.run(lambda raw: raw.execute(_grants(role, after)))
    return Migrated(before, after)


def prepare(connections: Connections, *, make: bool) -> None:
    """Looks whether this KIFF may work with the database; an empty one gets its tables.

    Args:
        make: the tables may be made.

    Raises:
        SchemaTooNew, SchemaTooOld: it may not.
    """
    version, oldest = _found(connections)
    if version == 0 and make:
        _bring_up(connections, LONG_SECONDS)
        version, oldest = _found(connections)
    if oldest > len(MIGRATIONS):
        message = f"the database has schema {version}, this KIFF knows {len(MIGRATIONS)}; use a newer KIFF"
        raise SchemaTooNew(message, schema=version)
    if version < len(MIGRATIONS):
        found = f"has schema {version}" if version else "has no tables of KIFF"
        message = f"the database {found}, and this KIFF needs {len(MIGRATIONS)}"
        raise SchemaTooOld(message, schema=version, hint="kiff migrate --store URL brings it up to date")


def plan(url: str, *, role: str | None = None) -> list[str]:
    """The SQL that `migrate` would send. Raises what it would."""
    _require_role(role)
    with closing(Connections(url, 1)) as connections:
        version, _ = _found(connections)
    _require_known(version)
    steps = [_ddl(number) for number in range(version, len(MIGRATIONS))]
    return steps if role is None else [*steps, _grants(role, len(MIGRATIONS))]


def _require_role(role: str | None) -> None:
    if role is not None and not _ROLE.fullmatch(role):
        raise InvalidInput(f"`{role[:64]}` is no role this grants to: a-z, 0-9 and _, at most 63", field="role")


def _require_known(version: int) -> None:
    if version > len(MIGRATIONS):
        message = f"the database has schema {version}, this KIFF knows {len(MIGRATIONS)}; use a newer KIFF"
        raise SchemaTooNew(message, schema=version)


def _found(connections: Connections) -> tuple[int, int]:
    """The version of the schema, and the oldest that a KIFF must know to work with it."""

    async def look(raw: Any) -> Any:
        if await raw.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.schema_versions") is None:
            return (0, 0)
        return await raw.fetchrow(
            f"SELECT coalesce(max(version), 0), coalesce(max(oldest), 0) FROM {SCHEMA}.schema_versions"
        )

    version, oldest = connections.ask(EVERYONE, look)
    return int(version), int(oldest)


def _bring_up(connections: Connections, seconds: float | None = None) -> None:
    """Every step that is missing, each in a transaction. Whoever does the same at the same time is waited for.

    Args:
        seconds: how long a step may take; None leaves it to the connections.
    """
    for attempt in range(_TRIES):
        version, _ = _found(connections)
        if version >= len(MIGRATIONS):
            return
        try:
            with connections.taken(EVERYONE) as connection, translated():
                connection.run(lambda raw, number=version: raw.execute(_ddl(number), timeout=seconds))  # type: ignore[misc]
        except (StoreConflict, StoreRefused):
            if attempt == _TRIES - 1:
                raise
            # Another process made the same tables: look how far it came.


def _ddl(number: int) -> str:
    """One step, whole: as one message to the server it is one transaction."""
    step = MIGRATIONS[number]
    walls = "".join(_wall(table) for table in step.tables)
    done = f"INSERT INTO schema_versions VALUES ({number + 1}, {step.oldest});"
    ddl = step.ddl.replace("TEXT", 'text COLLATE "C"')
    return f"{_FIRST if number == 0 else ''} {ddl} {walls} {done}"


def _wall(table: str) -> str:
    """Only the rows of the tenant that the connection is set to, for whoever is no superuser."""
    shown = "tenant = current_setting('kiff.tenant', true) OR current_setting('kiff.tenant', true) = '*'"
    return (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;"
        f" CREATE POLICY one_tenant ON {table} USING ({shown}) WITH CHECK ({shown});"
    )


def _grants(role: str, version: int) -> str:
    tables = [table for step in MIGRATIONS[:version] for table in step.tables]
    changing = ", ".join(f"{SCHEMA}.{table}" for table in tables if table not in APPEND_ONLY)
    adding = ", ".join(f"{SCHEMA}.{table}" for table in APPEND_ONLY)
    taking = ", ".join(f"{SCHEMA}.{table}" for table in TAKEN_OUT)
    return (
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}; GRANT SELECT ON {SCHEMA}.schema_versions TO {role};"
        f" GRANT SELECT, INSERT ON {adding} TO {role}; GRANT SELECT, INSERT, UPDATE ON {changing} TO {role};"
        f" GRANT DELETE ON {taking} TO {role};"
    )
