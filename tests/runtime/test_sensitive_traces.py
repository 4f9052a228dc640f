"""Where a sensitive value is found after all that can become of a call: in the vault's table, and nowhere else."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from lane_cases import AGENT
from sensitive_cases import CANARY, ORDER, OWNER, REVIEWER, Desk, desk

from kiff.errors import KiffError
from kiff.stores.sqlite import SqliteStore

LONG = f"{CANARY}{'x' * 9_000}"


def everything(shop: Desk) -> list[Any]:
    """A call of every end: refused, invalid, unknown, held, granted, run, denied, cancelled, in conflict."""
    shop.place()
    answers = [
        shop.refund(reason="stolen", parameters={"account": {"iban": CANARY}}),
        shop.refund(amount=0),
        shop.refund(parameters={"account": {CANARY: CANARY}}),
        shop.refund(parameters={"reson": CANARY}),
        shop.refund(action="REFUNDS"),
        shop.refund(entity="ordr:o_1"),
        shop.refund(900, id="prop_1"),
        shop.refund(900, id="prop_1"),
        shop.refund(901, id="prop_1"),
        shop.refund(902, LONG),
        shop.refund(903),
        shop.refund(904, approval_id="appr_none"),
        shop.refund(905, action="RUN"),
    ]
    held = [each.approval_id for each in (answers[6], answers[9], answers[10])]
    shop.runtime.deny(REVIEWER, held[1], "no").result(20)
    shop.runtime.cancel(AGENT, held[2], "never mind").result(20)
    shop.grant(held[0])
    answers.append(shop.refund(900, approval_id=held[0]))
    answers.append(shop.grant(answers[12].approval_id))
    return answers


def tables(path: Path) -> Iterator[tuple[str, str]]:
    """(table, one row as text), blobs included."""
    with closing(sqlite3.connect(path)) as database:
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f"SELECT * FROM {name}"):
                yield name, " ".join(c.decode("utf-8", "replace") if isinstance(c, bytes) else str(c) for c in row)


def holding(folder: Path) -> list[str]:
    """The files of a folder that hold a value."""
    return [each.name for each in folder.iterdir() if CANARY.encode() in each.read_bytes()]


@pytest.fixture
def done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[tuple[Path, list[Any]]]:
    caplog.set_level(logging.DEBUG)
    shop = Desk(SqliteStore(tmp_path / "desk.db"))
    with shop.runtime:
        answers = everything(shop)
    yield tmp_path, answers


def test_control_a_value_without_a_mark_is_found_in_the_log(tmp_path: Path) -> None:
    shop = Desk(SqliteStore(tmp_path / "desk.db"), domains=[desk(marked=False)])
    with shop.runtime:
        everything(shop)
    assert {"records", "approvals", "blobs"} <= {name for name, row in tables(tmp_path / "desk.db") if CANARY in row}


def test_no_table_but_the_vaults_holds_a_value(done: tuple[Path, list[Any]]) -> None:
    assert {name for name, row in tables(done[0] / "desk.db") if CANARY in row} == {"sealed"}


def test_no_answer_no_error_and_no_log_line_holds_a_value(
    done: tuple[Path, list[Any]], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for answer in done[1]:
        told = f"{answer!r} {answer!s} {answer.detail}" if isinstance(answer, KiffError) else repr(answer)
        assert CANARY not in told
    assert CANARY not in caplog.text
    assert not [text for text in capfd.readouterr() if CANARY in text]


def test_what_is_written_beside_the_log_holds_commitments(done: tuple[Path, list[Any]]) -> None:
    beside = [row for name, row in tables(done[0] / "desk.db") if name == "blobs"]
    assert not any("x" * 100 in row for row in beside)


def test_an_erased_value_is_in_no_file(done: tuple[Path, list[Any]]) -> None:
    path = done[0] / "desk.db"
    assert holding(done[0]) == ["desk.db"]
    shop = Desk(SqliteStore(path))
    with shop.runtime:
        for entity in (ORDER, "ordr:o_1"):
            shop.runtime.erase(OWNER, entity).result(20)
    assert holding(done[0]) == []


def test_the_log_is_emptied_of_it_while_the_writer_goes_on(tmp_path: Path) -> None:
    shop = Desk(SqliteStore(tmp_path / "desk.db"))
    with shop.runtime:
        shop.place().refund()
        assert holding(tmp_path) != []
        shop.runtime.erase(OWNER, ORDER).result(20)
        until = time.monotonic() + 60
        while holding(tmp_path) and time.monotonic() < until:
            time.sleep(0.01)
        assert holding(tmp_path) == []
