"""One pass over a tenant's log: every record, the tree over their bodies, tiles, signed heads and receipts.

What is right is what is signed. A body counts as unchanged when the tree over the bodies has the root of a
signed head that covers it (or, past the last one, of the head row); then whatever disagrees with it is wrong.
Records are read in pages, so memory does not grow with the log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import orjson
from msgspec import Struct, ValidationError, convert

from kiff.analysis.across_entities import AcrossEntities
from kiff.analysis.authority import AuthorityRows
from kiff.analysis.expected import UNREADABLE
from kiff.analysis.findings import MOST, Findings
from kiff.analysis.hash_tiles import TileCheck
from kiff.analysis.heads import Mark, Marks
from kiff.analysis.history import BLOBS, pages, receipts, references
from kiff.analysis.naming import name_change
from kiff.analysis.published import Published
from kiff.analysis.signed import check_receipt
from kiff.canonical import digest, encode, is_canonical
from kiff.ledger import (
    EMPTY,
    Checkpoint,
    Log,
    Problem,
    PublicKeys,
    extend,
    leaf_hash,
    root,
    tile_path,
)
from kiff.ledger.tiles import WIDTH
from kiff.protocol.instant import rfc3339
from kiff.protocol.receipt import Receipt
from kiff.protocol.record import KINDS
from kiff.runtime.ports import Key, Store
from kiff.runtime.rows import Blob, LogHead, RecordRow, TileRow

NAMED = 20
"""How many changed records are looked into; the others are only listed."""

_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_LONG = tuple(re.compile(before + rb"-?\d{16}") for before in (b":", b",", rb"\["))
"""Numbers that may be beyond ±(2^53-1); three patterns with a plain start are much faster than one with a choice."""


class Actor(Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    type: Literal["human", "agent", "service"]


class Under(Struct, frozen=True, forbid_unknown_fields=True):
    domain: str | None
    policy: str | None


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """A record's members, every one of them."""

    actor: Actor
    at: str
    causation_id: str
    data: dict[str, Any]
    entity: str | None
    kind: str
    seq: int
    tenant: str
    trace_id: str
    v: Literal[1]
    versions: Under


class LogCheck:
    """Checks one tenant's log.

    Args:
        head: the head row; None when there is none.
        saved: heads of this log that the caller kept outside.
    """

    def __init__(
        self,
        store: Store,
        tenant: str,
        head: LogHead | None,
        keys: PublicKeys,
        saved: Sequence[Checkpoint],
        findings: Findings,
    ) -> None:
        self.tenant = tenant
        self.records = self.receipts = self.checkpoints = 0
        self.signed_to = 0
        """How many records the newest signed head covers whose root is theirs."""
        self.broken: set[int] = set()
        """Records that were named as changed or missing."""
        self.published = Published()
        self.authority = AuthorityRows()
        self.across = AcrossEntities()
        self._store = store
        self._tenant = tenant
        self._head = head
        self._keys = keys
        self._findings = findings
        self._log: Log = EMPTY
        self._last_at = ""
        self._next = 0
        self._marks = Marks(store, tenant, head, keys, saved, findings)
        self._tiles = TileCheck(store, tenant)
        self._receipts = receipts(store, tenant)
        self._receipt: Receipt | None = None
        self._unmet: list[tuple[Mark, str]] = []
        """Signed heads with another root than the records."""
        self._changed: list[tuple[int, bytes]] = []
        """(seq, leaf column) where the column is not the hash of the body."""

    def run(self) -> None:
        self._marks.begin()
        self._receipt = next(self._receipts, None)
        for page in pages(self._store, self._tenant):
            self._page(page)
        while self._receipt is not None:
            self._without_record(self._receipt)
        self._end()

    def _page(self, page: list[RecordRow]) -> None:
        leaves = [leaf_hash(row.body) for row in page]
        beside: dict[Key, tuple[int, str, Any]] = {}
        for row, leaf in zip(page, leaves, strict=True):
            value = self._record(row, leaf)
            self._receipts_of(row, value)
            if value is not None:
                references(self._tenant, row.seq, value["data"], "data", beside)
        self._blobs(beside)
        self.records += len(page)
        self._tiles.take(leaves)
        done = 0
        for mark in self._marks.until(self._log.size + len(leaves)):
            step = mark.head.size - self._log.size
            self._log = extend(self._log, leaves[done : done + step])
            done += step
            self._met(mark)
        self._log = extend(self._log, leaves[done:])

    def _met(self, mark: Mark) -> None:
        if root(self._log) == mark.head.root:
            self.signed_to = max(self.signed_to, mark.head.size)
        else:
            changed = f"something in {self.signed_to} to {mark.head.size - 1} was changed"
            self._unmet.append((mark, f"the records up to here have another root: {changed}"))

    def _record(self, row: RecordRow, leaf: bytes) -> dict[str, Any] | None:
        """The record's members when its body is what was hashed and what a record may be."""
        where = f"record {row.seq}"
        if row.seq != self._next:
            lost = f"records {self._next} to {row.seq - 1}" if row.seq - self._next > 1 else f"record {self._next}"
            self._findings.add(lost, "seq", "missing from the log")
            self.broken.add(self._next)
        self._next = row.seq + 1
        if leaf != row.leaf:
            if len(self._changed) < MOST:
                self._changed.append((row.seq, row.leaf))
            return None
        problem = self._read(row)
        if isinstance(problem, Problem):
            self._findings.take((problem,))
            if not problem.undecidable:
                self.broken.add(row.seq)
            return None
        line, value = problem
        for field, found, expected in (
            ("tenant", row.tenant, line.tenant),
            ("seq", row.seq, line.seq),
            ("entity", row.entity, line.entity),
        ):
            if found != expected:
                self._findings.add(where, field, f"the row says `{found}`, its body says `{expected}`")
        if line.at < self._last_at:
            self._findings.add(where, "at", f"`{line.at}` is before the record in front of it, `{self._last_at}`")
        self._last_at = line.at
        self._tell(where, line)
        return value

    def _tell(self, where: str, line: Line) -> None:
        """What the record changes beside its own entity's rows."""
        try:
            if line.entity is None:
                self.authority.take(line.kind, line.at, line.data)
                self.published.take(line.kind, line.data)
            self.across.take(line.kind, line.data)
        except UNREADABLE as error:
            message = f"lacks what its kind needs ({type(error).__name__}: {error!s:.80})"
            self._findings.add(where, "data", message)

    def _read(self, row: RecordRow) -> Problem | tuple[Line, dict[str, Any]]:
        where = f"record {row.seq}"
        try:
            value = orjson.loads(row.body)
        except orjson.JSONDecodeError:
            return Problem(where, "body", "is not JSON")
        if not _surely_canonical(value, row.body) and not is_canonical(row.body):
            return Problem(where, "body", "is not canonical JSON (RFC 8785)")
        try:
            line = convert(value, Line)
        except ValidationError as error:
            return Problem(where, "body", f"is not a record: {error}")
        if line.kind not in KINDS:
            return Problem(where, "kind", f"`{line.kind:.40}` is no kind this version knows", undecidable=True)
        if not _AT.fullmatch(line.at):
            return Problem(where, "at", "expected an RFC 3339 time with milliseconds and Z")
        return line, value

    def _receipts_of(self, row: RecordRow, value: dict[str, Any] | None) -> None:
        while self._receipt is not None and self._receipt.seq < row.seq:
            self._without_record(self._receipt)
        held = None if value is None else value["data"].get("receipt")
        if self._receipt is not None and self._receipt.seq == row.seq:
            self._findings.take(check_receipt(self._receipt, value, self._keys))
            self._receipt = next(self._receipts, None)
            self.receipts += 1
        elif held is not None:
            name = held.get("id") if isinstance(held, dict) else held
            self._findings.add(f"receipt {name}", "", f"record {row.seq} binds it, and it is not there")

    def _without_record(self, receipt: Receipt) -> None:
        message = f"stands at `{receipt.seq}`, where no record binds it"
        self._findings.add(f"receipt {receipt.id}", "seq", message)
        self.receipts += 1
        self._receipt = next(self._receipts, None)

    def _blobs(self, wanted: dict[Key, tuple[int, str, Any]]) -> None:
        """Values beside the log, a few at a time: they can be large."""
        keys = list(wanted)
        for at in range(0, len(keys), BLOBS):
            for key, row in self._store.load((), keys[at : at + BLOBS]).rows.items():
                seq, field, size = wanted[key]
                if not isinstance(row, Blob):
                    self._findings.add(f"record {seq}", field, "its value beside the log is missing")
                elif digest(row.data) != row.digest or len(row.data) != size:
                    self._findings.add(f"record {seq}", field, "its value beside the log was changed")

    def _end(self) -> None:
        self.checkpoints = self._marks.opened
        self._marks.beyond(self._log.size)
        whole = self._head is not None and root(self._log) == self._head.root
        self._tiles.end()
        self._name_changes(whole and not self._unmet)
        self._name_unmet()
        self._compare_head(whole)

    def _sound(self, seq: int, whole: bool) -> bool:
        return whole or seq < self.signed_to

    def _name_changes(self, whole: bool) -> None:
        """Which of two that disagree was changed: the body, or what was computed from it."""
        accused: dict[int, bytes] = {}
        for seq, leaf in self._changed:
            if self._sound(seq, whole):
                self._findings.add(f"record {seq}", "leaf", "the stored leaf hash is not that of the body")
            else:
                accused[seq] = leaf
        for level, index, number, stored in self._tiles.wrong:
            seq = (index * WIDTH + number) << (8 * level)
            if level == 0 and stored is not None and not self._sound(seq, whole):
                accused.setdefault(seq, stored)
            elif level == 0 or self._sound(min(seq + (1 << 8 * level), self._log.size) - 1, whole):
                found = "is not there" if stored is None else f"hash {number} is not that of the records under it"
                self._findings.add(tile_path(level, index), "hashes", found)
        for count, (seq, leaf) in enumerate(sorted(accused.items())):
            self.broken.add(seq)
            if self._findings.full or count >= NAMED:
                self._findings.add(f"record {seq}", "body", "was changed")
            else:
                self._findings.take((name_change(self._store, self._tenant, seq, leaf),))

    def _name_unmet(self) -> None:
        """A root that is not met says where to look; once a record is named, or another root, it adds nothing."""
        stored = [unmet for unmet in self._unmet if not unmet[0].saved]
        told = [unmet for unmet in self._unmet if unmet[0].saved] + ([] if self.broken else stored[:1])
        for mark, message in told:
            self._findings.add(mark.where, "root", message)

    def _compare_head(self, whole: bool) -> None:
        where, head = f"head of {self._tenant}", self._head
        if head is None:
            self._findings.add(where, "", "there are rows, and no head")
            return
        if head.size != self.records:
            self._findings.add(where, "size", f"says `{head.size}`, the log holds `{self.records}` records")
        elif not whole and not self.broken and not self._unmet:
            self._findings.add(where, "root", "is not the root of the records")
        if whole and head.frontier != b"".join(self._log.frontier):
            self._findings.add(where, "frontier", "is not the frontier of the records")
        if whole and _instant(head.last_at) != self._last_at:
            self._findings.add(where, "last_at", f"the last record says `{self._last_at}`")
        if self._store.count(TileRow, self._tenant) != self._tiles.count:
            message = (
                f"there are `{self._store.count(TileRow, self._tenant)}`, a log of this size has `{self._tiles.count}`"
            )
            self._findings.add("tiles", "", message)


def _surely_canonical(value: Any, body: bytes) -> bool:
    """Whether the fast encoder gives these bytes back, and its text is the canonical one for such a value."""
    plain = body.isascii() and b"e-" not in body and not any(pattern.search(body) for pattern in _LONG)
    return plain and encode(value) == body


def _instant(at: int) -> str:
    try:
        return rfc3339(at)
    except (OverflowError, ValueError, OSError):
        return ""
