"""From a reply to the answer that the runtime would have given. Whatever does not fit exactly is no answer.

INVARIANT: `allowed` comes only out of a whole, well formed reply with status 200.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from kiff.client.connection import Connection, Reply
from kiff.client.nouns import Approval, Rehearsed
from kiff.errors import Unanswered
from kiff.gate.quorum import Needed
from kiff.protocol.decision import Objection, Outcome
from kiff.protocol.ids import split_ref
from kiff.runtime.answers import Decided, Executed, Ingested, Reviewed

DECIDE_STATUS: dict[str, int] = {
    "allowed": 200,
    "approval_required": 200,
    "blocked": 200,
    "invalid": 400,
    "limit_exceeded": 429,
}
"""With which status each outcome of a decide comes (PROTOCOL "Decide")."""


class _Decision(Struct):
    """What every decision says on the wire, allowed or not."""

    outcome: Outcome
    message: str
    reasons: list[str] = []
    trace_id: str = ""
    proposal_id: str = ""
    receipt_id: str = ""
    approval_id: str | None = None
    clearance_id: str | None = None
    expires_at: str | None = None
    next_step: str | None = None
    details: list[Objection] = []
    records: tuple[str, ...] = ()
    replayed: bool = False

    def members(self, entity: str, action: str) -> dict[str, Any]:
        """As the answers of the runtime take them."""
        own = ("outcome", "message", "trace_id", "proposal_id", "receipt_id", "approval_id", "clearance_id")
        told = {name: getattr(self, name) for name in (*own, "expires_at", "next_step", "replayed")}
        return told | {"reasons": self._reasons(), "entity": ":".join(split_ref(entity)), "action": action}

    def _reasons(self) -> tuple[Objection, ...]:
        if [each.code for each in self.details] == self.reasons:
            return tuple(self.details)
        return tuple(Objection(code, self.outcome) for code in self.reasons)


class _Result(Struct):
    action_name: str
    entity: str
    status: str
    executed: bool
    message: str
    operation_id: str
    receipt_id: str
    trace_id: str
    proposal_id: str
    approval_id: str | None = None
    next_step: str | None = None
    output: Any = None


class _Ran(Struct):
    result: _Result


class _Event(Struct):
    id: str
    entity: str
    state: str | None
    version: int
    trace_id: str
    settled: str | None = None


class _Stored(Struct):
    event: _Event


class _Refused(Struct):
    """An event that leads nowhere: it is stored, and the state stays."""

    event_id: str
    entity: str
    current_state: str | None
    version: int
    trace_id: str
    code: str
    message: str


class _Verdict(Struct):
    status: str
    reviewed_by: str
    reviewed_at: str
    reason: str
    use_by: str | None = None
    still_needed: tuple[Needed, ...] = ()


class _Reviewed(Struct):
    approval: Approval
    review: _Verdict
    receipt_id: str | None = None
    operation_id: str | None = None
    decision: _Decision | None = None


class _Asked(Struct):
    decision: _Decision


def decided(connection: Connection, reply: Reply, entity: str, action: str, id: str) -> Decided:
    """The answer to a decide."""
    if not _is_decision(reply):
        raise connection.failed(reply, id=id)
    told = _decision(connection, reply, id)
    is_right = reply.status == DECIDE_STATUS[told.outcome]
    is_cleared = told.clearance_id is not None and not told.reasons
    if not is_right or (told.outcome == "allowed") != is_cleared:
        raise _contradictory(connection, reply, id)
    return Decided(**told.members(entity, action))


def executed(connection: Connection, reply: Reply, entity: str, action: str, id: str) -> Executed:
    """The answer to an execute: how it ended, or the refusal by the gate."""
    if not reply.is_good:
        return Executed(**_refusal(connection, reply, id).members(entity, action))
    told = connection.shaped(reply, _Ran, id=id).result
    return Executed(
        proposal_id=told.proposal_id,
        outcome="allowed",
        action=told.action_name,
        entity=told.entity,
        message=told.message,
        receipt_id=told.receipt_id,
        trace_id=told.trace_id,
        approval_id=told.approval_id,
        clearance_id=told.operation_id,
        next_step=told.next_step,
        status=told.status,
        executed=told.executed,
        output=told.output,
    )


def asked(connection: Connection, reply: Reply, entity: str, action: str, id: str) -> Executed:
    """The answer to asking for an approval: the decision that opened it, or that refused the call."""
    told = _refusal(connection, reply, id) if not reply.is_good else connection.shaped(reply, _Asked, id=id).decision
    if told.outcome == "allowed":
        raise _contradictory(connection, reply, id)
    return Executed(**told.members(entity, action))


def rehearsed(connection: Connection, reply: Reply, entity: str, action: str) -> Rehearsed:
    """The answer to a dry run."""
    if not reply.is_good:
        told = _refusal(connection, reply, None)
    else:
        told = connection.shaped(reply, _Decision)
        if reply.body.get("valid") is not True or told.outcome != "allowed":
            raise _contradictory(connection, reply, None)
    return Rehearsed(**told.members(entity, action), records=told.records)


def ingested(connection: Connection, reply: Reply, id: str) -> Ingested:
    """The answer to an event, also to one that leads nowhere."""
    if reply.status == 422 and isinstance(reply.body, dict) and "event_id" in reply.body:
        refused = connection.shaped(reply._replace(status=200), _Refused, id=id)
        return Ingested(
            event_id=refused.event_id,
            entity=refused.entity,
            state=refused.current_state,
            version=refused.version,
            trace_id=refused.trace_id,
            applied=False,
            code=refused.code,
            message=refused.message,
        )
    told = connection.shaped(reply, _Stored, id=id).event
    return Ingested(told.id, told.entity, told.state, told.version, told.trace_id, settled=told.settled)


def reviewed(connection: Connection, reply: Reply, key: str) -> Reviewed:
    """The answer to a review."""
    told = connection.shaped(reply, _Reviewed, id=key)
    approval, review = told.approval, told.review
    members = None if told.decision is None else told.decision.members(approval.entity, approval.action)
    return Reviewed(
        id=approval.id,
        status=review.status,
        action_name=approval.action,
        entity_id=split_ref(approval.entity)[1],
        reviewed_by=review.reviewed_by,
        reviewed_at=review.reviewed_at,
        reason=review.reason,
        receipt_id=told.receipt_id,
        use_by=review.use_by,
        operation_id=told.operation_id,
        decision=None if members is None else Decided(**members),
        still_needed=review.still_needed,
    )


def _is_decision(reply: Reply) -> bool:
    """A decision has its receipt; an error of a deciding route says an outcome as well, and has none."""
    return isinstance(reply.body, dict) and "outcome" in reply.body and "receipt_id" in reply.body


def _refusal(connection: Connection, reply: Reply, id: str | None) -> _Decision:
    """The gate's no: an error by its status, with the decision in its body."""
    if not isinstance(reply.body, dict) or "outcome" not in reply.body or "reasons" not in reply.body:
        raise connection.failed(reply, id=id)
    told = _decision(connection, reply, id)
    if told.outcome == "allowed" or not told.reasons:
        raise _contradictory(connection, reply, id)
    return told


def _decision(connection: Connection, reply: Reply, id: str | None) -> _Decision:
    return connection.shaped(reply._replace(status=200), _Decision, id=id)


def _contradictory(connection: Connection, reply: Reply, id: str | None) -> Unanswered:
    why = f"the answer with status {reply.status} contradicts itself; nothing was allowed by it"
    return connection.distrusted(why, id, status=reply.status)
