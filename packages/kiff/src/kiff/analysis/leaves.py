"""Verify the log alone, fast: that the records are those the heads were made and signed over. It reads nothing else.

One pass, a page at a time: no record is missing, each body hashes to its stored leaf, and the tree over the bodies
has the root of every signed head and of the head row. Receipts, tiles and the rows are left to `verify_store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from kiff.analysis.each_log import each_log
from kiff.analysis.findings import MOST, Findings
from kiff.analysis.heads import Mark, Marks
from kiff.analysis.history import pages
from kiff.ledger import EMPTY, Checkpoint, Log, Problem, PublicKeys, extend, leaf_hash, root
from kiff.ledger.verdict import Status, status_of
from kiff.runtime.ports import Store
from kiff.runtime.rows import LogHead, RecordRow


class LeavesVerdict(Struct, frozen=True):
    """What holds of a store's logs.

    Args:
        status: invalid if anything is wrong, else undecidable if anything could not be checked.
        tenants, records, checkpoints: how many were read; of checkpoints, those a known key signed.
        unsigned_tail: per tenant, how many records stand after the last signed head; 0 says the whole log is signed.
        saved_heads: how many heads kept outside were compared; without one, a cut-off log cannot be seen.
    """

    status: Status
    tenants: int
    records: int
    checkpoints: int
    unsigned_tail: dict[str, int]
    saved_heads: int
    problems: tuple[Problem, ...]


def verify_leaves(store: Store, keys: PublicKeys, saved_heads: Iterable[bytes] = ()) -> LeavesVerdict:
    """Check every tenant's records against the heads of its log.

    Args:
        store: any store; it is read at one instant, also beside a running writer.
        keys: the keys the caller trusts.
        saved_heads: signed notes (see `Runtime.checkpoint`) that were kept outside the database.

    Raises:
        StoreError: the store cannot be opened or read at all. What it holds wrongly is a problem, not an error.
    """
    findings = Findings()

    def begin(still: Store, tenant: str, head: LogHead | None, saved: Sequence[Checkpoint]) -> LeafCheck:
        return LeafCheck(still, tenant, head, keys, saved, findings)

    checks, notes = each_log(store, keys, saved_heads, findings, begin, lambda _, check: check.run())
    problems = findings.problems()
    return LeavesVerdict(
        status=status_of(problems),
        tenants=len(checks),
        records=sum(check.records for check in checks),
        checkpoints=sum(check.checkpoints for check in checks),
        unsigned_tail={check.tenant: max(0, check.records - check.signed_to) for check in checks},
        saved_heads=sum(map(len, notes.values())),
        problems=problems,
    )


class LeafCheck:
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
        self.records = self.checkpoints = 0
        self.signed_to = 0
        """How many records the newest signed head covers whose root is theirs."""
        self._store = store
        self._head = head
        self._findings = findings
        self._marks = Marks(store, tenant, head, keys, saved, findings)
        self._saved = len(saved)
        self._log: Log = EMPTY
        self._next = 0
        self._named = False
        """Whether a record was named already; a root that is not met then adds nothing."""
        self._differing: list[int] = []
        """Records whose stored leaf is not the hash of their body."""
        self._unmet: list[Mark] = []

    def run(self) -> None:
        self._marks.begin()
        for page in pages(self._store, self.tenant):
            self._page(page)
        self._end()

    def _page(self, page: list[RecordRow]) -> None:
        leaves = [leaf_hash(row.body) for row in page]
        self._places(page)
        if leaves != [row.leaf for row in page]:
            self._differ(page, leaves)
        self.records += len(page)
        done = 0
        for mark in self._marks.until(self._log.size + len(leaves)):
            step = mark.head.size - self._log.size
            self._log = extend(self._log, leaves[done : done + step])
            done += step
            self._met(mark)
        self._log = extend(self._log, leaves[done:])

    def _places(self, page: list[RecordRow]) -> None:
        """Every record stands where its own body says, and none is left out."""
        for row in page:
            if row.seq != self._next:
                self._missing(row.seq)
            self._next = row.seq + 1
            # In canonical JSON these members are neighbours. A caller's value may hold the same text: the root tells.
            if b'"seq":%d,"tenant":' % row.seq not in row.body:
                self._name(f"record {row.seq}", "seq", f"the row says `{row.seq}`, its body says otherwise")

    def _missing(self, until: int) -> None:
        several = until - self._next > 1
        lost = f"records {self._next} to {until - 1}" if several else f"record {self._next}"
        self._name(lost, "seq", "missing from the log")

    def _differ(self, page: list[RecordRow], leaves: list[bytes]) -> None:
        room = MOST - len(self._differing)
        differing = (row.seq for row, leaf in zip(page, leaves, strict=True) if row.leaf != leaf)
        self._differing += list(differing)[:room]

    def _met(self, mark: Mark) -> None:
        if root(self._log) == mark.head.root:
            self.signed_to = max(self.signed_to, mark.head.size)
        else:
            self._unmet.append(mark)

    def _end(self) -> None:
        self.checkpoints = self._marks.opened
        self._marks.beyond(self._log.size)
        whole = self._head is not None and root(self._log) == self._head.root and not self._unmet
        for seq in self._differing:
            self._changed(seq, whole)
        self._name_unmet()
        self._compare_head()
        if self.records and not self.checkpoints and not self._saved:
            message = f"no signed head covers any of its `{self.records}` records: nothing outside the rows binds them"
            self._findings.add(f"log of {self.tenant}", "", message, undecidable=True)

    def _changed(self, seq: int, whole: bool) -> None:
        """Which of two that disagree was changed: the body, unless the roots are those of the bodies."""
        if whole or seq < self.signed_to:
            self._findings.add(f"record {seq}", "leaf", "the stored leaf hash is not that of the body")
        else:
            self._name(f"record {seq}", "body", "is not what its stored leaf hash is of, nor what was signed")

    def _name_unmet(self) -> None:
        """The first root that is not met says where to look, if no record was named; saved heads always speak."""
        stored = [mark for mark in self._unmet if not mark.saved]
        for mark in [mark for mark in self._unmet if mark.saved] + ([] if self._named else stored[:1]):
            message = (
                f"the records up to here have another root: look between {self.signed_to} and {mark.head.size - 1}"
            )
            self._findings.add(mark.where, "root", message)

    def _compare_head(self) -> None:
        where, head = f"head of {self.tenant}", self._head
        if head is None:
            self._findings.add(where, "", "there are rows, and no head")
        elif head.size != self.records:
            self._findings.add(where, "size", f"says `{head.size}`, the log holds `{self.records}` records")
        elif head.root != root(self._log) and not self._named and not self._unmet:
            self._findings.add(where, "root", "is not the root of the records")

    def _name(self, where: str, field: str, message: str) -> None:
        self._named = True
        self._findings.add(where, field, message)
