"""Authority on request: pending -> granted | denied | expired | cancelled; granted -> consumed."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from kiff.protocol.actor import PrincipalType

ApprovalStatus = Literal["pending", "granted", "denied", "expired", "cancelled", "consumed"]


class ApprovalRequest(Struct, frozen=True, gc=False):
    """One request for a human's yes, bound to exactly one action digest, usable once.

    Args:
        action_digest: the call it fits, and no other.
        proposal: canonical body of the proposal that opened it, for the reviewer and for `on_grant: run`.
        proposer, proposer_type, proposer_person, roles: who proposed (roles are comma separated).
        command_id: the command whose answer the review completes.
        entity_version: the entity's version when it was opened.
        reviewers: permissions, any of which lets a person answer (comma separated).
        expires_at: instant (ms) until which it may be answered.
        use_within_ms: how long a grant may be used once given.
        use_by: instant (ms) until which the grant may be used; None until granted.
        receipt_id: the receipt of the decision that opened it.
        consumed_by: the clearance that used it.
        due_at: when a sweep should look at it; None once it has ended.
    """

    tenant: str
    id: str
    status: ApprovalStatus
    action_digest: str
    domain: str
    entity: str
    entity_version: int
    action: str
    proposal_id: str
    proposal: bytes
    proposer: str
    proposer_type: PrincipalType
    proposer_person: str | None
    roles: str
    command_id: str
    trace_id: str
    receipt_id: str
    reviewers: str
    on_grant: str
    opened_at: int
    expires_at: int
    use_within_ms: int
    use_by: int | None = None
    reviewed_by: str | None = None
    reviewed_at: int | None = None
    reason: str | None = None
    consumed_by: str | None = None
    due_at: int | None = None
