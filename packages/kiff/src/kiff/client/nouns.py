"""What a server tells of its nouns. Members are called as the runtime calls them; times are RFC 3339 texts."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from kiff.gate.quorum import Needed
from kiff.protocol.approval import ApprovalStatus, Demand
from kiff.protocol.clearance import ClearanceStatus
from kiff.runtime.answers import Decided


class State(Struct, frozen=True):
    """Where an entity is; see `kiff.protocol.state.EntityState`."""

    entity: str
    state: str | None
    version: int
    domain: str
    attributes: dict[str, Any] = {}


class Yes(Struct, frozen=True):
    """Whose yes, and when; `use_by` when it was given for a while only."""

    by: str
    at: str
    use_by: str | None = None


class Approval(Struct, frozen=True):
    """A held call and what came of it; see `kiff.protocol.approval.ApprovalRequest`.

    Args:
        demands: what it was asked for. quorum: how many people that takes at least.
        votes: who said yes so far. still_needed: what is left to be said, while it is pending.
        reviewers: the permissions that answering it takes.
        entity_version: the entity's version when it was opened.
        consumed_by: the operation that used it.
    """

    id: str
    status: ApprovalStatus
    entity: str
    proposal_id: str
    parameters: dict[str, Any]
    reviewers: tuple[str, ...]
    opened_at: str
    expires_at: str
    receipt_id: str
    trace_id: str
    on_grant: str
    entity_version: int
    action_digest: str
    action: str = field(name="action_name")
    proposer: str = field(name="requested_by")
    reasoning_summary: str | None = None
    reviewed_by: str | None = None
    reviewed_at: str | None = None
    reason: str | None = None
    use_by: str | None = None
    quorum: int = 1
    demands: tuple[Demand, ...] = ()
    votes: tuple[Yes, ...] = ()
    still_needed: tuple[Needed, ...] = ()
    human_only: bool = True
    evidence: str = "key"
    binds_version: bool = False
    consumed_by: str | None = field(name="operation_id", default=None)


class Operation(Struct, frozen=True):
    """One cleared attempt and how it stands; see `kiff.protocol.clearance.Clearance`."""

    id: str
    status: ClearanceStatus
    mode: str
    entity: str
    proposal_id: str
    principal: str
    cleared_at: str
    deadline: str
    receipt_id: str
    trace_id: str
    action: str = field(name="action_name")
    approval_id: str | None = None
    settled_by: str | None = None
    settled_at: str | None = None
    disputed: bool = False


class Action(Struct, frozen=True):
    """An action of an entity's domain, and whether the caller could run it now, as far as that is known."""

    name: str
    description: str
    allowed: bool
    reasons: tuple[str, ...]
    risk: str
    approval: str
    allowed_states: tuple[str, ...]
    required_parameters: tuple[str, ...]
    required_permissions: tuple[str, ...]
    parameters: dict[str, Any] | None


class Actions(Struct, frozen=True):
    """What may be done with an entity.

    Args:
        version: the domain version that governs it.
        held_by: the operation that has it now.
    """

    entity: str
    state: str | None
    actions: tuple[Action, ...]
    version: str
    held_by: str | None = None


class Rehearsed(Decided, frozen=True, omit_defaults=True):
    """What the gate would say. It has no ids, because nothing was written.

    Args:
        records: the kinds of the records there would be.
    """

    records: tuple[str, ...] = ()


class Key(Struct, frozen=True):
    """A key, without its secret."""

    id: str
    kind: str
    label: str
    roles: tuple[str, ...]
    created_at: str
    created_by: str
    principal: str | None = None
    domain: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None
    last_used_at: str | None = None


class Minted(Struct, frozen=True):
    """A new key. `secret` is told once; None when the request with this id was carried out before."""

    key: Key
    secret: str | None

    def __repr__(self) -> str:
        return f"Minted(key={self.key!r}, secret=…)"


class Member(Struct, frozen=True):
    """Somebody whom a tenant knows."""

    id: str
    type: str
    roles: tuple[str, ...]
    active: bool
    person: str | None = None
    name: str | None = None


class Me(Struct, frozen=True):
    """Who the key makes the caller."""

    tenant: str
    sandbox: bool
    principal: Member
    key: Key
    domains: tuple[str, ...]


class Webhook(Struct, frozen=True):
    """An endpoint that is told of records, without its secrets.

    Args:
        off_because: why it is off; None while it is on.
        failing_since, last_failure: while nothing reaches it.
        old_secret_until: until when the secret before this one signs too.
    """

    id: str
    url: str
    events: tuple[str, ...]
    entity_types: tuple[str, ...]
    enabled: bool
    created_at: str
    off_because: str | None = None
    failing_since: str | None = None
    last_failure: str | None = None
    old_secret_until: str | None = None


class SecretWebhook(Struct, frozen=True):
    """An endpoint and its new secret, which is told once; None when the request was carried out before."""

    webhook: Webhook
    secret: str | None

    def __repr__(self) -> str:
        return f"SecretWebhook(webhook={self.webhook!r}, secret=…)"


class Tested(Struct, frozen=True):
    """What came of a test message."""

    delivered: bool
    status: int | None
    message: str


class Delivery(Struct, frozen=True):
    """A message that has not arrived. `id` is its `webhook-id`."""

    id: str
    seq: int
    entity: str
    status: str
    attempts: int
    due_at: str
    last_failure: str
