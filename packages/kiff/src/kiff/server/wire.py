"""The kernel's nouns as the wire writes them (PROTOCOL.md). Responses may gain members, never lose them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType, json

from kiff.gate import quorum
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
    """What the gate says to an app that runs the tool itself.

    `replayed` is there, and true, when the answer is that to an earlier request with the same id: a tool that ran on
    it is not to run again.
    """

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
    replayed: bool = False


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
        replayed=told.replayed,
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
    # Whoever holds a call back, clients know what to do by this one code; `reasons` names the rules.
    code = "approval_required" if told.outcome == "approval_required" else primary.code
    body: dict[str, Any] = dict(primary.detail)
    body |= {
        "error": MESSAGES.get(code, told.message),
        "action": told.action,
        "code": code,
        "message": told.message,
        "outcome": told.outcome,
        "reasons": [each.code for each in told.reasons],
        "details": [Detail(each.code, each.outcome, each.detail) for each in told.reasons],
        "entity": told.entity,
        "proposal_id": told.proposal_id,
        "trace_id": told.trace_id,
        "docs": f"{DOCS}#{code}" if code in MESSAGES else DOCS,  # the id of a rule is its author's
    }
    if told.receipt_id:
        body["receipt_id"] = told.receipt_id
    for name in ("approval_id", "expires_at", "next_step"):
        if (value := getattr(told, name)) is not None:
            body[name] = value
    status = status_of(code)
    return (status if status != 500 else 422), body


def retry_after(told: Decided) -> dict[str, str]:
    """The header for a call over a limit: when it fits again, as far as that is known."""
    if told.outcome != "limit_exceeded":
        return {}
    waits = [each.detail.get("retry_after_ms", 1000) for each in told.reasons if each.outcome == "limit_exceeded"]
    return {"retry-after": str(max(1, -(-max(waits) // 1000)))}


class Demand(Struct):
    """What one rule asks of an approval: `quorum` different people, with one of the `roles` when there are any."""

    rule: str
    digest: str
    quorum: int
    roles: list[str]


class Needed(Struct):
    """What one demand still lacks: the yes of `more` people, with one of the `roles` when there are any."""

    rule: str
    more: int
    roles: list[str]


def needed(still: Sequence[quorum.Needed]) -> list[Needed]:
    return [Needed(each.rule, each.more, list(each.roles)) for each in still]


class Yes(Struct, omit_defaults=True):
    """Whose yes, and when; `use_by` when it was given for a while only."""

    by: str
    at: str
    use_by: str | UnsetType = UNSET


class Approval(Struct, omit_defaults=True):
    """An approval as people and programs see it (the seed's `approval` object).

    `demands` says what it was asked for, `still_needed` what is left of that while it is pending. `quorum` is how many
    people it takes at least.
    """

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
    quorum: int
    demands: list[Demand]
    votes: list[Yes]
    still_needed: list[Needed]
    human_only: bool
    evidence: str
    binds_version: bool
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


def approval(row: ApprovalRequest, now: int, opened: Mapping[str, Any] | None = None) -> Approval:
    """As it stands now: a yes that was given for a while, and has lapsed, is not among the votes.

    Args:
        opened: the values of sealed parameters that the reader may see; the others are commitments.
    """
    proposal = json.decode(row.proposal)
    said = proposal.get("reasoning_summary")
    demands, votes, still = quorum.demands_of(row), quorum.votes_of(row), list[Needed]()
    if row.status == "pending":
        votes = quorum.lasting(votes, now)
        still = needed(quorum.missing(demands, votes))
    return Approval(
        id=row.id,
        status=row.status,
        action_name=row.action,
        entity_id=row.entity.split(":", 1)[1],
        entity=row.entity,
        proposal_id=row.proposal_id,
        requested_by=row.proposer,
        parameters=proposal["parameters"] | (opened or {}),
        reviewers=row.reviewers.split(","),
        opened_at=rfc3339(row.opened_at),
        expires_at=rfc3339(row.expires_at),
        receipt_id=row.receipt_id,
        trace_id=row.trace_id,
        on_grant=row.on_grant,
        action_digest=row.action_digest,
        entity_version=row.entity_version,
        quorum=quorum.asked_for(demands),
        demands=[Demand(each.rule, each.digest, each.quorum, list(each.roles)) for each in demands],
        votes=[Yes(vote.by, rfc3339(vote.at), _time(vote.use_by)) for vote in votes],
        still_needed=still,
        human_only=row.human_only,
        evidence=row.evidence,
        binds_version=row.binds_version,
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


class State(Struct, omit_defaults=True):
    """Where an entity is, and its attributes, when its domain declares any."""

    entity: str
    entity_type: str
    entity_id: str
    state: str | None
    version: int
    domain: str
    attributes: dict[str, Any] = {}


def state(row: EntityState) -> State:
    entity_type, entity_id = row.entity.split(":", 1)
    attributes = json.decode(row.data)
    return State(row.entity, entity_type, entity_id, row.state, row.version, row.domain, attributes)


def _time(at: int | None) -> str | UnsetType:
    return UNSET if at is None else rfc3339(at)
