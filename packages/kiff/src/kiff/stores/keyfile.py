"""The files of keys, readable by their owner alone: a signing key (PKCS8 PEM) with its public key set beside it, and
secrets: of the vault, and the root of keys that are kept in a database.

A key that others can read, or could have put there, is of no use: every doubt is a KeyUnusable with its fix.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from kiff.errors import InvalidInput, KeyUnusable
from kiff.ledger.keys import Ed25519Signer, jwks, kid_of, parse_jwks
from kiff.protocol.sealed import SALT_BYTES, Sealed
from kiff.runtime.ports import Store
from kiff.stores.durable_file import make_folder

_MAX_BYTES = 16_384
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class KeyFolder:
    """One key a tenant, each in a file of its own, and one public set of all of them for auditors.

    Args:
        folder: made when it is not there.
        public: where the set of all public keys is written.
    """

    def __init__(self, folder: Path, public: Path) -> None:
        self._folder = folder
        self._public = public
        self._signers: dict[str, Ed25519Signer] = {}
        self._creating = Lock()
        try:
            make_folder(folder, 0o700)
        except OSError as error:
            raise _unusable(folder, f"cannot be created ({error.strerror})", "check its folder") from error

    def __call__(self, tenant: str) -> Ed25519Signer:
        """The signer of a tenant.

        Raises:
            KeyUnusable: it has no key here. One that is gone is not replaced: what it signed is still there.
        """
        signer = self._signers.get(tenant)
        if signer is None:
            signer = self._signers[tenant] = load(self._path(tenant))
        return signer

    def create(self, tenant: str) -> None:
        """Makes the tenant's key when it has none, and publishes it."""
        with self._creating:  # a key file is there before it is whole, and the set is replaced as a whole
            signer = load_or_create(self._path(tenant))
            _publish(self._public, [signer.public])
        self._signers[tenant] = signer

    def public(self) -> bytes:
        """The JSON of every public key that signed here."""
        return self._public.read_bytes() if self._public.exists() else msgspec.json.encode(jwks(()))

    def vault(self, store: Store) -> Callable[[], bytes]:
        """What brings the secret of the store's vault: one for all tenants, each of whom has a key made of it."""
        return vault_secret(self._vault, store)

    def tenants(self) -> list[str]:
        """Whose keys are here."""
        return sorted(file.stem for file in self._folder.glob("*.pem"))

    def private(self, tenant: str) -> Ed25519PrivateKey:
        """The tenant's key itself, for another place of keys.

        Raises:
            KeyUnusable: as in a call.
        """
        return load_private(self._path(tenant))

    def secret(self) -> bytes | None:
        """The vault's secret, for another place of keys; None when none was needed yet."""
        return load_secret(self._vault) if self._vault.exists() else None

    def keep(self, tenant: str, private: Ed25519PrivateKey) -> None:
        """Takes in a tenant's key, and publishes it.

        Raises:
            KeyUnusable: the tenant has another one here.
        """
        path, signer = self._path(tenant), Ed25519Signer(private)
        with suppress(FileExistsError):
            _put(path, _pem(private))
        if load(path).kid != signer.kid:
            raise _unusable(path, f"is not the key {signer.kid} that is to be kept in it", "move it away")
        self.publish([signer.public])

    def keep_secret(self, secret: bytes) -> None:
        """Takes in the vault's secret.

        Raises:
            KeyUnusable: another one is here.
        """
        with suppress(FileExistsError):
            _write_secret(self._vault, secret)
        if load_secret(self._vault) != secret:
            raise _unusable(self._vault, "is not the secret that is to be kept in it", "move it away")

    def publish(self, publics: Iterable[bytes]) -> None:
        """Adds keys to the public set, whoever has their private part."""
        with self._creating:
            _publish(self._public, publics)

    @property
    def _vault(self) -> Path:
        return self._folder / "vault.key"

    def _path(self, tenant: str) -> Path:
        return self._folder / f"{tenant}.pem"


def load_or_create(path: Path) -> Ed25519Signer:
    """The signer of this key file, made on first use; its public key is added to the key set beside it.

    Raises:
        KeyUnusable: the file is there and cannot be trusted, or neither can be made.
    """
    try:
        _create(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise _unusable(path, f"cannot be created ({error.strerror})", "check its folder") from error
    signer = load(path)
    _publish(public_path(path), [signer.public])
    return signer


def vault_secret(path: Path, store: Store) -> Callable[[], bytes]:
    """What brings the secret of a store's vault, for `Runtime`. The file is made when it is first needed.

    Raises (when it is called):
        KeyUnusable: the file cannot be trusted or made, or it is gone while the vault holds what was sealed with it.
    """

    def secret() -> bytes:
        if not path.exists() and any(store.count(Sealed, tenant) for tenant in store.tenants()):
            raise _unusable(path, "is not there, and values are sealed with it", "restore it from its backup")
        return load_or_create_secret(path)

    return secret


def load_or_create_secret(path: Path) -> bytes:
    """The secret in this file, drawn on first use. Of several processes that come at once, all get the same.

    Raises:
        KeyUnusable: the file is there and cannot be trusted, or cannot be made.
    """
    try:
        _write_secret(path, secrets.token_bytes(SALT_BYTES))
    except FileExistsError:
        pass
    except OSError as error:
        raise _unusable(path, f"cannot be created ({error.strerror})", "check its folder") from error
    return load_secret(path)


def load_secret(path: Path, *, mounted: bool = False) -> bytes:
    """The secret in an existing file.

    Args:
        mounted: the platform puts it there: it may lie behind links, be root's, and be read through a group.

    Raises:
        KeyUnusable: as in `load`; or it holds something else.
    """
    text = _read(path, mounted=mounted)
    try:
        secret = bytes.fromhex(text.decode("ascii"))
    except ValueError:  # `from None`: the error would show what is in the file
        secret = b""
    if len(secret) < SALT_BYTES:
        raise _unusable(path, f"holds no {SALT_BYTES} bytes in hexadecimal", "restore it from its backup")
    return secret


def load(path: Path) -> Ed25519Signer:
    """The signer of an existing key file.

    Raises:
        KeyUnusable: as in `load_private`.
    """
    return Ed25519Signer(load_private(path))


def load_private(path: Path) -> Ed25519PrivateKey:
    """The key in an existing key file.

    Raises:
        KeyUnusable: missing, not a regular file, a symbolic link, owned by another user, open to others, or
            not an Ed25519 key.
    """
    pem = _read(path)
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(path, "holds no unencrypted PEM private key", "restore it from its backup") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise _unusable(path, "holds a key of another type", "give an Ed25519 key")
    return private


def _read(path: Path, *, mounted: bool = False) -> bytes:
    """What is in a file that only its owner reads."""
    try:
        handle = os.open(path, _OPEN & ~os.O_NOFOLLOW if mounted else _OPEN)
    except FileNotFoundError as error:
        raise _unusable(path, "is not there", "create it or restore it from its backup") from error
    except OSError as error:
        if path.is_symlink():
            raise _unusable(path, "is a symbolic link", "give the path of the file itself") from error
        raise _unusable(path, f"cannot be opened ({error.strerror})", "check its path and owner") from error
    try:
        _check_owner_and_mode(path, os.fstat(handle), mounted)
        return os.read(handle, _MAX_BYTES)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})", "check its disk") from error
    finally:
        os.close(handle)


def public_path(path: Path) -> Path:
    """Where the key set for auditors is: `receipts.pem` has `receipts.jwks.json` beside it."""
    return path.with_name(f"{path.stem}.jwks.json")


def _check_owner_and_mode(path: Path, found: os.stat_result, mounted: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _unusable(path, "is not a regular file", "give the path of a key file")
    if mounted and found.st_uid in (0, os.geteuid()):
        if found.st_mode & _OTHERS & ~stat.S_IRGRP:
            fix = "mount it with mode 0400, or 0440 and the group of this process"
            raise _unusable(path, f"is open to other users (mode {stat.S_IMODE(found.st_mode):03o})", fix)
        return
    if found.st_uid != os.geteuid():
        fix = f"run `chown {os.geteuid()} {path}` or run as its owner"
        raise _unusable(path, f"belongs to user {found.st_uid}, not to user {os.geteuid()}", fix)
    if found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        fix = f"run `chmod 600 {path}`, and replace the key if others may have read it"
        raise _unusable(path, f"is open to other users (mode {mode:03o})", fix)


def _create(path: Path) -> None:
    if path.exists():
        raise FileExistsError  # nothing is drawn and written for a key that is there
    _put(path, _pem(Ed25519PrivateKey.generate()))


def _pem(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_secret(path: Path, secret: bytes) -> None:
    _put(path, secret.hex().encode() + b"\n")


def _put(path: Path, data: bytes) -> None:
    """A file that is there is whole: it gets its name when it is on disk."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    _write(fresh, data, 0o600)
    try:
        os.link(fresh, path)
    finally:
        fresh.unlink()
    _sync_folder(path.parent)


def _publish(beside: Path, publics: Iterable[bytes]) -> None:
    """Add keys to the public set; keys that signed earlier receipts stay in it."""
    try:
        known = parse_jwks(beside.read_bytes()) if beside.exists() else parse_jwks(jwks(()))
        added = [public for public in dict.fromkeys(publics) if kid_of(public) not in known]
        if not added:
            return
        publics = [*(known.public(kid) for kid in known), *added]
        fresh = beside.with_name(f".{beside.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        _write(fresh, msgspec.json.format(msgspec.json.encode(jwks(publics))) + b"\n", 0o644)
        fresh.replace(beside)
        _sync_folder(beside.parent)
    except InvalidInput as error:
        raise _unusable(beside, f"is not a key set ({error.message})", "move it away") from error
    except OSError as error:
        raise _unusable(beside, f"cannot be written ({error.strerror})", "check its folder") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    """Create a file that was not there, whole and on disk, or leave none."""
    handle = os.open(path, _CREATE, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(data)
            file.flush()
            os.fsync(handle)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unusable(path: Path, finding: str, fix: str) -> KeyUnusable:
    return KeyUnusable(f"the key file `{path}` {finding}; {fix}", path=str(path))
