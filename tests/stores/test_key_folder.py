"""The keys of many tenants: a file each that nobody else reads, none replaced, and one public set that only grows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiff.errors import KeyUnusable
from kiff.ledger import parse_jwks
from kiff.stores.keyfile import KeyFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys"


@pytest.fixture
def public(tmp_path: Path) -> Path:
    return tmp_path / "data" / "kiff.db.key.jwks.json"


@pytest.fixture
def keys(folder: Path, public: Path) -> KeyFolder:
    return KeyFolder(folder, public)


@pytest.fixture
def generous_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_tenant_without_a_key_gets_none_by_being_asked_for(keys: KeyFolder, folder: Path) -> None:
    with pytest.raises(KeyUnusable, match="is not there"):
        keys("acme")
    assert list(folder.iterdir()) == []


def test_a_key_that_is_gone_is_not_replaced(keys: KeyFolder, folder: Path, public: Path) -> None:
    keys.create("acme")
    kid = keys("acme").kid
    (folder / "acme.pem").unlink()
    again = KeyFolder(folder, public)
    with pytest.raises(KeyUnusable, match="restore it from its backup"):
        again("acme")
    assert not (folder / "acme.pem").exists()
    assert kid in parse_jwks(again.public()), "what it signed can still be verified"


@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o622])
def test_a_key_open_to_others_signs_nothing_and_the_other_tenants_go_on(
    keys: KeyFolder, folder: Path, public: Path, open_to: int
) -> None:
    keys.create("acme")
    keys.create("zebra")
    (folder / "acme.pem").chmod(open_to)
    again = KeyFolder(folder, public)
    with pytest.raises(KeyUnusable, match=f"chmod 600 {folder / 'acme.pem'}"):
        again("acme")
    with pytest.raises(KeyUnusable):
        again.create("acme")
    assert again("zebra").kid == keys("zebra").kid


def test_another_tenants_key_under_its_own_name_is_a_link_and_refused(keys: KeyFolder, folder: Path) -> None:
    keys.create("acme")
    (folder / "zebra.pem").symlink_to(folder / "acme.pem")
    with pytest.raises(KeyUnusable, match="symbolic link"):
        keys("zebra")


def test_a_public_set_that_is_none_is_not_overwritten(keys: KeyFolder, public: Path) -> None:
    public.write_text("not a key set")
    with pytest.raises(KeyUnusable, match="is not a key set"):
        keys.create("acme")
    assert public.read_text() == "not a key set"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(KeyUnusable, match="cannot be created"):
        KeyFolder(tmp_path / "keys", tmp_path / "jwks.json")


@pytest.mark.usefixtures("generous_umask")
def test_folder_and_keys_are_their_owners_alone_whatever_the_umask(folder: Path, public: Path) -> None:
    KeyFolder(folder, public).create("acme")
    assert (mode(folder), mode(folder / "acme.pem")) == (0o700, 0o600)
    assert mode(public) == 0o644


def test_every_tenant_has_a_key_of_its_own_and_keeps_it(keys: KeyFolder, folder: Path, public: Path) -> None:
    for tenant in ("acme", "zebra", "acme:test"):
        keys.create(tenant)
    kids = [keys(tenant).kid for tenant in ("acme", "zebra", "acme:test")]
    assert len(set(kids)) == 3
    again = KeyFolder(folder, public)
    again.create("acme")
    assert [again(tenant).kid for tenant in ("acme", "zebra", "acme:test")] == kids


def test_the_public_set_begins_empty_and_only_grows(keys: KeyFolder, folder: Path) -> None:
    assert list(parse_jwks(keys.public())) == []
    keys.create("acme")
    first = set(parse_jwks(keys.public()))
    keys.create("zebra")
    keys.create("acme")
    both = set(parse_jwks(keys.public()))
    assert first == {keys("acme").kid}
    assert both == {keys("acme").kid, keys("zebra").kid}
    (folder / "acme.pem").unlink()
    KeyFolder(folder, keys._public).create("third")
    assert both < set(parse_jwks(keys.public())), "a key that is gone stays in the set"


def test_the_public_set_holds_no_private_part(keys: KeyFolder, folder: Path) -> None:
    keys.create("acme")
    assert b'"d"' not in keys.public()
    assert b"PRIVATE" not in keys.public()
    assert b"PRIVATE" in (folder / "acme.pem").read_bytes()
