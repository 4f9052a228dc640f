"""The store for many processes and machines: PostgreSQL 15 to 18."""

from __future__ import annotations

from kiff.stores.postgres.migrate import migrate
from kiff.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore", "migrate"]
