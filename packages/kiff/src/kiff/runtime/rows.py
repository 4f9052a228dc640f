"""The rows a tenant's world is made of, besides the nouns themselves. Every key is (tenant, one text)."""

from __future__ import annotations

from msgspec import Struct

from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import Credential, Member, Tenant
from kiff.protocol.clearance import Clearance
from kiff.protocol.state import EntityState


class LogHead(Struct, frozen=True, gc=False):
    """The tenant's log as it stands: the one gate every change goes through.

    Args:
        log_id: unguessable name of the log, drawn when the tenant first wrote.
        root: Merkle root over `size` records.
        frontier: hashes of the perfect subtrees, largest first, 32 bytes each.
        last_at: instant (ms) of the last record; time in a log never goes backwards.
    """

    tenant: str
    log_id: str
    size: int
    root: bytes
    frontier: bytes
    last_at: int


class CommandRow(Struct, frozen=True, gc=False):
    """One write by its id: idempotency, crash recovery and lost-reply recovery in one.

    Args:
        digest: of the compared content; the same id with another digest is a conflict.
        status: `final` (the answer stands), `running` (the operation will bring it) or `open` (step again).
        answer: JSON of the answer; empty while running.
        operation_id: the clearance that is running.
    """

    tenant: str
    id: str
    digest: str
    status: str
    answer: bytes
    operation_id: str | None = None


class ActiveDomain(Struct, frozen=True, gc=False):
    """Which domain version governs an entity type now."""

    tenant: str
    entity_type: str
    domain: str
    version: str
    digest: str


class DomainVersion(Struct, frozen=True, gc=False):
    """One published version; its name never means anything else again."""

    tenant: str
    version: str
    domain: str
    digest: str
    content: bytes


class Runway(Struct, frozen=True, gc=False):
    """Who holds an entity.

    Args:
        holder: the clearance that has it; None when it is free.
        fencing: grows with every holder.
        in_doubt: disputed clearances (comma separated) that take it, one after the other, when the holder lets go.
    """

    tenant: str
    entity: str
    holder: str | None
    fencing: int
    in_doubt: str = ""


class LastApproval(Struct, frozen=True, gc=False):
    """The last approval that was asked for one exact call."""

    tenant: str
    action_digest: str
    approval_id: str


class Blob(Struct, frozen=True, gc=False):
    """A value too large for the log; the record that speaks of it holds its digest."""

    tenant: str
    digest: str
    data: bytes


class NoteRow(Struct, frozen=True, gc=False):
    """Something kept for a tenant beside its log: it carries no authority, and no decision reads it.

    Args:
        times: how often it was written.
    """

    tenant: str
    id: str
    body: bytes
    first_at: int
    last_at: int
    times: int


class RecordRow(Struct, frozen=True, gc=False):
    """One record as it is stored: `body` is its RFC 8785 bytes, `leaf` their RFC 6962 leaf hash."""

    tenant: str
    seq: int
    entity: str | None
    leaf: bytes
    body: bytes


class TileRow(Struct, frozen=True, gc=False):
    """Up to 256 hashes of one tree level (C2SP tlog-tiles); only the upper levels are ever partial."""

    tenant: str
    level: int
    number: int
    hashes: bytes


class CheckpointRow(Struct, frozen=True, gc=False):
    """A signed note over a log's root at one size."""

    tenant: str
    size: int
    note: bytes


Row = (
    EntityState
    | ApprovalRequest
    | Clearance
    | CommandRow
    | ActiveDomain
    | DomainVersion
    | Runway
    | LastApproval
    | Blob
    | Tenant
    | Member
    | Credential
    | NoteRow
)
"""A row the gate may read: loaded by key, replaced whole."""

KEYS: dict[type, str] = {
    EntityState: "entity",
    ApprovalRequest: "id",
    Clearance: "id",
    CommandRow: "id",
    ActiveDomain: "entity_type",
    DomainVersion: "version",
    Runway: "entity",
    LastApproval: "action_digest",
    Blob: "digest",
    Tenant: "id",
    Member: "id",
    Credential: "id",
    NoteRow: "id",
}
"""Which field, beside the tenant, a row is found by."""
