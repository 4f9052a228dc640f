"""Opening KIFF inside a program: one SQLite file, one key file beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kiff.domain import Domain
from kiff.ledger.keys import Ed25519Signer
from kiff.runtime.ports import Clock, Executor
from kiff.runtime.runtime import Runtime
from kiff.stores.follow_heads import open_seen
from kiff.stores.keyfile import load, load_or_create, vault_secret
from kiff.stores.seen_heads import seen_path
from kiff.stores.sqlite import SqliteStore


def open_runtime(
    path: str | os.PathLike[str],
    *,
    domains: Iterable[Domain] = (),
    executors: Mapping[str, Executor] | None = None,
    key: str | os.PathLike[str] | None = None,
    vault: bytes | None = None,
    clock: Clock | None = None,
    accept_rollback: Iterable[str] = (),
    **options: Any,
) -> Runtime:
    """A runtime over a SQLite database; the database and the signing key are made when they are missing.

    Args:
        path: the database file.
        domains: activated at start when they are not active yet.
        executors: name -> function.
        key: the signing key's file; `<path>.key.pem` when not given.
        vault: the secret that `sensitive` parameters are sealed with, 32 bytes or more; when not given, that of
            `<path>.vault.key`, which is made when it is first needed.
        clock: where the store's and the runtime's time comes from; the machine's when not given.
        accept_rollback: tenants whose log may hold less than `<path>.seen.json` says was seen of it; that it goes
            on so is its next record.
        options: as in `Runtime`.

    Raises:
        StoreError: the database cannot serve; StoreRolledBack, when it is an older copy of itself.
        KeyUnusable: the key is readable by others, is no key, or is gone while the log it signed is there; name
            another one with `key` to go on with that.
    """
    store = SqliteStore(path, clock=clock)
    try:
        seen = open_seen(seen_path(path), store, accept=accept_rollback)
        signer = load_or_create(Path(key)) if key is not None else _own_key(store, key_path(path))
    except BaseException:
        store.close()
        raise
    secret = vault_secret(vault_path(path), store) if vault is None else vault
    return Runtime(store, signer, domains=domains, executors=executors, vault=secret, clock=clock, seen=seen, **options)


def _own_key(store: SqliteStore, file: Path) -> Ed25519Signer:
    """The key beside the database. One that is gone is not replaced in silence: what it signed is still there."""
    return load(file) if store.heads() and not file.exists() else load_or_create(file)


def key_path(path: str | os.PathLike[str]) -> Path:
    """Where the key of an embedded database is kept."""
    return Path(f"{os.fspath(path)}.key.pem")


def vault_path(path: str | os.PathLike[str]) -> Path:
    """Where the vault's secret of an embedded database is kept."""
    return Path(f"{os.fspath(path)}.vault.key")
