"""Keys in a real PostgreSQL: replicas that come at once end with one key each, as a role that owns nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from threading import Barrier

import pytest
from postgres_server import APP, server

from kiff.errors import KeyUnusable
from kiff.ledger import parse_jwks
from kiff.stores.keyring import INSTALLATION, Keyring
from kiff.stores.postgres import PostgresStore, migrate

pytestmark = pytest.mark.slow

ROOT = bytes(range(32))


@pytest.fixture
def stores() -> Iterator[list[PostgresStore]]:
    """Two replicas on an empty database, each by its own connections."""
    owner = server().fresh()
    migrate(owner, role=APP)
    url = server().url(owner, user=APP)
    with ExitStack() as open_:
        yield [open_.enter_context(closing(PostgresStore(url))) for _ in range(2)]


def at_once(stores: list[PostgresStore]) -> list[Keyring]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(Keyring, stores, (ROOT, ROOT)))


def test_replicas_that_start_at_once_with_two_roots_do_not_both_start(stores: list[PostgresStore]) -> None:
    started, refused = [], []

    def start(store: PostgresStore, root: bytes) -> None:
        try:
            started.append(Keyring(store, root))
        except KeyUnusable as error:
            refused.append(error.message)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(start, stores, (ROOT, bytes(32))))
    assert len(started) == 1
    assert "copy root.key from another replica" in refused[0]


def test_replicas_that_found_the_same_tenants_at_once_sign_with_one_key_each(stores: list[PostgresStore]) -> None:
    both, meet = at_once(stores), Barrier(2)
    tenants = [f"tenant-{number}" for number in range(20)]

    def found(keys: Keyring) -> list[str]:
        kids = []
        for tenant in tenants:
            meet.wait()
            keys.create(tenant)
            kids.append(keys(tenant).kid)
        return kids

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(found, both)
    assert one == other
    assert set(parse_jwks(both[0].public())) == set(one)
    assert stores[0].tenants() == [], "keys alone make no tenant"


def test_one_replica_opens_what_the_other_sealed(stores: list[PostgresStore]) -> None:
    one, other = at_once(stores)
    assert one.vault(stores[0])() == other.vault(stores[1])()
    one.create("acme")
    one.reseal(bytes(32))
    assert Keyring(stores[1], bytes(32))("acme").kid == other("acme").kid


def test_no_tenant_is_shown_the_rows_of_the_installation(stores: list[PostgresStore]) -> None:
    """Row-level security: what a connection is set to is all it sees."""
    at_once(stores)
    sql = "SELECT count(*) FROM sealed_keys WHERE tenant = $1"
    with stores[0]._connections.taken("acme") as connection:
        assert connection.run(lambda raw: raw.fetchval(sql, INSTALLATION)) == 0
    with stores[0]._connections.taken(INSTALLATION) as connection:
        assert connection.run(lambda raw: raw.fetchval(sql, INSTALLATION)) == 1, "the control"
