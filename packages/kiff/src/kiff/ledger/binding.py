"""What ties a receipt to its record, and a record to a signed head; a break is named by record and field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from kiff.canonical import admit, digest, is_canonical
from kiff.errors import InvalidInput
from kiff.ledger.checkpoint import Checkpoint
from kiff.ledger.proof import read_path
from kiff.ledger.receipts import core_of
from kiff.ledger.tree import leaf_hash
from kiff.ledger.verdict import Problem

RECORD_VERSION = 1
_MISSING = object()

SHARED: tuple[tuple[str, tuple[str | int, ...]], ...] = (
    ("tenant", ("tenant",)),
    ("entity", ("entity",)),
    ("trace_id", ("trace_id",)),
    ("receipt_id", ("data", "receipt", "id")),
    ("proposal_id", ("data", "proposal_id")),
    ("action", ("data", "action")),
    ("decision", ("data", "outcome")),
    ("reason", ("data", "reasons", 0, "code")),
    ("domain_version", ("versions", "domain")),
    ("policy_version", ("versions", "policy")),
    ("action_digest", ("data", "action_digest")),
    ("proposal_digest", ("data", "proposal_digest")),
    ("domain_digest", ("data", "domain_digest")),
    ("policy_digest", ("data", "policy_digest")),
)
"""What a receipt and its decision's record both say: the receipt's key, and where the record holds it."""


class Leaf(Struct, frozen=True):
    """A record as it was handed over.

    Args:
        value: its members; `seq` is an integer and `data` an object.
        data: the canonical bytes that its leaf hash is made of.
    """

    value: dict[str, Any]
    data: bytes

    @property
    def seq(self) -> int:
        seq: int = self.value["seq"]
        return seq

    @property
    def where(self) -> str:
        return f"record {self.seq}"


def read_record(given: object, where: str) -> Leaf | Problem:
    """Read a record of the log.

    Args:
        given: its exact text (a str, any depth a record may have), or its JSON object.
        where: what to call it until its own seq is known.
    """
    if isinstance(given, str):
        data = given.encode("utf-8", "surrogatepass")
        if not is_canonical(data):
            return Problem(where, "", "expected the record's canonical JSON (RFC 8785)")
        value = msgspec.json.decode(data)
    else:
        try:
            value, data = admit(given)
        except InvalidInput as error:
            return Problem(where, error.field, error.message)
    if not isinstance(value, dict):
        return Problem(where, "", "expected a JSON object")
    version = value.get("v")
    if type(version) is not int or version != RECORD_VERSION:
        message = f"this version reads records of version `{RECORD_VERSION}`"
        return Problem(where, "v", message, undecidable=type(version) is int and version > RECORD_VERSION)
    if type(value.get("seq")) is not int:
        return Problem(where, "seq", "expected the record's position, an integer")
    if not isinstance(value.get("data"), dict):
        return Problem(where, "data", "expected an object")
    return Leaf(value, data)


def under(leaf: Leaf, inclusion: object, head: Checkpoint | None) -> tuple[Problem, ...]:
    """Is this the record that the head covers at the record's own position?

    Args:
        inclusion: {index, size, hashes} for the tree of the head.
        head: None when it could not be opened; then only the proof's shape is judged.
    """
    path = read_path(inclusion)
    if path is None:
        return (Problem(leaf.where, "inclusion", "expected index, size and hashes"),)
    if path.index != leaf.seq:
        return (Problem(leaf.where, "seq", f"the record says `{leaf.seq}`, its proof is for `{path.index}`"),)
    if head is None:
        return ()
    if path.size != head.size:
        message = f"the proof is for a log of `{path.size}` records, the checkpoint covers `{head.size}`"
        return (Problem(leaf.where, "inclusion.size", message),)
    if path.root(leaf_hash(leaf.data)) != head.root:
        message = "the record or its proof was changed: the log holds something else at this position"
        return (Problem(leaf.where, "", message),)
    return ()


def same(receipt: Mapping[str, Any], leaf: Leaf) -> tuple[Problem, ...]:
    """Is this the record of this receipt?

    The record holds the digest of the receipt's core, which settles it; the fields that both repeat are
    compared so that the one that was changed, on either side, is named.
    """
    held = _at(leaf.value, ("data", "receipt", "digest"))
    if held is _MISSING:
        return (Problem(leaf.where, "data.receipt.digest", "the record speaks of no receipt"),)
    try:
        fits = held == digest(core_of(receipt))
    except InvalidInput as error:
        return (Problem("receipt", error.field, error.message),)
    differing = [
        (name, path)
        for name, path in SHARED
        if (recorded := _at(leaf.value, path)) is not _MISSING and receipt.get(name) != recorded
    ]
    if fits:
        message = "the record's field differs from its receipt's `{}`"
        return tuple(Problem(leaf.where, ".".join(map(str, path)), message.format(name)) for name, path in differing)
    if not differing:
        message = f"the fields are not those whose digest {leaf.where} holds"
        return (Problem("receipt", "", message),)
    return tuple(
        Problem("receipt", name, f"differs from {leaf.where}, {'.'.join(map(str, path))}") for name, path in differing
    )


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return _MISSING
    return value
