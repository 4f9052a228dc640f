"""What a caller may see of a tenant's log: all of it, or what belongs to their own proposals.

Whose a record is follows from rows whose ids KIFF drew, never from its trace: a client may choose that.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, json

from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.receipt import Receipt
from kiff.runtime.ports import Store
from kiff.runtime.rows import RecordRow


class Who(Struct, frozen=True, gc=False):
    """Who a record is attributed to."""

    id: str


class Told(Struct, frozen=True, gc=False):
    """The members of a record that say what it is and whose."""

    kind: str
    actor: Who
    causation_id: str
    entity: str | None


def told(row: RecordRow) -> Told:
    """What a record says of itself."""
    return json.decode(row.body, type=Told)


class Sight:
    """What one caller may see, at one moment.

    Args:
        whose: the principal whose own proposals it is limited to; None sees everything.
        covers: whether the key is good for an entity's domain.
    """

    def __init__(self, store: Store, tenant: str, whose: str | None, covers: Callable[[str | None], bool]) -> None:
        self._store = store
        self._tenant = tenant
        self._whose = whose
        self._covers = covers
        self._causes: dict[str, bool] = {}

    def record(self, record: Told) -> bool:
        """Whether the record is the caller's to see."""
        if not self._covers(record.entity):
            return False
        return self._whose in (None, record.actor.id) or self._is_own_cause(record.causation_id)

    def seq(self, seq: int) -> bool:
        """Whether the record at that place is the caller's to see."""
        [row] = self._store.records(self._tenant, after=seq - 1, limit=1)
        return self.record(told(row))

    def receipt(self, receipt_id: str) -> Receipt | None:
        """The receipt; None when there is none, or not for this caller."""
        receipt = self._store.receipt(self._tenant, receipt_id)
        return receipt if receipt is not None and self.seq(receipt.seq) else None

    def operation(self, row: Clearance) -> bool:
        """Whether the operation is the caller's to see."""
        return self._covers(row.entity) and self._whose in (None, row.principal)

    def approval(self, row: ApprovalRequest) -> bool:
        """Whether the approval is the caller's to see, whoever may answer it."""
        return self._covers(row.entity) and self._whose in (None, row.proposer)

    def _is_own_cause(self, cause: str) -> bool:
        """Whether it is an operation or an approval of the caller's own."""
        known = self._causes.get(cause)
        if known is None:
            known = self._causes[cause] = self._whose == self._proposer(cause)
        return known

    def _proposer(self, cause: str) -> str | None:
        if cause.startswith("clr_"):
            operation = self._store.row(Clearance, self._tenant, cause)
            return None if operation is None else operation.principal
        if cause.startswith("appr_"):
            approval = self._store.row(ApprovalRequest, self._tenant, cause)
            return None if approval is None else approval.proposer
        return None
