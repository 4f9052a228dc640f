"""One line of the log. The record is the leaf: every field is under the tenant's Merkle root."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from kiff.canonical import digest, encode
from kiff.protocol.actor import Principal
from kiff.protocol.instant import rfc3339
from kiff.protocol.receipt import ReceiptDraft

KINDS = (
    "action_blocked",
    "action_executed",
    "action_failed",
    "action_unknown",
    "action_validated",
    "approval_cancelled",
    "approval_denied",
    "approval_expired",
    "approval_granted",
    "approval_required",
    "approval_vote",
    "clearance_expired",
    "credential_issued",
    "credential_revoked",
    "decision_recorded",
    "domain_activated",
    "domain_shadowed",
    "event_ingested",
    "log_rolled_back",
    "member_changed",
    "outcome_confirmed",
    "outcome_contradicted",
    "policy_activated",
    "policy_deactivated",
    "review_refused",
    "sensitive_erased",
    "state_changed",
    "tenant_changed",
    "transition_refused",
    "webhook_changed",
    "webhook_failed",
)


class Record(Struct, frozen=True, gc=False):
    """A step of a governed call, as it is written down.

    Args:
        seq: dense position in the tenant's log, from 0.
        at: instant (ms); never before the record in front of it.
        actor: who this step is attributed to.
        entity: `type:id`; None for records about the tenant.
        trace_id: one per governed call; a resumed call keeps the trace of the hold.
        causation_id: the proposal, event, approval or clearance that led to it.
        domain_version: the version the step was decided or folded under; None where no domain had a say.
        data: what the kind needs; JSON, with canonical fragments for callers' values. A value marked
            `sensitive` is written as {"commitment": "sha256:<hex>", "name": <text>} over a salted leaf
            SHA-256(0x00 || JCS({"name", "salt", "value"})) (`kiff.protocol.sealed`).
        receipt: the receipt this record binds; its digest is written as `data.receipt`.
        policy_version: the policy version that held beside the domain's; None where none did, or none had a say.
    """

    tenant: str
    seq: int
    at: int
    kind: str
    actor: Principal
    entity: str | None
    trace_id: str
    causation_id: str
    domain_version: str | None
    data: dict[str, Any]
    receipt: ReceiptDraft | None = None
    policy_version: str | None = None


def record_bytes(record: Record, core: bytes | None = None) -> bytes:
    """RFC 8785 bytes of a record: what is stored, hashed and proved.

    Args:
        core: the signed core of the receipt it binds.
    """
    data = record.data
    if record.receipt is not None and core is not None:
        data = {**data, "receipt": {"digest": digest(core), "id": record.receipt.id}}
    return encode(
        {
            "actor": {"id": record.actor.id, "type": record.actor.type},
            "at": rfc3339(record.at),
            "causation_id": record.causation_id,
            "data": data,
            "entity": record.entity,
            "kind": record.kind,
            "seq": record.seq,
            "tenant": record.tenant,
            "trace_id": record.trace_id,
            "v": 1,
            "versions": {"domain": record.domain_version, "policy": record.policy_version},
        }
    )
