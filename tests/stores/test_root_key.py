"""The file of the root secret: made once, for its owner alone, and never beside keys that it does not open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kiff.errors import KeyUnusable
from kiff.stores.memory import MemoryStore
from kiff.stores.root_key import ROOT, change_root, open_keyring

HEX = "5a" * 32 + "\n"


def test_one_that_is_not_there_is_not_made_beside_keys_that_it_would_not_open(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    open_keyring(store, tmp_path / "a")
    with pytest.raises(KeyUnusable, match="copy it from another replica or from its backup"):
        open_keyring(store, tmp_path / "b")
    assert list((tmp_path / "b").iterdir()) == []


def test_one_of_another_installation_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    open_keyring(MemoryStore(), tmp_path)
    before = (tmp_path / ROOT).read_bytes()
    other = MemoryStore()
    (tmp_path / "other").mkdir()
    open_keyring(other, tmp_path / "other")
    with pytest.raises(KeyUnusable, match="does not open the keys in this database"):
        open_keyring(other, tmp_path)
    assert (tmp_path / ROOT).read_bytes() == before


@pytest.mark.parametrize("text", ["", "abcdef\n", "correct horse battery staple\n", "ab" * 31 + "\n"])
def test_what_is_no_secret_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    (tmp_path / ROOT).write_text(text)
    (tmp_path / ROOT).chmod(0o600)
    with pytest.raises(KeyUnusable, match="holds no 32 bytes") as refused:
        open_keyring(MemoryStore(), tmp_path)
    assert not text or text.strip() not in refused.value.message


@pytest.mark.parametrize("open_to", [0o640, 0o604])
def test_one_in_the_data_folder_that_others_may_read_is_of_no_use(tmp_path: Path, open_to: int) -> None:
    open_keyring(MemoryStore(), tmp_path)
    (tmp_path / ROOT).chmod(open_to)
    with pytest.raises(KeyUnusable, match="open to other users"):
        open_keyring(MemoryStore(), tmp_path)


def test_one_that_the_operator_names_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="is not there"):
        open_keyring(MemoryStore(), tmp_path, tmp_path / "mounted.key")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o404, 0o444, 0o420, 0o602, 0o460])
def test_one_that_is_mounted_for_everybody_or_that_a_group_may_change_is_of_no_use(tmp_path: Path, mode: int) -> None:
    named = tmp_path / "mounted.key"
    named.write_text(HEX)
    named.chmod(mode)
    with pytest.raises(KeyUnusable, match="mount it with mode 0400"):
        open_keyring(MemoryStore(), tmp_path, named)


def test_one_may_be_mounted_behind_a_link_and_be_read_through_a_group(tmp_path: Path) -> None:
    """As Kubernetes mounts a secret with `defaultMode: 0440`."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / ROOT).write_text(HEX)
    (tmp_path / "..data" / ROOT).chmod(0o440)
    (tmp_path / "mounted.key").symlink_to(Path("..data") / ROOT)
    store = MemoryStore()
    open_keyring(store, tmp_path, tmp_path / "mounted.key").create("acme")
    assert open_keyring(store, tmp_path, tmp_path / "mounted.key")("acme").kid
    assert not (tmp_path / ROOT).exists()


def test_the_first_start_makes_it_for_its_owner_alone_and_the_next_reads_it(tmp_path: Path) -> None:
    store = MemoryStore()
    before = os.umask(0)
    try:
        open_keyring(store, tmp_path).create("acme")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / ROOT).stat().st_mode) == 0o600
    assert open_keyring(store, tmp_path)("acme").kid == open_keyring(store, tmp_path)("acme").kid
    assert [file.name for file in tmp_path.iterdir()] == [ROOT]


def test_a_root_of_nothing_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="holds no sealed key"):
        change_root(MemoryStore(), tmp_path, tmp_path / "new.key")
    assert list(tmp_path.iterdir()) == []


def test_who_has_another_root_changes_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    open_keyring(store, tmp_path / "ours")
    open_keyring(MemoryStore(), tmp_path / "theirs")
    with pytest.raises(KeyUnusable, match="does not open the keys"):
        change_root(store, tmp_path / "theirs", tmp_path / "new.key")
    open_keyring(store, tmp_path / "ours")


def test_a_new_root_opens_in_place_of_the_old_one_and_a_second_run_says_so(tmp_path: Path) -> None:
    store = MemoryStore()
    open_keyring(store, tmp_path).create("acme")
    kid = open_keyring(store, tmp_path)("acme").kid
    new = tmp_path / "new.key"
    assert [change_root(store, tmp_path, new) for _ in range(2)] == [True, False]
    with pytest.raises(KeyUnusable, match="does not open the keys"):
        open_keyring(store, tmp_path)
    new.replace(tmp_path / ROOT)
    assert open_keyring(store, tmp_path)("acme").kid == kid
