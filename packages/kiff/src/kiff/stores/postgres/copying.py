"""Filling an empty PostgreSQL database, in one transaction: all of it is there, or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from kiff.stores.postgres.connections import EVERYONE, Connection, Connections
from kiff.stores.postgres.failures import translated
from kiff.stores.postgres.statements import types_of
from kiff.stores.tables import COLUMNS, TABLES

TRIES, ENDING_SECONDS = 20, 0.1
"""How often it is looked whether somebody is there, and how long apart."""


class Filling:
    """Puts rows into the transaction. COPY would not do: row-level security refuses it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, rows: list[Any]) -> None:
        kind: type[Struct] = type(rows[0])
        arrays = ", ".join(f"${at}::{column}[]" for at, column in enumerate(types_of(kind), 1))
        sql = f"INSERT INTO {TABLES[kind]} ({', '.join(COLUMNS[kind])}) SELECT * FROM unnest({arrays})"
        columns = [list(values) for values in zip(*map(astuple, rows), strict=True)]
        with translated():
            self._connection.run(lambda raw: raw.execute(sql, *columns))


@contextmanager
def filling(url: str) -> Iterator[Filling]:
    """A transaction that ends well when the block does. The database has its tables, and no rows.

    Raises:
        StoreRefused: rows are there already. StoreUnavailable, StoreInDoubt: the server went away.
    """
    with closing(Connections(url, 1)) as connections, connections.taken(EVERYONE) as connection:
        with translated():
            connection.run(lambda raw: raw.execute("BEGIN"))
        yield Filling(connection)  # an error closes the connection, and with it what was begun
        with translated(writing=True):
            connection.run(lambda raw: raw.execute("COMMIT"))


def others(url: str) -> int:
    """How many connections of other KIFF processes there are to this database. One that is ending is waited for."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'kiff' AND pid <> pg_backend_pid()"
    )
    with closing(Connections(url, 1)) as connections:
        for _ in range(TRIES):
            found = int(connections.ask(EVERYONE, lambda raw: raw.fetchval(sql)))
            if not found:
                return 0
            time.sleep(ENDING_SECONDS)
    return found
