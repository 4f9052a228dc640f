"""The rows a tenant's world is made of, besides the nouns themselves. Every key is (tenant, one text)."""

from __future__ import annotations

from msgspec import Struct

from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import Credential, Member, Tenant
from kiff.protocol.clearance import Clearance
from kiff.protocol.limit import Usage
from kiff.protocol.sealed import Sealed
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
    """Which domain version governs an entity type now.

    Args:
        shadow_version, shadow_digest: a version that is asked as well, and whose answer is only recorded.
    """

    tenant: str
    entity_type: str
    domain: str
    version: str
    digest: str
    shadow_version: str | None = None
    shadow_digest: str | None = None


POLICY = "policy"
"""The id of a tenant's one ActivePolicy."""


class ActivePolicy(Struct, frozen=True, gc=False):
    """Which policy version holds for every domain of a tenant now.

    Args:
        id: always POLICY.
        policy, version, digest: empty once it was taken back: then none holds.
    """

    tenant: str
    id: str
    policy: str
    version: str
    digest: str


class PolicyVersion(Struct, frozen=True, gc=False):
    """One published policy version; its name never means anything else again."""

    tenant: str
    version: str
    policy: str
    digest: str
    content: bytes


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


class TimerRow(Struct, frozen=True, gc=False):
    """An event that comes by itself while an entity stays in a state (a domain's `timeouts`).

    Args:
        id: `<entity>/<number>`, one for each timeout of the state it is in.
        state: the state it must still be in.
        since: the entity's version when it came into that state.
        due_at: instant (ms); None once it fired or the entity moved on.
    """

    tenant: str
    id: str
    entity: str
    event: str
    state: str
    since: int
    due_at: int | None = None


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


class SealedKey(Struct, frozen=True, gc=False):
    """A secret of a tenant or of the installation, sealed for whoever holds the installation's root secret.

    Args:
        id: what it is for.
        public: which secret it is: of a signing key its public key. A row may be sealed again, and never becomes
            another secret: what was signed or sealed with the first one is still there.
        sealed: as `kiff.stores.keyring` seals it.
    """

    tenant: str
    id: str
    public: bytes
    sealed: bytes


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


HOOKS = "webhooks"
"""The id of a tenant's one Hooks row."""


class Hooks(Struct, frozen=True, gc=False):
    """Where a tenant wants to be told of what is written in its log. One row: every commit of the tenant reads it.

    Args:
        id: always HOOKS.
        endpoints: of `kiff.protocol.webhook`, as JSON.
    """

    tenant: str
    id: str
    endpoints: bytes


class Delivery(Struct, frozen=True, gc=False):
    """A record that an endpoint is still to be told of. Written in the record's own commit, gone once it was told.

    The record is the content: nothing of it is copied.

    Args:
        id: see `delivery_id`; the same record is always the same delivery.
        entity: whose order it keeps; empty for records about the tenant, which keep one among themselves.
        seq: of the record.
        status: `due`, or `dead` when it was tried often enough.
        attempts: how often it was tried.
        due_at: instant (ms) when it is to be tried again; of a dead one, when it is forgotten.
        last: why it was not delivered, in a few words.
        version: grows with every write.
    """

    tenant: str
    id: str
    endpoint: str
    entity: str
    seq: int
    status: str
    attempts: int
    due_at: int
    last: str = ""
    version: int = 1


LAST_SEQ = 10**12 - 1


def delivery_id(endpoint: str, seq: int) -> str:
    """Those of one endpoint stand together, in the order of the log."""
    return f"{endpoint}-{seq:012}"


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
    | ActivePolicy
    | PolicyVersion
    | Usage
    | TimerRow
    | Sealed
    | SealedKey
    | Hooks
    | Delivery
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
    ActivePolicy: "id",
    PolicyVersion: "version",
    Usage: "id",
    TimerRow: "id",
    Sealed: "id",
    SealedKey: "id",
    Hooks: "id",
    Delivery: "id",
}
"""Which field, beside the tenant, a row is found by."""
