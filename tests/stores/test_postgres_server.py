"""The tests' own PostgreSQL: who may do what in it, and that it ends when the tests end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import postgres_server
import psutil
import pytest
from postgres_server import APP, Databases, Server, durable_server

pytestmark = pytest.mark.slow

CHILD = """
from postgres_server import durable_server
folder = durable_server().folder
print(folder)
print((folder / "data" / "postmaster.pid").read_text().splitlines()[0], flush=True)
input()
"""


@pytest.fixture
def durable() -> Server:
    try:
        return durable_server()
    except postgres_server.NoPostgres as missing:
        pytest.skip(str(missing))


def run(url: str, sql: str) -> None:
    """One statement as the URL's own role."""

    async def connected() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    asyncio.run(connected())


def test_the_app_role_sees_no_table_of_the_owner(postgres: Databases) -> None:
    url = postgres.fresh()
    run(url, "CREATE TABLE kept (id int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        run(postgres.url(url, user=APP), "SELECT * FROM kept")


def test_neither_role_is_a_superuser_or_gets_past_row_security(fresh_database: str, postgres: Databases) -> None:
    roles = postgres.execute("", "SELECT rolsuper OR rolbypassrls AS above FROM pg_roles WHERE rolname LIKE 'kiff%'")
    assert [role["above"] for role in roles] == [False, False]


def test_two_fresh_databases_are_apart_and_empty(postgres: Databases) -> None:
    first, second = postgres.fresh(), postgres.fresh()
    run(first, "CREATE TABLE kept (id int)")
    [row] = postgres.execute(second, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
    assert row["count"] == 0


def test_what_was_committed_is_there_after_a_kill(durable: Server) -> None:
    url = durable.fresh()
    run(url, "CREATE TABLE kept (id int)")
    run(url, "INSERT INTO kept VALUES (7)")
    durable.kill()
    with pytest.raises(OSError):
        run(url, "SELECT 1")
    durable.restart()
    assert [row["id"] for row in durable.execute(url, "SELECT id FROM kept")] == [7]


def test_a_restart_without_a_kill_before_it_kills(durable: Server) -> None:
    url = durable.fresh()
    [before] = durable.execute(url, "SELECT pg_postmaster_start_time()")
    durable.restart()
    assert durable.execute(url, "SELECT pg_postmaster_start_time()") != [before]


def test_the_server_goes_with_a_test_process_that_is_killed() -> None:
    command, beside = [sys.executable, "-c", CHILD], Path(postgres_server.__file__).parent
    with subprocess.Popen(command, cwd=beside, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        folder, pid = Path(child.stdout.readline().decode().strip()), int(child.stdout.readline())
        assert folder.exists() and _runs(pid)
        child.kill()
    for _ in range(600):
        if not folder.exists() and not _runs(pid):
            return
        time.sleep(0.1)
    pytest.fail(f"left behind: {folder} {pid}")


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
