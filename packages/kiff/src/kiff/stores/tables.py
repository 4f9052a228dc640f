"""Which table keeps which rows. Every store of rows has the same tables, with the same columns."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import fields

from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import Credential, Member, Tenant
from kiff.protocol.clearance import Clearance
from kiff.protocol.limit import Usage
from kiff.protocol.receipt import Receipt
from kiff.protocol.sealed import Sealed
from kiff.protocol.state import EntityState
from kiff.runtime.rows import (
    ActiveDomain,
    ActivePolicy,
    Blob,
    CheckpointRow,
    CommandRow,
    Delivery,
    DomainVersion,
    Hooks,
    LastApproval,
    LogHead,
    NoteRow,
    PolicyVersion,
    RecordRow,
    Runway,
    SealedKey,
    TileRow,
    TimerRow,
)

TABLES: dict[type[Struct], str] = {
    LogHead: "heads",
    RecordRow: "records",
    Receipt: "receipts",
    TileRow: "tiles",
    CheckpointRow: "checkpoints",
    CommandRow: "commands",
    ActiveDomain: "active_domains",
    DomainVersion: "domain_versions",
    EntityState: "entities",
    Runway: "runways",
    LastApproval: "last_approvals",
    ApprovalRequest: "approvals",
    Clearance: "clearances",
    Blob: "blobs",
    Tenant: "tenants",
    Member: "members",
    Credential: "credentials",
    NoteRow: "notes",
    ActivePolicy: "active_policies",
    PolicyVersion: "policy_versions",
    Usage: "usages",
    TimerRow: "timers",
    Sealed: "sealed",
    SealedKey: "sealed_keys",
    Hooks: "hooks",
    Delivery: "deliveries",
}
"""A struct's fields are its table's columns, in order."""

UNSIGNED = (
    "SELECT tenant FROM heads WHERE NOT EXISTS (SELECT 1 FROM checkpoints"
    " WHERE checkpoints.tenant = heads.tenant AND checkpoints.size >= heads.size) ORDER BY tenant"
)
"""The tenants whose last records no signed head covers."""
COLUMNS = {row: tuple(field.name for field in fields(row)) for row in TABLES}
WRITTEN_ONCE = (Blob, DomainVersion, PolicyVersion, SealedKey)
"""Rows whose key says what is in them: a second one changes nothing."""
REFUSED_TWICE = (DomainVersion, PolicyVersion)
"""Those of them that nobody writes again by accident."""
