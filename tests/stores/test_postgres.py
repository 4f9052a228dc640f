"""The PostgreSQL store on a real server: the suite that every store passes, its walls, round trips and failures."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from postgres_server import APP, Databases

import kiff.stores.postgres.connections as connections
from kiff.errors import SchemaTooNew, SchemaTooOld, StoreConflict, StoreInDoubt, StoreRefused, StoreUnavailable
from kiff.protocol.state import EntityState
from kiff.runtime.rows import KEYS, NoteRow, Runway
from kiff.stores import conformance_rows as some
from kiff.stores.conformance import CHECKS, DURABLE_CHECKS, Check
from kiff.stores.opening import open_store
from kiff.stores.postgres import PostgresStore, migrate
from kiff.stores.postgres import schema as schema_of
from kiff.stores.postgres.failures import explained
from kiff.stores.postgres.statements import append, load
from kiff.stores.tables import TABLES

ACME, ZEBRA = some.ACME, some.ZEBRA
SOURCES = Path(connections.__file__).parent


@pytest.fixture
def app(postgres: Databases, fresh_database: str) -> str:
    """A database whose tables are there, as a role that owns nothing: row-level security holds for it."""
    return as_app(postgres, fresh_database)


def as_app(postgres: Databases, database: str) -> str:
    migrate(database, role=APP)
    return postgres.url(database, user=APP)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_passes_the_suite_as_a_role_that_owns_nothing(check: Check, postgres: Databases) -> None:
    opened: list[PostgresStore] = []

    def fresh() -> PostgresStore:
        opened.append(PostgresStore(as_app(postgres, postgres.fresh()), connections=4))
        return opened[-1]

    try:
        check(fresh)
    finally:
        for store in opened:
            store.close()


@pytest.mark.slow
@pytest.mark.parametrize("check", DURABLE_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_what_it_was_given(check: Check, fresh_database: str) -> None:
    check(lambda: PostgresStore(fresh_database))


# --- the schema ---


def test_an_older_schema_is_refused_with_what_to_do(postgres: Databases, fresh_database: str) -> None:
    PostgresStore(fresh_database).close()
    postgres.execute(fresh_database, "DELETE FROM kiff.schema_versions")
    with pytest.raises(SchemaTooOld, match="no tables of KIFF") as refused:
        PostgresStore(fresh_database, read_only=True)
    assert "kiff migrate" in refused.value.detail["hint"]


def test_a_newer_schema_that_needs_a_newer_kiff_is_refused(postgres: Databases, fresh_database: str) -> None:
    newer = migrate(fresh_database).after + 1
    postgres.execute(fresh_database, f"INSERT INTO kiff.schema_versions VALUES ({newer}, {newer})")
    for open_it in (PostgresStore, migrate):
        with pytest.raises(SchemaTooNew, match="use a newer KIFF"):
            open_it(fresh_database)


def test_a_newer_schema_that_older_ones_can_work_with_is_worked_with(postgres: Databases, fresh_database: str) -> None:
    newer = migrate(fresh_database).after + 1
    postgres.execute(fresh_database, "ALTER TABLE kiff.entities ADD COLUMN colour text NOT NULL DEFAULT 'blue'")
    postgres.execute(fresh_database, f"INSERT INTO kiff.schema_versions VALUES ({newer}, 1)")
    store = PostgresStore(fresh_database)
    some.write(store, ACME, rows=some.rows(ACME))
    assert store.row(EntityState, ACME, some.ORDER) == some.rows(ACME)[0]
    store.close()


def test_several_who_find_an_empty_database_make_its_tables_once(postgres: Databases, fresh_database: str) -> None:
    failed: list[Exception] = []

    def open_it() -> None:
        try:
            PostgresStore(fresh_database).close()
        except Exception as error:  # noqa: BLE001  the test says which
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(postgres.execute(fresh_database, "SELECT * FROM kiff.schema_versions")) == len(schema_of.MIGRATIONS)


def test_every_table_of_every_store_is_there_and_is_walled_off() -> None:
    made = [table for step in schema_of.MIGRATIONS for table in step.tables]
    assert sorted(made) == sorted(TABLES.values())


# --- the second walls ---


def test_a_question_that_forgets_the_tenant_sees_only_its_own_rows(app: str) -> None:
    store = PostgresStore(app)
    for tenant in (ACME, ZEBRA):
        some.write(store, tenant, rows=some.rows(tenant))
    seen = {row["tenant"] for row in store._rows(ACME, "SELECT tenant FROM records UNION SELECT tenant FROM entities")}
    store.close()
    assert seen == {ACME}


def test_without_the_wall_the_same_question_sees_everybody(app: str, postgres: Databases) -> None:
    """The control: it is the policy that hides them."""
    store = PostgresStore(app)
    for tenant in (ACME, ZEBRA):
        some.write(store, tenant)
    postgres.execute(app, "ALTER TABLE kiff.records DISABLE ROW LEVEL SECURITY")
    seen = {row["tenant"] for row in store._rows(ACME, "SELECT tenant FROM records")}
    store.close()
    assert seen == {ACME, ZEBRA}


def test_rows_of_another_tenant_cannot_be_written(app: str) -> None:
    store = PostgresStore(app)
    row = some.rows(ZEBRA)[0]
    with pytest.raises(StoreRefused), connections.translated(), store._connections.taken(ACME) as connection:
        connection.run(
            lambda raw: raw.execute("INSERT INTO blobs VALUES ($1, $2, $3)", row.tenant, "sha256:1", b"x")  # type: ignore[attr-defined]
        )
    store.close()


@pytest.mark.parametrize(
    "sql", ["UPDATE kiff.records SET body = 'x'", "DELETE FROM kiff.records", "DELETE FROM kiff.heads"]
)
def test_the_role_of_the_app_can_change_nothing_of_the_log(app: str, sql: str) -> None:
    store = PostgresStore(app)
    some.write(store, ACME)
    with pytest.raises(StoreRefused, match="InsufficientPrivilege"):
        store._rows(ACME, sql)
    store.close()


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        (EntityState(ACME, some.ORDER, "refunds", "PAID", 3), EntityState(ACME, some.ORDER, "refunds", "OPEN", 2)),
        (Runway(ACME, some.ORDER, "clr_2", 2), Runway(ACME, some.ORDER, "clr_1", 1)),
        (NoteRow(ACME, "n", b"b", 1, 2, 2), NoteRow(ACME, "n", b"a", 1, 2, 2)),
    ],
    ids=["an entity's version", "a runway's fencing", "how often a note was written"],
)
def test_an_older_row_never_takes_the_place_of_a_newer_one(fresh_database: str, newer: Any, older: Any) -> None:
    store = PostgresStore(fresh_database)
    head = some.write(store, ACME, rows=[newer])
    with pytest.raises(StoreConflict):
        store.append(some.batch(ACME, head, records=[some.record(ACME, 1)], rows=[older]))
    assert some.load(store, newer) == newer
    assert store.load([ACME], []).heads[ACME] == head, "the head moved without the row"
    store.close()


def test_two_clearances_in_flight_on_one_runway_are_refused(fresh_database: str) -> None:
    store = PostgresStore(fresh_database)
    some.write(store, ACME, rows=[some.clearance("clr_1")])
    with pytest.raises(StoreRefused, match="clearances_one_in_flight"):
        some.write(store, ACME, rows=[some.clearance("clr_2")])
    store.close()


# --- what it asks of the server ---


def test_a_batch_is_two_statements_and_two_round_trips(fresh_database: str, sent: list[str]) -> None:
    store = PostgresStore(fresh_database)
    rows = some.rows(ACME)
    some.write(store, ACME, rows=rows)
    sent.clear()
    old = store.load([ACME], [some.key(row) for row in rows]).heads[ACME]
    store.append(some.batch(ACME, old, records=[some.record(ACME, 1)], rows=[rows[0], rows[2], rows[3]]))
    store.close()
    assert [sql.split()[0] for sql in sent] == ["SELECT", "WITH"]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that goes to the server."""
    said: list[str] = []
    connect = asyncpg.connect

    async def listening(*args: Any, **options: Any) -> Any:
        connection = await connect(*args, **options)
        connection.add_query_logger(lambda record: said.append(record.query))
        return connection

    monkeypatch.setattr(connections.asyncpg, "connect", listening)
    yield said


def test_the_same_question_in_another_order_is_the_same_statement(fresh_database: str, sent: list[str]) -> None:
    store, rows = PostgresStore(fresh_database), some.rows(ACME)
    sent.clear()
    for keys in (rows, rows[::-1], [rows[3], *rows]):
        store.load([ACME], [some.key(row) for row in keys])
    head = some.write(store, ACME, rows=rows)
    store.append(some.batch(ACME, head, records=[some.record(ACME, 1)], rows=rows[:3]))
    store.append(some.batch(ACME, store.heads()[0], records=[some.record(ACME, 2)], rows=rows[2::-1]))
    store.close()
    assert len({sql for sql in sent if sql.startswith("SELECT (extract") and "entities" in sql}) == 1
    assert len({sql for sql in sent if sql.startswith("WITH head0 AS (UPDATE")}) == 1


LACKING = (
    r"SAVEPOINT|ADVISORY|FOR (UPDATE|SHARE|KEY|NO KEY)|LOCK TABLE|SEQUENCE|SERIAL|IDENTITY|TRIGGER|REFERENCES"
    r"|FOREIGN KEY|ISOLATION LEVEL|\bLISTEN\b|NOTIFY|SKIP LOCKED"
)
"""What engines lack that spread their rows over machines, or do not keep the meaning of."""


def statements() -> list[str]:
    """What loads and appends say, of each kind, and the schema."""
    kinds = tuple(TABLES)
    appends = [
        append(heads, kinds[1:], gone) for heads, gone in product([(), (True,), (False,), (True, False)], [False, True])
    ]
    return [load(tuple(KEYS)), *appends, *(step.ddl for step in schema_of.MIGRATIONS)]


def test_nothing_that_is_needed_for_correctness_is_lacking_elsewhere() -> None:
    assert [found[0] for sql in statements() if (found := re.search(LACKING, sql, re.IGNORECASE))] == []


def test_what_is_lacking_elsewhere_stands_where_correctness_does_not_need_it() -> None:
    found = {path.name for path in SOURCES.glob("*.py") if re.search(f'"[^"]*({LACKING})', path.read_text())}
    assert found <= {"hints.py", "store.py", "turns.py"}, "hints, the snapshot of a long read, and taking turns"


# --- turns ---


def overtaken(store: PostgresStore, other: PostgresStore) -> None:
    """`store` has just lost a head to `other`."""
    some.write(store, ACME)
    head = store.load([ACME], []).heads[ACME]
    some.write(other, ACME)
    with pytest.raises(StoreConflict):
        store.append(some.batch(ACME, head, records=[some.record(ACME, 1)]))


def test_who_lost_a_head_takes_turns_and_the_other_waits(fresh_database: str) -> None:
    store, other = PostgresStore(fresh_database), PostgresStore(fresh_database)
    overtaken(store, other)
    head = store.load([ACME], []).heads[ACME]
    assert head is not None
    told: list[object] = []

    def append() -> None:
        try:
            other.append(some.batch(ACME, head, records=[some.record(ACME, 2, "order:other")]))
        except StoreConflict as error:
            told.append(error)

    late = threading.Thread(target=append)
    late.start()
    late.join(0.3)
    assert late.is_alive(), "it did not wait for its turn"
    store.append(some.batch(ACME, head, records=[some.record(ACME, 2, "order:first")]))
    late.join()
    assert [row.entity for row in store.records(ACME)][-1] == "order:first"
    assert len(told) == 1
    store.close()
    other.close()


def test_a_turn_that_nothing_is_written_in_ends(fresh_database: str) -> None:
    store, other = PostgresStore(fresh_database), PostgresStore(fresh_database)
    overtaken(store, other)
    store.load([ACME], [])
    store.leave([ACME])
    some.write(other, ACME)
    assert len(store.records(ACME)) == 3
    store.close()
    other.close()


def test_a_turn_sees_what_was_written_while_it_was_waited_for(fresh_database: str) -> None:
    """A lock in the load's own statement would bring the new head together with older rows."""
    store, other = PostgresStore(fresh_database), PostgresStore(fresh_database)
    overtaken(store, other)
    overtaken(other, store)
    row = some.rows(ACME)[0]
    head = other.load([ACME], []).heads[ACME]
    assert head is not None
    loaded: list[Any] = []
    waiting = threading.Thread(target=lambda: loaded.append(store.load([ACME], [some.key(row)])))
    waiting.start()
    waiting.join(0.3)
    other.append(some.batch(ACME, head, records=[some.record(ACME, head.size)], rows=[row]))
    waiting.join()
    assert loaded[0].heads[ACME].size == head.size + 1
    assert loaded[0].rows[some.key(row)] == row
    store.close()
    other.close()


# --- failures ---


def test_a_server_that_is_not_there_is_unavailable_and_no_secret_is_told() -> None:
    with pytest.raises(StoreUnavailable) as refused:
        PostgresStore("postgresql://kiff:very-secret@127.0.0.1:1/kiff")
    assert "very-secret" not in f"{refused.value} {refused.value.detail}"


def test_a_role_that_may_not_come_in_is_told_so(postgres: Databases, fresh_database: str) -> None:
    with pytest.raises(StoreUnavailable, match="cannot serve"):
        PostgresStore(postgres.url("no_such_database"))


def test_a_connection_that_the_server_closed_is_replaced(postgres: Databases, fresh_database: str) -> None:
    store = PostgresStore(fresh_database)
    some.write(store, ACME)
    cut_off(postgres, fresh_database)
    assert len(store.records(ACME)) == 1
    store.close()


def test_an_append_whose_connection_is_cut_is_in_doubt(
    postgres: Databases, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(fresh_database)
    old = some.write(store, ACME)

    take = store._connections._take

    def cut(tenant: str) -> Any:
        connection = take(tenant)
        cut_off(postgres, fresh_database)
        return connection

    monkeypatch.setattr(store._connections, "_take", cut)
    with pytest.raises(StoreInDoubt):
        store.append(some.batch(ACME, old, records=[some.record(ACME, 1)]))
    store.close()


def cut_off(postgres: Databases, database: str) -> None:
    name = database.rsplit("/", 1)[1]
    postgres.execute("", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)


def test_when_every_connection_is_in_use_one_is_waited_for_and_then_it_says_so(
    fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(fresh_database, connections=1)
    monkeypatch.setattr(connections, "WAIT_SECONDS", 0.05)
    with store._connections.taken(ACME), pytest.raises(StoreUnavailable, match="every connection"):
        store.records(ACME)
    assert store.records(ACME) == []
    store.close()


def test_what_the_server_says_of_a_row_is_not_passed_on(fresh_database: str) -> None:
    store = PostgresStore(fresh_database)
    secret = some.approval("appr_1", proposer="eve", reviewed_by="eve", reason="very-secret", status="granted")
    with pytest.raises(StoreRefused) as refused:
        some.write(store, ACME, rows=[secret])
    store.close()
    assert "very-secret" not in f"{refused.value} {refused.value.detail}"


@pytest.mark.parametrize(
    ("sqlstate", "writing", "expected"),
    [
        ("40001", True, StoreConflict),
        ("40P01", True, StoreConflict),
        ("23505", True, StoreRefused),
        ("53100", True, StoreUnavailable),
        ("53300", False, StoreUnavailable),
        ("25006", True, StoreUnavailable),
        ("57P01", True, StoreInDoubt),
        ("57P01", False, StoreUnavailable),
        ("08006", True, StoreInDoubt),
    ],
)
def test_what_the_server_says_means(sqlstate: str, writing: bool, expected: type[Exception]) -> None:
    error = asyncpg.PostgresError.new({"C": sqlstate, "M": "m", "S": "ERROR"})
    assert type(explained(error, writing=writing)) is expected


# --- opening and hints ---


def test_a_store_is_opened_by_what_a_user_calls_it(fresh_database: str, tmp_path: Path) -> None:
    for where, exclusive in (
        (fresh_database, False),
        (f"sqlite:{tmp_path / 'a.db'}", True),
        (str(tmp_path / "b.db"), True),
    ):
        store = open_store(where)
        assert store.exclusive is exclusive
        store.close()


def test_what_one_appends_the_other_hears(fresh_database: str) -> None:
    heard = threading.Event()
    one, other = PostgresStore(fresh_database), PostgresStore(fresh_database)
    other.follow(lambda heads: heard.set() if [head.tenant for head in heads] == [ACME] else None)
    one.follow(lambda heads: pytest.fail("it hears itself"))
    for _ in range(200):  # whoever is not listening yet hears nothing: a hint may be lost
        some.write(one, ACME)
        if heard.wait(0.1):
            break
    one.close()
    other.close()
    assert heard.is_set()


def test_readers_inside_of_a_running_loop_are_served(fresh_database: str) -> None:
    import asyncio

    store = PostgresStore(fresh_database)
    some.write(store, ACME)

    async def ask() -> int:
        return len(store.records(ACME))

    assert asyncio.run(ask()) == 1
    store.close()


def test_two_who_load_the_same_head_move_it_once(fresh_database: str) -> None:
    one, other = PostgresStore(fresh_database), PostgresStore(fresh_database)
    head = some.write(one, ACME)
    one.append(some.batch(ACME, head, records=[some.record(ACME, 1)]))
    with pytest.raises(StoreConflict):
        other.append(some.batch(ACME, head, records=[some.record(ACME, 1)]))
    assert [row.seq for row in other.records(ACME)] == [0, 1]
    one.close()
    other.close()
