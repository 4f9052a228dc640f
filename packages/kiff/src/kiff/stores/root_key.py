"""The file of the installation's root secret: 32 bytes in hexadecimal, the same for every replica.

Whoever has it and a copy of the database can sign as every tenant; who has lost it can sign as none.
"""

from __future__ import annotations

from pathlib import Path

from kiff.errors import KeyUnusable
from kiff.runtime.ports import Store
from kiff.runtime.rows import SealedKey
from kiff.stores.keyfile import load_or_create_secret, load_secret
from kiff.stores.keyring import INSTALLATION, Keyring

ROOT = "root.key"
"""Its name in a data folder."""


def open_keyring(store: Store, data: Path, named: Path | None = None) -> Keyring:
    """The keys in a database.

    Args:
        data: the folder that holds `root.key`; the first start on an empty database makes it.
        named: the root secret's file, where the platform puts it; it is never made.

    Raises:
        KeyUnusable: the file is not there, cannot be trusted, or is not the root of these keys.
    """
    if named is not None:
        return Keyring(store, load_secret(named, mounted=True))
    path = data / ROOT
    if not path.exists() and store.rows(SealedKey, INSTALLATION, limit=1) and not path.exists():  # nor made meanwhile
        message = f"the key file `{path}` is not there, and the keys in the database are sealed with it"
        raise KeyUnusable(f"{message}; copy it from another replica or from its backup", path=str(path))
    return Keyring(store, load_or_create_secret(path))


def change_root(store: Store, data: Path, new: Path, named: Path | None = None) -> bool:
    """Lets the secret in the file `new` open the keys from now on, and no longer the one in `data` or `named`.

    No file is changed, but `new` is made when it is not there. Called again after it was interrupted, it finds out
    how far it came.

    Returns:
        Whether it did; False when the new one opened them already.

    Raises:
        KeyUnusable: neither opens them, or one cannot be trusted.
    """
    if not store.rows(SealedKey, INSTALLATION, limit=1):
        raise KeyUnusable("the database holds no sealed key; its first server makes them")
    root = load_or_create_secret(new)
    try:
        keyring = open_keyring(store, data, named)
    except KeyUnusable as error:
        try:
            Keyring(store, root)
        except KeyUnusable:
            raise error from None
        return False
    keyring.reseal(root)
    return True
