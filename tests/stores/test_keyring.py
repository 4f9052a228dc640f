"""The keys in a database: nothing opens them but the one root secret, each in its own place, and the first one stays.

Two keyrings over one store are two replicas.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from kiff.errors import KeyUnusable
from kiff.ledger import parse_jwks
from kiff.ledger.keys import PublicKeys, kid_of
from kiff.protocol.sealed import Sealed
from kiff.runtime.ports import Append, Store
from kiff.runtime.rows import SealedKey
from kiff.stores.keyring import INSTALLATION, MASTER, PUBLIC, SIGNING, VAULT, Keyring, published
from kiff.stores.memory import MemoryStore

ROOT, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def put(store: MemoryStore, row: SealedKey) -> None:
    """What somebody who writes the database, and has no root secret, can do."""
    store._rows[SealedKey, row.tenant, row.id] = row


def row(store: Store, tenant: str, id: str) -> SealedKey:
    found = store.row(SealedKey, tenant, id)
    assert found is not None
    return found


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def test_another_root_secret_is_found_at_the_start(store: MemoryStore) -> None:
    Keyring(store, ROOT)
    with pytest.raises(KeyUnusable, match=r"copy root\.key from another replica"):
        Keyring(store, OTHER)
    assert len(store.rows(SealedKey, INSTALLATION)) == 1, "and it left nothing behind"


def test_a_short_root_secret_is_refused(store: MemoryStore) -> None:
    with pytest.raises(KeyUnusable, match="has 31"):
        Keyring(store, ROOT[:31])
    assert store.rows(SealedKey, INSTALLATION) == []


def test_a_master_key_that_is_gone_is_not_replaced(store: MemoryStore) -> None:
    Keyring(store, ROOT).create("acme")
    del store._rows[SealedKey, INSTALLATION, MASTER]
    with pytest.raises(KeyUnusable, match="does not hold the master key"):
        Keyring(store, ROOT)


def test_a_tenant_without_a_key_gets_none_by_being_asked_for(store: MemoryStore) -> None:
    with pytest.raises(KeyUnusable, match="does not hold the signing key of `acme`"):
        Keyring(store, ROOT)("acme")
    assert store.row(SealedKey, "acme", SIGNING) is None


TAMPERED: dict[str, Callable[[SealedKey, SealedKey], dict[str, Any]]] = {
    "another tenant's": lambda acme, zebra: {"public": zebra.public, "sealed": zebra.sealed},
    "another tenant's under the own public key": lambda acme, zebra: {"sealed": zebra.sealed},
    "another public key": lambda acme, zebra: {"public": zebra.public},
    "a changed bit": lambda acme, zebra: {"sealed": flipped(acme.sealed)},
    "a changed nonce": lambda acme, zebra: {"sealed": bytes(12) + acme.sealed[12:]},
    "its beginning": lambda acme, zebra: {"sealed": acme.sealed[:20]},
    "a part of a nonce": lambda acme, zebra: {"sealed": acme.sealed[:5]},
    "nothing": lambda acme, zebra: {"sealed": b""},
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_row_that_was_changed_signs_nothing_and_the_other_tenants_go_on(
    store: MemoryStore, change: Callable[[SealedKey, SealedKey], dict[str, Any]]
) -> None:
    keys = Keyring(store, ROOT)
    keys.create("acme")
    keys.create("zebra")
    acme, zebra = row(store, "acme", SIGNING), row(store, "zebra", SIGNING)
    put(store, structs.replace(acme, **change(acme, zebra)))
    again = Keyring(store, ROOT)
    with pytest.raises(KeyUnusable, match="not as this installation sealed it"):
        again("acme")
    assert again("zebra").kid == keys("zebra").kid


def test_a_secret_of_one_purpose_does_not_open_for_another(store: MemoryStore) -> None:
    keys = Keyring(store, ROOT)
    keys.create("acme")
    keys.vault(store)()
    put(store, structs.replace(row(store, "acme", SIGNING), tenant=INSTALLATION, id=VAULT))
    with pytest.raises(KeyUnusable, match="not as this installation sealed it"):
        keys.vault(store)()


def test_a_public_key_that_somebody_else_wrote_is_not_published(store: MemoryStore) -> None:
    """Who can write the database could sign a log of their own, were their key among ours."""
    keys = Keyring(store, ROOT)
    keys.create("acme")
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    mark = row(store, INSTALLATION, PUBLIC + keys("acme").kid).sealed
    put(store, SealedKey(INSTALLATION, PUBLIC + kid_of(public), public, mark))
    with pytest.raises(KeyUnusable, match="not as this installation sealed it"):
        keys.public()


def test_the_secret_of_the_vault_is_not_replaced_while_it_sealed_what_is_kept(store: MemoryStore) -> None:
    store.append(Append([], [Sealed("acme", "sha256:1", "order:1", "reason", b"\x01", b'"x"')], [], (), [], []))
    with pytest.raises(KeyUnusable, match="values are sealed with it"):
        Keyring(store, ROOT).vault(store)()
    assert store.row(SealedKey, INSTALLATION, VAULT) is None


def test_another_key_than_the_one_that_is_there_is_not_kept(store: MemoryStore) -> None:
    keys = Keyring(store, ROOT)
    keys.create("acme")
    kid = keys("acme").kid
    with pytest.raises(KeyUnusable, match=f"is {kid}, and not"):
        keys.keep("acme", Ed25519PrivateKey.generate())
    keys.vault(store)()
    with pytest.raises(KeyUnusable, match="is another one"):
        keys.keep_secret(bytes(32))
    assert Keyring(store, ROOT)("acme").kid == kid


def test_no_secret_is_in_a_row_an_error_or_a_repr(store: MemoryStore) -> None:
    keys = Keyring(store, ROOT)
    keys.create("acme")
    secrets = [ROOT, keys._master, keys.private("acme").private_bytes_raw(), keys.vault(store)()]
    rows = [*store.rows(SealedKey, INSTALLATION), *store.rows(SealedKey, "acme")]
    with pytest.raises(KeyUnusable) as wrong:
        Keyring(store, OTHER)
    put(store, structs.replace(row(store, "acme", SIGNING), sealed=b"x" * 60))
    with pytest.raises(KeyUnusable) as changed:
        Keyring(store, ROOT)("acme")
    errors = [wrong.value, changed.value]
    shown = [repr(each) for each in (rows, keys, keys("acme"), *errors, *(error.detail for error in errors))]
    assert [error.__cause__ for error in errors] == [None, None]
    for secret in secrets:
        assert not any(secret in each.sealed + each.public for each in rows)
        assert not any(form in text for text in shown for form in (secret.hex(), repr(secret)[2:-1]))


def test_two_replicas_that_make_a_key_at_once_use_the_one_that_was_first(store: MemoryStore) -> None:
    both = Keyring(store, ROOT), Keyring(store, ROOT)
    at_once = Barrier(2)

    def found(keys: Keyring, tenant: str) -> str:
        at_once.wait()
        keys.create(tenant)
        return keys(tenant).kid

    tenants = [f"tenant-{number}" for number in range(50)]
    with ThreadPoolExecutor(2) as pool:
        kids = [list(pool.map(found, both, (tenant, tenant))) for tenant in tenants]
    assert [len(set(pair)) for pair in kids] == [1] * len(tenants)
    assert set(parse_jwks(both[0].public())) == {pair[0] for pair in kids}, "and the other one is published nowhere"


def test_two_replicas_that_start_at_once_on_an_empty_database_share_its_master_key() -> None:
    for _ in range(20):
        store = MemoryStore()
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(Keyring, (store, store), (ROOT, ROOT)))
        assert both[0]._master == both[1]._master


def test_a_tenant_that_one_replica_made_signs_on_the_other(store: MemoryStore) -> None:
    one, other = Keyring(store, ROOT), Keyring(store, ROOT)
    one.create("acme")
    signature = other("acme").sign(b"a receipt")
    assert parse_jwks(one.public()).verify(one("acme").kid, signature, b"a receipt")
    assert one.vault(store)() == other.vault(store)()


def test_a_key_is_published_before_it_signs(store: MemoryStore) -> None:
    """The replica that made it may have ended between the two rows."""
    keys = Keyring(store, ROOT)
    keys.create("acme")
    del store._rows[SealedKey, INSTALLATION, PUBLIC + keys("acme").kid]
    again = Keyring(store, ROOT)
    assert list(parse_jwks(again.public())) == []
    kid = again("acme").kid
    assert list(parse_jwks(again.public())) == [kid]


def test_every_tenant_has_a_key_of_its_own_and_keeps_it(store: MemoryStore) -> None:
    keys = Keyring(store, ROOT)
    tenants = ("acme", "zebra", "acme:test")
    for tenant in tenants:
        keys.create(tenant)
    again = Keyring(store, ROOT)
    again.create("acme")
    assert len({keys(tenant).kid for tenant in tenants}) == 3
    assert [again(tenant).kid for tenant in tenants] == [keys(tenant).kid for tenant in tenants]


def test_more_keys_than_a_page_are_all_published(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kiff.stores.keyring.PAGE", 3)
    keys = Keyring(store, ROOT)
    keys.vault(store)()
    for number in range(7):
        keys.create(f"tenant-{number}")
    kids = {keys(f"tenant-{number}").kid for number in range(7)}
    assert set(parse_jwks(keys.public())) == kids
    assert set(published(store)) == kids, "whoever has no root secret reads the same"


def test_what_a_database_without_keys_publishes_is_empty(store: MemoryStore) -> None:
    assert list(parse_jwks(Keyring(store, ROOT).public())) == list(PublicKeys())


def test_keys_make_no_tenant(store: MemoryStore) -> None:
    keys = Keyring(store, ROOT)
    keys.create("acme")
    keys.vault(store)()
    assert store.tenants() == []


def test_after_the_root_was_changed_only_the_new_one_opens_and_every_key_is_the_same(store: MemoryStore) -> None:
    keys = Keyring(store, ROOT)
    keys.create("acme")
    secret = keys.vault(store)()
    keys.reseal(OTHER)
    with pytest.raises(KeyUnusable):
        Keyring(store, ROOT)
    again = Keyring(store, OTHER)
    assert (again("acme").kid, again.vault(store)()) == (keys("acme").kid, secret)
    keys.create("zebra")
    assert again("zebra").kid == keys("zebra").kid, "a replica that was started before goes on"
