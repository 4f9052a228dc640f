"""What decisions lead to under the draft: approvals that are open, operations in flight, and what limits keep for them.

Both end as the log says they ended. Of what never was it is supposed that a call that is newly allowed succeeds at
once, and that a call that is newly held waits until its time is up.
"""

from __future__ import annotations

from heapq import heappop, heappush

from kiff.analysis.simulate.again import Again, Ground
from kiff.analysis.simulate.counted import Counted
from kiff.analysis.simulate.entities import Entities
from kiff.analysis.simulate.past import Decided, Decision, Settling
from kiff.runtime.step.limits import NO_HOLDS


class Consequences:
    """Approvals and operations, as they would be.

    Attributes:
        runs: calls that would have run and did not.
        waits: approvals that would have been asked for and were not.
    """

    def __init__(self, counted: Counted, entities: Entities | None) -> None:
        self.runs = self.waits = 0
        self._counted = counted
        self._entities = entities
        self._approvals: dict[str, bytes] = {}
        """Approval -> what limits keep for it; one that nobody was asked for goes by its call."""
        self._ends: list[tuple[int, str]] = []
        self._unasked: set[str] = set()
        self._operations: dict[str, bytes] = {}

    def held_for(self, data: Decided) -> bytes:
        """What limits keep for an approval of this very call."""
        if not self._approvals:
            return NO_HOLDS
        named = None if data.facts.approval in (None, "mismatch") else data.facts.approval_id
        return self._approvals.get(named or "") or self._approvals.get(_call(data), NO_HOLDS)

    def is_moot(self, data: Decided) -> bool:
        """Whether it is about an approval that would not have been asked for: the call went its way before."""
        return bool(self._unasked) and data.facts.approval_id in self._unasked

    def moot(self, record: Decision, ground: Ground) -> None:
        """What came of such a decision did not come of it."""
        if record.data.clearance_id is not None:
            self._stop(record, ground)
        if record.data.outcome == "approval_required" and record.data.approval_id is not None:
            self._unasked.add(record.data.approval_id)

    def follow(self, record: Decision, again: Again) -> bool:
        """Keeps what a decision would change. Returns whether it would open an approval."""
        data, outcome = record.data, again.verdict.outcome
        if data.facts.approval == "granted" and outcome in ("allowed", "approval_required"):
            kept = self._approvals.pop(data.facts.approval_id or "", NO_HOLDS)  # it is counted anew below
            self._counted.settle(kept, happened=False)
        if data.outcome == "allowed" and outcome != "allowed":
            self._stop(record, again.ground)
        if data.outcome == "approval_required" and outcome != "approval_required" and data.approval_id is not None:
            self._unasked.add(data.approval_id)
        if outcome == "allowed":
            self._clear(record, again)
        return outcome == "approval_required" and self._hold(record, again)

    def ended(self, approval: str) -> None:
        """Nobody granted it."""
        self._counted.settle(self._approvals.pop(approval, NO_HOLDS), happened=False)

    def settled(self, record: Settling) -> None:
        """An operation ended, unless nobody knows how."""
        operation, status = record.data.operation_id, record.data.status
        if status == "unknown":
            return
        self._counted.settle(self._operations.pop(operation, NO_HOLDS), happened=status == "succeeded")
        if self._entities is not None:
            self._entities.ended(operation, record.entity or "")

    def expire(self, at: int) -> None:
        """Ends the approvals that nobody was asked for, where their time is up."""
        while self._ends and self._ends[0][0] <= at:
            self.ended(heappop(self._ends)[1])

    def _clear(self, record: Decision, again: Again) -> None:
        operation = record.data.clearance_id if record.data.outcome == "allowed" else None
        holds = self._counted.reserve(again.looked, operation or f"at {record.seq}")
        if operation is not None:
            if holds != NO_HOLDS:
                self._operations[operation] = holds
            return
        self.runs += 1
        self._counted.settle(holds, happened=True)
        if self._entities is not None and again.ground.asks is not None:
            contract, proposal = again.ground.asks.contract, again.proposal
            self._entities.ran(again.law, contract, proposal.entity, proposal.parameters, record.at_ms)

    def _hold(self, record: Decision, again: Again) -> bool:
        data = record.data
        was_held = data.outcome == "approval_required" and data.approval_id is not None
        name = (data.approval_id if was_held else None) or _call(data)
        if name in self._approvals:
            return False
        self._approvals[name] = self._counted.reserve(again.looked, "")
        if not was_held:
            self.waits += 1
            assert again.ground.asks is not None, "a hold comes from a contract"
            ends = record.at_ms + 1000 * again.ground.asks.contract.approval_policy.expires_seconds
            heappush(self._ends, (ends, name))
        return True

    def _stop(self, record: Decision, ground: Ground) -> None:
        """The operation that was cleared would not have run; or not then."""
        operation = record.data.clearance_id
        if operation is not None and self._entities is not None:
            self._entities.stop(operation, record.entity or "", ground.contract)


def _call(data: Decided) -> str:
    """The name of an approval that nobody was asked for."""
    return f"call {data.action_digest}"
