"""An approval as people read it. A hold whose time is up reads as expired, also before a sweep wrote that down."""

from __future__ import annotations

from typing import Any

from msgspec import json

from kiff.errors import NotFound
from kiff.protocol.action import ActionContract
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.instant import rfc3339
from kiff.protocol.state import EntityState
from kiff.runtime.clock import SystemClock
from kiff.runtime.ports import Store
from kiff.runtime.rounds import active_domains
from kiff.runtime.rows import ActiveDomain

COLUMNS = ("approval_id", "status", "action", "entity", "proposer", "opened_at", "expires_at", "reviewed_by")


def found(store: Store, tenant: str, approval_id: str) -> ApprovalRequest:
    """The approval.

    Raises:
        NotFound: there is none.
    """
    approval = store.row(ApprovalRequest, tenant, approval_id)
    if approval is None:
        hint = "kiff approvals list --status all"
        raise NotFound(f"there is no approval `{approval_id}`", approval_id=approval_id, hint=hint)
    return approval


def standing(approval: ApprovalRequest) -> str:
    """Its status now."""
    now = SystemClock().now()
    late = approval.expires_at if approval.status == "pending" else approval.use_by
    is_over = approval.status in ("pending", "granted") and late is not None and now >= late
    return "expired" if is_over else approval.status


def row(approval: ApprovalRequest) -> dict[str, Any]:
    """One line of a list."""
    return {
        "approval_id": approval.id,
        "status": standing(approval),
        "action": approval.action,
        "entity": approval.entity,
        "proposer": approval.proposer,
        "opened_at": rfc3339(approval.opened_at),
        "expires_at": rfc3339(approval.expires_at),
        "reviewed_by": approval.reviewed_by,
    }


def facts(store: Store, approval: ApprovalRequest) -> dict[str, Any]:
    """What a reviewer looks at: who wants what, where the entity is, who may answer; the proposer's words last."""
    proposal = json.decode(approval.proposal)
    governs = contract(store, approval)
    state = store.row(EntityState, approval.tenant, approval.entity)
    moved = state is not None and state.version != approval.entity_version
    return row(approval) | {
        "risk": None if governs is None else str(governs.risk),
        "parameters": proposal["parameters"],
        "state": None if state is None else state.state,
        "moved_since": moved,
        "answered_by_holders_of": approval.reviewers.split(","),
        "on_grant": approval.on_grant,
        "use_by": None if approval.use_by is None else rfc3339(approval.use_by),
        "reviewed_at": None if approval.reviewed_at is None else rfc3339(approval.reviewed_at),
        "reason": approval.reason,
        "operation_id": approval.consumed_by,
        "receipt_id": approval.receipt_id,
        "proposal_id": approval.proposal_id,
        "action_digest": approval.action_digest,
        "proposer_says": proposal.get("reasoning_summary"),
    }


def contract(store: Store, approval: ApprovalRequest) -> ActionContract | None:
    """The contract that the active version has for the held action; None when it has none."""
    active = store.row(ActiveDomain, approval.tenant, approval.entity.partition(":")[0])
    return None if active is None else active_domains(store)[active.digest].actions.get(approval.action)
