"""What only a file can go wrong with: locks, versions, full disks, damaged pages."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import fields

import kiff
from kiff import Caller, Domain, Principal, Runtime
from kiff.errors import (
    SchemaTooNew,
    StoreConflict,
    StoreCorrupt,
    StoreError,
    StoreInUse,
    StoreRefused,
    StoreUnavailable,
)
from kiff.ledger.keys import Ed25519Signer
from kiff.runtime.ports import Append
from kiff.runtime.rows import Blob, Runway
from kiff.stores import conformance_rows as some
from kiff.stores.sqlite import TABLES, SqliteStore
from kiff.stores.sqlite_schema import APPLICATION_ID, MIGRATIONS

ACME = some.ACME
STRIPE = Caller(Principal("stripe", "service"), ("adapter",))
REFUNDS = Domain(
    name="refunds",
    entity="Order",
    events=["ORDER_PLACED"],
    states=["CREATED"],
    transitions=[kiff.Transition(on="ORDER_PLACED", to="CREATED")],
    actions=[kiff.ActionContract("CLOSE", ["CREATED"], [], ["orders.close"], "low", "never", lock="none")],
    roles={"adapter": ["events.ingest"], "closer": ["orders.close"]},
)
PAGE = 4096
HOLDER = """
import sys, time
from kiff.stores.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kiff.db"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the database open for writing."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        yield process
        process.kill()


def raw(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def limit_pages(store: SqliteStore, more: int) -> None:
    """A disk with room for this many more pages: SQLite answers SQLITE_FULL, as it does for ENOSPC."""
    [(pages,)] = store._writer.execute("PRAGMA page_count").fetchall()
    store._writer.execute(f"PRAGMA max_page_count = {pages + more}").fetchall()


def serve(store: SqliteStore) -> Runtime:
    return Runtime(store, Ed25519Signer(Ed25519PrivateKey.generate()), domains=[REFUNDS])


def place(runtime: Runtime, number: int, **more: Any) -> Any:
    return runtime.ingest(STRIPE, type="ORDER_PLACED", entity=f"order:ord_{number}", **more).result(timeout=20)


# --- one writer ---


def test_a_second_process_is_refused_with_the_pid_of_the_first(path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StoreInUse, match=f"written by process {holder.pid}") as refused:
        SqliteStore(path)
    assert refused.value.detail["pid"] == str(holder.pid)


def test_a_second_store_in_the_same_process_is_refused(path: Path) -> None:
    with closing(SqliteStore(path)), pytest.raises(StoreInUse, match=str(os.getpid())):
        SqliteStore(path)


def test_a_refused_writer_leaves_the_lock_with_its_holder(path: Path) -> None:
    with closing(SqliteStore(path)):
        for _ in range(2):
            with pytest.raises(StoreInUse):
                SqliteStore(path)


def test_the_lock_of_a_killed_process_is_no_obstacle(path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert path.with_name("kiff.db.lock").read_text() == f"{holder.pid}\n", "the stale lock file is still there"
    with closing(SqliteStore(path)) as store:
        some.write(store, ACME)


def test_a_reader_opens_beside_the_writer_and_never_writes(path: Path) -> None:
    with closing(SqliteStore(path)) as writer, closing(SqliteStore(path, read_only=True)) as reader:
        some.write(writer, ACME)
        assert [row.seq for row in reader.records(ACME)] == [0]
        with pytest.raises(StoreUnavailable, match="read only"):
            some.write(reader, ACME)


def test_a_writer_that_could_not_open_lets_go_of_the_lock(path: Path) -> None:
    path.write_bytes(b"this is a letter, not a database. " * 40)
    for _ in range(2):
        with pytest.raises(StoreCorrupt):
            SqliteStore(path)


# --- whose database it is ---


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    SqliteStore(path).close()
    with closing(raw(path)) as other:
        other.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match="use a newer KIFF"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    with closing(raw(path)) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="not a KIFF database"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"this is a letter, not a database. " * 40)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_reading_a_database_that_is_not_there_is_refused_and_makes_none(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no database"):
        SqliteStore(path, read_only=True)
    assert not path.exists()


def test_an_empty_file_becomes_a_database_of_this_version(path: Path) -> None:
    path.touch()
    SqliteStore(path).close()
    with closing(raw(path)) as other:
        assert other.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert other.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_opening_again_migrates_nothing(path: Path) -> None:
    SqliteStore(path).close()
    before = path.read_bytes()
    SqliteStore(path).close()
    assert path.read_bytes() == before


# --- what the schema says ---


@pytest.mark.parametrize("row", TABLES, ids=lambda row: row.__name__)
def test_the_columns_of_a_table_are_the_fields_of_its_struct(path: Path, row: type) -> None:
    with closing(SqliteStore(path)) as store:
        columns = store._writer.execute(f"PRAGMA table_info({TABLES[row]})").fetchall()
    assert [(column[1], bool(column[3])) for column in columns] == [
        (field.name, type(None) not in getattr(field.type, "__args__", ())) for field in fields(row)
    ]


def test_there_is_no_table_that_no_struct_stands_for(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        found = store._writer.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert {name for (name,) in found} == set(TABLES.values())


@pytest.mark.parametrize(
    "broken",
    [
        some.approval("appr_1", reviewed_by="text"),  # the proposer's own id
        some.approval("appr_1", status="granted"),  # by nobody
        some.approval("appr_1", consumed_by="clr_1"),  # and not consumed
        some.clearance("clr_1", status="running"),
        Blob(ACME, "sha256:1", None),  # type: ignore[arg-type]
    ],
    ids=lambda row: type(row).__name__,
)
def test_the_second_wall_refuses_rows_that_no_step_would_write(path: Path, broken: Any) -> None:
    with closing(SqliteStore(path)) as store:
        with pytest.raises(StoreRefused):
            some.write(store, ACME, rows=[broken])
        assert store.heads() == []


def test_two_operations_in_flight_on_one_entity_are_refused(path: Path) -> None:
    with closing(SqliteStore(path)) as store, pytest.raises(StoreRefused):
        some.write(store, ACME, rows=[some.clearance("clr_1"), some.clearance("clr_2")])


def test_one_approval_clears_one_operation(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        some.write(store, ACME, rows=[some.clearance("clr_1", status="succeeded", approval_id="appr_1")])
        with pytest.raises(StoreRefused):
            some.write(store, ACME, rows=[some.clearance("clr_2", approval_id="appr_1")])


# --- durability ---


def test_every_commit_is_flushed_and_written_ahead(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,), "2 is FULL"
        assert store._writer.execute("PRAGMA fullfsync").fetchone() == (1,)
        assert store._writer.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)


def test_what_was_acknowledged_is_in_the_file_without_a_close(path: Path, tmp_path: Path) -> None:
    """A copy of the files as they lie, as after a crash of the process."""
    copy = tmp_path / "copy.db"
    with closing(SqliteStore(path)) as store:
        head = some.write(store, ACME, rows=some.rows(ACME))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    with closing(SqliteStore(copy)) as again:
        assert again.heads() == [head]


def test_the_write_ahead_log_is_bounded_under_load(path: Path) -> None:
    """40 MB go through it; without copying back it would hold them all. The control leaves the copier out."""
    assert grown(path, copier=True) < 20_000_000
    assert grown(path.with_name("control.db"), copier=False) > 40_000_000


def grown(path: Path, *, copier: bool) -> int:
    """The largest the log was, in bytes."""
    with closing(SqliteStore(path)) as store, pytest.MonkeyPatch.context() as patch:
        if not copier:
            patch.setattr(store, "_backlog", threading.Event())  # nobody waits for this one
        largest = 0
        for batch in range(40):
            records = [some.record(ACME, batch * 512 + number) for number in range(512)]
            blob = Blob(ACME, f"sha256:{batch}", bytes(1_000_000))
            some.write(store, ACME, records=records, rows=[blob])
            largest = max(largest, path.with_name(path.name + "-wal").stat().st_size)
        return largest


# --- a store that cannot serve ---


def test_a_full_disk_writes_nothing_and_says_so(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        head = some.write(store, ACME)
        limit_pages(store, 2)
        with pytest.raises(StoreUnavailable, match="full"):
            some.write(store, ACME, rows=[Blob(ACME, "sha256:1", b"x" * 1_000_000)])
        assert store.heads() == [head]
        assert len(store.records(ACME)) == 1


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root writes through permissions, so while this lasts the process is nobody's."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_file_that_may_not_be_written_is_refused_at_the_start() -> None:
    with TemporaryDirectory() as folder:  # one that another user may enter, which pytest's are not
        path = Path(folder) / "kiff.db"
        SqliteStore(path).close()
        Path(folder).chmod(0o777)
        path.with_name("kiff.db.lock").chmod(0o666)
        path.chmod(0o444)
        with ordinary_user(), pytest.raises(StoreUnavailable, match="read"):
            SqliteStore(path)


def test_a_database_that_turns_read_only_writes_nothing_and_says_so(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        head = some.write(store, ACME)
        store._writer.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreUnavailable, match="readonly"):
            some.write(store, ACME)
        assert store.heads() == [head]


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=r"kiff\.db"):
        SqliteStore(tmp_path / "file" / "kiff.db")


def damage(path: Path) -> None:
    """Overwrites the first page of every table and index, as a failing disk might; the schema stays readable."""
    with closing(raw(path)) as other:
        roots = [root for (root,) in other.execute("SELECT rootpage FROM sqlite_master WHERE rootpage > 0")]
    with path.open("r+b") as file:
        for root in roots:
            file.seek((root - 1) * PAGE)
            file.write(b"\xa5" * PAGE)


def test_damaged_pages_are_corrupt_and_not_absent(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        some.write(store, ACME, rows=some.rows(ACME))
    damage(path)
    with closing(SqliteStore(path)) as store:
        with pytest.raises(StoreCorrupt, match="damaged"):
            store.load([ACME], [some.key(row) for row in some.rows(ACME)])
        with pytest.raises(StoreCorrupt, match="damaged"):
            store.records(ACME)
        with pytest.raises(StoreCorrupt, match="damaged"):
            store.append(some.batch(ACME, None, records=[some.record(ACME, 0)]))


def test_a_page_damaged_in_the_middle_of_the_file_is_found_when_it_is_read(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        for _ in range(4):
            start = len(store.records(ACME))
            some.write(store, ACME, records=[some.record(ACME, start + number) for number in range(200)])
    content = bytearray(path.read_bytes())
    middle = content.index((400).to_bytes(32)) // PAGE * PAGE
    content[middle : middle + PAGE] = b"\xa5" * PAGE
    path.write_bytes(content)
    with closing(SqliteStore(path)) as store, pytest.raises(StoreCorrupt, match="damaged"):
        store.records(ACME)


def test_a_connection_with_a_statement_half_done_is_not_a_conflict(path: Path) -> None:
    """Only a head that moved is StoreConflict: everything else must not be tried again blindly."""
    with closing(SqliteStore(path)) as store:
        store._writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as error:
            some.write(store, ACME)
        assert not isinstance(error.value, StoreConflict)


# --- the runtime over a store that cannot serve ---


def broken_runtime(path: Path, trouble: str) -> Runtime:
    store = SqliteStore(path)
    runtime = serve(store)
    place(runtime, 0)
    if trouble == "full":
        limit_pages(store, 0)
    elif trouble == "read-only":
        store._writer.execute("PRAGMA query_only = ON")
    else:
        store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        store._writer.execute("PRAGMA shrink_memory")
        damage(path)
    return runtime


@pytest.mark.parametrize(
    ("trouble", "error"),
    [("full", StoreUnavailable), ("read-only", StoreUnavailable), ("corrupt", StoreCorrupt)],
)
def test_the_runtime_stops_serving_and_never_acknowledges(path: Path, trouble: str, error: type[StoreError]) -> None:
    runtime = broken_runtime(path, trouble)
    big = {"note": "x" * 200_000}
    with pytest.raises(error) as told:
        place(runtime, 1, payload=big)
    assert told.value.message, "a clear error says which file and what is wrong"
    assert "kiff.db" in told.value.message
    with pytest.raises(error):
        place(runtime, 2)
    runtime.close()


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_what_was_not_acknowledged_is_not_there_after_the_trouble(path: Path, trouble: str) -> None:
    runtime = broken_runtime(path, trouble)
    with pytest.raises(StoreUnavailable):
        place(runtime, 1, payload={"note": "x" * 200_000})
    runtime.close()
    with closing(SqliteStore(path)) as store:
        assert [row.entity for row in store.entities("default")] == ["order:ord_0"]


def test_the_control_without_trouble_acknowledges(path: Path) -> None:
    runtime = serve(SqliteStore(path))
    assert place(runtime, 1, payload={"note": "x" * 200_000}).state == "CREATED"
    runtime.close()


def test_a_reader_does_not_see_what_is_written_but_not_committed(path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class HeldBeforeCommit(SqliteStore):
        def _write(self, batch: Append) -> None:
            super()._write(batch)
            inside.set()
            assert go_on.wait(20), "nobody let it go on"

    with closing(HeldBeforeCommit(path)) as store:
        row = Runway(ACME, "order:1", None, 1)
        writing = threading.Thread(target=lambda: some.write(store, ACME, rows=[row]))
        writing.start()
        assert inside.wait(20), "the writer never wrote"
        seen = (store.row(Runway, ACME, "order:1"), store.records(ACME), store.heads())
        go_on.set()
        writing.join()
        assert seen == (None, [], [])
        assert store.row(Runway, ACME, "order:1") == row
