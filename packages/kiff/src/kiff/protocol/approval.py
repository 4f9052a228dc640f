"""Authority on request: pending -> granted | denied | expired | cancelled; granted -> consumed."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from kiff.protocol.actor import PrincipalType

ApprovalStatus = Literal["pending", "granted", "denied", "expired", "cancelled", "consumed"]


class Demand(Struct, frozen=True, gc=False):
    """Why a person is asked: what a grant must satisfy, and satisfies only for this.

    Args:
        rule: the reason code: `approval_required` for the contract itself, else the id of a rule or a limit.
        digest: of what it says; a rule that was changed asks anew.
        quorum: how many different people must say yes.
        roles: whose yes counts; anybody's who may review, when empty.
    """

    rule: str
    digest: str
    quorum: int = 1
    roles: tuple[str, ...] = ()


class Vote(Struct, frozen=True, gc=False):
    """One person's yes.

    Args:
        by: the principal. person: whom it counts for, in lower case.
        roles: what the voter held then.
        at: instant (ms).
        hands: who had a part in minting the key it was given with, in lower case and in order.
        use_by: instant (ms) until which it stands; None is as long as the request.
    """

    by: str
    person: str
    roles: tuple[str, ...]
    at: int
    hands: tuple[str, ...] = ()
    use_by: int | None = None


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
        demands: JSON list of `Demand`: what it was asked for, and all that a grant satisfies.
        votes: JSON list of `Vote`: who said yes so far.
        human_only, evidence: as in the contract's approval policy.
        binds_version: a grant is void once the entity moved.
        holds: JSON list of `Hold`: what limits keep for it.
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
    demands: bytes = b"[]"
    votes: bytes = b"[]"
    human_only: bool = True
    evidence: str = "key"
    binds_version: bool = False
    holds: bytes = b"[]"
