"""`kiff doctor` and `kiff migrate` on a PostgreSQL server, and what the doctor says of seen heads."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from cli_cases import STRIPE
from msgspec import structs
from postgres_server import APP, OWNER, Databases, NoPostgres, Server, durable_server
from whole_store_cases import Kiff, embedded, make_served

from kiff.cli.exits import Exit
from kiff.runtime.ports import Append
from kiff.runtime.rows import Delivery
from kiff.stores.opening import open_store, without_password
from kiff.stores.seen_heads import Memory, Seen, read_seen, seen_path, write_seen

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lasting() -> Iterator[Databases]:
    """A server that keeps what it answered, also in a power cut."""
    try:
        server = durable_server()
    except NoPostgres as missing:
        pytest.skip(str(missing))
    _fsync(server, "ALTER SYSTEM SET fsync = on", "on")
    yield server
    _fsync(server, "ALTER SYSTEM RESET fsync", "off")


def _fsync(server: Databases, statement: str, value: str) -> None:
    server.execute("", statement)
    server.execute("", "SELECT pg_reload_conf()")
    while server.execute("", "SHOW fsync")[0][0] != value:
        time.sleep(0.01)


@pytest.fixture
def url(lasting: Databases) -> str:
    return without_password(lasting.fresh())


@pytest.fixture
def app(url: str, kiff: Kiff) -> str:
    """The same database, with its tables, as the role that servers connect as."""
    assert kiff("migrate", "--store", url, "--role", APP).code == Exit.DONE
    return url.replace(OWNER, APP)


def found(kiff: Kiff, url: str, *more: str) -> Callable[[str], tuple[str, str]]:
    """(status, what was found) by question."""
    ran = kiff("doctor", "--store", url, "-o", "json", *more)
    told = {each["what"]: (each["status"], each["found"]) for each in json.loads(ran.out)["findings"]}
    assert ran.code == (Exit.FAILED if any(status == "fail" for status, _ in told.values()) else Exit.DONE)
    return lambda what: told[what]


def sql(url: str, statement: str) -> None:
    async def sent() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(sent())


def test_a_server_that_is_not_there_fails_and_says_what_to_check(kiff: Kiff) -> None:
    ran = kiff("doctor", "--store", "postgresql://kiff@127.0.0.1:1/kiff", "-o", "json")
    [finding] = json.loads(ran.out)["findings"]
    assert (ran.code, finding["what"], finding["status"]) == (Exit.FAILED, "reachable", "fail")
    assert "pg_hba.conf" in finding["fix"]


def test_a_database_without_tables_fails_and_names_migrate(kiff: Kiff, url: str) -> None:
    ran = kiff("doctor", "--store", url, "-o", "json")
    [schema] = [each for each in json.loads(ran.out)["findings"] if each["what"] == "schema"]
    assert (ran.code, schema["status"], "kiff migrate" in schema["fix"]) == (Exit.FAILED, "fail", True)


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit", "full_page_writes"])
def test_a_server_that_may_lose_what_it_answered_fails(kiff: Kiff, postgres: Databases, setting: str) -> None:
    """The tests' fast server is such a one."""
    if not isinstance(postgres, Server):
        pytest.skip("the server that KIFF_TEST_POSTGRES_URL names keeps what it answered")
    status, said = found(kiff, without_password(postgres.fresh()))("durability")
    assert (status, setting in said) == ("fail", True)


def test_a_role_that_answers_before_its_commit_is_on_disk_fails(kiff: Kiff, lasting: Databases, app: str) -> None:
    lasting.execute(app, f"ALTER ROLE {APP} IN DATABASE {app.rpartition('/')[2]} SET synchronous_commit = off")
    assert found(kiff, app)("durability") == ("fail", "synchronous_commit off: what was answered can be lost")


def test_a_superuser_and_an_owner_are_warned_of(kiff: Kiff, app: str, url: str, lasting: Databases) -> None:
    above = lasting.url(url, user="postgres").replace("postgres:postgres@", "postgres@")
    assert found(kiff, above)("role") == ("warn", "`postgres` passes by row-level security")
    assert found(kiff, url)("role") == ("warn", f"`{OWNER}` owns the tables, and may change what is in the log")


def test_a_role_that_may_change_records_is_warned_of(kiff: Kiff, app: str, url: str) -> None:
    sql(url, f"GRANT UPDATE ON kiff.records TO {APP}; GRANT DELETE ON kiff.receipts TO {APP}")
    assert found(kiff, app)("role") == ("warn", f"`{APP}` may change receipts, records")


def test_the_apps_role_on_a_sound_server_fails_nothing(kiff: Kiff, app: str) -> None:
    told = found(kiff, app)
    for question in ("reachable", "schema", "version", "primary", "durability", "role", "clock", "connections"):
        assert told(question)[0] == "ok", (question, told(question))


@pytest.fixture
def served(kiff: Kiff, app: str, url: str, tmp_path: Path) -> str:
    """The app's URL of a database that a server's was moved to; its root secret is in `pg`."""
    database = make_served(tmp_path / "data", "acme")
    assert kiff("move", str(database), url, "--data", "pg").code == Exit.DONE
    return app


def test_a_root_secret_that_opens_nothing_fails(kiff: Kiff, served: str) -> None:
    assert found(kiff, served, "--data", "pg")("keys") == ("ok", "the root secret opens the keys of 1 tenants")
    assert found(kiff, served, "--data", "elsewhere")("keys")[0] == "fail"


def test_a_log_shorter_than_what_was_seen_fails(kiff: Kiff, served: str) -> None:
    with closing(open_store(served, read_only=True)) as store:
        [head] = store.heads()
    ahead = Seen(head.log_id, head.size + 5, "00" * 32)
    write_seen(Path("pg/postgres.seen.json"), Memory({"acme": ahead}))
    status, said = found(kiff, served, "--data", "pg")("seen")
    assert (status, f"holds {head.size} records, and {head.size + 5} were seen" in said) == ("fail", True)


def test_dead_deliveries_are_warned_of(kiff: Kiff, served: str) -> None:
    with closing(open_store(served)) as store:
        dead = Delivery("acme", "whk_1-000000000001", "whk_1", "", 1, "dead", 9, 0)
        store.append(Append([], [dead], [], (), [], []))
    assert found(kiff, served, "--data", "pg")("webhooks") == ("warn", "1 deliveries are dead, of `acme` first")


def test_a_clock_behind_the_last_record_is_warned_of(kiff: Kiff, served: str, url: str) -> None:
    sql(url, "SET kiff.tenant = '*'; UPDATE kiff.heads SET last_at = last_at + 3600000")
    assert found(kiff, served, "--data", "pg")("log")[0] == "warn"


def test_no_password_is_shown(kiff: Kiff, app: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIFF_STORE", app.replace(APP, f"{APP}:hunter2"))
    ran = kiff("doctor", "-o", "json")
    assert (ran.code, "hunter2" in ran.out + ran.err) == (Exit.DONE, False)


def test_migrating_twice_changes_nothing(kiff: Kiff, url: str) -> None:
    first, second = (kiff("migrate", "--store", url, "--role", APP, "-o", "json") for _ in range(2))
    told = [json.loads(ran.out) for ran in (first, second)]
    assert (told[0]["before"], told[1]["before"] == told[0]["schema"]) == (0, True)
    assert "up to date" in second.err


def test_a_plan_is_the_sql_and_changes_nothing(kiff: Kiff, url: str) -> None:
    ran = kiff("migrate", "--store", url, "--role", APP, "--plan")
    assert (ran.code, "CREATE TABLE heads" in ran.out, f"TO {APP}" in ran.out) == (Exit.DONE, True, True)
    assert found(kiff, url)("schema")[0] == "fail"


def test_a_newer_schema_is_left_alone(kiff: Kiff, app: str, url: str) -> None:
    sql(url, "INSERT INTO kiff.schema_versions VALUES (99, 99)")
    ran = kiff("migrate", "--store", url)
    assert (ran.code, "[schema_too_new]" in ran.err) == (Exit.FAILED, True)


def test_a_role_that_is_not_there_is_named(kiff: Kiff, url: str) -> None:
    ran = kiff("migrate", "--store", url, "--role", "nobody_here")
    assert (ran.code, "CREATE ROLE nobody_here LOGIN" in ran.err) == (Exit.FAILED, True)


def test_the_apps_role_can_change_nothing_in_the_log(served: str) -> None:
    for statement in ("UPDATE kiff.records SET body = ''", "DELETE FROM kiff.records", "DELETE FROM kiff.receipts"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            sql(served, f"SET kiff.tenant = '*'; {statement}")


def test_sqlite_is_told_that_it_migrates_by_itself(kiff: Kiff) -> None:
    ran = kiff("migrate", "--store", "kiff.db")
    assert (ran.code, "by itself" in ran.err or "brings itself" in ran.err) == (Exit.DONE, True)


def test_an_older_copy_of_a_sqlite_database_fails(kiff: Kiff, tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    with embedded(path):
        pass
    shutil.copy(path, "older.db")
    with embedded(path) as runtime:
        runtime.ingest(STRIPE, type="ORDER_PLACED", entity="order:1", source="stripe").result()
    assert found(kiff, str(path))("seen")[0] == "ok"
    shutil.copy("older.db", path)
    assert found(kiff, str(path))("seen")[0] == "fail"
    write_seen(seen_path(path), structs.replace(read_seen(seen_path(path)), accepted={"default": "ann"}))
    status, said = found(kiff, str(path))("seen")
    assert (status, "`ann` accepts that" in said) == ("warn", True)


def test_a_lost_memory_of_heads_is_warned_of(kiff: Kiff, tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    with embedded(path):
        pass
    seen_path(path).unlink()
    assert found(kiff, str(path))("seen")[0] == "warn"
