"""Replicas over one store share its keys: what each needs of its own is the root secret."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiff.errors import KeyUnusable
from kiff.ledger import Checkpoint, open_checkpoint, parse_jwks
from kiff.server.settings import ServerSettings
from kiff.server.tower import Tower
from kiff.stores.memory import MemoryStore
from kiff.stores.root_key import ROOT


class Shared(MemoryStore):
    """A store of several processes, all of them this one."""

    exclusive = False


@pytest.fixture
def store() -> Shared:
    return Shared()


@pytest.fixture
def first(store: Shared, tmp_path: Path) -> Iterator[Tower]:
    tower = Tower(ServerSettings(tmp_path / "first"), store=store)
    yield tower
    tower.close()


@pytest.fixture
def second(store: Shared, first: Tower, tmp_path: Path) -> Iterator[Tower]:
    (tmp_path / "second").mkdir()
    shutil.copy2(tmp_path / "first" / ROOT, tmp_path / "second" / ROOT)
    tower = Tower(ServerSettings(tmp_path / "second"), store=store)
    yield tower
    tower.close()


@pytest.mark.usefixtures("first")
def test_a_replica_without_the_root_secret_does_not_start(store: Shared, tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match=r"root\.key.*copy it from another replica"):
        Tower(ServerSettings(tmp_path / "second"), store=store)
    assert not (tmp_path / "second" / ROOT).exists()


def test_a_tenant_that_one_replica_made_has_its_log_signed_by_the_other(first: Tower, second: Tower) -> None:
    first.found("acme", [])
    note = second.runtime.checkpoint("acme").result()
    for tower in (first, second):
        opened = open_checkpoint(note, parse_jwks(tower.keys.public()))
        assert not hasattr(opened, "message"), opened
        assert isinstance(opened.checkpoint, Checkpoint)


def test_a_tenant_that_both_found_has_one_key(first: Tower, second: Tower) -> None:
    made = [tower.found("acme", []) for tower in (first, second)]
    assert made == [True, False]
    assert first.keys("acme").kid == second.keys("acme").kid
    assert list(parse_jwks(second.keys.public())) == [first.keys("acme").kid]


def test_no_key_is_in_a_file_but_the_root(first: Tower, tmp_path: Path) -> None:
    first.found("acme", [])
    assert (tmp_path / "first" / ROOT).is_file()
    assert not [*(tmp_path / "first").rglob("*.pem"), *(tmp_path / "first").rglob("*.jwks.json")]


def test_the_root_secret_may_be_where_the_platform_puts_it(first: Tower, store: Shared, tmp_path: Path) -> None:
    named = Path(shutil.copy2(tmp_path / "first" / ROOT, tmp_path / "mounted.key"))
    tower = Tower(ServerSettings(tmp_path / "third", root_key=named), store=store)
    tower.found("acme", [])
    assert first.keys("acme").kid == tower.keys("acme").kid
    tower.close()
