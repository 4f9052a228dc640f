"""The keys of many tenants in the database, for any number of replicas that share one root secret.

    root secret    opens the master key, a row of the installation
    master key     opens every tenant's signing key and the vault's secret, and marks the public keys as ours

A row is sealed by AES-256-GCM under a key of its own, HKDF-SHA256 of what opens it, with its place and its public
part as associated data: one that was changed, or that stands in another's place, opens for nobody. A row is written
once: of several replicas that make a key at once, all use the one that was first.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kiff.canonical import encode
from kiff.errors import KeyUnusable
from kiff.ledger.keys import Ed25519Signer, PublicKeys, b64u, jwks, kid_of
from kiff.protocol.sealed import Sealed
from kiff.runtime.ports import Append, Store
from kiff.runtime.rows import SealedKey

INSTALLATION = "kiff:installation"
"""Whose the rows are that belong to no tenant; no tenant can be called so."""
MASTER, VAULT, SIGNING, PUBLIC = "master", "vault", "signing", "public:"
"""What rows are for. The last one begins the id of each published key; what is sealed in it is nothing."""
SECRET_BYTES, NONCE_BYTES = 32, 12
PAGE = 1000


class Keyring:
    """What `KeyFolder` is to one process, for many.

    Args:
        store: of the rows. It may be shared.
        root: the installation's secret, 32 bytes or more, the same for every replica.

    Raises:
        KeyUnusable: the root secret is not the one that the keys in this database are sealed with.
        StoreError: the database cannot serve.
    """

    def __init__(self, store: Store, root: bytes) -> None:
        self._store = store
        self._signers: dict[str, Ed25519Signer] = {}
        self._master = self._found(root)

    def __call__(self, tenant: str) -> Ed25519Signer:
        """The signer of a tenant, whichever replica made its key. It is published before it signs.

        Raises:
            KeyUnusable: it has no key here, or one that was changed. One that is gone is not replaced.
        """
        signer = self._signers.get(tenant)
        if signer is None:
            signer = Ed25519Signer(self.private(tenant))
            self.publish([signer.public])
            self._signers[tenant] = signer
        return signer

    def create(self, tenant: str) -> None:
        """Makes the tenant's key when it has none, and publishes it."""
        if self._row(tenant, SIGNING) is None:
            self._keep(tenant, Ed25519PrivateKey.generate())
        self(tenant)

    def public(self) -> bytes:
        """The JSON of every public key that signed anywhere, as the rows say now.

        Raises:
            KeyUnusable: somebody who does not hold the root secret put one there.
        """
        rows = list(_published(self._store))
        for row in rows:
            self._opened(row)
        return msgspec.json.encode(jwks(row.public for row in rows))

    def vault(self, store: Store) -> Callable[[], bytes]:
        """What brings the secret of the store's vault: one for all tenants, each of whom has a key made of it."""

        def secret() -> bytes:
            if self._row(INSTALLATION, VAULT) is None:
                sealed = any(store.count(Sealed, tenant) for tenant in store.tenants())
                if sealed and self._row(INSTALLATION, VAULT) is None:
                    raise _gone("the vault's secret, and values are sealed with it")
                self._put(_sealed_secret(self._master, VAULT, secrets.token_bytes(SECRET_BYTES)))
            return self._secret()

        return secret

    def reseal(self, root: bytes) -> None:
        """Another root secret opens the keys from now on, and the one before none that is started later.

        It is one row: whatever fails, one of the two opens it.
        """
        self._put(_sealed_secret(root, MASTER, self._master))

    def tenants(self) -> list[str]:
        """Whose keys are here."""
        return [tenant for tenant in self._store.tenants() if self._row(tenant, SIGNING) is not None]

    def private(self, tenant: str) -> Ed25519PrivateKey:
        """The tenant's key itself, for another place of keys.

        Raises:
            KeyUnusable: as in a call.
        """
        row = self._row(tenant, SIGNING)
        if row is None:
            raise _gone(f"the signing key of `{tenant}`")
        return Ed25519PrivateKey.from_private_bytes(self._opened(row))

    def secret(self) -> bytes | None:
        """The vault's secret, for another place of keys; None when none was needed yet."""
        return None if self._row(INSTALLATION, VAULT) is None else self._secret()

    def keep(self, tenant: str, private: Ed25519PrivateKey) -> None:
        """Takes in a tenant's key, and publishes it.

        Raises:
            KeyUnusable: the tenant has another one here.
        """
        self._keep(tenant, private)
        kept, given = self(tenant).kid, kid_of(private.public_key().public_bytes_raw())
        if kept != given:
            raise KeyUnusable(f"the key of `{tenant}` in the database is {kept}, and not {given}; keep that one")

    def keep_secret(self, secret: bytes) -> None:
        """Takes in the vault's secret.

        Raises:
            KeyUnusable: another one is here.
        """
        self._put(_sealed_secret(self._master, VAULT, secret))
        if self._secret() != secret:
            raise KeyUnusable("the vault's secret in the database is another one; values are sealed with it, keep it")

    def publish(self, publics: Iterable[bytes]) -> None:
        """Adds keys to the public set, whoever has their private part."""
        for public in publics:
            if self._row(INSTALLATION, PUBLIC + kid_of(public)) is None:
                self._put(_sealed(self._master, INSTALLATION, PUBLIC + kid_of(public), public, b""))

    def _found(self, root: bytes) -> bytes:
        """The master key; the first replica on an empty database draws it."""
        if len(root) < SECRET_BYTES:
            raise KeyUnusable(f"a root secret has {SECRET_BYTES} bytes or more, and this one has {len(root)}")
        if self._row(INSTALLATION, MASTER) is None:
            # Looked at again: another replica may have begun in between, and the master key is written first.
            if self._store.rows(SealedKey, INSTALLATION, limit=1) and self._row(INSTALLATION, MASTER) is None:
                raise _gone("the master key of its sealed keys")
            self._put(_sealed_secret(root, MASTER, secrets.token_bytes(SECRET_BYTES)))
        row = self._row(INSTALLATION, MASTER)
        assert row is not None, "it was just written, and nothing removes it"
        try:
            return _unsealed(root, row)
        except InvalidTag:
            message = "the root secret does not open the keys in this database"
            raise KeyUnusable(f"{message}; copy root.key from another replica or from its backup") from None

    def _secret(self) -> bytes:
        row = self._row(INSTALLATION, VAULT)
        assert row is not None, "who calls has seen it, or written it"
        return self._opened(row)

    def _keep(self, tenant: str, private: Ed25519PrivateKey) -> None:
        public = private.public_key().public_bytes_raw()
        self._put(_sealed(self._master, tenant, SIGNING, public, private.private_bytes_raw()))

    def _row(self, tenant: str, id: str) -> SealedKey | None:
        return self._store.row(SealedKey, tenant, id)

    def _put(self, row: SealedKey) -> None:
        """Writes the row, unless another secret is in its place."""
        self._store.append(Append([], [row], [], (), [], []))

    def _opened(self, row: SealedKey) -> bytes:
        try:
            return _unsealed(self._master, row)
        except InvalidTag:
            message = f"the sealed key `{row.id}` of `{row.tenant}` is not as this installation sealed it"
            raise KeyUnusable(f"{message}; restore it from a backup of the database") from None


def published(store: Store) -> PublicKeys:
    """The public keys that a database names: for whoever checks it without its root secret.

    Whoever writes the database could have added one; a key set that was kept outside cannot be added to.
    """
    return PublicKeys(row.public for row in _published(store))


def _published(store: Store) -> Iterator[SealedKey]:
    after = PUBLIC
    while page := store.rows(SealedKey, INSTALLATION, after=after, limit=PAGE):
        for row in page:
            if not row.id.startswith(PUBLIC):
                return
            yield row
        after = page[-1].id


def _sealed(secret: bytes, tenant: str, id: str, public: bytes, data: bytes) -> SealedKey:
    nonce = secrets.token_bytes(NONCE_BYTES)
    place = _place(tenant, id, public)
    return SealedKey(tenant, id, public, nonce + _cipher(secret, place).encrypt(nonce, data, place))


def _sealed_secret(secret: bytes, id: str, data: bytes) -> SealedKey:
    """A secret of the installation; which one it is, a digest says that nothing can be told from."""
    return _sealed(secret, INSTALLATION, id, _derived(data, b"kiff which secret"), data)


def _unsealed(secret: bytes, row: SealedKey) -> bytes:
    """What a row holds.

    Raises:
        InvalidTag: it was sealed with another secret, for another place, or not at all.
    """
    place = _place(row.tenant, row.id, row.public)
    nonce, data = row.sealed[:NONCE_BYTES], row.sealed[NONCE_BYTES:]
    if len(nonce) < NONCE_BYTES:
        raise InvalidTag
    return _cipher(secret, place).decrypt(nonce, data, place)


def _place(tenant: str, id: str, public: bytes) -> bytes:
    return encode([tenant, id, b64u(public)])


def _cipher(secret: bytes, place: bytes) -> AESGCM:
    return AESGCM(_derived(secret, b"kiff sealed key\0" + place))


def _derived(secret: bytes, what: bytes) -> bytes:
    return HKDF(SHA256(), SECRET_BYTES, None, what).derive(secret)


def _gone(what: str) -> KeyUnusable:
    return KeyUnusable(f"the database does not hold {what}; restore it from a backup of the database")
