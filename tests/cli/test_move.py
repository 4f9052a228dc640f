"""`kiff move`: SQLite to PostgreSQL and back, with every receipt and proof as it was."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cli_cases import STRIPE, domain
from msgspec import structs
from postgres_server import Databases
from whole_store_cases import EXECUTORS, Kiff, embedded, everything, evidence, make_embedded, make_served

from kiff import Runtime
from kiff.analysis import replay_store, verify_store
from kiff.cli.exits import Exit
from kiff.errors import KeyUnusable, StoreMoved
from kiff.ledger import parse_jwks, verify_bundle, verify_receipt
from kiff.ledger.keys import PublicKeys
from kiff.server.settings import ServerSettings
from kiff.server.tower import Tower
from kiff.stores.opening import open_store, without_password
from kiff.stores.root_key import open_keyring
from kiff.stores.seen_heads import Memory, read_seen, seen_path, write_seen
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

MOVER = """
import signal, sys
from kiff.cli import run
from kiff.stores.postgres import copying

put, left = copying.Filling.put, int(sys.argv[1])

def slowly(self, rows):
    global left
    left -= 1
    if left == 0:
        print("in the middle", flush=True)
        signal.pause()
    put(self, rows)

copying.Filling.put = slowly
sys.exit(run(["move", *sys.argv[2:]]))
"""


@pytest.fixture(scope="session")
def two_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an embedded `shop.db` and a server's `data`, both with their keys."""
    folder = tmp_path_factory.mktemp("stores")
    make_embedded(folder / "shop.db")
    make_served(folder / "data", "acme", "zebra")
    return folder


@pytest.fixture
def run(kiff: Kiff, two_stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kiff:
    """`kiff` in a folder with a copy of both."""
    folder = tmp_path / "stores"
    shutil.copytree(two_stores, folder)
    monkeypatch.chdir(folder)
    return kiff


@pytest.fixture
def fresh(postgres: Databases) -> Callable[[], str]:
    """URLs of empty databases, without a password, as a command line takes them."""
    return lambda: without_password(postgres.fresh())


@pytest.fixture
def url(fresh: Callable[[], str]) -> str:
    return fresh()


def all_of(where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with closing(open_store(where, read_only=True)) as store:
        return everything(store), evidence(store)


def heads(url: str) -> list[Any]:
    with closing(open_store(url)) as store:
        return store.heads()


def keys_of(database: str) -> PublicKeys:
    return parse_jwks(Path(f"{database}.key.jwks.json").read_bytes())


def sql(url: str, statement: str) -> None:
    async def sent() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(sent())


def test_a_database_that_somebody_writes_is_not_moved(run: Kiff, url: str) -> None:
    with embedded(Path("shop.db")):
        command = [sys.executable, "-c", "import sys; from kiff.cli import run; sys.exit(run(sys.argv[1:]))"]
        ran = subprocess.run([*command, "move", "shop.db", url, "--data", "pg"], capture_output=True, text=True)
    assert (ran.returncode, "[store_in_use]" in ran.stderr) == (Exit.FAILED, True)


def test_a_mistyped_database_is_not_made(run: Kiff, url: str) -> None:
    ran = run("move", "shpo.db", url, "--data", "pg")
    assert (ran.code, Path("shpo.db").exists(), heads(url)) == (Exit.FAILED, False, [])


def test_nothing_is_moved_into_a_database_that_holds_something(run: Kiff, url: str) -> None:
    run("move", "shop.db", url, "--data", "pg")
    before = all_of(url)
    ran = run("move", "data/kiff.db", url, "--data", "pg")
    assert (ran.code, "[conflict]" in ran.err, all_of(url)) == (Exit.FAILED, True, before)


def test_a_database_is_not_moved_onto_itself(run: Kiff) -> None:
    assert run("move", "shop.db", "sqlite:./shop.db").code == Exit.FAILED


def test_a_log_that_is_not_what_was_signed_is_not_moved(run: Kiff, url: str) -> None:
    with closing(sqlite3.connect("shop.db")) as connection, connection:
        connection.execute("DELETE FROM records WHERE seq = 3")
    ran = run("move", "shop.db", url, "--data", "pg")
    assert (ran.code, "[store_corrupt]" in ran.err, heads(url)) == (Exit.FAILED, True, [])


def test_a_rollback_is_recorded_before_the_log_moves_on(run: Kiff, url: str) -> None:
    seen = read_seen(seen_path("shop.db"))
    ahead = structs.replace(seen.logs["default"], size=seen.logs["default"].size + 9)
    write_seen(seen_path("shop.db"), Memory({"default": ahead}, accepted={"default": "ann"}))
    ran = run("move", "shop.db", url, "--data", "pg")
    assert (ran.code, "has not recorded it yet" in ran.err, heads(url)) == (Exit.FAILED, True, [])


def test_a_password_on_the_command_line_is_refused(run: Kiff) -> None:
    ran = run("move", "shop.db", "postgresql://kiff:secret@localhost/kiff")
    assert (ran.code, "secret" in ran.err, "PGPASSWORD" in ran.err) == (Exit.FAILED, False, True)


def test_a_store_that_kiff_does_not_have_is_named(run: Kiff) -> None:
    ran = run("move", "shop.db", "mysql://localhost/kiff")
    assert (ran.code, "`mysql://` is no store" in ran.err) == (Exit.FAILED, True)


@pytest.mark.parametrize("database", ["shop.db", "data/kiff.db"])
def test_every_row_and_every_proof_is_the_same_after_a_move(run: Kiff, url: str, database: str) -> None:
    before = all_of(database)
    ran = run("move", database, url, "--data", "pg", "-o", "json")
    told = json.loads(ran.out)
    assert (ran.code, told["verified"], told["keys"]) == (Exit.DONE, "valid", told["tenants"])
    assert all(each["from"] == each["to"] for each in told["rows"])
    assert all_of(url) == before


def test_evidence_from_before_and_after_verifies_with_the_same_keys(run: Kiff, url: str) -> None:
    before, keys = all_of("shop.db")[1], keys_of("shop.db")
    run("move", "shop.db", url, "--data", "pg")
    for found in (before, all_of(url)[1]):
        for receipt, bundle, _ in found.values():
            assert (verify_receipt(receipt, keys).status, verify_bundle(bundle, keys).status) == ("valid", "valid")


def test_the_whole_store_verifies_and_replays_where_it_was_moved_to(run: Kiff, url: str) -> None:
    run("move", "shop.db", url, "--data", "pg")
    with closing(open_store(url, read_only=True)) as store:
        assert verify_store(store, keys_of("shop.db")).problems == ()
        assert replay_store(store).problems == ()


def test_there_and_back_again_gives_equal_rows(run: Kiff, url: str) -> None:
    before = all_of("data/kiff.db")
    run("move", "data/kiff.db", url, "--data", "pg")
    assert run("move", url, "back/kiff.db", "--data", "pg").code == Exit.DONE
    assert all_of("back/kiff.db") == before
    for name in ("acme.pem", "zebra.pem", "vault.key"):
        assert Path("back/keys", name).read_bytes() == Path("data/keys", name).read_bytes()


def test_moved_back_to_where_it_was_it_goes_on_there(run: Kiff, url: str) -> None:
    run("move", "data/kiff.db", url, "--data", "data")
    Path("data/kiff.db").rename("data/before.db")
    assert run("move", url, "data/kiff.db", "--data", "data").code == Exit.DONE
    memory = read_seen(seen_path("data/kiff.db"))
    assert (memory.moved_to, set(memory.logs)) == (None, {"acme", "zebra"})
    with closing(Tower(ServerSettings(data=Path("data")))) as tower:
        late(tower.runtime)


def test_an_older_copy_is_not_moved_over_what_went_on(run: Kiff, url: str, fresh: Callable[[], str]) -> None:
    shutil.copytree("data", "older")
    run("move", "data/kiff.db", url, "--data", "data")
    with closing(Tower(ServerSettings(data=Path("data"), store=url))) as tower:
        late(tower.runtime)
    ran = run("move", "older/kiff.db", fresh(), "--data", "data")
    assert (ran.code, "[store_rolled_back]" in ran.err) == (Exit.INVALID, True)


def late(runtime: Runtime) -> None:
    """One more event of `acme`."""
    acme = structs.replace(STRIPE, tenant="acme")
    runtime.ingest(acme, type="ORDER_PLACED", entity="order:late", source="stripe").result()


def test_a_key_of_before_signs_on_where_it_was_moved_to(run: Kiff, url: str) -> None:
    known = keys_of("data/kiff.db")
    run("move", "data/kiff.db", url, "--data", "pg")
    store = open_store(url)
    keyring = open_keyring(store, Path("pg"))
    runtime = Runtime(store, keyring, executors=EXECUTORS, vault=keyring.vault(store))
    late(runtime)
    runtime.checkpoint("acme").result()
    runtime.close()
    with closing(open_store(url, read_only=True)) as again:
        assert verify_store(again, known).status == "valid"


def test_a_call_that_was_answered_is_answered_the_same_after_a_move(run: Kiff, url: str) -> None:
    run("move", "shop.db", url, "--data", "pg")
    store = open_store(url)
    keyring = open_keyring(store, Path("pg"))
    runtime = Runtime(store, keyring, executors=EXECUTORS, vault=keyring.vault(store), domains=[domain()])
    before = store.heads()
    from cli_cases import AGENT, SMALL

    call: dict[str, Any] = {"entity": "order:ord_001", "action": "AUTO_REFUND", "parameters": SMALL, "id": "prop_first"}
    assert runtime.execute(AGENT, **call).result().outcome == "allowed"
    assert store.heads() == before
    runtime.close()


def test_what_was_moved_refuses_to_be_written_where_it_was(run: Kiff, url: str) -> None:
    run("move", "shop.db", url, "--data", "pg")
    with pytest.raises(StoreMoved, match=url), embedded(Path("shop.db")):
        pass
    assert all_of("shop.db") == all_of(url)


def test_a_root_secret_that_is_lost_opens_nothing(run: Kiff, url: str) -> None:
    run("move", "data/kiff.db", url, "--data", "pg")
    with closing(open_store(url)) as store, pytest.raises(KeyUnusable):
        open_keyring(store, Path("elsewhere"))


@pytest.mark.parametrize("pages", [1, 4, 12])
def test_ctrl_c_in_the_middle_leaves_nothing_and_it_runs_again(run: Kiff, url: str, pages: int) -> None:
    before = all_of("shop.db")
    command = [sys.executable, "-c", MOVER, str(pages), "shop.db", url, "--data", "pg"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as mover:
        assert mover.stdout is not None and mover.stdout.readline() == "in the middle\n"
        mover.send_signal(signal.SIGINT)
        assert mover.wait(60) == Exit.INTERRUPTED
    assert heads(url) == []
    assert run("move", "shop.db", url, "--data", "pg").code == Exit.DONE
    assert all_of(url) == before


def test_killed_in_the_middle_it_leaves_nothing_and_runs_again(run: Kiff, url: str) -> None:
    command = [sys.executable, "-c", MOVER, "6", "shop.db", url, "--data", "pg"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as mover:
        assert mover.stdout is not None and mover.stdout.readline() == "in the middle\n"
        mover.kill()
    assert heads(url) == []
    assert run("move", "shop.db", url, "--data", "pg").code == Exit.DONE


def test_a_second_run_after_the_rows_were_there_only_marks_the_source(run: Kiff, url: str) -> None:
    """As when the first one was killed between the two."""
    run("move", "shop.db", url, "--data", "pg")
    before = all_of(url)
    Path("shop.db.seen.json").unlink()
    ran = run("move", "shop.db", url, "--data", "pg")
    assert (ran.code, "held all of it already" in ran.err, all_of(url)) == (Exit.DONE, True, before)
    with pytest.raises(StoreMoved), embedded(Path("shop.db")):
        pass


def test_a_server_on_the_source_is_not_moved_away_from_under(run: Kiff, url: str) -> None:
    run("move", "shop.db", url, "--data", "pg")
    with closing(open_store(url)):
        ran = run("move", url, "back.db", "--data", "pg")
    assert (ran.code, "[store_in_use]" in ran.err, Path("back.db").exists()) == (Exit.FAILED, True, False)


def test_a_backup_of_postgresql_is_restored_to_either(run: Kiff, url: str, fresh: Callable[[], str]) -> None:
    run("move", "data/kiff.db", url, "--data", "pg")
    before = all_of(url)
    assert run("backup", "--store", url, "--data", "pg", "--to", "kept", "--with-keys").code == Exit.DONE
    other = fresh()
    assert run("restore", "kept", "--to", "again/kiff.db").code == Exit.DONE
    assert run("restore", "kept", "--to", other, "--data", "pg2").code == Exit.DONE
    assert all_of("again/kiff.db") == all_of(other) == before
    with closing(SqliteStore("again/kiff.db", read_only=True)) as files, closing(open_store(other)) as rows:
        assert Path("again/keys/acme.pem").read_bytes() == Path("data/keys/acme.pem").read_bytes()
        assert open_keyring(rows, Path("pg2"))("acme").kid in keys_of("again/kiff.db")
        assert files.tenants() == rows.tenants()


def test_a_backup_of_sqlite_is_restored_to_postgresql_with_its_keys(run: Kiff, url: str) -> None:
    before = all_of("data/kiff.db")
    run("backup", "--store", "data/kiff.db", "--to", "kept", "--with-keys")
    assert run("restore", "kept", "--to", url, "--data", "pg").code == Exit.DONE
    assert all_of(url) == before
    with closing(open_store(url)) as store:
        assert open_keyring(store, Path("pg"))("zebra").kid in keys_of("data/kiff.db")


def test_a_backup_is_not_restored_over_rows(run: Kiff, url: str) -> None:
    run("backup", "--store", "data/kiff.db", "--to", "kept", "--with-keys")
    run("move", "shop.db", url, "--data", "pg")
    before = all_of(url)
    ran = run("restore", "kept", "--to", url, "--data", "pg")
    assert (ran.code, "[conflict]" in ran.err, all_of(url)) == (Exit.FAILED, True, before)


def test_rows_that_the_copy_lacks_are_found(run: Kiff, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: what is compared after a move would tell."""
    monkeypatch.setattr("kiff.cli.move.copy", _without_receipts)
    ran = run("move", "shop.db", url, "--data", "pg")
    assert (ran.code, "does not hold what was copied" in ran.err) == (Exit.FAILED, True)


def _without_receipts(still: Any, target: Any, *, sealed_keys: bool) -> None:
    from kiff.protocol.receipt import Receipt
    from kiff.stores.copying import copy

    class Leaky:
        def put(self, rows: list[Any]) -> None:
            if not isinstance(rows[0], Receipt):
                target.put(rows)

    copy(still, Leaky(), sealed_keys=sealed_keys)
