"""An approval as people read it. A hold whose time is up reads as expired, also before a sweep wrote that down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import to_builtins

from kiff.cli.place import Looked
from kiff.client.nouns import Approval
from kiff.gate.quorum import Needed
from kiff.protocol.instant import parse_rfc3339
from kiff.runtime.clock import SystemClock

COLUMNS = ("approval_id", "status", "action", "entity", "proposer", "opened_at", "expires_at", "reviewed_by")


def standing(approval: Approval) -> str:
    """Its status now."""
    late = approval.expires_at if approval.status == "pending" else approval.use_by
    if approval.status not in ("pending", "granted") or late is None:
        return approval.status
    return "expired" if SystemClock().now() >= parse_rfc3339(late, field="expires_at") else approval.status


def row(approval: Approval) -> dict[str, Any]:
    """One line of a list."""
    return {
        "approval_id": approval.id,
        "status": standing(approval),
        "action": approval.action,
        "entity": approval.entity,
        "proposer": approval.proposer,
        "opened_at": approval.opened_at,
        "expires_at": approval.expires_at,
        "reviewed_by": approval.reviewed_by,
    }


def facts(approval: Approval, looked: Looked) -> dict[str, Any]:
    """What a reviewer looks at: who wants what, where the entity is, who may answer; the proposer's words last."""
    return row(approval) | {
        "risk": looked.risk,
        "parameters": approval.parameters,
        "state": looked.state,
        "moved_since": looked.moved,
        "answered_by_holders_of": list(approval.reviewers),
        "quorum": approval.quorum,
        "demands": to_builtins(approval.demands),
        "votes": to_builtins(approval.votes),
        "still_needed": to_builtins(approval.still_needed),
        "human_only": approval.human_only,
        "evidence": approval.evidence,
        "binds_version": approval.binds_version,
        "on_grant": approval.on_grant,
        "use_by": approval.use_by,
        "reviewed_at": approval.reviewed_at,
        "reason": approval.reason,
        "operation_id": approval.consumed_by,
        "receipt_id": approval.receipt_id,
        "proposal_id": approval.proposal_id,
        "action_digest": approval.action_digest,
        "proposer_says": approval.reasoning_summary,
    }


def for_people(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same facts, with a phrase in place of what programs read."""
    return {
        **told,
        "demands": [f"{each['quorum']} {_of(each['roles'])} for {each['rule']}" for each in told["demands"]],
        "votes": [f"{each['by']} at {each['at']}" for each in told["votes"]],
        "still_needed": [f"{each['more']} more {_of(each['roles'])}" for each in told["still_needed"]],
    }


def still(needed: Sequence[Needed]) -> str:
    """Whose yes is left to be said: `1 more of admin or finance`."""
    return ", ".join(f"{each.more} more {_of(each.roles)}" for each in needed)


def _of(roles: Sequence[str]) -> str:
    return f"of {' or '.join(roles) or 'all reviewers'}"
