"""How an approval stands towards one proposal, at one instant. Expiry compares times at use."""

from __future__ import annotations

from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.decision import Standing
from kiff.protocol.proposal import Proposal


def named(approval: ApprovalRequest | None, proposal: Proposal, now: int, version: int) -> Standing:
    """The standing of the approval the caller named. One that does not exist or does not fit is a mismatch.

    Args:
        version: the entity's, which an approval may be bound to.
    """
    if approval is None or approval.action_digest != proposal.action_digest:
        return "mismatch"
    if _is_void(approval, version):
        return "mismatch"
    if approval.status == "pending":
        return "expired" if now >= approval.expires_at else "pending"
    if approval.status == "granted":
        return "granted" if approval.use_by is not None and now < approval.use_by else "expired"
    return _ENDED[approval.status]


def unnamed(approval: ApprovalRequest | None, entity_version: int, now: int) -> Standing | None:
    """The standing of the last approval asked for the same call, when the caller named none.

    A grant must be named to be used, so an unused one reads as pending: the answer shows its id.
    A denial is terminal until the entity has moved.
    """
    if approval is None or _is_void(approval, entity_version):
        return None
    if approval.status == "denied":
        return "denied" if approval.entity_version == entity_version else None
    if approval.status == "pending" and now < approval.expires_at:
        return "pending"
    if approval.status == "granted" and approval.use_by is not None and now < approval.use_by:
        return "pending"
    return None


def _is_void(approval: ApprovalRequest, version: int) -> bool:
    """Whether it was asked for the entity as it no longer is. What has ended stays what it was."""
    moved = approval.binds_version and approval.entity_version != version
    return moved and approval.status in ("pending", "granted")


_ENDED: dict[str, Standing] = {
    "denied": "denied",
    "expired": "expired",
    "cancelled": "expired",
    "consumed": "used",
}
