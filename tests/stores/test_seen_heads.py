"""An older copy of a database does not pass for the newest: what was seen of its logs is kept beside it."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiff import Caller, Principal, Runtime, load, open_runtime
from kiff.analysis import replay_store, verify_store
from kiff.embedded import key_path
from kiff.errors import InvalidInput, StoreCorrupt, StoreMoved, StoreRolledBack, StoreUnavailable
from kiff.ledger import Ed25519Signer, parse_jwks
from kiff.runtime.rows import LogHead
from kiff.stores.follow_heads import open_seen
from kiff.stores.keyfile import public_path
from kiff.stores.memory import MemoryStore
from kiff.stores.seen_heads import Memory, Seen, lost_logs, read_seen, seen_path, write_seen
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
STRIPE = Caller(Principal("stripe", "service"), ("event_source",))
SHOP = """
domain: shop
version: v1
entity: Order
events: [PLACED]
states: [OPEN]
transitions: [{on: PLACED, to: OPEN}]
actions:
  - name: CLOSE
    allowed_states: [OPEN]
    required_permissions: [orders.close]
    risk: low
    approval: never
permissions:
  roles: {event_source: [events.ingest], closer: [orders.close]}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@contextmanager
def shop(path: Path, **options: Any) -> Iterator[Runtime]:
    with open_runtime(path, domains=[load(SHOP)], **options) as runtime:
        yield runtime


def place(path: Path, *orders: str, **options: Any) -> None:
    """A run of the shop in which these orders are placed."""
    with shop(path, **options) as runtime:
        for order in orders:
            runtime.ingest(STRIPE, type="PLACED", entity=f"order:{order}", source="stripe").result()


def roll_back(path: Path) -> Seen:
    """A day goes by, then the copy of the day before comes back. Returns what was seen meanwhile."""
    place(path, "ord_1")
    older = path.with_name("older.db")
    shutil.copy(path, older)
    place(path, "ord_2", "ord_3")
    shutil.copy(older, path)
    return read_seen(seen_path(path)).logs["default"]


def size_of(path: Path) -> int:
    with closing(SqliteStore(path, read_only=True)) as store:
        [head] = store.heads()
        return head.size


def rollbacks(path: Path) -> list[dict[str, Any]]:
    with closing(SqliteStore(path, read_only=True)) as store:
        records = [json.loads(row.body) for row in store.records("default")]
    return [record for record in records if record["kind"] == "log_rolled_back"]


def test_an_older_copy_is_refused_and_says_what_was_seen(path: Path) -> None:
    seen = roll_back(path)
    with pytest.raises(StoreRolledBack) as refused:
        place(path, "ord_4")
    assert (refused.value.detail["seen_size"], refused.value.detail["found_size"]) == (seen.size, size_of(path))
    assert "`default`" in refused.value.message
    assert "--accept-rollback default" in refused.value.detail["hint"]


def test_the_same_copy_without_the_memory_passes(path: Path) -> None:
    """The control: nothing but the file tells."""
    roll_back(path)
    seen_path(path).unlink()
    place(path, "ord_4")
    assert read_seen(seen_path(path)).logs["default"].size == size_of(path)


def test_a_log_that_went_on_from_an_older_copy_is_refused_however_long_it_is(path: Path) -> None:
    seen = roll_back(path)
    kept = seen_path(path).read_bytes()
    seen_path(path).unlink()
    place(path, "ord_4", "ord_5", "ord_6")
    seen_path(path).write_bytes(kept)
    assert size_of(path) > seen.size
    with pytest.raises(StoreRolledBack, match="went on from fewer"):
        place(path)


def test_another_log_of_the_same_length_is_refused(path: Path, tmp_path: Path) -> None:
    place(path, "ord_1")
    place(tmp_path / "other.db", "ord_1")
    shutil.copy(tmp_path / "other.db", path)
    with pytest.raises(StoreRolledBack, match="is another log"):
        place(path)


def test_a_database_that_is_gone_is_not_begun_anew(path: Path) -> None:
    place(path, "ord_1")
    path.unlink()
    with pytest.raises(StoreRolledBack, match="is not there"):
        place(path)


def test_told_so_by_name_it_goes_on_and_the_next_record_says_so(path: Path) -> None:
    seen = roll_back(path)
    before = size_of(path)
    place(path, "ord_4", accept_rollback=["default"])
    [told] = rollbacks(path)
    assert (told["seq"], told["entity"], told["actor"]["id"]) == (before, None, "kiff")
    assert told["data"]["seen"] == {"log": seen.log, "size": seen.size, "root": seen.root}
    assert told["data"]["found"]["size"] == before
    assert told["data"]["accepted_by"]


def test_of_two_processes_that_accept_the_same_one_records_it(path: Path) -> None:
    """Also when the first one died before it remembered that it had."""
    roll_back(path)
    kept = seen_path(path).read_bytes()
    place(path, accept_rollback=["default"])
    seen_path(path).write_bytes(kept)
    place(path, accept_rollback=["default"])
    place(path)
    assert len(rollbacks(path)) == 1


def test_a_row_that_says_otherwise_than_the_record_is_found(path: Path) -> None:
    roll_back(path)
    place(path, accept_rollback=["default"])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE commands SET digest = 'another/9' WHERE id LIKE 'rollback:%'")
    keys = parse_jwks(public_path(key_path(path)).read_bytes())
    with closing(SqliteStore(path, read_only=True)) as store:
        [problem] = verify_store(store, keys).problems
    assert (problem.where[:17], problem.field) == ("command rollback:", "digest")


def test_what_was_accepted_of_another_copy_accepts_nothing_later(path: Path) -> None:
    """An old backup was to be restored, and then a whole one was."""
    place(path, "ord_1")
    older = path.with_name("older.db")
    shutil.copy(path, older)
    write_seen(seen_path(path), msgspec.structs.replace(read_seen(seen_path(path)), accepted={"default": "ann"}))
    place(path)
    place(path, "ord_2")
    shutil.copy(older, path)
    with pytest.raises(StoreRolledBack):
        place(path)


def test_another_tenant_named_accepts_nothing(path: Path) -> None:
    roll_back(path)
    with pytest.raises(InvalidInput, match="`acme`"):
        place(path, accept_rollback=["acme"])
    assert rollbacks(path) == []


def test_what_was_accepted_is_remembered_and_asked_once(path: Path) -> None:
    roll_back(path)
    place(path, accept_rollback=["default"])
    place(path, "ord_4")
    assert len(rollbacks(path)) == 1
    assert read_seen(seen_path(path)).logs["default"].size == size_of(path)


def test_naming_a_tenant_whose_log_is_whole_records_nothing(path: Path) -> None:
    place(path, "ord_1")
    place(path, "ord_2", accept_rollback=["default"])
    assert rollbacks(path) == []


def test_a_log_that_is_gone_goes_on_with_the_record_as_its_first(path: Path) -> None:
    place(path, "ord_1")
    path.unlink()
    Path(f"{path}-wal").unlink(missing_ok=True)
    place(path, accept_rollback=["default"])
    [told] = rollbacks(path)
    assert (told["seq"], told["data"]["found"]) == (0, {"log": None, "root": None, "size": 0})


def test_a_log_with_the_record_verifies_and_replays(path: Path) -> None:
    roll_back(path)
    place(path, "ord_4", accept_rollback=["default"])
    keys = parse_jwks(public_path(key_path(path)).read_bytes())
    with closing(SqliteStore(path, read_only=True)) as store:
        verdict = verify_store(store, keys)
        assert (verdict.status, replay_store(store).problems) == ("valid", ())


def test_what_was_seen_is_a_signed_head_that_shows_the_rollback(path: Path) -> None:
    seen = roll_back(path)
    keys = parse_jwks(public_path(key_path(path)).read_bytes())
    assert seen.note is not None
    with closing(SqliteStore(path, read_only=True)) as store:
        verdict = verify_store(store, keys, [seen.note.encode()])
    assert "it was cut short" in verdict.problems[0].message


def test_a_memory_that_is_lost_is_made_again(path: Path) -> None:
    place(path, "ord_1")
    before = read_seen(seen_path(path))
    seen_path(path).unlink()
    place(path)
    assert read_seen(seen_path(path)) == before


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"logs":{}}x',
        b'{"kiff_seen":2,"logs":{}}',
        b'{"kiff_seen":1,"logs":{"default":{"log":"a","size":0,"root":"00"}}}',
        b'{"kiff_seen":1,"logs":{},"more":1}',
    ],
)
def test_a_damaged_memory_refuses(path: Path, text: bytes) -> None:
    place(path, "ord_1")
    seen_path(path).write_bytes(text)
    with pytest.raises(StoreCorrupt, match="is damaged"):
        place(path)


def test_a_memory_that_cannot_be_written_refuses_at_the_start(path: Path) -> None:
    place(path, "ord_1")
    seen_path(path).unlink()
    seen_path(path).mkdir()
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        place(path)


def test_a_database_that_was_moved_is_not_written_any_more(path: Path) -> None:
    place(path, "ord_1")
    memory = read_seen(seen_path(path))
    write_seen(seen_path(path), msgspec.structs.replace(memory, moved_to="postgresql://db/kiff"))
    with pytest.raises(StoreMoved, match="postgresql://db/kiff"):
        place(path)


def test_a_refused_start_leaves_the_database_to_others(path: Path) -> None:
    roll_back(path)
    with pytest.raises(StoreRolledBack):
        place(path)
    SqliteStore(path).close()  # no lock was left


def test_it_follows_the_commits_of_a_runtime_that_goes_on(path: Path) -> None:
    tick = threading.Event()
    with shop(path) as runtime:
        for number in range(2_000):
            if number % 10 == 0:
                runtime.ingest(STRIPE, type="PLACED", entity=f"order:{number}", source="stripe").result()
            logs = read_seen(seen_path(path)).logs
            if logs and logs["default"].size > 10:
                return
            tick.wait(0.01)
    raise AssertionError("nothing was remembered while the runtime went on")


def test_of_two_processes_the_longer_log_is_remembered(path: Path) -> None:
    place(path, "ord_1")
    with closing(SqliteStore(path, read_only=True)) as store:
        [head] = store.heads()
        slow = open_seen(seen_path(path), store)
        quick = read_seen(seen_path(path))
        ahead = msgspec.structs.replace(quick.logs["default"], size=head.size + 10)
        write_seen(seen_path(path), Memory({"default": ahead}))
        slow.committed([head])
        slow.close()
    assert read_seen(seen_path(path)).logs["default"] == ahead


def test_a_disk_that_fails_later_is_told_and_decisions_go_on(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with shop(path) as runtime, caplog.at_level(logging.WARNING, "kiff"):
        seen_path(path).unlink(missing_ok=True)
        seen_path(path).mkdir()
        runtime.ingest(STRIPE, type="PLACED", entity="order:1", source="stripe").result()
    assert any("not remembered" in record.getMessage() for record in caplog.records)


def test_every_earlier_head_is_a_prefix_and_no_other_root_is() -> None:
    """Over all sizes up to a few tiles: the root that was seen then, and one that never was."""
    store = MemoryStore()
    heads: list[LogHead] = []
    runtime = Runtime(store, SIGNER, domains=[load(SHOP)], on_commit=heads.extend)
    for number in range(300):
        runtime.ingest(STRIPE, type="PLACED", entity=f"order:{number}", source="stripe").result()
    for head in heads[::7]:
        seen = Seen(head.log_id, head.size, head.root.hex())
        other = msgspec.structs.replace(seen, root="00" * 32)
        assert lost_logs(store, {"default": seen}) == []
        assert [lost.seen for lost in lost_logs(store, {"default": other})] == [other]
    runtime.close()
