"""A server refuses a database that is older than what it saw of it, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from postgres_server import Databases

from kiff.errors import StoreRolledBack
from kiff.protocol.actor import Caller
from kiff.protocol.authority import AUTHOR, Member
from kiff.runtime.commands import SYSTEM
from kiff.runtime.ports import Store
from kiff.server.settings import ServerSettings
from kiff.server.tower import SHARED_SEEN, Tower
from kiff.stores.opening import open_store
from kiff.stores.seen_heads import read_seen

pytestmark = pytest.mark.slow
OWNER_OF = {tenant: Member(tenant, "owner", "human", None, "The owner", AUTHOR, True) for tenant in ("acme", "zebra")}


def settings(data: Path, store: str = "sqlite", *accept: str) -> ServerSettings:
    return ServerSettings(data=data, store=store, accept_rollback=accept)


def add(given: ServerSettings, *members: str) -> None:
    """A run of the server in which these join `acme`."""
    with closing(Tower(given)) as tower:
        tower.found("acme", [OWNER_OF["acme"]])
        owner = Caller(SYSTEM, (AUTHOR,), "acme")
        for name in members:
            tower.runtime.establish(owner, member("acme", name)).result()


def member(tenant: str, name: str) -> Member:
    return Member(tenant, name, "human", None, name, "auditor", True)


def kinds(store: Store) -> list[str]:
    with closing(store):
        return [json.loads(row.body)["kind"] for row in store.records("acme", limit=10_000)]


def test_a_servers_older_file_is_refused_until_its_tenant_is_named(tmp_path: Path) -> None:
    add(settings(tmp_path), "ann")
    shutil.copy(tmp_path / "kiff.db", tmp_path / "older.db")
    add(settings(tmp_path), "bob", "cleo")
    shutil.copy(tmp_path / "older.db", tmp_path / "kiff.db")
    with pytest.raises(StoreRolledBack, match="`acme`"):
        add(settings(tmp_path), "dan")
    add(settings(tmp_path, "sqlite", "acme"), "dan")
    found = kinds(open_store(str(tmp_path / "kiff.db"), read_only=True))
    assert found[-2:] == ["log_rolled_back", "member_changed"]


@pytest.fixture
def copied(postgres: Databases) -> Callable[[str], str]:
    """A database as it stands now, under another name."""

    def copy(url: str) -> str:
        other = postgres.fresh()
        name, source = other.rpartition("/")[2], url.rpartition("/")[2]
        postgres.execute("", f"DROP DATABASE {name}")
        postgres.execute("", f"CREATE DATABASE {name} OWNER kiff_owner TEMPLATE {source} STRATEGY FILE_COPY")
        return other

    return copy


def test_an_older_postgresql_is_refused_until_its_tenant_is_named(
    tmp_path: Path, fresh_database: str, copied: Callable[[str], str]
) -> None:
    add(settings(tmp_path, fresh_database), "ann")
    older = copied(fresh_database)
    add(settings(tmp_path, fresh_database), "bob", "cleo")
    seen = read_seen(tmp_path / SHARED_SEEN).logs["acme"]
    with pytest.raises(StoreRolledBack) as refused:
        add(settings(tmp_path, older), "dan")
    assert refused.value.detail["seen_size"] == seen.size
    add(settings(tmp_path, older, "acme"), "dan")
    assert kinds(open_store(older, read_only=True))[-2:] == ["log_rolled_back", "member_changed"]


def test_two_servers_that_share_a_folder_agree_on_what_was_seen(tmp_path: Path, fresh_database: str) -> None:
    add(settings(tmp_path, fresh_database), "ann")
    given = settings(tmp_path, fresh_database)
    owner = Caller(SYSTEM, (AUTHOR,), "acme")
    with closing(Tower(given)) as one, closing(Tower(given)) as two:
        for number in range(20):
            tower: Any = (one, two)[number % 2]
            tower.runtime.establish(owner, member("acme", f"m{number}")).result()
    with closing(open_store(fresh_database, read_only=True)) as store:
        [head] = store.heads()
    assert read_seen(tmp_path / SHARED_SEEN).logs["acme"].size == head.size
    add(given)


def test_a_log_that_loses_something_under_a_running_server_is_written_no_more(
    tmp_path: Path, fresh_database: str, postgres: Databases
) -> None:
    """As when a standby takes over that lacks what was acknowledged. Other tenants go on."""
    acme, zebra = (Caller(SYSTEM, (AUTHOR,), tenant) for tenant in ("acme", "zebra"))
    tick = threading.Event()
    with closing(Tower(settings(tmp_path, fresh_database))) as tower:
        for tenant in ("acme", "zebra"):
            tower.found(tenant, [OWNER_OF[tenant]])
        [before] = [head for head in tower.store.heads() if head.tenant == "acme"]
        for number in range(3):
            tower.runtime.establish(acme, member("acme", f"lost{number}")).result()
        older = (
            "WITH gone AS (DELETE FROM kiff.records WHERE tenant = 'acme' AND seq >= $1)"
            " UPDATE kiff.heads SET size = $1, root = $2, frontier = $3 WHERE tenant = 'acme'"
        )
        postgres.execute(fresh_database, older, before.size, before.root, before.frontier)
        for number in range(1_000):
            try:
                tower.runtime.establish(acme, member("acme", f"late{number}")).result()
            except StoreRolledBack:
                break
            tick.wait(0.01)
        else:
            raise AssertionError("nobody noticed")
        tower.runtime.establish(zebra, member("zebra", "ann")).result()
    with pytest.raises(StoreRolledBack, match="`acme`"):
        Tower(settings(tmp_path, fresh_database))
    add(settings(tmp_path, fresh_database, "acme"), "dan")
    assert kinds(open_store(fresh_database, read_only=True))[-2:] == ["log_rolled_back", "member_changed"]


def test_another_folder_has_seen_nothing_and_starts(
    tmp_path: Path, fresh_database: str, copied: Callable[[str], str]
) -> None:
    """The control: the memory is the folder's, not the database's. A new replica only needs the root secret."""
    add(settings(tmp_path / "one", fresh_database), "ann")
    older = copied(fresh_database)
    add(settings(tmp_path / "one", fresh_database), "bob")
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "one" / "root.key", tmp_path / "two")
    add(settings(tmp_path / "two", older), "cleo")
    assert "log_rolled_back" not in kinds(open_store(older, read_only=True))
