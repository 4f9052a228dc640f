"""Opening a store by what a user calls it."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from kiff.runtime.ports import Clock, Store
from kiff.stores.sqlite import SqliteStore

_POSTGRES = ("postgresql://", "postgres://")


def is_postgres(where: str) -> bool:
    return where.startswith(_POSTGRES)


def without_password(where: str) -> str:
    """What may be shown of a URL: `postgresql://kiff@db/kiff`. A path stays what it is."""
    if not is_postgres(where):
        return where
    parts = urlsplit(where)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query="", fragment=""))


def open_store(where: str, *, clock: Clock | None = None, read_only: bool = False) -> Store:
    """The store at `postgresql://…`, `sqlite:PATH` or a path. Only the driver that is needed is imported.

    Raises:
        StoreError: it cannot serve.
    """
    if is_postgres(where):
        from kiff.stores.postgres import PostgresStore

        return PostgresStore(where, clock=clock, read_only=read_only)
    return SqliteStore(where.removeprefix("sqlite:"), clock=clock, read_only=read_only)
