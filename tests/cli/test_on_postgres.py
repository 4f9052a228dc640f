"""Commands that read a database read one on PostgreSQL just as well: `--db postgresql://…`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from postgres_server import Databases
from whole_store_cases import Kiff, make_embedded

from kiff.cli import run
from kiff.cli.exits import Exit
from kiff.stores.opening import without_password

pytestmark = pytest.mark.slow

Both = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.db"
    make_embedded(path)
    return path


@pytest.fixture(scope="session")
def url(database: Path, postgres: Databases) -> str:
    """The same on PostgreSQL, for tests that only read."""
    url = without_password(postgres.fresh())
    assert run(["move", str(database), url, "--data", str(database.parent / "pg")]) == Exit.DONE
    return url


@pytest.fixture
def both(kiff: Kiff, database: Path, url: str) -> Both:
    return lambda *argv: (kiff(*argv, "--db", str(database)), kiff(*argv, "--db", url))


@pytest.mark.parametrize(
    "line",
    [
        "timeline order:ord_002 -o json",
        "entities list -o json",
        "state order:ord_001 -o json",
        "approvals list -o json",
        "operations list -o json",
        "receipts list -o json",
        "domains list -o json",
        "export",
        "vault list -o json",
        "explain prop_first -o json",
    ],
)
def test_what_is_read_is_the_same(both: Both, line: str) -> None:
    files, rows = both(*line.split())
    assert (files.code, rows.code, rows.out) == (Exit.DONE, Exit.DONE, files.out)
    assert files.out


def test_a_receipt_is_verified_with_the_keys_in_the_rows(kiff: Kiff, url: str, both: Both) -> None:
    listed = json.loads(kiff("receipts", "list", "--db", url, "-o", "json").out)["receipts"]
    files, rows = both("receipts", "verify", listed[0]["receipt_id"], "-o", "json")
    assert (rows.code, json.loads(rows.out)) == (Exit.DONE, json.loads(files.out))


@pytest.mark.parametrize("command", ["verify", "replay"])
def test_the_whole_database_is_verified_and_replayed(kiff: Kiff, url: str, command: str) -> None:
    ran = kiff(command, url, "-o", "json")
    told = json.loads(ran.out)
    assert (ran.code, told["status"], told["file"]) == (Exit.DONE, "valid", url)


def test_a_database_that_servers_write_is_not_written_from_here(kiff: Kiff, url: str) -> None:
    ran = kiff("ingest", "ORDER_PLACED", "order:late", "--as", "stripe", "--db", url)
    assert (ran.code, "give one of them with --url" in ran.err) == (Exit.FAILED, True)


def test_the_settings_may_name_it(kiff: Kiff, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIFF_DB", url)
    assert json.loads(kiff("state", "order:ord_001", "-o", "json").out)["state"] == "REFUNDED"


def test_its_password_is_not_shown(kiff: Kiff, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIFF_DB", url.replace("@", ":hunter2@"))
    ran = kiff("verify")
    assert (ran.code, "hunter2" in ran.out + ran.err) == (Exit.DONE, False)


def test_a_password_on_the_command_line_is_refused(kiff: Kiff) -> None:
    for line in (["timeline", "order:ord_1", "--db"], ["verify"]):
        ran = kiff(*line, "postgresql://kiff:hunter2@127.0.0.1/kiff")
        assert (ran.code, "hunter2" in ran.err, "PGPASSWORD" in ran.err) == (Exit.USAGE, False, True)
