"""`kiff backup` and `kiff restore` on SQLite: a copy that is whole and proved, or none."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cli_cases import STRIPE
from whole_store_cases import Kiff, embedded, everything, evidence, make_embedded, make_served

from kiff.cli.exits import Exit
from kiff.ledger import parse_jwks, verify_bundle, verify_receipt
from kiff.stores.seen_heads import read_seen, seen_path
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

HOLDER = """
import sys
from kiff import open_runtime
with open_runtime(sys.argv[1]) as runtime:
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an embedded `shop.db` and a server's `data`, both with their keys."""
    folder = tmp_path_factory.mktemp("whole")
    make_embedded(folder / "shop.db")
    make_served(folder / "data", "acme", "zebra")
    return folder


@pytest.fixture
def here(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of it."""
    folder = tmp_path / "whole"
    shutil.copytree(whole, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(kiff: Kiff, here: Path) -> Kiff:
    """`kiff` in the folder with the whole stores."""
    return kiff


def opened(path: Path | str) -> closing[SqliteStore]:
    return closing(SqliteStore(path, read_only=True))


def write(path: Path, order: str, **options: object) -> None:
    with embedded(path, **options) as runtime:
        runtime.ingest(STRIPE, type="ORDER_PLACED", entity=f"order:{order}", source="stripe").result()


def test_a_backup_replaces_nothing(run: Kiff, here: Path) -> None:
    (here / "kept").mkdir()
    ran = run("backup", "--store", "shop.db", "--to", "kept")
    assert (ran.code, "[conflict]" in ran.err, list((here / "kept").iterdir())) == (Exit.FAILED, True, [])


def test_a_mistyped_database_is_no_empty_backup(run: Kiff, here: Path) -> None:
    ran = run("backup", "--store", "shpo.db", "--to", "kept")
    assert (ran.code, "[store_unavailable]" in ran.err, (here / "kept").exists()) == (Exit.FAILED, True, False)


def test_a_database_that_is_not_what_was_signed_is_not_backed_up(run: Kiff, here: Path) -> None:
    with closing(sqlite3.connect(here / "shop.db")) as connection, connection:
        connection.execute(
            "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), 'ord_', 'xrd_') AS BLOB) WHERE seq = 3"
        )
    ran = run("backup", "--store", "shop.db", "--to", "kept")
    assert (ran.code, "[store_corrupt]" in ran.err, (here / "kept").exists()) == (Exit.FAILED, True, False)
    assert [each.name for each in here.iterdir() if each.name.startswith(".kept")] == []


def test_a_database_that_was_rolled_back_is_not_backed_up(run: Kiff, here: Path) -> None:
    shutil.copy("shop.db", "older.db")
    write(Path("shop.db"), "late")
    shutil.copy("older.db", "shop.db")
    ran = run("backup", "--store", "shop.db", "--to", "kept")
    assert (ran.code, "[store_rolled_back]" in ran.err) == (Exit.INVALID, True)


def test_a_backup_has_the_same_rows_and_evidence(run: Kiff) -> None:
    assert run("backup", "--store", "shop.db", "--to", "kept").code == Exit.DONE
    with opened("shop.db") as before, opened("kept/kiff.db") as after:
        assert everything(after) == everything(before)
        assert evidence(after) == evidence(before)


def test_a_backup_verifies_by_itself_on_every_rung(run: Kiff) -> None:
    run("backup", "--store", "shop.db", "--to", "kept")
    ran = run("verify", "kept/kiff.db", "-o", "json")
    assert json.loads(ran.out)["status"] == "valid"


def test_a_backup_is_taken_beside_a_running_writer(run: Kiff, here: Path) -> None:
    command = [sys.executable, "-c", HOLDER, "shop.db"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "open\n"
        ran = run("backup", "--store", "shop.db", "--to", "kept", "-o", "json")
        writer.kill()
    assert (ran.code, json.loads(ran.out)["verified"]) == (Exit.DONE, "valid")


def test_ctrl_c_on_the_way_is_heard_and_leaves_nothing(run: Kiff, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("kiff.cli.backup._awake", interrupted)
    monkeypatch.setattr("kiff.cli.backup.STEPS", 100)
    assert run("backup", "--store", "shop.db", "--to", "kept").code == Exit.INTERRUPTED
    assert [each.name for each in here.iterdir() if "kept" in each.name] == []


def test_the_private_keys_stay_out_unless_they_are_asked_for(run: Kiff, here: Path) -> None:
    ran = run("backup", "--store", "shop.db", "--to", "kept")
    assert sorted(each.name for each in (here / "kept").iterdir()) == [
        "kiff.db",
        "kiff.db.key.jwks.json",
        "manifest.json",
    ]
    assert "private keys are not in it" in ran.err
    run("backup", "--store", "data/kiff.db", "--to", "whole", "--with-keys")
    names = {str(file.relative_to("whole")) for file in Path("whole").rglob("*.*")}
    assert {"keys/acme.pem", "keys/zebra.pem", "keys/vault.key"} <= names


def test_a_secret_in_a_backup_is_its_owners_alone(run: Kiff) -> None:
    run("backup", "--store", "data/kiff.db", "--to", "kept", "--with-keys")
    assert {file.stat().st_mode & 0o077 for file in (Path("kept"), *Path("kept/keys").iterdir())} == {0}


def test_a_restore_writes_over_nothing(run: Kiff) -> None:
    run("backup", "--store", "shop.db", "--to", "kept")
    before = Path("shop.db").read_bytes()
    ran = run("restore", "kept", "--to", "shop.db")
    assert (ran.code, "[conflict]" in ran.err, Path("shop.db").read_bytes()) == (Exit.FAILED, True, before)


@pytest.mark.parametrize("file", ["kiff.db", "manifest.json", "kiff.db.key.jwks.json"])
def test_a_backup_that_lost_a_file_is_none(run: Kiff, file: str) -> None:
    run("backup", "--store", "shop.db", "--to", "kept")
    Path("kept", file).unlink()
    ran = run("restore", "kept", "--to", "fresh/shop.db")
    assert (ran.code, file in ran.err, Path("fresh/shop.db").exists()) == (Exit.FAILED, True, False)


def test_a_backup_whose_database_was_changed_is_refused(run: Kiff) -> None:
    run("backup", "--store", "shop.db", "--to", "kept")
    with closing(sqlite3.connect("kept/kiff.db")) as connection, connection:
        connection.execute("UPDATE entities SET state = 'PAID'")
    ran = run("restore", "kept", "--to", "fresh.db")
    assert (ran.code, "[store_corrupt]" in ran.err, Path("fresh.db").exists()) == (Exit.FAILED, True, False)


def test_keys_of_somebody_else_do_not_verify_a_backup(run: Kiff) -> None:
    run("backup", "--store", "shop.db", "--to", "kept")
    ran = run("restore", "kept", "--to", "fresh.db", "--jwks", "data/kiff.db.key.jwks.json", "-o", "json")
    assert json.loads(ran.out)["verified"] == "undecidable"


def test_what_was_restored_is_what_was_backed_up_and_goes_on(run: Kiff) -> None:
    run("backup", "--store", "shop.db", "--to", "kept", "--with-keys")
    assert run("restore", "kept", "--to", "fresh/shop.db").code == Exit.DONE
    with opened("shop.db") as before, opened("fresh/shop.db") as after:
        assert everything(after) == everything(before)
    write(Path("fresh/shop.db"), "late")
    assert json.loads(run("verify", "fresh/shop.db", "-o", "json").out)["status"] == "valid"


def test_a_servers_keys_come_back_into_its_folder(run: Kiff) -> None:
    run("backup", "--store", "data/kiff.db", "--to", "kept", "--with-keys")
    run("restore", "kept", "--to", "other/kiff.db")
    for name in ("acme.pem", "zebra.pem", "vault.key"):
        assert Path("other/keys", name).read_bytes() == Path("data/keys", name).read_bytes()


def test_another_key_in_place_of_the_backups_is_kept_and_nothing_restored(run: Kiff) -> None:
    run("backup", "--store", "data/kiff.db", "--to", "kept", "--with-keys")
    Path("other/keys").mkdir(parents=True)
    Path("other/keys/acme.pem").write_text("another")
    ran = run("restore", "kept", "--to", "other/kiff.db")
    assert (ran.code, "[key_unusable]" in ran.err, Path("other/kiff.db").exists()) == (Exit.FAILED, True, False)
    assert Path("other/keys/acme.pem").read_text() == "another"


def test_receipts_and_bundles_from_before_verify_with_what_was_restored(run: Kiff) -> None:
    with opened("shop.db") as store:
        before = evidence(store)
    run("backup", "--store", "shop.db", "--to", "kept")
    run("restore", "kept", "--to", "fresh.db")
    keys = parse_jwks(Path("fresh.db.key.jwks.json").read_bytes())
    for receipt, bundle, _ in before.values():
        assert (verify_receipt(receipt, keys).status, verify_bundle(bundle, keys).status) == ("valid", "valid")


def older_backup(run: Kiff) -> None:
    """A backup of the day before, and a database that is lost."""
    run("backup", "--store", "shop.db", "--to", "kept", "--with-keys")
    write(Path("shop.db"), "late")
    Path("shop.db").unlink()


def test_a_backup_older_than_what_was_seen_is_refused(run: Kiff) -> None:
    older_backup(run)
    ran = run("restore", "kept", "--to", "shop.db")
    assert (ran.code, "[store_rolled_back]" in ran.err, Path("shop.db").exists()) == (Exit.INVALID, True, False)
    assert "--accept-rollback default" in ran.err


def test_told_so_by_name_it_is_restored_and_the_next_start_records_it(run: Kiff) -> None:
    older_backup(run)
    seen = read_seen(seen_path("shop.db")).logs["default"]
    assert run("restore", "kept", "--to", "shop.db", "--accept-rollback", "default").code == Exit.DONE
    with opened("shop.db") as store:
        [head] = store.heads()
    write(Path("shop.db"), "later")
    with opened("shop.db") as store:
        [record] = store.records("default", after=head.size - 1, limit=1)
    told = json.loads(record.body)
    assert (told["kind"], told["data"]["seen"]["size"], told["data"]["found"]["size"]) == (
        "log_rolled_back",
        seen.size,
        head.size,
    )


def test_without_a_restore_accepting_is_not_remembered(run: Kiff) -> None:
    older_backup(run)
    Path("shop.db").write_bytes(b"")
    run("restore", "kept", "--to", "shop.db", "--accept-rollback", "default")
    assert read_seen(seen_path("shop.db")).accepted == {}
