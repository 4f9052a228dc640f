"""The kernel's nouns as the wire writes them (PROTOCOL.md). Responses may gain members, never lose them."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, json

from kiff.gate.reasons import MESSAGES
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.instant import rfc3339
from kiff.protocol.state import EntityState
from kiff.runtime.answers import Decided, Executed
from kiff.server.problems import DOCS, status_of

DECIDE_STATUS = {"allowed": 200, "approval_required": 200, "blocked": 200, "invalid": 400, "limit_exceeded": 429}


class Actor(Struct, forbid_unknown_fields=True):
    """Who a body says acts. Compared with the key and never believed; `roles` is display only."""

    id: str
    type: str | None = None
    roles: list[str] | None = None


class Detail(Struct):
    """One reason: a stable code, its severity, and what would have to change."""

    code: str
    outcome: str
    detail: dict[str, Any]


class DecideAnswer(Struct, omit_defaults=True):
    """What the gate says to an app that runs the tool itself."""

    proposal_id: str
    outcome: str
    reasons: list[str]
    message: str
    trace_id: str
    receipt_id: str | UnsetType = UNSET
    approval_id: str | UnsetType = UNSET
    clearance_id: str | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    next_step: str | UnsetType = UNSET
    details: list[Detail] | UnsetType = UNSET
    error: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    docs: str | UnsetType = UNSET


def decided(told: Decided) -> DecideAnswer:
    """What is no 2xx has the members of every error beside its own."""
    failed = DECIDE_STATUS[told.outcome] >= 400
    details = [Detail(each.code, each.outcome, each.detail) for each in told.reasons]
    return DecideAnswer(
        proposal_id=told.proposal_id,
        outcome=told.outcome,
        reasons=[each.code for each in told.reasons],
        message=told.message,
        trace_id=told.trace_id,
        receipt_id=told.receipt_id,
        approval_id=told.approval_id or UNSET,
        clearance_id=told.clearance_id or UNSET,
        expires_at=told.expires_at or UNSET,
        next_step=told.next_step or UNSET,
        details=details or UNSET,
        error=MESSAGES.get(told.reason, told.message) if failed else UNSET,
        code=told.reason if failed else UNSET,
        docs=f"{DOCS}#{told.reason}" if failed else UNSET,
    )


class Result(Struct):
    """How an action ended that KIFF ran."""

    action_name: str
    entity_id: str
    entity: str
    proposal_id: str
    status: str
    executed: bool
    message: str
    operation_id: str
    receipt_id: str
    trace_id: str
    output: Any = None
    approval_id: str | UnsetType = UNSET
    next_step: str | UnsetType = UNSET


class ExecuteAnswer(Struct):
    """The answer of an execute that the gate allowed."""

    result: Result


def executed(told: Executed) -> ExecuteAnswer:
    assert told.status is not None and told.operation_id is not None, "only an allowed call has run"
    return ExecuteAnswer(
        Result(
            action_name=told.action,
            entity_id=told.entity.split(":", 1)[1],
            entity=told.entity,
            proposal_id=told.proposal_id,
            status=told.status,
            executed=told.executed,
            message=told.message,
            operation_id=told.operation_id,
            receipt_id=told.receipt_id,
            trace_id=told.trace_id,
            output=told.output,
            approval_id=told.approval_id or UNSET,
            next_step=told.next_step or UNSET,
        )
    )


def refused(told: Decided) -> tuple[int, dict[str, Any]]:
    """Status and body of a refusal by the gate, in the error shape (PROTOCOL "Execute")."""
    primary = told.reasons[0]
    body: dict[str, Any] = dict(primary.detail)
    body |= {
        "error": MESSAGES[primary.code],
        "action": told.action,
        "code": primary.code,
        "message": told.message,
        "outcome": told.outcome,
        "reasons": [each.code for each in told.reasons],
        "details": [Detail(each.code, each.outcome, each.detail) for each in told.reasons],
        "entity": told.entity,
        "proposal_id": told.proposal_id,
        "trace_id": told.trace_id,
        "docs": f"{DOCS}#{primary.code}",
    }
    if told.receipt_id:
        body["receipt_id"] = told.receipt_id
    for name in ("approval_id", "expires_at", "next_step"):
        if (value := getattr(told, name)) is not None:
            body[name] = value
    status = status_of(primary.code)
    return (status if status != 500 else 422), body


class Approval(Struct, omit_defaults=True):
    """An approval as people and programs see it (the seed's `approval` object)."""

    id: str
    status: str
    action_name: str
    entity_id: str
    entity: str
    proposal_id: str
    requested_by: str
    parameters: dict[str, Any]
    reviewers: list[str]
    opened_at: str
    expires_at: str
    receipt_id: str
    trace_id: str
    on_grant: str
    action_digest: str
    entity_version: int
    reasoning_summary: str | UnsetType = UNSET
    reviewed_by: str | UnsetType = UNSET
    reviewed_at: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    use_by: str | UnsetType = UNSET
    operation_id: str | UnsetType = UNSET


class ApprovalAnswer(Struct):
    """One approval."""

    approval: Approval


class Approvals(Struct, omit_defaults=True):
    """Approvals, oldest first. `next` is the `after` of the next page; a page may be empty."""

    approvals: list[Approval]
    next: str | UnsetType = UNSET


def approval(row: ApprovalRequest) -> Approval:
    proposal = json.decode(row.proposal)
    said = proposal.get("reasoning_summary")
    return Approval(
        id=row.id,
        status=row.status,
        action_name=row.action,
        entity_id=row.entity.split(":", 1)[1],
        entity=row.entity,
        proposal_id=row.proposal_id,
        requested_by=row.proposer,
        parameters=proposal["parameters"],
        reviewers=row.reviewers.split(","),
        opened_at=rfc3339(row.opened_at),
        expires_at=rfc3339(row.expires_at),
        receipt_id=row.receipt_id,
        trace_id=row.trace_id,
        on_grant=row.on_grant,
        action_digest=row.action_digest,
        entity_version=row.entity_version,
        reasoning_summary=said if isinstance(said, str) else UNSET,
        reviewed_by=row.reviewed_by or UNSET,
        reviewed_at=_time(row.reviewed_at),
        reason=row.reason or UNSET,
        use_by=_time(row.use_by),
        operation_id=row.consumed_by or UNSET,
    )


class Operation(Struct, omit_defaults=True):
    """One cleared attempt, and how it stands."""

    id: str
    status: str
    mode: str
    action_name: str
    entity: str
    proposal_id: str
    principal: str
    cleared_at: str
    deadline: str
    receipt_id: str
    trace_id: str
    approval_id: str | UnsetType = UNSET
    settled_by: str | UnsetType = UNSET
    settled_at: str | UnsetType = UNSET
    disputed: bool = False


def operation(row: Clearance) -> Operation:
    return Operation(
        id=row.id,
        status=row.status,
        mode=row.mode,
        action_name=row.action,
        entity=row.entity,
        proposal_id=row.proposal_id,
        principal=row.principal,
        cleared_at=rfc3339(row.cleared_at),
        deadline=rfc3339(row.deadline),
        receipt_id=row.receipt_id,
        trace_id=row.trace_id,
        approval_id=row.approval_id or UNSET,
        settled_by=row.settled_by or UNSET,
        settled_at=_time(row.settled_at),
        disputed=row.disputed,
    )


class State(Struct):
    """Where an entity is."""

    entity: str
    entity_type: str
    entity_id: str
    state: str | None
    version: int
    domain: str


def state(row: EntityState) -> State:
    entity_type, entity_id = row.entity.split(":", 1)
    return State(row.entity, entity_type, entity_id, row.state, row.version, row.domain)


def _time(at: int | None) -> str | UnsetType:
    return UNSET if at is None else rfc3339(at)
