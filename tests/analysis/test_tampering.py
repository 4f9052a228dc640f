"""Whoever can write the file, but does not hold the key, is found out: every byte, every column, every row."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from analysis_cases import STRIPE, copy_of, five_endings, keys_of, open_shop, read, tamper, verify

from kiff.analysis.expected import UNBOUND

pytestmark = pytest.mark.slow

SOAK = os.environ.get("KIFF_SOAK") == "1"
SEED = random.SystemRandom().getrandbits(32) if SOAK else 20261121
PER_TARGET = 30

FLIPPED = (
    ("records", "body"),
    ("records", "leaf"),
    ("receipts", "core"),
    ("receipts", "signature"),
    ("checkpoints", "note"),
    ("heads", "root"),
    ("heads", "frontier"),
)
KEYS = {
    "heads": ("tenant",),
    "records": ("tenant", "seq"),
    "receipts": ("tenant", "id"),
    "tiles": ("tenant", "level", "number"),
    "checkpoints": ("tenant", "size"),
    "commands": ("tenant", "id"),
    "active_domains": ("tenant", "entity_type"),
    "domain_versions": ("tenant", "version"),
    "entities": ("tenant", "entity"),
    "runways": ("tenant", "entity"),
    "timers": ("tenant", "id"),
    "last_approvals": ("tenant", "action_digest"),
    "approvals": ("tenant", "id"),
    "clearances": ("tenant", "id"),
    "blobs": ("tenant", "digest"),
}
BOOLEANS = {"binds_version", "human_only", "holds_runway", "settles", "disputed"}


@pytest.fixture
def copied(endings: Path, tmp_path: Path) -> Path:
    return copy_of(endings, tmp_path)


def test_control_an_untouched_database_is_valid(endings: Path, copied: Path) -> None:
    verdict = verify(copied, keys_of(endings))
    assert (verdict.status, verdict.problems) == ("valid", ())
    assert verdict.unsigned_tail == {"default": 0}


def test_control_the_busy_database_is_valid(busy: Path, tmp_path: Path) -> None:
    verdict = verify(copy_of(busy, tmp_path), keys_of(busy))
    assert (verdict.status, verdict.problems) == ("valid", ())


@pytest.mark.parametrize(("table", "column"), FLIPPED, ids=[".".join(pair) for pair in FLIPPED])
def test_any_flipped_byte_is_found(table: str, column: str, endings: Path, copied: Path) -> None:
    keys = keys_of(endings)
    places = list(bytes_of(copied, table, column))
    if not SOAK:
        print(f"seed {SEED}: {PER_TARGET} of {len(places)} bytes")
        places = random.Random(SEED).sample(places, min(PER_TARGET, len(places)))
    missed = [place for place in places if not flip_is_found(copied, table, column, place, keys)]
    assert missed == []
    assert verify(copied, keys).status == "valid", "every flip was taken back"


def bytes_of(path: Path, table: str, column: str) -> Iterator[tuple[tuple[Any, ...], int]]:
    for *key, value in read(path, f"SELECT {', '.join(KEYS[table])}, CAST({column} AS BLOB) FROM {table}"):
        yield from ((tuple(key), at) for at in range(len(value)))  # type: ignore[arg-type]


def flip_is_found(path: Path, table: str, column: str, place: tuple[tuple[Any, ...], int], keys: Any) -> bool:
    key, at = place
    where = " AND ".join(f"{name} = ?" for name in KEYS[table])
    [(kind, value)] = read(path, f"SELECT typeof({column}), CAST({column} AS BLOB) FROM {table} WHERE {where}", *key)
    assert isinstance(value, bytes)
    bit = 1 << random.Random(f"{SEED} {at}").randrange(8)
    wrong = value[:at] + bytes([value[at] ^ bit]) + value[at + 1 :]
    put = f"UPDATE {table} SET {column} = CAST(? AS {kind}) WHERE {where}"
    assert tamper(path, put, wrong, *key) == 1
    try:
        return verify(path, keys).status != "valid"
    finally:
        assert tamper(path, put, value, *key) == 1


@pytest.mark.slow
@pytest.mark.parametrize("table", sorted(KEYS))
def test_any_edited_column_is_found_or_on_the_list(table: str, busy: Path, tmp_path: Path) -> None:
    keys = keys_of(busy)
    path = copy_of(busy, tmp_path)
    missed: set[str] = set()
    for key, column, value, other in cells(path, table):
        where = " AND ".join(f"{name} IS ?" for name in KEYS[table])
        assert tamper(path, f"UPDATE {table} SET {column} = ? WHERE {where}", other, *key) == 1, (table, column)
        if verify(path, keys).status == "valid":
            missed.add(column)
        put_back = tuple(other if name == column else part for name, part in zip(KEYS[table], key, strict=True))
        assert tamper(path, f"UPDATE {table} SET {column} = ? WHERE {where}", value, *put_back) == 1
    assert missed <= set(UNBOUND.get(table, {}))
    assert verify(path, keys).status == "valid", "every edit was taken back"


def cells(path: Path, table: str) -> Iterator[tuple[tuple[Any, ...], str, Any, Any]]:
    """(key, column, value, another value) for the columns of a seeded choice of rows, of all of them in soak."""
    columns = [(str(name), str(kind)) for _, name, kind, *_ in read(path, f"PRAGMA table_info({table})")]
    rows = read(path, f"SELECT {', '.join(KEYS[table])}, {', '.join(name for name, _ in columns)} FROM {table}")
    if not SOAK:
        rows = random.Random(SEED).sample(rows, min(4, len(rows)))
    for row in rows:
        key, values = row[: len(KEYS[table])], row[len(KEYS[table]) :]
        for (column, kind), value in zip(columns, values, strict=True):
            yield key, column, value, 1 - value if column in BOOLEANS else another(kind, value)
            if value is not None and f"{column} {kind} NOT NULL" not in schema(path, table):
                yield key, column, value, None


def schema(path: Path, table: str) -> str:
    [(sql,)] = read(path, "SELECT sql FROM sqlite_master WHERE name = ?", table)
    return str(sql)


def another(kind: str, value: Any) -> object:
    if kind == "INTEGER":
        return 1 if value is None else int(value) + 100_000
    if kind == "TEXT":
        return "x" if value is None else f"{value}x"
    return b"{}" if not value else value[:-1] + bytes([value[-1] ^ 1])


def test_two_records_swapped_are_found(endings: Path, copied: Path) -> None:
    for at, to in ((3, -3), (5, 3), (-3, 5)):
        tamper(copied, "UPDATE records SET seq = ? WHERE seq = ?", to, at)
    verdict = verify(copied, keys_of(endings))
    assert verdict.status == "invalid"
    assert {problem.where for problem in verdict.problems} >= {"record 3", "record 5"}


def test_swapped_records_that_claim_each_others_place_are_found(endings: Path, copied: Path) -> None:
    tamper(copied, "CREATE TABLE kept AS SELECT * FROM records WHERE seq IN (3, 5)")
    tamper(copied, "UPDATE records SET (entity, body) = (SELECT entity, body FROM kept WHERE seq = 5) WHERE seq = 3")
    tamper(copied, "UPDATE records SET (entity, body) = (SELECT entity, body FROM kept WHERE seq = 3) WHERE seq = 5")
    verdict = verify(copied, keys_of(endings))
    assert {problem.where for problem in verdict.problems} >= {"record 3", "record 5"}


def test_a_dropped_record_is_found(endings: Path, copied: Path) -> None:
    tamper(copied, "DELETE FROM records WHERE seq = 7")
    problems = verify(copied, keys_of(endings)).problems
    assert any(problem.where == "record 7" and problem.message == "missing from the log" for problem in problems)


def test_dropped_and_renumbered_records_are_found(endings: Path, copied: Path) -> None:
    tamper(copied, "DELETE FROM records WHERE seq = 7")
    tamper(copied, "UPDATE records SET seq = -seq WHERE seq > 7")
    tamper(copied, "UPDATE records SET seq = -seq - 1 WHERE seq < 0")
    tamper(copied, "UPDATE heads SET size = size - 1")
    assert verify(copied, keys_of(endings)).status == "invalid"


def test_a_record_spliced_in_from_another_database_is_found(endings: Path, copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with open_shop(other) as runtime:
        five_endings(runtime)
    [(leaf, body)] = read(other, "SELECT leaf, body FROM records WHERE seq = 15")
    tamper(copied, "UPDATE records SET leaf = ?, body = ? WHERE seq = 15", leaf, body)
    verdict = verify(copied, keys_of(endings))
    assert verdict.status == "invalid"
    assert any(problem.where in ("record 15", "receipt " + str(receipt_at(copied, 15))) for problem in verdict.problems)


def receipt_at(path: Path, seq: int) -> object:
    [(receipt_id,)] = read(path, "SELECT id FROM receipts WHERE seq = ?", seq)
    return receipt_id


@pytest.fixture
def cut(endings: Path, tmp_path: Path) -> tuple[Path, bytes]:
    """A database whose newest records are gone together with head, heads signed later and rows; and a saved head.

    The whole state is the one of an earlier commit, which is what restoring an old backup gives.
    """
    path = tmp_path / "cut.db"
    with open_shop(path) as runtime:
        five_endings(runtime)
        runtime.checkpoint().result()
    old = copy_of(path, tmp_path, "old.db")
    with open_shop(path) as runtime:
        runtime.ingest(STRIPE, type="ORDER_PLACED", entity="order:ord_777").result()
        saved = runtime.checkpoint().result()
    return old, saved


def test_a_tail_cut_off_with_its_heads_looks_whole(cut: tuple[Path, bytes]) -> None:
    old, _ = cut
    assert verify(old, keys_of(old.with_name("cut.db"))).status == "valid"


def test_a_saved_head_shows_that_the_tail_is_gone(cut: tuple[Path, bytes]) -> None:
    old, saved = cut
    verdict = verify(old, keys_of(old.with_name("cut.db")), [saved])
    assert verdict.status == "invalid"
    [problem] = verdict.problems
    assert problem.where.startswith("saved head of size ")
    assert "cut short" in problem.message


def test_a_tail_cut_off_without_its_signed_head_is_found(endings: Path, copied: Path) -> None:
    tamper(copied, "DELETE FROM records WHERE seq > 30")
    assert verify(copied, keys_of(endings)).status == "invalid"
