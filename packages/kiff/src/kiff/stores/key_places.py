"""Where the keys of a store are, and bringing them to another place: files beside SQLite, sealed rows in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiff.ledger.keys import jwks, parse_jwks
from kiff.stores.keyfile import KeyFolder, load_private, load_secret, public_path

FOLDER = "keys"
"""In a server's data folder, beside the database."""


class KeySource(Protocol):
    """Keys that can be taken to another place."""

    def tenants(self) -> list[str]: ...

    def private(self, tenant: str) -> Ed25519PrivateKey: ...

    def public(self) -> bytes: ...

    def secret(self) -> bytes | None: ...


class KeyTarget(Protocol):
    """A place that takes keys in; what is there already is never replaced."""

    def keep(self, tenant: str, private: Ed25519PrivateKey) -> None: ...

    def keep_secret(self, secret: bytes) -> None: ...

    def publish(self, publics: Iterable[bytes]) -> None: ...


class OneKey:
    """The key of an embedded database, which signs for all its tenants: `<path>.key.pem`, `<path>.vault.key`.

    A program that brings its signer itself has only the public set there.
    """

    def __init__(self, database: Path, tenants: list[str]) -> None:
        self._key = Path(f"{database}.key.pem")
        self._vault = Path(f"{database}.vault.key")
        self._tenants = tenants

    def tenants(self) -> list[str]:
        return self._tenants if self._key.exists() else []

    def private(self, tenant: str) -> Ed25519PrivateKey:
        """
        Raises:
            KeyUnusable: the file cannot be trusted.
        """
        return load_private(self._key)

    def public(self) -> bytes:
        beside = public_path(self._key)
        return beside.read_bytes() if beside.exists() else msgspec.json.encode(jwks(()))

    def secret(self) -> bytes | None:
        return load_secret(self._vault) if self._vault.exists() else None


def key_folder(database: Path) -> KeyFolder:
    """The folder of keys beside a server's database; made when it is not there."""
    return KeyFolder(database.parent / FOLDER, database.with_name(f"{database.name}.key.jwks.json"))


def keys_beside(database: Path, tenants: list[str]) -> KeySource:
    """The keys of a SQLite database: a server's, or those of the program that it is embedded in."""
    own = OneKey(database, tenants)
    served = any((database.parent / FOLDER / f"{tenant}.pem").exists() for tenant in tenants)
    return key_folder(database) if served and not own.tenants() else own


def secret_files(database: Path, tenants: list[str]) -> list[Path]:
    """The files beside a SQLite database that must be kept secret."""
    folder = database.parent / FOLDER
    named = [Path(f"{database}.key.pem"), Path(f"{database}.vault.key")]
    named += [folder / f"{tenant}.pem" for tenant in tenants]
    if any(file.exists() for file in named[2:]):
        named.append(folder / "vault.key")
    return [file for file in named if file.exists()]


def carry(source: KeySource, target: KeyTarget, tenants: list[str]) -> int:
    """Brings the keys of these tenants, the vault's secret and every public key. Again, it changes nothing.

    Returns:
        How many tenants have their key there now.

    Raises:
        KeyUnusable: one cannot be trusted, or the target has another one in its place.
    """
    carried = sorted(set(source.tenants()) & set(tenants))
    for tenant in carried:
        target.keep(tenant, source.private(tenant))
    known = parse_jwks(source.public())
    target.publish(known.public(kid) for kid in known)
    secret = source.secret()
    if secret is not None:
        target.keep_secret(secret)
    return len(carried)
