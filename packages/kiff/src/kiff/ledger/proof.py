"""Proofs as they travel in JSON, and what they lead to. Hashes are lower-case hex, deepest first."""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from kiff.ledger.checkpoint import Checkpoint
from kiff.ledger.tree import root_from_inclusion, verify_consistency
from kiff.ledger.verdict import Problem

_HASH = re.compile(r"[0-9a-f]{64}")


class Path(Struct, frozen=True, forbid_unknown_fields=True):
    """An inclusion proof: where a leaf stands in a tree, and its audit path."""

    index: int
    size: int
    hashes: list[str]

    def root(self, leaf: bytes) -> bytes | None:
        """The root this path leads the leaf to; None when it is not a path at all."""
        nodes = _nodes(self.hashes)
        return None if nodes is None else root_from_inclusion(leaf, self.index, self.size, nodes)


class Growth(Struct, frozen=True, forbid_unknown_fields=True, rename={"old": "from", "new": "to"}):
    """A consistency proof between two sizes of one log, `from` and `to` on the wire."""

    old: int
    new: int
    hashes: list[str]


def read_path(value: object) -> Path | None:
    """The {index, size, hashes} of an inclusion proof; None for anything else."""
    try:
        return msgspec.convert(value, Path)
    except msgspec.ValidationError:
        return None


def disagreement(head: Checkpoint, saved: Checkpoint, proof: object) -> Problem | None:
    """Why two heads of a log cannot be said to agree; None when one is a prefix of the other.

    Args:
        head: the head just opened.
        saved: a head kept from earlier; it may be the longer one.
        proof: {from, to, hashes} from the smaller size to the larger; None if there is none.
    """
    if head.origin != saved.origin:
        message = f"it is of the log `{saved.origin:.64}`, the evidence of `{head.origin}`"
        return Problem("saved head", "origin", message, undecidable=True)
    if head.size == saved.size:
        if head.root == saved.root:
            return None
        return Problem("checkpoint", "root", f"not the saved one: two logs of `{head.size}` records exist")
    old, new = (head, saved) if head.size < saved.size else (saved, head)
    if old.size == 0 or proof is None:
        message = f"no proof leads from size `{old.size}` to size `{new.size}`; ask the log for one"
        return Problem("checkpoint", "consistency", message, undecidable=True)
    return _growth_problem(old, new, proof)


def _growth_problem(old: Checkpoint, new: Checkpoint, proof: object) -> Problem | None:
    try:
        growth = msgspec.convert(proof, Growth)
    except msgspec.ValidationError:
        return Problem("checkpoint", "consistency", "expected from, to and hashes")
    nodes = _nodes(growth.hashes)
    if nodes is None or (growth.old, growth.new) != (old.size, new.size):
        message = f"expected hashes that lead from size `{old.size}` to size `{new.size}`"
        return Problem("checkpoint", "consistency", message)
    if not verify_consistency(old.size, old.root, new.size, new.root, nodes):
        return Problem("checkpoint", "consistency", "one head does not continue the other: rewritten")
    return None


def _nodes(hashes: list[str]) -> list[bytes] | None:
    if not all(_HASH.fullmatch(text) for text in hashes):
        return None
    return [bytes.fromhex(text) for text in hashes]
