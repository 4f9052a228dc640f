"""The commands a lane takes: plain values, well formed, with every id they will need drawn at submit.

A command that is stepped twice (after a conflict, or a lost reply) gives the same ids, so it can be
recognised. `reads` lists what it is sure to read; the rest comes by NotLoaded.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from kiff.canonical import digest
from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import Credential, Member, Tenant
from kiff.protocol.clearance import Clearance
from kiff.protocol.event import Event
from kiff.protocol.proposal import Proposal
from kiff.protocol.sealed import Sealed
from kiff.protocol.state import EntityState
from kiff.protocol.webhook import Endpoint
from kiff.runtime.in_use import InUse
from kiff.runtime.ports import Key
from kiff.runtime.rows import (
    HOOKS,
    POLICY,
    ActiveDomain,
    ActivePolicy,
    CommandRow,
    Delivery,
    DomainVersion,
    Hooks,
    LastApproval,
    NoteRow,
    PolicyVersion,
    Runway,
    TimerRow,
    delivery_id,
)

SYSTEM = Principal("kiff", "service", name="KIFF")


def about_entity(tenant: str, entity: str) -> tuple[Key, ...]:
    """What every step that touches an entity reads."""
    entity_type, _ = entity.split(":", 1)
    return (
        (ActiveDomain, tenant, entity_type),
        (EntityState, tenant, entity),
        (Runway, tenant, entity),
    )


def about_caller(caller: Caller) -> tuple[Key, ...]:
    """What says, in the batch itself, whose authority a call has. Embedded callers are vouched for by the process."""
    if caller.credential is None:
        return ()
    return ((Credential, caller.tenant, caller.credential), (Member, caller.tenant, caller.principal.id))


class Propose(Struct, frozen=True, gc=False):
    """Decide a proposal; in `execute`, hand its clearance to the executor.

    Args:
        suffix: what the ids of this attempt end in.
        id: the command row's id.
        digest: the compared content: what is to be done, how, and for whom. Not the approval, not the reasoning.
        asks: only open the approval it takes; a call that takes none is not cleared.
        trace: the trace the caller is in; None begins one. A resumed call stays in the trace of its hold.
    """

    caller: Caller
    proposal: Proposal
    suffix: str
    approval_id: str | None
    id: str
    digest: str
    asks: bool = False
    trace: str | None = None

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
            (ActivePolicy, tenant, POLICY),
        )
        keys += about_caller(self.caller)
        return keys if self.approval_id is None else (*keys, (ApprovalRequest, tenant, self.approval_id))


def propose(
    caller: Caller,
    proposal: Proposal,
    suffix: str,
    approval_id: str | None = None,
    *,
    asks: bool = False,
    trace: str | None = None,
) -> Propose:
    """The command that asks for a decision on a proposal."""
    compared = f"{proposal.mode}:{proposal.action_digest}"
    return Propose(caller, proposal, suffix, approval_id, f"propose:{proposal.id}", compared, asks, trace)


class Ingest(Struct, frozen=True, gc=False):
    """Take in one event."""

    caller: Caller
    event: Event
    suffix: str
    trace: str | None = None

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
        mine: Key = (CommandRow, self.tenant, self.id)
        return (*about_entity(self.tenant, self.event.entity), mine, *about_caller(self.caller))


class Review(Struct, frozen=True, gc=False):
    """A person answers an approval, or whoever asked takes the question back.

    Args:
        use_by: instant (ms) after which a grant is of no use; it can only shorten what the contract says.
        terms: canonical JSON of the conditions and the evidence that came with it.
    """

    caller: Caller
    approval_id: str
    verdict: Literal["grant", "deny", "cancel"]
    reason: str
    suffix: str
    key: str | None = None
    use_by: int | None = None
    terms: bytes = b"{}"

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
        tenant = self.tenant
        mine: tuple[Key, ...] = ((ApprovalRequest, tenant, self.approval_id), (CommandRow, tenant, self.id))
        return (*mine, (Tenant, tenant, "tenant"), (ActivePolicy, tenant, POLICY), *about_caller(self.caller))


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
        mine: tuple[Key, ...] = ((Clearance, self.tenant, self.operation_id),)
        if self.caller is not None:
            mine += about_caller(self.caller)
        return mine if self.entity is None else (*about_entity(self.tenant, self.entity), *mine)


class Expire(Struct, frozen=True, gc=False):
    """A deadline came: an approval nobody answered, a clearance nobody reported, or a timer of an entity's state."""

    tenant: str
    kind: Literal["approval", "clearance", "timer"]
    id: str
    suffix: str

    def reads(self) -> tuple[Key, ...]:
        return ((_EXPIRING[self.kind], self.tenant, self.id),)


_EXPIRING: dict[str, type] = {"approval": ApprovalRequest, "clearance": Clearance, "timer": TimerRow}


class Activate(Struct, frozen=True):
    """Make a domain version the one that governs its entity type.

    Args:
        seen: which of the states that it drops entities were in; None when nobody looked.
        key: an idempotency key.
        asked: digest of what was asked for.
        pending: how many approvals of the domain were pending; None when nobody counted.
    """

    caller: Caller
    domain: Domain
    suffix: str
    seen: InUse | None = None
    key: str | None = None
    asked: str = ""
    pending: int | None = None

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def id(self) -> str:
        return f"activate:{self.key or self.suffix}"

    def reads(self) -> tuple[Key, ...]:
        domain = self.domain
        mine: tuple[Key, ...] = (
            (ActiveDomain, self.tenant, domain.entity_type),
            (DomainVersion, self.tenant, domain.version),
        )
        if self.key is not None:
            mine += ((CommandRow, self.tenant, self.id),)
        return (*mine, *about_caller(self.caller))


class ActivatePolicy(Struct, frozen=True):
    """Make a policy version the one that holds for every domain, or let none hold.

    Args:
        policy: None takes back the one that holds.
        key: an idempotency key.
        asked: digest of what was asked for.
        pending: how many approvals were pending; None when nobody counted.
    """

    caller: Caller
    policy: Policy | None
    suffix: str
    key: str | None = None
    asked: str = ""
    pending: int | None = None

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def id(self) -> str:
        return f"policy:{self.key or self.suffix}"

    def reads(self) -> tuple[Key, ...]:
        mine: tuple[Key, ...] = ((ActivePolicy, self.tenant, POLICY),)
        if self.policy is not None:
            mine += ((PolicyVersion, self.tenant, self.policy.version),)
        if self.key is not None:
            mine += ((CommandRow, self.tenant, self.id),)
        return (*mine, *about_caller(self.caller))


class Shadow(Struct, frozen=True):
    """Ask a version of a domain beside the one that governs, or ask none any more. It decides nothing.

    Args:
        slug, entity_type: of the domain that governs.
        domain: the version to ask; None ends it.
        key: an idempotency key.
        asked: digest of what was asked for.
    """

    caller: Caller
    slug: str
    entity_type: str
    domain: Domain | None
    suffix: str
    key: str | None = None
    asked: str = ""

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def id(self) -> str:
        return f"shadow:{self.key or self.suffix}"

    def reads(self) -> tuple[Key, ...]:
        mine: tuple[Key, ...] = ((ActiveDomain, self.tenant, self.entity_type),)
        if self.domain is not None:
            mine += ((DomainVersion, self.tenant, self.domain.version),)
        if self.key is not None:
            mine += ((CommandRow, self.tenant, self.id),)
        return (*mine, *about_caller(self.caller))


Authority = Tenant | Member | Credential


class Establish(Struct, frozen=True, gc=False):
    """A tenant, a member or a credential becomes what the row says.

    Args:
        key: an idempotency key.
        asked: digest of what was asked for; the secret of a new credential is not in it.
    """

    caller: Caller
    row: Authority
    suffix: str
    key: str | None = None
    asked: str = ""

    @property
    def tenant(self) -> str:
        return self.row.tenant

    @property
    def id(self) -> str:
        return f"admin:{self.key or self.suffix}"

    def reads(self) -> tuple[Key, ...]:
        mine: tuple[Key, ...] = ((type(self.row), self.tenant, self.row.id), (CommandRow, self.tenant, self.id))
        if isinstance(self.row, Credential) and self.row.principal is not None:
            mine += ((Member, self.tenant, self.row.principal), (Tenant, self.tenant, "tenant"))
        return (*mine, *about_caller(self.caller))


class Revoke(Struct, frozen=True, gc=False):
    """A credential is of no use from now on."""

    caller: Caller
    credential_id: str
    suffix: str

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    def reads(self) -> tuple[Key, ...]:
        return ((Credential, self.tenant, self.credential_id), *about_caller(self.caller))


class Note(Struct, frozen=True, gc=False):
    """Something to keep that carries no authority and decides nothing: a draft, what a guard told about itself.

    Args:
        body: what is kept; None forgets it.
        times: only when it was written this often before.
    """

    caller: Caller
    id: str
    body: bytes | None
    times: int | None = None

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    def reads(self) -> tuple[Key, ...]:
        return ((NoteRow, self.tenant, self.id), *about_caller(self.caller))


class Erase(Struct, frozen=True, gc=False):
    """Values of the vault are gone from now on.

    Args:
        commitments: theirs.
        more: there are more of what was asked for.
    """

    caller: Caller
    commitments: tuple[str, ...]
    suffix: str
    more: bool = False

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    def reads(self) -> tuple[Key, ...]:
        return (*((Sealed, self.tenant, id) for id in self.commitments), *about_caller(self.caller))


class AcceptRollback(Struct, frozen=True, gc=False):
    """A log that does not hold what was seen of it before goes on all the same. The record of that comes first, once:
    several processes may have seen the same.

    Args:
        log, size, root: what was seen; the root in lower-case hex.
        by: who said so.
    """

    tenant: str
    log: str
    size: int
    root: str
    by: str
    suffix: str

    @property
    def id(self) -> str:
        return f"rollback:{self.root}"

    @property
    def digest(self) -> str:
        return f"{self.log}/{self.size}"

    def reads(self) -> tuple[Key, ...]:
        return ((CommandRow, self.tenant, self.id),)


class ChangeHook(Struct, frozen=True):
    """An endpoint of the tenant's webhooks is added or taken away, signs with another secret, is put on or off.

    Args:
        endpoint: what is added; None for the other verbs.
        secret: as it is kept, for `add` and `rotate`.
        overlap_ms: how long the secret before it signs beside it.
        key: an idempotency key.
        asked: digest of what was asked for; the secret is not in it.
    """

    caller: Caller
    verb: Literal["add", "remove", "rotate", "enable"]
    endpoint_id: str
    suffix: str
    endpoint: Endpoint | None = None
    secret: str = ""
    overlap_ms: int = 0
    key: str | None = None
    asked: str = ""

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def id(self) -> str:
        return f"admin:{self.key or self.suffix}"

    def reads(self) -> tuple[Key, ...]:
        mine: tuple[Key, ...] = ((Hooks, self.tenant, HOOKS), (CommandRow, self.tenant, self.id))
        return (*mine, *about_caller(self.caller))


class Attempted(Struct, frozen=True, gc=False):
    """How an attempt to deliver ended.

    Args:
        id, version: of the delivery as it was taken; one that was written since is not touched.
        ended: delivered, failed, refused (the endpoint wants no more: 410), or dropped: nothing was sent, because the
            endpoint is no more or the delivery died long ago.
        said: why it was not delivered, in a few words.
        draw: 0 to 1, by chance; spreads the next attempts.
        asked_ms: how long the endpoint asked to be left alone.
    """

    tenant: str
    endpoint: str
    id: str
    version: int
    ended: Literal["delivered", "failed", "refused", "dropped"]
    said: str
    draw: float
    suffix: str
    asked_ms: int | None = None

    def reads(self) -> tuple[Key, ...]:
        note: Key = (NoteRow, self.tenant, f"webhook:{self.endpoint}")
        return ((Delivery, self.tenant, self.id), (Hooks, self.tenant, HOOKS), note)


class Resend(Struct, frozen=True, gc=False):
    """An endpoint is told again of records, or for the first time.

    Args:
        told: (seq, entity) of each record.
        after: the seq to go on after, when there are more of what was asked for.
    """

    caller: Caller
    endpoint_id: str
    told: tuple[tuple[int, str], ...]
    after: int | None = None

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    def reads(self) -> tuple[Key, ...]:
        rows = ((Delivery, self.tenant, delivery_id(self.endpoint_id, seq)) for seq, _ in self.told)
        return ((Hooks, self.tenant, HOOKS), *rows, *about_caller(self.caller))


Command = (
    Propose
    | Ingest
    | Review
    | Settle
    | Expire
    | Activate
    | ActivatePolicy
    | Shadow
    | Establish
    | Revoke
    | Note
    | Erase
    | AcceptRollback
    | ChangeHook
    | Attempted
    | Resend
)
