"""Keys from files into a database and back: every one, unchanged, or a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiff.errors import KeyUnusable
from kiff.ledger import parse_jwks
from kiff.protocol.authority import Tenant
from kiff.runtime.ports import Append
from kiff.stores.key_places import carry
from kiff.stores.keyfile import KeyFolder
from kiff.stores.keyring import Keyring
from kiff.stores.memory import MemoryStore

TENANTS = ["acme", "acme:test", "zebra"]


def folder(path: Path) -> KeyFolder:
    return KeyFolder(path / "keys", path / "public.json")


def full(path: Path) -> KeyFolder:
    """Three tenants' keys, the vault's secret, and a public key whose private part is gone."""
    keys = folder(path)
    for tenant in (*TENANTS, "gone"):
        keys.create(tenant)
    (path / "keys" / "gone.pem").unlink()
    keys.vault(MemoryStore())()
    return keys


def ring() -> Keyring:
    """Over a store that has these tenants."""
    store = MemoryStore()
    store.append(Append([], [Tenant(tenant, "tenant", False, 0) for tenant in TENANTS], [], (), [], []))
    return Keyring(store, bytes(32))


def test_another_key_in_its_place_is_refused_and_stays(tmp_path: Path) -> None:
    keys, files = ring(), full(tmp_path)
    keys.create("acme")
    kid = keys("acme").kid
    with pytest.raises(KeyUnusable, match="the key of `acme` in the database"):
        carry(files, keys, TENANTS)
    assert keys("acme").kid == kid


def test_another_key_file_in_its_place_is_refused_and_stays(tmp_path: Path) -> None:
    keys, files = ring(), folder(tmp_path)
    carry(full(tmp_path / "full"), keys, TENANTS)
    files.create("zebra")
    kid = files("zebra").kid
    with pytest.raises(KeyUnusable, match=r"zebra\.pem"):
        carry(keys, files, TENANTS)
    assert folder(tmp_path)("zebra").kid == kid


def test_another_vault_secret_in_its_place_is_refused_and_stays(tmp_path: Path) -> None:
    keys, files = ring(), folder(tmp_path)
    carry(full(tmp_path / "full"), keys, TENANTS)
    secret = files.vault(MemoryStore())()
    with pytest.raises(KeyUnusable, match=r"vault\.key"):
        carry(keys, files, TENANTS)
    assert files.secret() == secret


def test_a_key_file_that_others_may_read_is_not_brought_in(tmp_path: Path) -> None:
    files = full(tmp_path)
    (tmp_path / "keys" / "acme.pem").chmod(0o644)
    with pytest.raises(KeyUnusable, match="open to other users"):
        carry(files, ring(), TENANTS)


def test_what_was_brought_in_signs_and_opens_as_before_twice_over(tmp_path: Path) -> None:
    keys, files = ring(), full(tmp_path)
    for _ in range(2):
        carry(files, keys, TENANTS)
        assert [keys(tenant).kid for tenant in TENANTS] == [files(tenant).kid for tenant in TENANTS]
        assert keys.secret() == files.secret()
        assert set(parse_jwks(keys.public())) == set(parse_jwks(files.public())), "the gone one's too"


def test_what_was_brought_back_is_what_was_brought_in(tmp_path: Path) -> None:
    keys, files, back = ring(), full(tmp_path / "files"), folder(tmp_path / "back")
    carry(files, keys, TENANTS)
    for _ in range(2):
        carry(keys, back, TENANTS)
    for tenant in TENANTS:
        assert back.private(tenant).private_bytes_raw() == files.private(tenant).private_bytes_raw()
    assert back.secret() == files.secret()
    assert set(parse_jwks(back.public())) == set(parse_jwks(files.public()))
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "back" / "keys").iterdir()} == {0o600}


def test_a_folder_whose_vault_was_never_used_brings_none(tmp_path: Path) -> None:
    files = folder(tmp_path)
    files.create("acme")
    keys = ring()
    carry(files, keys, TENANTS)
    assert keys.secret() is None
