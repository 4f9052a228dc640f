"""A person answers an approval, nobody does in time, or whoever asked takes it back. One wins; the others are told."""

from __future__ import annotations

from typing import Any

from msgspec import json, structs, to_builtins

from kiff.canonical import digest
from kiff.errors import ApprovalDecided, Forbidden, IdempotencyConflict, NotFound
from kiff.gate import MESSAGES
from kiff.gate.quorum import Needed, demands_of, lasting, missing, vote_json, votes_of
from kiff.protocol.actor import Principal, principal
from kiff.protocol.approval import ApprovalRequest, Vote
from kiff.protocol.authority import Credential, Member, Tenant
from kiff.protocol.decision import Objection
from kiff.protocol.instant import rfc3339
from kiff.protocol.receipt import ReceiptDraft
from kiff.runtime.answers import Decided, Executed, Reviewed
from kiff.runtime.commands import SYSTEM, Expire, Review, about_entity
from kiff.runtime.ports import Key
from kiff.runtime.rows import POLICY, ActivePolicy, CommandRow
from kiff.runtime.step import limits
from kiff.runtime.step.authority import roles_now
from kiff.runtime.step.fold import governing
from kiff.runtime.step.propose import Attempt, attempt, proposal_of, reasons_json, resume
from kiff.runtime.step.reviewer import does_not_count, may_not_review, vote_of
from kiff.runtime.step.vault import gone, vault_keys
from kiff.runtime.world import Change


def review(change: Change, command: Review) -> None:
    """Grants or denies; a refused review leaves a record of who tried."""
    row = change.get(CommandRow, command.id)
    if row is not None:
        if row.digest == command.digest:
            _answer_again(change, command, json.decode(row.answer, type=Reviewed))
        else:
            change.answer = IdempotencyConflict("this idempotency key was used before for another review")
        return
    approval = change.get(ApprovalRequest, command.approval_id)
    if approval is None:
        change.answer = NotFound(f"there is no approval `{command.approval_id}`", approval_id=command.approval_id)
        return
    change.need(*_reads(approval))
    refusal = may_not_review(change, command, approval)
    if refusal is not None:
        _refuse(change, command, approval, refusal)
        return
    if approval.status == "pending" and change.at >= approval.expires_at:
        approval = _expire(change, approval, command.suffix)
    if approval.status != "pending":
        change.answer = _already(approval)
        return
    _ANSWERS[command.verdict](change, command, approval)


def expire_approval(change: Change, command: Expire) -> None:
    """The sweep's word: an approval whose time is up gets its record. One that ended meanwhile is left alone."""
    approval = change.get(ApprovalRequest, command.id)
    if approval is None or approval.due_at is None or change.at < approval.due_at:
        return
    change.need(*_reads(approval))
    _expire(change, approval, command.suffix)


def _reads(approval: ApprovalRequest) -> tuple[Key, ...]:
    """What every answer to an approval reads."""
    mine: tuple[Key, ...] = (
        (CommandRow, approval.tenant, approval.command_id),
        (Tenant, approval.tenant, "tenant"),
        (ActivePolicy, approval.tenant, POLICY),
    )
    body = json.decode(approval.proposal)
    if approval.on_grant == "run":
        mine += vault_keys(approval.tenant, body["parameters"])
    used = body.get("credential")
    if used is not None:
        mine += ((Credential, approval.tenant, used), (Member, approval.tenant, approval.proposer))
    return (*about_entity(approval.tenant, approval.entity), *mine)


def _refuse(change: Change, command: Review, approval: ApprovalRequest, refusal: Forbidden) -> None:
    data = {"approval_id": approval.id, "reason": refusal.code, "verdict": command.verdict}
    _record(change, approval, "review_refused", command.caller.principal, data)
    change.answer = refusal


def _answer_again(change: Change, command: Review, answer: Reviewed) -> None:
    change.answer = answer
    approval = change.get(ApprovalRequest, command.approval_id)
    if approval is not None and answer.operation_id is not None:
        proposal = proposal_of(change, approval)
        if not gone(proposal):  # else nothing is left to run: it is unknown once its time is up
            resume(change, answer.operation_id, proposal, command.suffix)


def _grant(change: Change, command: Review, approval: ApprovalRequest) -> None:
    """One more yes. The last that was needed grants, the others are kept until it comes."""
    demands, votes, vote = demands_of(approval), lasting(votes_of(approval), change.at), vote_of(change, command)
    refusal = does_not_count(change, approval, votes, vote)
    if isinstance(refusal, Forbidden):
        _refuse(change, command, approval, refusal)
        return
    if refusal is not None:
        change.answer = refusal
        return
    votes = (*votes, vote)
    approval = structs.replace(approval, votes=json.encode(votes))
    still = missing(demands, votes)
    if still:
        _keep(change, command, approval, vote, still)
    else:
        _give(change, command, approval, votes)


def _keep(change: Change, command: Review, approval: ApprovalRequest, vote: Vote, still: tuple[Needed, ...]) -> None:
    change.put(approval)
    data = {
        "approval_id": approval.id,
        "command_id": command.id,
        "reason": command.reason,
        "still_needed": to_builtins(still),
        "vote": vote_json(vote),
    }
    _record(
        change, approval, "approval_vote", command.caller.principal, _about(approval) | data | _terms(change, command)
    )
    _answer(change, command, approval, still=still)


def _give(change: Change, command: Review, approval: ApprovalRequest, votes: tuple[Vote, ...]) -> None:
    """The grant. It is good no longer than any of its votes."""
    use_by = min([change.at + approval.use_within_ms, *(vote.use_by for vote in votes if vote.use_by is not None)])
    granted = structs.replace(_reviewed(change, command, approval), status="granted", use_by=use_by, due_at=use_by)
    change.put(granted)
    data = {
        "approval_id": approval.id,
        "command_id": command.id,
        "reason": command.reason,
        "use_by": rfc3339(use_by),
        "votes": [vote_json(vote) for vote in votes],
    }
    _record(
        change,
        approval,
        "approval_granted",
        command.caller.principal,
        _about(approval) | data | _terms(change, command),
    )
    decision: Decided | None = None
    if approval.on_grant == "run":
        decision = _run(change, command, granted)
    _answer(change, command, granted, decision=decision)


def _terms(change: Change, command: Review) -> dict[str, Any]:
    return {} if command.terms == b"{}" else change.value("terms", command.terms)


def _run(change: Change, command: Review, approval: ApprovalRequest) -> Decided | None:
    """Decides the original proposal again, with the grant as one more fact; the grant does not wait for its end.

    With the roles that the proposer's credential gives them now: a revocation acts on this decision too.
    """
    row = change.get(CommandRow, approval.command_id)
    if row is not None and row.status != "open":
        return None  # the call was asked again and has its answer, or runs: that stands (DESIGN invariant 12)
    proposal = proposal_of(change, approval)
    used = json.decode(approval.proposal).get("credential")
    if used is not None:
        proposal = structs.replace(proposal, roles=roles_now(change, used, proposal.principal))
    compared = f"{proposal.mode}:{proposal.action_digest}"
    attempt(change, Attempt(proposal, approval.id, approval.command_id, compared, command.suffix))
    decided = change.answer
    change.wait = None
    return decided if isinstance(decided, Decided) else None


def _deny(change: Change, command: Review, approval: ApprovalRequest) -> None:
    denied = structs.replace(_reviewed(change, command, approval), status="denied", due_at=None, holds=limits.NO_HOLDS)
    change.put(denied)
    data = {"approval_id": approval.id, "command_id": command.id, "reason": command.reason}
    _record(change, approval, "approval_denied", command.caller.principal, _about(approval) | data)
    denial = Objection("approval_denied", "blocked", {"approval_id": approval.id, "reviewed_by": denied.reviewed_by})
    proposer = principal(approval.proposer, approval.proposer_type)
    _end_hold(change, approval, denial, kind="action_blocked", actor=proposer, suffix=command.suffix)
    _answer(change, command, denied)


def _cancel(change: Change, command: Review, approval: ApprovalRequest) -> None:
    cancelled = structs.replace(approval, status="cancelled", due_at=None, holds=limits.NO_HOLDS)
    change.put(cancelled)
    withdrawn = Objection("approval_expired", "blocked", {"approval_id": approval.id, "cancelled": True})
    told = {"command_id": command.id, "reason": command.reason}
    actor = command.caller.principal
    _end_hold(change, approval, withdrawn, kind="approval_cancelled", actor=actor, suffix=command.suffix, told=told)
    _answer(change, command, cancelled)


_ANSWERS = {"grant": _grant, "deny": _deny, "cancel": _cancel}


def _expire(change: Change, approval: ApprovalRequest, suffix: str) -> ApprovalRequest:
    expired = structs.replace(approval, status="expired", due_at=None, holds=limits.NO_HOLDS)
    change.put(expired)
    silence = Objection("approval_expired", "blocked", {"approval_id": approval.id})
    _end_hold(change, approval, silence, kind="approval_expired", actor=SYSTEM, suffix=suffix)
    return expired


def _end_hold(
    change: Change,
    approval: ApprovalRequest,
    objection: Objection,
    *,
    kind: str,
    actor: Principal,
    suffix: str,
    told: dict[str, Any] | None = None,
) -> None:
    """The end of a hold that did not lead to a clearance: its record, its receipt, and the call's final answer."""
    domain, policy = governing(change, approval.entity), change.active_policy()
    receipt_id = f"rcpt_{suffix}"
    proposal_digest = digest(approval.proposal)
    draft = ReceiptDraft(
        id=receipt_id,
        action=approval.action,
        decision="blocked",
        reason=objection.code,
        proposal_id=approval.proposal_id,
        action_digest=approval.action_digest,
        proposal_digest=proposal_digest,
        domain_digest=None if domain is None else domain.digest,
        approval_id=approval.id,
        previous_receipt=approval.receipt_id,
        policy_digest=None if policy is None else policy.digest,
    )
    limits.release(change, approval.holds)
    data = _about(approval) | (told or {}) | limits.counted(change)
    data |= {
        "approval_id": approval.id,
        "outcome": "blocked",
        "proposal_digest": proposal_digest,
        "reasons": reasons_json((objection,)),
    }
    _record(change, approval, kind, actor, data, draft)
    mode = json.decode(approval.proposal)["mode"]
    answer = (Executed if mode == "execute" else Decided)(
        proposal_id=approval.proposal_id,
        outcome="blocked",
        action=approval.action,
        entity=approval.entity,
        message=MESSAGES[objection.code],
        receipt_id=receipt_id,
        trace_id=approval.trace_id,
        reasons=_terminal(change, approval, objection),
        approval_id=approval.id,
    )
    row = change.get(CommandRow, approval.command_id)
    # A final answer stands (DESIGN invariant 12), and a call that was asked again may wait for another approval.
    if row is not None and row.status == "open" and json.decode(row.answer).get("approval_id") == approval.id:
        change.put(structs.replace(row, status="final", answer=json.encode(answer)))


def _terminal(change: Change, approval: ApprovalRequest, objection: Objection) -> tuple[Objection, ...]:
    """A denied call answers `state_not_allowed` from then on, with the denial beside it (seed 001)."""
    if objection.code != "approval_denied":
        return (objection,)
    return (Objection("state_not_allowed", "blocked", {"entity": approval.entity}), objection)


def _reviewed(change: Change, command: Review, approval: ApprovalRequest) -> ApprovalRequest:
    who = command.caller.principal.id
    return structs.replace(approval, reviewed_by=who, reviewed_at=change.at, reason=command.reason)


def _already(approval: ApprovalRequest) -> ApprovalDecided:
    who = f" by {approval.reviewed_by}" if approval.reviewed_by else ""
    return ApprovalDecided(
        f"`{approval.id}` is {approval.status}{who} already",
        approval_id=approval.id,
        status=approval.status,
        reviewed_by=approval.reviewed_by,
        reviewed_at=None if approval.reviewed_at is None else rfc3339(approval.reviewed_at),
    )


def _about(approval: ApprovalRequest) -> dict[str, Any]:
    return {"action": approval.action, "action_digest": approval.action_digest}


def _record(
    change: Change,
    approval: ApprovalRequest,
    kind: str,
    actor: Principal,
    data: dict[str, Any],
    receipt: ReceiptDraft | None = None,
) -> None:
    domain, policy = governing(change, approval.entity), change.active_policy()
    change.record(
        kind,
        actor,
        entity=approval.entity,
        trace=approval.trace_id,
        cause=approval.id,
        version=None if domain is None else domain.version,
        data=data,
        receipt=receipt,
        policy=None if policy is None else policy.version,
    )


def _answer(
    change: Change,
    command: Review,
    approval: ApprovalRequest,
    *,
    decision: Decided | None = None,
    still: tuple[Needed, ...] = (),
) -> None:
    answer = Reviewed(
        id=approval.id,
        status=approval.status,
        action_name=approval.action,
        entity_id=approval.entity.split(":", 1)[1],
        reviewed_by=command.caller.principal.id,
        reviewed_at=rfc3339(change.at),
        reason=command.reason,
        receipt_id=f"rcpt_{command.suffix}" if approval.status in ("denied", "cancelled") else None,
        use_by=None if approval.use_by is None else rfc3339(approval.use_by),
        operation_id=None if change.run is None else change.run[0].id,
        decision=decision,
        still_needed=still,
    )
    told = json.encode(answer)
    change.answer = json.decode(told, type=Reviewed)  # exactly what a retry is told
    change.put(CommandRow(change.tenant, command.id, command.digest, "final", told))
