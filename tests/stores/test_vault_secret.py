"""The secret of the vault: a file that nobody else reads, made when it is needed, and never replaced in silence."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import kiff
from kiff.embedded import vault_path
from kiff.errors import KeyUnusable
from kiff.protocol.sealed import Sealed
from kiff.runtime.ports import Append
from kiff.stores.keyfile import KeyFolder, load_secret, vault_secret
from kiff.stores.memory import MemoryStore


def in_use() -> MemoryStore:
    store = MemoryStore()
    store.append(Append([], [Sealed("acme", "sha256:1", "order:1", "reason", b"\x01", b'"x"')], [], (), [], []))
    return store


def test_one_that_is_gone_is_not_replaced_while_it_sealed_what_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="restore it from its backup"):
        vault_secret(tmp_path / "vault.key", in_use())()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("open_to", [0o640, 0o604])
def test_one_that_others_may_read_is_of_no_use(tmp_path: Path, open_to: int) -> None:
    path = tmp_path / "vault.key"
    vault_secret(path, MemoryStore())()
    path.chmod(open_to)
    with pytest.raises(KeyUnusable, match="open to other users"):
        load_secret(path)


def test_a_link_to_one_is_refused(tmp_path: Path) -> None:
    vault_secret(tmp_path / "real.key", MemoryStore())()
    (tmp_path / "vault.key").symlink_to(tmp_path / "real.key")
    with pytest.raises(KeyUnusable, match="symbolic link"):
        vault_secret(tmp_path / "vault.key", MemoryStore())()


@pytest.mark.parametrize("text", ["", "abcdef", "correct horse battery staple", "ab" * 31])
def test_what_is_no_secret_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vault.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyUnusable, match="holds no 32 bytes") as refused:
        load_secret(path)
    assert not text or text not in refused.value.message
    assert refused.value.__cause__ is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="cannot be created"):
        vault_secret(tmp_path / "nowhere" / "vault.key", MemoryStore())()


def test_it_is_made_for_its_owner_alone_and_stays_the_same(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        first = vault_secret(tmp_path / "vault.key", MemoryStore())()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "vault.key").stat().st_mode) == 0o600
    assert vault_secret(tmp_path / "vault.key", in_use())() == first
    assert (len(first), [each.name for each in tmp_path.iterdir()]) == (32, ["vault.key"])


def test_two_installations_have_different_ones(tmp_path: Path) -> None:
    made = {vault_secret(tmp_path / name, MemoryStore())() for name in ("a.key", "b.key")}
    assert len(made) == 2


def test_a_key_folder_keeps_it_beside_the_keys_of_tenants(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "keys", tmp_path / "public.json")
    assert keys.vault(MemoryStore())() == load_secret(tmp_path / "keys" / "vault.key")


def test_a_database_that_has_nothing_to_seal_gets_no_file(tmp_path: Path) -> None:
    with kiff.open_runtime(tmp_path / "kiff.db"):
        pass
    assert not vault_path(tmp_path / "kiff.db").exists()
