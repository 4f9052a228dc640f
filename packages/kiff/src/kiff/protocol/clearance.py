"""What `allowed` gives: the right to one attempt, until a deadline."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from kiff.protocol.actor import PrincipalType

ClearanceStatus = Literal["open", "succeeded", "failed", "cancelled", "unknown", "expired"]
"""`expired`: the app that ran the tool never said how it ended. `unknown`: nobody knows; a person must look."""


class Clearance(Struct, frozen=True, gc=False):
    """One operation: its id is the operation id an executor passes on as idempotency key.

    Args:
        mode: execute | decide.
        command_id: the command whose answer the outcome completes.
        principal, principal_type, principal_person: who proposed it.
        owner: the replica that runs it.
        fencing: grows with every clearance on the same runway; 0 when the action takes no runway.
        holds_runway: whether it took the entity's runway.
        settles: in `decide`, the caller promised to report the outcome.
        deadline: instant (ms) until which the attempt may answer.
        settled_by: executor | app | event | person | deadline | recovery.
        disputed: a later answer contradicted the settled one.
        due_at: when a sweep should look at it; None once it has ended.
        runway: what it holds: the entity, or what the action's lock names; empty without a lock.
        holds: JSON list of `Hold`: what limits keep for it; after a failure, what they kept, should it be contradicted.
        payloads: JSON object: event -> the payload that a report which says nothing of it stands for.
        told: outcomes (comma separated) whose events were told; contradicted and then confirmed, they are not again.
    """

    tenant: str
    id: str
    status: ClearanceStatus
    mode: str
    proposal_id: str
    command_id: str
    domain_version: str
    domain_digest: str
    entity: str
    action: str
    action_digest: str
    principal: str
    principal_type: PrincipalType
    principal_person: str | None
    owner: str
    fencing: int
    holds_runway: bool
    settles: bool
    cleared_at: int
    deadline: int
    receipt_id: str
    trace_id: str
    approval_id: str | None = None
    settled_by: str | None = None
    settled_at: int | None = None
    disputed: bool = False
    due_at: int | None = None
    runway: str = ""
    holds: bytes = b"[]"
    payloads: bytes = b"{}"
    told: str = ""
