"""Signed notes: nothing but what a known key signed, byte for byte, comes out as a checkpoint."""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import sha256

import pytest
from ledger_cases import KEYS, ORIGIN, OTHER, SIGNER, numbered

from kiff.errors import InvalidInput
from kiff.ledger import EMPTY, Checkpoint, Opened, Problem, PublicKeys, open_checkpoint, root, sign_checkpoint
from kiff.ledger.checkpoint import checkpoint_text

HEAD = Checkpoint(ORIGIN, 11, numbered(1)[0])
NOTE = sign_checkpoint(HEAD, SIGNER)


def signed(text: bytes) -> bytes:
    """A note over any text, signed as if it were a checkpoint of ours."""
    hint = sha256(ORIGIN.encode() + b"\n\x01" + SIGNER.public).digest()[:4]
    return text + b"\n" + f"— {ORIGIN} ".encode() + b64encode(hint + SIGNER.sign(text)) + b"\n"


def refused(note: bytes, keys: PublicKeys = KEYS) -> Problem:
    found = open_checkpoint(note, keys)
    assert isinstance(found, Problem), found
    return found


def test_every_changed_byte_is_refused() -> None:
    for at in range(len(NOTE)):
        for flip in (0x01, 0x20, 0x80):
            refused(NOTE[:at] + bytes([NOTE[at] ^ flip]) + NOTE[at + 1 :])


def test_every_removed_or_doubled_byte_is_refused() -> None:
    for at in range(len(NOTE)):
        refused(NOTE[:at] + NOTE[at + 1 :])
        refused(NOTE[:at] + NOTE[at : at + 1] + NOTE[at:])


def test_every_cut_note_is_refused() -> None:
    for end in range(len(NOTE)):
        refused(NOTE[:end])


def test_an_unknown_key_is_undecidable() -> None:
    assert refused(NOTE, PublicKeys([OTHER.public])).undecidable
    assert refused(NOTE, PublicKeys()).undecidable


def test_a_false_signature_is_invalid_and_not_undecidable() -> None:
    text, _, line = NOTE.rpartition(b" ")
    blob = bytearray(b64decode(line))
    blob[10] ^= 1
    assert not refused(text + b" " + b64encode(blob) + b"\n").undecidable


def test_a_false_signature_of_a_known_key_beside_a_true_one_is_refused() -> None:
    line = NOTE.rpartition(b"\n\n")[2]
    other = signed(b"something else\n").rpartition(b"\n\n")[2]
    assert not refused(NOTE + other).undecidable
    assert isinstance(open_checkpoint(NOTE + line, KEYS), Opened)


@pytest.mark.parametrize(
    "text",
    [
        b"kiff.example/log/t0\n11\n",
        b"kiff.example/log/t0\n11\nAAAA\n",
        b"kiff.example/log/t0\n011\n" + b64encode(bytes(32)) + b"\n",
        b"kiff.example/log/t0\n-1\n" + b64encode(bytes(32)) + b"\n",
        b"kiff.example/log/t0\n+1\n" + b64encode(bytes(32)) + b"\n",
        b"kiff.example/log/t0\n1_1\n" + b64encode(bytes(32)) + b"\n",
        "kiff.example/log/t0\n١١\n".encode() + b64encode(bytes(32)) + b"\n",
        b"kiff.example/log/t0\n0\n" + b64encode(bytes(32)) + b"\n",
        b"kiff.example/log/t0\n11\n" + b64encode(bytes(33)) + b"\n",
        b"kiff.example/log/t0\n11\n" + b64encode(bytes(32)) + b"\nextension\n",
        b"\n11\n" + b64encode(bytes(32)) + b"\n",
        b"kiff.example/log/t0\n11\n" + b64encode(bytes(32)).replace(b"A=", b"B=") + b"\n",
    ],
)
def test_a_malformed_text_is_refused_though_signed(text: bytes) -> None:
    assert not refused(signed(text)).undecidable


def test_a_huge_note_is_refused_unread() -> None:
    refused(NOTE + b"\xe2\x80\x94 x AAAAAAAA\n" * 6000)


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "line\nbreak", "tab\t", "no\u00a0break", "x" * 256])
def test_an_origin_that_cannot_name_a_key_is_not_signed(origin: str) -> None:
    with pytest.raises(InvalidInput):
        sign_checkpoint(Checkpoint(origin, 1, bytes(32)), SIGNER)


def test_what_was_signed_comes_back() -> None:
    assert open_checkpoint(NOTE, KEYS) == Opened(HEAD, SIGNER.kid)


def test_the_head_of_an_empty_log_comes_back() -> None:
    empty = Checkpoint(ORIGIN, 0, root(EMPTY))
    assert open_checkpoint(sign_checkpoint(empty, SIGNER), KEYS) == Opened(empty, SIGNER.kid)


def test_lines_of_other_signers_are_ignored() -> None:
    witness = "— witness.example ".encode() + b64encode(b"abcd" + b"\x04" + bytes(72)) + b"\n"
    assert isinstance(open_checkpoint(NOTE + witness, KEYS), Opened)


def test_the_text_is_the_three_lines_of_the_format() -> None:
    assert checkpoint_text(HEAD) == f"{ORIGIN}\n11\n{b64encode(HEAD.root).decode()}\n".encode()
    assert NOTE.startswith(checkpoint_text(HEAD) + f"\n— {ORIGIN} ".encode())
