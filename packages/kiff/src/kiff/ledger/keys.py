"""Ed25519 keys: who can sign, how a key is named (RFC 7638), and the published set that verifiers are given.

A verifier only ever uses a `PublicKeys` its caller passed; nothing here takes a key out of what is verified.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kiff.canonical import encode, parse
from kiff.errors import InvalidInput

PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
_MEMBERS = frozenset({"alg", "crv", "kid", "kty", "use", "x"})


class Signer(Protocol):
    """Something that signs with one Ed25519 key: a key in memory, a key service.

    `kid` is the RFC 7638 thumbprint of the key, `public` its 32 bytes.
    """

    @property
    def kid(self) -> str: ...

    @property
    def public(self) -> bytes: ...

    def sign(self, data: bytes) -> bytes: ...


class Ed25519Signer:
    """A signing key held in this process."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.kid = kid_of(self.public)

    def __repr__(self) -> str:
        return f"Ed25519Signer(kid={self.kid!r})"

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature over data (RFC 8032)."""
        return self._private.sign(data)


class PublicKeys:
    """The keys a verifier trusts, by key id."""

    def __init__(self, publics: Iterable[bytes] = ()) -> None:
        self._keys = {kid_of(public): Ed25519PublicKey.from_public_bytes(public) for public in publics}

    def __contains__(self, kid: object) -> bool:
        return kid in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def public(self, kid: str) -> bytes:
        """The 32 bytes of a key that is in the set."""
        return self._keys[kid].public_bytes_raw()

    def verify(self, kid: str, signature: bytes, data: bytes) -> bool:
        """Did the key of this id sign these bytes? False for an id that is not in the set."""
        key = self._keys.get(kid)
        if key is None:
            return False
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def kid_of(public: bytes) -> str:
    """Key id: the RFC 7638 thumbprint of the key's required JWK members."""
    return b64u(sha256(encode({"crv": "Ed25519", "kty": "OKP", "x": b64u(public)})).digest())


def jwk(public: bytes) -> dict[str, str]:
    """The public key as a JWK (RFC 8037)."""
    return {
        "alg": "EdDSA",
        "crv": "Ed25519",
        "kid": kid_of(public),
        "kty": "OKP",
        "use": "sig",
        "x": b64u(public),
    }


def jwks(publics: Iterable[bytes]) -> dict[str, list[dict[str, str]]]:
    """The published key set (RFC 7517, section 5)."""
    return {"keys": [jwk(public) for public in publics]}


def parse_jwks(data: bytes | Mapping[str, Any]) -> PublicKeys:
    """Read a key set of Ed25519 verification keys.

    Anything else is refused rather than skipped: a member this version cannot judge (an expiry, say)
    must not silently mean "trusted".

    Raises:
        InvalidInput: not a JWKS, or one of its keys cannot be used; `field` says which.
    """
    value = parse(data).value if isinstance(data, bytes) else data
    if not isinstance(value, Mapping) or set(value) != {"keys"} or not isinstance(value["keys"], list):
        raise InvalidInput('expected a key set of the form `{"keys": [...]}`', field="keys")
    publics = [_public(entry, f"keys[{at}]") for at, entry in enumerate(value["keys"])]
    if len(set(publics)) != len(publics):
        raise InvalidInput("a key set names each key once; found one of them twice", field="keys")
    return PublicKeys(publics)


def _public(entry: object, field: str) -> bytes:
    if not isinstance(entry, Mapping):
        raise InvalidInput("expected a JWK object", field=field)
    if "d" in entry:
        raise InvalidInput("this is a private key: it must not leave its key file", field=f"{field}.d")
    for name in entry:
        if name not in _MEMBERS:
            shown = f"{name!s:.64}"
            raise InvalidInput(f"cannot judge a key with the member `{shown}`", field=f"{field}.{shown}")
    for name, expected, default in (
        ("kty", "OKP", None),
        ("crv", "Ed25519", None),
        ("alg", "EdDSA", "EdDSA"),
        ("use", "sig", "sig"),
    ):
        if entry.get(name, default) != expected:
            raise InvalidInput(f"expected an Ed25519 key with {name} `{expected}`", field=f"{field}.{name}")
    public = unb64u(entry.get("x"))
    if public is None or len(public) != PUBLIC_BYTES:
        raise InvalidInput("expected 32 bytes in unpadded base64url", field=f"{field}.x")
    if entry.get("kid") != kid_of(public):
        raise InvalidInput(f"expected the key's thumbprint, `{kid_of(public)}`", field=f"{field}.kid")
    return public


def b64u(data: bytes) -> str:
    """Unpadded base64url (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text: object) -> bytes | None:
    """The bytes that b64u writes exactly so; None for any other text or value."""
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return data if b64u(data) == text else None
