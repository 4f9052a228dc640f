"""The heads a log must have had, in the order of their sizes: the signed ones it keeps, and those kept outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from kiff.analysis.findings import Findings
from kiff.analysis.history import PAGE
from kiff.ledger import Checkpoint, Problem, PublicKeys, open_checkpoint
from kiff.runtime.ports import Store
from kiff.runtime.rows import CheckpointRow, LogHead


class Mark(Struct, frozen=True):
    """A head the log must have had, what to call it, and whether it was kept outside."""

    head: Checkpoint
    where: str
    saved: bool = False


class Marks:
    """Signed heads in the order of their sizes: those in the store, and those saved outside."""

    def __init__(
        self,
        store: Store,
        tenant: str,
        head: LogHead | None,
        keys: PublicKeys,
        saved: Sequence[Checkpoint],
        findings: Findings,
    ) -> None:
        self.opened = 0
        self._head = head
        self._keys = keys
        self._findings = findings
        self._saved = sorted(saved, key=lambda head: head.size)
        self._stored = self._read(store, tenant)
        self._next: Mark | None = None

    def begin(self) -> None:
        """Reads the first stored one."""
        self._next = next(self._stored, None)

    def until(self, size: int) -> Iterator[Mark]:
        """The heads of logs up to this size that were not given yet."""
        while (mark := self._smallest()) is not None and mark.head.size <= size:
            yield mark
            self._pop(mark)

    def beyond(self, size: int) -> None:
        """The heads that are left are of a longer log than there is."""
        while (mark := self._smallest()) is not None:
            message = f"covers `{mark.head.size}` records, the log holds `{size}`: it was cut short"
            self._findings.add(mark.where, "size", message)
            self._pop(mark)

    def _smallest(self) -> Mark | None:
        if self._saved and (self._next is None or self._saved[0].size < self._next.head.size):
            return Mark(self._saved[0], f"saved head of size {self._saved[0].size}", True)
        return self._next

    def _pop(self, mark: Mark) -> None:
        if mark is self._next:
            self._next = next(self._stored, None)
        else:
            self._saved.pop(0)

    def _read(self, store: Store, tenant: str) -> Iterator[Mark]:
        after = -1
        while page := store.checkpoints(tenant, after=after, limit=PAGE):
            for row in page:
                mark = self._open(row)
                if mark is not None:
                    self.opened += 1
                    yield mark
            after = page[-1].size

    def _open(self, row: CheckpointRow) -> Mark | None:
        where = f"checkpoint {row.size}"
        opened = open_checkpoint(row.note, self._keys)
        if isinstance(opened, Problem):
            self._findings.add(where, opened.field or "note", opened.message, undecidable=opened.undecidable)
            return None
        head = opened.checkpoint
        if head.size != row.size:
            self._findings.add(where, "size", f"its note is of a log of `{head.size}` records")
            return None
        if self._head is not None and not head.origin.endswith(f"/log/{self._head.log_id}"):
            self._findings.add(where, "origin", f"is of the log `{head.origin}`, not of `{self._head.log_id}`")
            return None
        return Mark(head, where)


def saved_by_tenant(
    notes: Iterable[bytes], keys: PublicKeys, heads: dict[str, LogHead], findings: Findings
) -> dict[str, list[Checkpoint]]:
    """The saved heads by the tenant whose log they are of."""
    logs = {head.log_id: tenant for tenant, head in heads.items()}
    found: dict[str, list[Checkpoint]] = {}
    for number, note in enumerate(notes, 1):
        where = f"saved head {number}"
        opened = open_checkpoint(note, keys)
        if isinstance(opened, Problem):
            findings.add(where, opened.field, opened.message, undecidable=opened.undecidable)
            continue
        tenant = logs.get(opened.checkpoint.origin.rpartition("/log/")[2])
        if tenant is None:
            message = f"no log here is `{opened.checkpoint.origin}`: it is another database's, or that log is gone"
            findings.add(where, "origin", message, undecidable=True)
        else:
            found.setdefault(tenant, []).append(opened.checkpoint)
    return found
