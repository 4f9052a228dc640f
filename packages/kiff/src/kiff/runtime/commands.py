"""The commands a lane takes: plain values, well formed, with every id they will need drawn at submit.

A command that is stepped twice (after a conflict, or a lost reply) gives the same ids, so it can be
recognised. `reads` lists what it is sure to read; the rest comes by NotLoaded.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from kiff.canonical import digest
from kiff.domain import Domain
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.event import Event
from kiff.protocol.proposal import Proposal
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Key
from kiff.runtime.rows import ActiveDomain, CommandRow, LastApproval, Runway

SYSTEM = Principal("kiff", "service", name="KIFF")
AUTHOR = "tenant_owner"
"""The role that publishing a domain needs (PROTOCOL "Domains"). It is the tenant's, not a domain's."""


def about_entity(tenant: str, entity: str) -> tuple[Key, ...]:
    """What every step that touches an entity reads."""
    entity_type, _ = entity.split(":", 1)
    return (
        (ActiveDomain, tenant, entity_type),
        (EntityState, tenant, entity),
        (Runway, tenant, entity),
    )


class Propose(Struct, frozen=True, gc=False):
    """Decide a proposal; in `execute`, hand its clearance to the executor.

    Args:
        suffix: what the ids of this attempt end in.
        id: the command row's id.
        digest: the compared content: what is to be done, how, and for whom. Not the approval, not the reasoning.
    """

    caller: Caller
    proposal: Proposal
    suffix: str
    approval_id: str | None
    id: str
    digest: str

    @property
    def tenant(self) -> str:
        return self.proposal.tenant

    def reads(self) -> tuple[Key, ...]:
        proposal = self.proposal
        tenant, entity = proposal.tenant, proposal.entity
        keys: tuple[Key, ...] = (
            (ActiveDomain, tenant, proposal.entity_type),
            (EntityState, tenant, entity),
            (Runway, tenant, entity),
            (CommandRow, tenant, self.id),
            (LastApproval, tenant, proposal.action_digest),
        )
        return keys if self.approval_id is None else (*keys, (ApprovalRequest, tenant, self.approval_id))


def propose(caller: Caller, proposal: Proposal, suffix: str, approval_id: str | None = None) -> Propose:
    """The command that asks for a decision on a proposal."""
    compared = f"{proposal.mode}:{proposal.action_digest}"
    return Propose(caller, proposal, suffix, approval_id, f"propose:{proposal.id}", compared)


class Ingest(Struct, frozen=True, gc=False):
    """Take in one event."""

    caller: Caller
    event: Event
    suffix: str

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def id(self) -> str:
        return f"event:{self.event.id}"

    @property
    def digest(self) -> str:
        event = self.event
        return digest(b"\0".join((event.type.encode(), event.entity.encode(), event.source.encode(), event.payload)))

    def reads(self) -> tuple[Key, ...]:
        return (*about_entity(self.tenant, self.event.entity), (CommandRow, self.tenant, self.id))


class Review(Struct, frozen=True, gc=False):
    """A person answers an approval."""

    caller: Caller
    approval_id: str
    verdict: Literal["grant", "deny"]
    reason: str
    suffix: str
    key: str | None = None

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def id(self) -> str:
        return f"review:{self.key or self.suffix}"

    @property
    def digest(self) -> str:
        who = self.caller.principal.id
        return digest("\0".join((self.verdict, self.approval_id, who, self.reason)).encode())

    def reads(self) -> tuple[Key, ...]:
        return ((ApprovalRequest, self.tenant, self.approval_id), (CommandRow, self.tenant, self.id))


class Settle(Struct, frozen=True, gc=False):
    """How an operation ended, as somebody reports it.

    Args:
        entity: where the operation took place; only a hint for loading.
        by: executor | deadline | recovery, or `caller`: the app that ran the tool, or a person.
        caller: who says so, when a caller does.
        output: canonical JSON bytes of what the executor returned.
        events: (type, canonical payload) pairs; None when nothing was said about events.
    """

    tenant: str
    operation_id: str
    status: Literal["succeeded", "failed", "cancelled", "unknown"]
    by: Literal["executor", "caller", "deadline", "recovery"]
    suffix: str
    caller: Caller | None = None
    entity: str | None = None
    message: str = ""
    output: bytes = b"null"
    events: tuple[tuple[str, bytes], ...] | None = None

    def reads(self) -> tuple[Key, ...]:
        mine: Key = (Clearance, self.tenant, self.operation_id)
        return (mine,) if self.entity is None else (*about_entity(self.tenant, self.entity), mine)


class Expire(Struct, frozen=True, gc=False):
    """A deadline came: an approval nobody answered, or a clearance nobody reported."""

    tenant: str
    kind: Literal["approval", "clearance"]
    id: str
    suffix: str

    def reads(self) -> tuple[Key, ...]:
        return ((ApprovalRequest if self.kind == "approval" else Clearance, self.tenant, self.id),)


class Activate(Struct, frozen=True):
    """Make a domain version the one that governs its entity type."""

    caller: Caller
    domain: Domain
    suffix: str

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    def reads(self) -> tuple[Key, ...]:
        return ((ActiveDomain, self.tenant, self.domain.entity_type),)


Command = Propose | Ingest | Review | Settle | Expire | Activate
