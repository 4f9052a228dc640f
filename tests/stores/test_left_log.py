"""A write-ahead log that a killed process left is durable before anybody builds on it. What a power loss does to it at
every instant is tests/faults/test_power_loss.py."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kiff.stores.left_log import write_left_log_again


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A database whose rows are all in its write-ahead log, as kill -9 leaves it."""
    (tmp_path / "live").mkdir()
    with closing(sqlite3.connect(tmp_path / "live" / "a.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("CREATE TABLE rows (number)")
        connection.executemany("INSERT INTO rows VALUES (?)", [(number,) for number in range(100)])
        shutil.copytree(tmp_path / "live", tmp_path / "left")
    return tmp_path / "left" / "a.db"


def rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM rows").fetchone()[0])


def test_the_log_is_the_same_afterwards_and_no_copy_stays(left: Path) -> None:
    log = left.with_name("a.db-wal")
    before = log.read_bytes()
    write_left_log_again(left)
    assert log.read_bytes() == before
    assert not list(left.parent.glob("*copy*")) and not list(left.parent.glob("*part*"))
    assert rows(left) == 100


def test_a_log_that_was_spoiled_while_it_was_written_is_put_right_from_the_copy(left: Path) -> None:
    log = left.with_name("a.db-wal")
    shutil.copy(log, left.with_name("a.db-wal.copy"))
    log.write_bytes(log.read_bytes()[:5_000] + b"\0" * 20_000 + log.read_bytes()[25_000:])
    write_left_log_again(left)
    assert rows(left) == 100
    assert not left.with_name("a.db-wal.copy").exists()


def test_a_copy_that_was_cut_short_is_not_used(left: Path) -> None:
    left.with_name("a.db-wal.part").write_bytes(b"\0" * 9_000)
    write_left_log_again(left)
    assert rows(left) == 100


@pytest.mark.parametrize("log", [None, b""])
def test_nothing_is_written_where_no_log_was_left(tmp_path: Path, log: bytes | None) -> None:
    if log is not None:
        (tmp_path / "a.db-wal").write_bytes(log)
    write_left_log_again(tmp_path / "a.db")
    assert [path.name for path in tmp_path.iterdir()] == ([] if log is None else ["a.db-wal"])
