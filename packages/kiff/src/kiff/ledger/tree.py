"""The Merkle tree of RFC 6962 over SHA-256: grow a log, prove a leaf, prove that a log only grew, check both.

The tree is a function of its leaves alone; only the frontier (the roots of its perfect subtrees) is kept.
The proof algorithms are those of RFC 9162, sections 2.1.3 and 2.1.4. This file reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from msgspec import Struct

from kiff.errors import InvalidInput

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()

Hashes = Callable[[int, int], bytes]
"""`hashes(level, index)`: root of the complete subtree of 2**level leaves that starts at index * 2**level."""


class Log(Struct, frozen=True, gc=False):
    """A log's whole memory of its past.

    Args:
        size: how many leaves it holds.
        frontier: roots of the perfect subtrees that make up the tree, largest first; one per set bit of size.
    """

    size: int
    frontier: tuple[bytes, ...]


EMPTY = Log(0, ())


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf's bytes (RFC 6962, section 2.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (RFC 6962, section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def extend(log: Log, leaves: Sequence[bytes]) -> Log:
    """Append leaf hashes, one level of the tree at a time: about one node hash per leaf."""
    subtrees, carried, remaining = list(log.frontier), list(leaves), log.size
    left_over: list[bytes] = []
    while carried:
        if remaining & 1:
            carried.insert(0, subtrees.pop())
        if len(carried) & 1:
            left_over.append(carried.pop())
        carried = pairs(carried)
        remaining >>= 1
    return Log(log.size + len(leaves), (*subtrees, *reversed(left_over)))


def root(log: Log) -> bytes:
    """Root hash of the log; SHA-256 of nothing when it is empty (RFC 6962, section 2.1)."""
    return fold(log.frontier) if log.size else EMPTY_ROOT


def pairs(row: Sequence[bytes]) -> list[bytes]:
    """The row above: node hashes of neighbours. A last node without a neighbour is left out."""
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=False)]


def fold(subtrees: Sequence[bytes]) -> bytes:
    """Root over perfect subtrees given largest first; at least one."""
    top = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        top = node_hash(left, top)
    return top


def inclusion_proof(index: int, size: int, hashes: Hashes) -> list[bytes]:
    """Audit path of leaf `index` in the tree of `size` leaves, deepest sibling first (RFC 9162, 2.1.3.1).

    Raises:
        InvalidInput: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise InvalidInput(f"a log of `{size}` records has no record `{index}`", field="index")
    start, end = 0, size
    path: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range(middle, end, hashes))
            end = middle
        else:
            path.append(_range(start, middle, hashes))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, hashes: Hashes) -> list[bytes]:
    """Nodes that show that the tree of `old` leaves is a prefix of the tree of `new` (RFC 9162, 2.1.4.1).

    Raises:
        InvalidInput: `old` is zero or beyond `new`: there is nothing to prove.
    """
    if not 0 < old <= new:
        raise InvalidInput(f"no consistency proof leads from size `{old}` to size `{new}`", field="from")
    start, end, whole = 0, new, True
    path: list[bytes] = []
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range(middle, end, hashes))
            end = middle
        else:
            path.append(_range(start, middle, hashes))
            start, whole = middle, False
    if not whole:
        path.append(_range(start, end, hashes))
    return path[::-1]


def _split(size: int) -> int:
    """The largest power of two below size (size > 1)."""
    return 1 << (size - 1).bit_length() - 1


def _range(start: int, end: int, hashes: Hashes) -> bytes:
    """Root over leaves [start, end) of a subtree that RFC 9162 splits off: its perfect parts are aligned."""
    subtrees: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        subtrees.append(hashes(level, start >> level))
        start += 1 << level
    return fold(subtrees)


def batch_proofs(leaves: Sequence[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """Root over a few leaf hashes (at least one) and the audit path of each, computed together."""
    rows = [list(leaves)]
    while len(rows[-1]) > 1:
        row = rows[-1]
        rows.append([*pairs(row), row[-1]] if len(row) & 1 else pairs(row))
    paths = [
        [row[sibling] for depth, row in enumerate(rows) if (sibling := (index >> depth) ^ 1) < len(row)]
        for index in range(len(leaves))
    ]
    return rows[-1][0], paths


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Does the proof lead from this leaf hash, at this index, to the root of a tree of this size?"""
    return root_from_inclusion(leaf, index, size, proof) == root


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Root that an audit path leads to (RFC 9162, section 2.1.3.2).

    Returns:
        The root, or None when the path cannot belong to that index and size. An empty tree holds no leaf.
    """
    if not 0 <= index < size or not _all_hashes(leaf, *proof):
        return None
    node, last, top = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if node & 1 or node == last:
            top = node_hash(sibling, top)
            node, last = _to_odd(node, last)
        else:
            top = node_hash(top, sibling)
        node, last = node >> 1, last >> 1
    return top if last == 0 else None


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Is the old tree a prefix of the new one (RFC 9162, section 2.1.4.2)? Size 0 proves nothing: False."""
    if not 0 < old_size <= new_size or not _all_hashes(old_root, new_root, *proof):
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    nodes = list(proof)
    if old_size & (old_size - 1) == 0:
        nodes.insert(0, old_root)
    if not nodes:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_top = new_top = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_top, new_top = node_hash(sibling, old_top), node_hash(sibling, new_top)
            node, last = _to_odd(node, last)
        else:
            new_top = node_hash(new_top, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old_top == old_root and new_top == new_root


def _to_odd(node: int, last: int) -> tuple[int, int]:
    """Climb the levels at which the node, last in its row, has no sibling."""
    while node and not node & 1:
        node, last = node >> 1, last >> 1
    return node, last


def _all_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
