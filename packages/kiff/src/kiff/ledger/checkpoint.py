"""A signed head of a log: origin, size and root as a C2SP signed note (signed-note, tlog-checkpoint).

    <origin>
    <size>
    <base64 of the root>

    — <origin> <base64 of 4 bytes of key hash and 64 bytes of Ed25519 signature>

The key's name in the note is the log's origin. Extension lines are neither written nor accepted.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from hashlib import sha256

from msgspec import Struct

from kiff.errors import InvalidInput
from kiff.ledger.keys import PublicKeys, Signer
from kiff.ledger.tree import EMPTY_ROOT, HASH_BYTES
from kiff.ledger.verdict import Problem

MAX_NOTE_BYTES = 65_536
_ORIGIN = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_MARK = "\u2014 "
_ED25519 = b"\x01"
_KEY_HASH_BYTES = 4


class Checkpoint(Struct, frozen=True):
    """A log's head.

    Args:
        origin: the log's name: host and path without a scheme, no spaces, no plus sign.
        size: how many records it covers.
        root: 32 bytes.
    """

    origin: str
    size: int
    root: bytes


class Opened(Struct, frozen=True):
    """A head, and the id of the key that signed it."""

    checkpoint: Checkpoint
    kid: str


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """The signed note of a head.

    Raises:
        InvalidInput: the origin cannot stand in a signed note.
    """
    if not _ORIGIN.fullmatch(checkpoint.origin):
        raise InvalidInput(
            f"a log's origin has 1 to 255 characters without spaces or `+`, found `{checkpoint.origin:.64}`",
            field="origin",
        )
    text = checkpoint_text(checkpoint)
    line = b64encode(key_hash(checkpoint.origin, signer.public) + signer.sign(text))
    return text + f"\n{_MARK}{checkpoint.origin} ".encode() + line + b"\n"


def checkpoint_text(checkpoint: Checkpoint) -> bytes:
    """The three lines that are signed."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{b64encode(checkpoint.root).decode()}\n".encode()


def key_hash(name: str, public: bytes) -> bytes:
    """The 4 bytes by which a signature line names its Ed25519 key (signed-note, "Signatures")."""
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_HASH_BYTES]


def open_checkpoint(note: bytes, keys: PublicKeys) -> Opened | Problem:
    """Read a signed note that one of the keys must have signed.

    Lines of other signers are ignored, as the format demands; a line of a known key that does not verify
    makes the note invalid whatever else it holds.
    """
    parts = _split(note)
    if parts is None:
        return Problem("checkpoint", "", "expected three lines, an empty line and signature lines")
    text, lines = parts
    checkpoint = _read(text)
    if checkpoint is None:
        return Problem("checkpoint", "", "expected a line each of origin, size and base64 of the root")
    known = {key_hash(checkpoint.origin, keys.public(kid)): kid for kid in keys}
    signed_by = ""
    for name, blob in lines:
        kid = known.get(blob[:_KEY_HASH_BYTES]) if name == checkpoint.origin else None
        if kid is None:
            continue
        if not keys.verify(kid, blob[_KEY_HASH_BYTES:], text):
            return Problem("checkpoint", "signature", f"the signature of key `{kid}` does not fit the text")
        signed_by = kid
    if not signed_by:
        message = f"no signature by a known key; give the key set of the log `{checkpoint.origin}`"
        return Problem("checkpoint", "signature", message, undecidable=True)
    return Opened(checkpoint, signed_by)


def _split(note: bytes) -> tuple[bytes, list[tuple[str, bytes]]] | None:
    """The signed text (with its last newline), and each signature line's name and bytes."""
    text, gap, signatures = note.rpartition(b"\n\n")
    if len(note) > MAX_NOTE_BYTES or not gap or not signatures.endswith(b"\n"):
        return None
    lines: list[tuple[str, bytes]] = []
    for raw in signatures[:-1].split(b"\n"):
        try:
            mark, name, encoded = raw.decode().split(" ")
            blob = b64decode(encoded, validate=True)
        except ValueError:
            return None
        if mark + " " != _MARK or not _ORIGIN.fullmatch(name) or b64encode(blob).decode() != encoded:
            return None
        if len(blob) <= _KEY_HASH_BYTES:
            return None
        lines.append((name, blob))
    return text + b"\n", lines


def _read(text: bytes) -> Checkpoint | None:
    try:
        origin, size, encoded, end = text.decode().split("\n")
        root = b64decode(encoded, validate=True)
    except ValueError:
        return None
    if end or not _ORIGIN.fullmatch(origin) or not _SIZE.fullmatch(size):
        return None
    if len(root) != HASH_BYTES or b64encode(root).decode() != encoded:
        return None
    if size == "0" and root != EMPTY_ROOT:
        return None
    return Checkpoint(origin, int(size), root)
