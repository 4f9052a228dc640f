"""Every store of ours against what a store must do with deliveries."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from postgres_server import APP, Databases

from kiff.runtime.ports import Store
from kiff.runtime.rows import Delivery, Hooks, NoteRow
from kiff.stores import conformance_rows as some
from kiff.stores.conformance import Check
from kiff.stores.conformance_outbox import (
    OUTBOX_CHECKS,
    a_backlog_is_an_endpoint_whose_time_has_come,
    what_was_told_is_gone,
)
from kiff.stores.leases import Leases
from kiff.stores.memory import MemoryStore
from kiff.stores.postgres import PostgresStore, migrate
from kiff.stores.sqlite import SqliteStore
from kiff.stores.sqlite_schema import APPLICATION_ID, MIGRATIONS


@pytest.mark.parametrize("check", OUTBOX_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_every_store_passes(store: str, check: Check, tmp_path: Path) -> None:
    number = count()

    def fresh() -> Store:
        return MemoryStore() if store == "memory" else SqliteStore(tmp_path / f"{next(number)}.db")

    check(fresh)


@pytest.mark.parametrize("check", OUTBOX_CHECKS, ids=lambda check: check.__name__)
def test_postgres_passes(check: Check, postgres: Databases) -> None:
    check(lambda: PostgresStore(postgres.fresh()))


def test_a_role_that_owns_nothing_may_take_out_what_was_told(postgres: Databases) -> None:
    def fresh() -> Store:
        url = postgres.fresh()
        migrate(url, role=APP)
        return PostgresStore(postgres.url(url, user=APP))

    what_was_told_is_gone(fresh)
    a_backlog_is_an_endpoint_whose_time_has_come(fresh)


class Generous(Leases):
    """Lends to everybody."""

    def take(self, found: object, now: int, until: int, limit: int) -> list[Delivery]:
        return list(found)[:limit]  # type: ignore[call-overload,no-any-return]


class Hurried(MemoryStore):
    """Lends whatever is due, first in its line or not."""

    def lease(self, tenant: str, endpoint: str, now: int, until: int, *, limit: int) -> list[Delivery]:
        rows = [row for row in self.deliveries(tenant, endpoint) if row.due_at <= now]
        return self._leases.take(sorted(rows, key=lambda row: (row.due_at, row.seq)), now, until, limit)


def test_a_store_that_lends_twice_fails_the_checks() -> None:
    def fresh() -> Store:
        store = MemoryStore()
        store._leases = Generous()
        return store

    assert {"a_lease_is_nobody_elses", "of_many_who_ask_at_once_each_gets_others"} <= failed(fresh)


def test_a_store_that_forgets_the_order_fails_the_checks() -> None:
    assert failed(Hurried) == {"only_the_first_of_an_entity_is_lent", "what_was_told_is_gone"}


def failed(fresh: object) -> set[str]:
    found = set()
    for check in OUTBOX_CHECKS:
        try:
            check(fresh)  # type: ignore[arg-type]
        except AssertionError:
            found.add(check.__name__)
        except ValueError:  # more than the one that was to be unpacked
            found.add(check.__name__)
    return found


def test_a_database_of_version_3_is_brought_up(tmp_path: Path) -> None:
    """It keeps what it has, and takes endpoints and deliveries from then on."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as old:
        for ddl in MIGRATIONS[:3]:
            old.executescript(ddl)
        old.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 3;")
        old.execute("INSERT INTO notes VALUES ('acme', 'draft', x'61', 1, 2, 3)")
        old.commit()
    store = SqliteStore(path)
    some.write(store, "acme", rows=[row for row in some.rows("acme") if isinstance(row, Delivery | Hooks)])
    assert store.backlogs(1_000) == [("acme", "whk_9")]
    assert store.rows(Hooks, "acme")[0].endpoints == b"[]"
    assert store.count(NoteRow, "acme") == 1, "the note that was there"
    store.close()
