"""A receipt's signature: one Ed25519 signature, two renderings, or one for a whole batch.

The signed core is every key of the flat receipt but `signature`, `anchor` and `proofs`. What is signed is
`b64u(JCS(H)) . b64u(JCS(core))` with H = {"alg": "EdDSA", "kid": core.kid, "typ": "kiff-receipt+jws"}, so the
same signature verifies the flat JSON and a standard compact JWS (RFC 7515). H is derived, never read: nothing
in a receipt chooses an algorithm or brings a key.

For a batch the signature covers {"root", "size"} of a Merkle tree over the cores, under a type of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from kiff.canonical import admit, encode
from kiff.errors import InvalidInput
from kiff.ledger.keys import PublicKeys, Signer, b64u
from kiff.ledger.proof import Path, read_path
from kiff.ledger.tree import batch_proofs, leaf_hash
from kiff.ledger.verdict import Problem, Status, status_of

UNSIGNED = frozenset({"anchor", "proofs", "signature"})
RECEIPT_TYPE = "kiff-receipt+jws"
BATCH_TYPE = "kiff-batch+jws"
_SINGLE = re.compile(r"kiff_sig_([0-9a-f]{128})")
_BATCH = re.compile(r"kiff_batch_([0-9a-f]{128})")


class BatchSignature(Struct, frozen=True, gc=False):
    """One receipt's share of a batch signature.

    Args:
        signature: 64 bytes, the same for every receipt of the batch.
        path: what goes to `proofs.batch`.
    """

    signature: bytes
    path: Path


class Checked(Struct, frozen=True):
    """Answer about a signature. `kid` is the key the receipt names, empty when it names none."""

    kid: str
    problem: Problem | None = None

    @property
    def status(self) -> Status:
        return "valid" if self.problem is None else status_of((self.problem,))


@lru_cache(maxsize=64)
def _header(kid: str, typ: str) -> bytes:
    return b64u(encode({"alg": "EdDSA", "kid": kid, "typ": typ})).encode() + b"."


def signing_input(kid: str, core: bytes) -> bytes:
    """The bytes a receipt's signature covers."""
    return _header(kid, RECEIPT_TYPE) + b64u(core).encode()


def sign(signer: Signer, core: bytes) -> bytes:
    """The 64 bytes of a receipt's own signature.

    Args:
        core: canonical bytes of the core; its `kid` is the signer's.
    """
    assert f'"kid":"{signer.kid}"'.encode() in core
    return signer.sign(signing_input(signer.kid, core))


def sign_batch(signer: Signer, cores: Sequence[bytes]) -> list[BatchSignature]:
    """One signature over many cores, as each of them carries it."""
    if not cores:
        return []
    needle = f'"kid":"{signer.kid}"'.encode()
    assert all(needle in core for core in cores)
    top, paths = batch_proofs([leaf_hash(core) for core in cores])
    signature = signer.sign(_batch_input(signer.kid, top, len(cores)))
    return [
        BatchSignature(signature, Path(index, len(cores), [node.hex() for node in path]))
        for index, path in enumerate(paths)
    ]


def _batch_input(kid: str, top: bytes, size: int) -> bytes:
    return _header(kid, BATCH_TYPE) + b64u(encode({"root": top.hex(), "size": size})).encode()


def signature_text(signature: bytes | BatchSignature) -> str:
    """The `signature` member of the flat receipt."""
    if isinstance(signature, BatchSignature):
        return "kiff_batch_" + signature.signature.hex()
    return "kiff_sig_" + signature.hex()


def flat(
    core: bytes,
    signature: str | bytes | BatchSignature,
    proofs: Mapping[str, Any] | None = None,
    anchor: str | None = None,
) -> dict[str, Any]:
    """The seed's flat JSON: the core's members with signature, anchor and proofs beside them.

    Args:
        core: canonical bytes of the core.
        signature: 64 bytes, a share of a batch signature, or the text of either as it was stored.
        proofs: members of `proofs`; a share of a batch adds its own, stored text needs `batch` among them.
        anchor: `<kind>:<id>`, None while there is none.
    """
    text = signature if isinstance(signature, str) else signature_text(signature)
    receipt: dict[str, Any] = msgspec.json.decode(core)
    receipt["signature"] = text
    receipt["anchor"] = anchor
    beside = dict(proofs or {})
    if isinstance(signature, BatchSignature):
        beside["batch"] = msgspec.to_builtins(signature.path)
    if beside:
        receipt["proofs"] = beside
    return receipt


def compact_jws(core: bytes, kid: str, signature: bytes) -> str:
    """The same receipt as a compact JWS, for any JOSE library. A batch signature has no such form."""
    return f"{signing_input(kid, core).decode()}.{b64u(signature)}"


def signature_bytes(text: str) -> bytes | None:
    """The 64 bytes of a receipt's own signature from its text; None for any other text."""
    match = _SINGLE.fullmatch(text)
    return bytes.fromhex(match[1]) if match else None


def core_of(receipt: Mapping[str, Any]) -> bytes:
    """Canonical bytes of the signed core of a flat receipt; keys nobody knows are part of it.

    Raises:
        InvalidJson: a value that canonical JSON cannot hold.
    """
    return admit({name: value for name, value in receipt.items() if name not in UNSIGNED}).data


def check(receipt: Mapping[str, Any], keys: PublicKeys) -> Checked:
    """Was this flat receipt signed, every field of it, by the known key it names?

    Args:
        receipt: the flat receipt, from a parser that refuses duplicate keys (kiff.canonical.parse).
        keys: the keys the caller trusts.
    """
    kid, text = receipt.get("kid"), receipt.get("signature")
    if not isinstance(kid, str):
        return _answer("", "kid", "expected the id of the signing key")
    if not isinstance(text, str) or not (_SINGLE.fullmatch(text) or _BATCH.fullmatch(text)):
        return _answer(kid, "signature", "expected `kiff_sig_` or `kiff_batch_` and 128 hex digits")
    try:
        core = core_of(receipt)
    except InvalidInput as error:
        return _answer(kid, error.field, error.message)
    if kid not in keys:
        message = f"the key `{kid:.64}` is not in the key set; get the issuer's"
        return _answer(kid, "kid", message, undecidable=True)
    single = signature_bytes(text)
    if single is not None:
        signature, signed = single, signing_input(kid, core)
    else:
        path = _batch_path(receipt)
        top = path.root(leaf_hash(core)) if path else None
        if path is None or top is None:
            return _answer(kid, "proofs.batch", "expected its path in the batch: index, size, hashes")
        signature, signed = bytes.fromhex(text.removeprefix("kiff_batch_")), _batch_input(kid, top, path.size)
    if not keys.verify(kid, signature, signed):
        return _answer(kid, "signature", "the signature does not fit the receipt's fields")
    return Checked(kid)


def _batch_path(receipt: Mapping[str, Any]) -> Path | None:
    proofs = receipt.get("proofs")
    return read_path(proofs.get("batch")) if isinstance(proofs, Mapping) else None


def _answer(kid: str, field: str, message: str, *, undecidable: bool = False) -> Checked:
    return Checked(kid, Problem("receipt", field, message, undecidable))
