"""Check an exported log, or one entity's part of it, offline, line by line, from the public keys alone.

An export is lines of canonical JSON (RFC 8785). The first is its header; every other one is a record, last in its
line, with what belongs to it: the receipt it binds, values it keeps beside the log (by digest), and, in a part of a
log, its inclusion proof. A whole log needs none: its records give the root that the header's checkpoint signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from kiff.canonical import digest, encode, is_canonical
from kiff.ledger.binding import Leaf, read_record, same, under
from kiff.ledger.checkpoint import Checkpoint, open_checkpoint
from kiff.ledger.keys import PublicKeys
from kiff.ledger.proof import disagreement
from kiff.ledger.receipts import check
from kiff.ledger.tree import EMPTY, Log, extend, leaf_hash, root
from kiff.ledger.verdict import Problem, Rung, Verdict, status_of

VERSION = 1
MOST = 1000
"""How many problems are named."""
_AT_ONCE = 1024
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Header(Struct, frozen=True, forbid_unknown_fields=True):
    """The first line.

    Args:
        entity: None for the whole log.
        size: how many records the checkpoint covers.
        checkpoint: a signed note.
    """

    kiff_export: int
    tenant: str
    log: str
    size: int
    checkpoint: str
    entity: str | None = None


def line(record: bytes, **beside: Any) -> bytes:
    """One record's line: what belongs to it, sorted before it, then the record's own bytes."""
    return _front(beside) + record + b"}"


def _front(beside: dict[str, Any]) -> bytes:
    front = encode(beside)[:-1]
    return front + (b',"record":' if beside else b'"record":')


def verify_export(lines: Iterable[bytes], keys: PublicKeys, saved: Checkpoint | None = None) -> Verdict:
    """Check an export.

    Args:
        lines: without their ends; read once, so a file of any size will do.
        keys: the keys the caller trusts, for receipts and for heads.
        saved: a head of the same log that the caller kept from earlier.
    """
    rest = iter(lines)
    first = next(rest, b"")
    try:
        header = msgspec.json.decode(first, type=Header)
    except _NOT_JSON as error:
        return _unread(Problem("export", "header", f"expected the header of an export: {error}"))
    if not is_canonical(first):
        return _unread(Problem("export", "header", "expected canonical JSON (RFC 8785)"))
    if header.kiff_export != VERSION:
        newer = header.kiff_export > VERSION
        return _unread(Problem("export", "kiff_export", f"expected an export of version `{VERSION}`", newer))
    return _Walk(header, keys, saved).run(rest)


class _Walk:
    """One pass over the lines."""

    def __init__(self, header: Header, keys: PublicKeys, saved: Checkpoint | None) -> None:
        self.header = header
        self.keys = keys
        self.saved = saved
        self.root_then: bytes | None = None
        """The root at the saved head's size, when the records reach it."""
        self.problems: list[Problem] = []
        self.broken_receipts: list[Problem] = []
        self.records = self.receipts = 0
        self.last = -1
        self.log: Log = EMPTY
        self.leaves: list[bytes] = []

    def run(self, lines: Iterator[bytes]) -> Verdict:
        head = self._head()
        for raw in lines:
            self._line(raw, head)
        if head is not None and self.header.entity is None:
            self._whole(head)
        if not self.records:
            self.problems.append(Problem("export", "", "holds no record, so it says nothing", undecidable=True))
        signed = _rung("SIGNED", self.broken_receipts, f"{self.receipts} receipts, each in the record that binds it")
        included = _rung("INCLUDED", self.problems, self._covered(head))
        consistent, unmet = self._compared(head)
        problems = (*self.broken_receipts, *self.problems, *unmet)[:MOST]
        return Verdict(status_of(problems), (signed, included, consistent), problems)

    def _head(self) -> Checkpoint | None:
        opened = open_checkpoint(self.header.checkpoint.encode(), self.keys)
        if isinstance(opened, Problem):
            self.problems.append(opened)
            return None
        head = opened.checkpoint
        if (head.origin, head.size) != (self.header.log, self.header.size):
            self.problems.append(Problem("checkpoint", "", "is not of the log and size that the header names"))
        return head

    def _line(self, raw: bytes, head: Checkpoint | None) -> None:
        where = f"line {self.records + 2}"
        self.records += 1
        try:
            beside = msgspec.json.decode(raw)
            beside.pop("record")
            front = _front(beside)
        except (*_NOT_JSON, AttributeError, KeyError, TypeError):
            self.problems.append(Problem(where, "", "expected an object with a record in it"))
            return
        strange = _strange(beside, part=self.header.entity is not None)
        if strange or not raw.startswith(front):
            self.problems.append(Problem(where, strange, "is not written as exports are"))
            return
        leaf = read_record(raw[len(front) : -1].decode("utf-8", "replace"), where)
        if isinstance(leaf, Problem):
            self.problems.append(leaf)
            return
        self._record(leaf, beside, head)

    def _record(self, leaf: Leaf, beside: dict[str, Any], head: Checkpoint | None) -> None:
        self._place(leaf)
        if self.header.entity is None:
            self.leaves.append(leaf_hash(leaf.data))
            if len(self.leaves) >= _AT_ONCE:
                self._grow()
        else:
            self.problems += under(leaf, beside.get("inclusion"), head)
        self._receipt(leaf, beside.get("receipt"))
        self._values(leaf, beside.get("beside", {}))

    def _values(self, leaf: Leaf, values: dict[str, str]) -> None:
        """Values beside the log: those the record names, all of them, and no others."""
        named = set(_named(leaf.value["data"]))
        for name, text in values.items():
            if name not in named or digest(text.encode("utf-8", "surrogatepass")) != name:
                self.problems.append(Problem(leaf.where, "beside", "a value that the record does not name"))
        if named - values.keys():
            message = "a value that the record keeps beside the log was left out"
            self.problems.append(Problem(leaf.where, "beside", message, undecidable=True))

    def _place(self, leaf: Leaf) -> None:
        expected = self.last + 1
        if leaf.seq <= self.last or (self.header.entity is None and leaf.seq != expected):
            self.problems.append(Problem(leaf.where, "seq", f"out of the log's order: expected `{expected}`"))
        self.last = leaf.seq
        if leaf.value.get("tenant") != self.header.tenant:
            self.problems.append(Problem(leaf.where, "tenant", "another tenant's record"))
        if self.header.entity is not None and leaf.value.get("entity") != self.header.entity:
            self.problems.append(Problem(leaf.where, "entity", f"is not about `{self.header.entity}`"))

    def _receipt(self, leaf: Leaf, receipt: Any) -> None:
        bound = leaf.value["data"].get("receipt")
        if not isinstance(receipt, dict):
            if bound is not None:
                self.broken_receipts.append(Problem(leaf.where, "receipt", "the record binds one, and it is not there"))
            return
        self.receipts += 1
        checked = check(receipt, self.keys)
        found = same(receipt, leaf) + (() if checked.problem is None else (checked.problem,))
        self.broken_receipts += [Problem(f"receipt of {leaf.where}", p.field, p.message, p.undecidable) for p in found]

    def _grow(self) -> None:
        until = 0 if self.saved is None else self.saved.size - self.log.size
        if 0 < until <= len(self.leaves):
            self.log = extend(self.log, self.leaves[:until])
            self.root_then = root(self.log)
            self.leaves = self.leaves[until:]
        self.log = extend(self.log, self.leaves)
        self.leaves = []

    def _whole(self, head: Checkpoint) -> None:
        self._grow()
        if self.log.size != head.size:
            message = f"holds `{self.log.size}` records, the signed head covers `{head.size}`"
            self.problems.append(Problem("export", "size", message))
        elif root(self.log) != head.root:
            message = "the records have another root: one of them was changed"
            self.problems.append(Problem("export", "root", message))

    def _compared(self, head: Checkpoint | None) -> tuple[Rung, tuple[Problem, ...]]:
        saved = self.saved
        if saved is None:
            return Rung("CONSISTENT", None, "not checked: without a saved head, a log cut short looks the same"), ()
        if head is None:
            problem: Problem | None = Problem("saved head", "", "there is no signed head to compare it with", True)
        elif head.origin == saved.origin and self.root_then is not None:
            rewritten = Problem("checkpoint", "root", "the records have another root at the saved size: rewritten")
            problem = None if self.root_then == saved.root else rewritten
        else:
            problem = disagreement(head, saved, None)
        problems = [] if problem is None else [problem]
        said = f"the log agrees with the saved head of size {saved.size}; others may have seen another"
        return _rung("CONSISTENT", problems, said), tuple(problems)

    def _covered(self, head: Checkpoint | None) -> str:
        if head is None:
            return ""
        if self.header.entity is None:
            return f"{self.records} records are the whole log under the signed head of {head.origin}"
        part = f"{self.records} records of {self.header.entity} are under the signed head of size {head.size}"
        return f"{part}; records left out cannot be seen"


def _strange(beside: dict[str, Any], *, part: bool) -> str:
    """The first member of a line that does not belong there; empty when all do."""
    receipt, values = beside.get("receipt", {}), beside.get("beside", {})
    proofs = receipt.get("proofs", {}) if isinstance(receipt, dict) else None
    fits = {
        "beside": isinstance(values, dict) and all(isinstance(text, str) for text in values.values()),
        "inclusion": part,
        "receipt": isinstance(proofs, dict) and proofs.keys() <= {"batch"} and receipt.get("anchor") is None,
    }
    return next((name for name in sorted(beside) if not fits.get(name, False)), "")


def _named(data: dict[str, Any]) -> Iterator[str]:
    """The digests of what a record keeps beside the log: `<name>_beside` in its data, or in its event."""
    event = data.get("event")
    for name, value in (*data.items(), *(event.items() if isinstance(event, dict) else ())):
        if name.endswith("_beside") and isinstance(value, dict) and isinstance(value.get("digest"), str):
            yield value["digest"]


def _rung(name: str, problems: list[Problem], detail: str) -> Rung:
    if not problems:
        return Rung(name, True, detail)
    ok = None if status_of(tuple(problems)) == "undecidable" else False
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return Rung(name, ok, f"{problems[0].where} {problems[0].field}: {problems[0].message}{more}")


def _unread(problem: Problem) -> Verdict:
    rungs = tuple(Rung(name, None, "not checked: nothing could be read") for name in ("SIGNED", "INCLUDED"))
    return Verdict(status_of((problem,)), rungs, (problem,))
