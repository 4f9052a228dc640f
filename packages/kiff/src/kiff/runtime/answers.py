"""What a command comes back with. Refusals are among the answers; only failures are raised."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from kiff.gate.quorum import Needed
from kiff.protocol.decision import Objection, Outcome


class Decided(Struct, frozen=True, omit_defaults=True):
    """The gate's answer to one proposal.

    Args:
        reasons: every objection, the primary one first; empty when allowed.
        approval_id: the approval that is awaited, or was used.
        clearance_id: what `allowed` gave: the operation id.
        expires_at: RFC 3339; until when the clearance, or the open approval, is good.
        next_step: what the caller can do now.
        replayed: an earlier command with the same id got this answer; nothing was decided now. Whoever ran a call on
            that answer does not run it again on this one.
    """

    proposal_id: str
    outcome: Outcome
    action: str
    entity: str
    message: str
    receipt_id: str
    trace_id: str
    reasons: tuple[Objection, ...] = ()
    approval_id: str | None = None
    clearance_id: str | None = None
    expires_at: str | None = None
    next_step: str | None = None
    replayed: bool = False

    @property
    def reason(self) -> str:
        """The primary reason code; `allowed` when nothing objected."""
        return self.reasons[0].code if self.reasons else "allowed"


class Executed(Decided, frozen=True, omit_defaults=True):
    """The answer to `execute`: the decision, and how the operation ended when there was one.

    Args:
        status: succeeded | failed | cancelled | unknown; None when the gate refused.
        executed: the effect happened, as reported.
        output: what the executor returned as `output`.
    """

    status: str | None = None
    executed: bool = False
    output: Any = None

    @property
    def operation_id(self) -> str | None:
        return self.clearance_id


class Ingested(Struct, frozen=True, omit_defaults=True):
    """The answer to an event.

    Args:
        applied: the event moved through the transition table; otherwise it was recorded and `code` says why.
        settled: the open clearance this event settled.
    """

    event_id: str
    entity: str
    state: str | None
    version: int
    trace_id: str
    applied: bool = True
    code: str | None = None
    message: str | None = None
    settled: str | None = None


class Reviewed(Struct, frozen=True, omit_defaults=True):
    """The answer to grant or deny (the seed's `approval` object).

    Args:
        status: `pending` while more people must say yes.
        receipt_id: of a denial: the receipt of the end of the hold.
        use_by: RFC 3339; a grant must be used before then.
        operation_id: with `on_grant: run`, the clearance that runs the original proposal.
        decision: with `on_grant: run`, what the gate said when it decided again; None when it allowed the call, whose
            operation is then `operation_id`.
        still_needed: whose yes is still needed, a line for every demand that is not satisfied.
    """

    id: str
    status: str
    action_name: str
    entity_id: str
    reviewed_by: str
    reviewed_at: str
    reason: str
    receipt_id: str | None = None
    use_by: str | None = None
    operation_id: str | None = None
    decision: Decided | None = None
    still_needed: tuple[Needed, ...] = ()


class Settled(Struct, frozen=True, omit_defaults=True):
    """The answer to a settlement: how the operation stands now.

    Args:
        late: it came after the operation was given up as unknown or expired.
        confirmed: the outcome was known already, and this says the same.
    """

    operation_id: str
    status: str
    entity: str
    state: str | None
    trace_id: str
    late: bool = False
    confirmed: bool = False


class Activated(Struct, frozen=True, omit_defaults=True):
    """The answer to an activation; `changed` is False when that version was active already.

    Args:
        pending_approvals: how many approvals of the domain were pending. They stay: each is decided again under the
            version that governs when it is used, and a grant satisfies only what it was asked for.
    """

    domain: str
    version: str
    digest: str
    changed: bool = True
    pending_approvals: int = 0


class PolicyActivated(Struct, frozen=True, omit_defaults=True):
    """The answer to a change of policy; `changed` is False when it was so already.

    Args:
        policy, version, digest: None when none holds any more.
        pending_approvals: how many approvals were pending; see Activated.
    """

    policy: str | None
    version: str | None
    digest: str | None
    changed: bool = True
    pending_approvals: int = 0


class Shadowed(Struct, frozen=True, omit_defaults=True):
    """The answer to asking another version beside the one that governs.

    Args:
        version, digest: what is asked; None when none is any more.
        beside: the version that governs.
    """

    domain: str
    version: str | None
    digest: str | None
    beside: str
    changed: bool = True


class Established(Struct, frozen=True):
    """The answer to a change of authority.

    Args:
        repeated: the same request was carried out before; this is what came of it then.
    """

    id: str
    at: str
    repeated: bool = False


class Erased(Struct, frozen=True):
    """The answer to an erasure.

    Args:
        commitments: whose values are gone by this request; those of an earlier one are not among them.
        more: the entity has more of them; ask again.
    """

    commitments: tuple[str, ...]
    at: str
    more: bool = False


class Noted(Struct, frozen=True):
    """The answer to a note: when it was first and last written (ms), and how often."""

    id: str
    first_at: int
    last_at: int
    times: int


class Resent(Struct, frozen=True):
    """The answer to telling an endpoint again.

    Args:
        count: how many deliveries are due by that.
        after: the seq to go on after, when there are more.
    """

    count: int
    after: int | None = None


class RolledBack(Struct, frozen=True, gc=False):
    """A log went on from fewer records than were seen of it."""

    seen: int
    found: int
