"""The signed, flat JSON of a decision: what the seed calls a receipt your system and your auditors can use."""

from __future__ import annotations

from msgspec import Struct

from kiff.canonical import encode
from kiff.protocol.instant import rfc3339


class Issuer(Struct, frozen=True, gc=False):
    """Who signs: the name in `issued_by`, and the key id (RFC 7638 thumbprint) in `kid`."""

    name: str
    kid: str


class Receipt(Struct, frozen=True, gc=False):
    """A receipt as it is stored: the signed core, its signature, and where its decision stands in the log.

    Args:
        core: RFC 8785 bytes of every field but signature, anchor and proofs.
        signature: the text of the `signature` field; empty until signed.
        batch: canonical JSON of proofs.batch when one signature covers a batch; None otherwise.
        seq: position of the record that holds the core's digest.
    """

    tenant: str
    id: str
    seq: int
    core: bytes
    signature: str = ""
    batch: bytes | None = None


class ReceiptDraft(Struct, frozen=True, gc=False):
    """What a receipt says beyond the record that holds its digest.

    Args:
        decision: the outcome. reason: the primary reason code.
        expires_at: instant (ms) until which the clearance, or the open approval, is good.
        previous_receipt: the receipt of the hold that this decision resumed or ended.
    """

    id: str
    action: str
    decision: str
    reason: str
    proposal_id: str
    action_digest: str
    proposal_digest: str
    domain_digest: str | None
    expires_at: int | None = None
    approval_id: str | None = None
    previous_receipt: str | None = None
    policy_digest: str | None = None


def receipt_core(
    draft: ReceiptDraft,
    issuer: Issuer,
    *,
    tenant: str,
    entity: str | None,
    trace_id: str,
    issued_at: int,
    domain_version: str | None,
    policy_version: str | None = None,
) -> bytes:
    """RFC 8785 bytes of the signed core (PROTOCOL "Events, state, evidence")."""
    core = {
        "action": draft.action,
        "action_digest": draft.action_digest,
        "audit_url": f"/v1/entities/{entity}/timeline",
        "decision": draft.decision,
        "domain_digest": draft.domain_digest,
        "domain_version": domain_version,
        "entity": entity,
        "issued_at": rfc3339(issued_at),
        "issued_by": issuer.name,
        "kid": issuer.kid,
        "policy_digest": draft.policy_digest,
        "policy_version": policy_version,
        "proposal_digest": draft.proposal_digest,
        "proposal_id": draft.proposal_id,
        "reason": draft.reason,
        "receipt_id": draft.id,
        "tenant": tenant,
        "trace_id": trace_id,
        "v": 1,
    }
    if draft.expires_at is not None:
        core["expires_at"] = rfc3339(draft.expires_at)
    if draft.approval_id is not None:
        core["approval_id"] = draft.approval_id
    if draft.previous_receipt is not None:
        core["previous_receipt"] = draft.previous_receipt
    return encode(core)
