"""`kiff root rotate`, on a real PostgreSQL: the new secret opens the same keys, and the old one none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from postgres_server import server

from kiff.cli.exits import Exit
from kiff.errors import KeyUnusable
from kiff.stores.postgres import PostgresStore
from kiff.stores.root_key import ROOT, open_keyring

pytestmark = pytest.mark.slow


@pytest.fixture
def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    """What KIFF_STORE names, with a tenant's key that the data folder's root.key opens."""
    url = server().fresh()
    monkeypatch.setenv("KIFF_STORE", url)
    monkeypatch.setenv("KIFF_DATA", str(folder / "data"))
    (folder / "data").mkdir()
    with closing(PostgresStore(url)) as opened:
        open_keyring(opened, folder / "data").create("acme")
        yield opened


def test_who_has_another_root_rotates_nothing(kiff: Any, folder: Path, store: PostgresStore) -> None:
    root = folder / "data" / ROOT
    ours = root.read_bytes()
    root.write_text("11" * 32 + "\n")
    ran = kiff("root", "rotate", "new.key")
    assert (ran.code, ran.out) == (Exit.FAILED, "")
    assert "[key_unusable]" in ran.err
    assert "11" * 32 not in ran.err
    root.write_bytes(ours)
    assert open_keyring(store, folder / "data")("acme").kid


def test_the_new_secret_opens_the_same_keys_and_a_second_run_changes_nothing(
    kiff: Any, folder: Path, store: PostgresStore
) -> None:
    kid = open_keyring(store, folder / "data")("acme").kid
    first, second = kiff("root", "rotate", "new.key"), kiff("root", "rotate", "new.key")
    assert (first.code, first.out) == (Exit.DONE, "field\tvalue\nroot\tnew.key\nchanged\tyes\n")
    assert second.out == "field\tvalue\nroot\tnew.key\nchanged\tno\n"
    with pytest.raises(KeyUnusable):
        open_keyring(store, folder / "data")
    (folder / "new.key").replace(folder / "data" / ROOT)
    assert open_keyring(store, folder / "data")("acme").kid == kid
    assert (folder / "data" / ROOT).read_text().strip() not in first.out + first.err
