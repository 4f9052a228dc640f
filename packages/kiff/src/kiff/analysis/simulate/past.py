"""The log as a simulation reads it: a page at a time, and of each record only the members that it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from msgspec import DecodeError, Struct, json

from kiff.analysis.history import PAGE
from kiff.protocol.actor import PrincipalType
from kiff.protocol.approval import Demand
from kiff.protocol.decision import Facts
from kiff.protocol.instant import parse_rfc3339
from kiff.protocol.proposal import Mode
from kiff.runtime.ports import Store
from kiff.runtime.rows import RecordRow


class Bound(Struct, frozen=True, gc=False):
    """The receipt that a record binds."""

    id: str


class Reason(Struct, frozen=True, gc=False):
    code: str


class Beside(Struct, frozen=True, gc=False):
    """A value beside the log."""

    digest: str


class Body(Struct, frozen=True, gc=False):
    """The proposal; sealed parameters are their commitments."""

    id: str
    tenant: str
    mode: Mode
    domain: str
    entity: str
    action: str
    principal: str
    principal_type: PrincipalType
    parameters: dict[str, Any]
    settles: bool
    principal_person: str | None = None


class Decided(Struct, frozen=True, gc=False):
    """What the record of a decision carries."""

    action: str
    action_digest: str
    facts: Facts
    outcome: str
    reasons: tuple[Reason, ...]
    receipt: Bound | None = None
    proposal: Body | None = None
    proposal_beside: Beside | None = None
    approval_id: str | None = None
    clearance_id: str | None = None

    @property
    def reason(self) -> str:
        return self.reasons[0].code if self.reasons else "allowed"


class Opened(Struct, frozen=True, gc=False):
    """An approval was asked for, or is still open."""

    approval_id: str
    demands: tuple[Demand, ...] = ()


class Ended(Struct, frozen=True, gc=False):
    """A hold ended without a grant."""

    approval_id: str


class Settled(Struct, frozen=True, gc=False):
    """An operation ended, or nobody knows how. One whose time ran out says nothing: it may have happened."""

    operation_id: str
    status: str = "succeeded"


class Event(Struct, frozen=True, gc=False):
    """What happened."""

    type: str
    source: str
    payload: dict[str, Any] | None = None
    payload_beside: Beside | None = None


class Ingested(Struct, frozen=True, gc=False):
    event: Event


class In(Struct, frozen=True, gc=False):
    """The versions in force."""

    domain: str | None = None
    policy: str | None = None


class Past(Struct, frozen=True, gc=False):
    """A record that a simulation reads something from."""

    at: str
    seq: int
    causation_id: str
    entity: str | None
    versions: In

    @property
    def at_ms(self) -> int:
        return _instant(self.at)

    @property
    def entity_type(self) -> str:
        return "" if self.entity is None else self.entity.partition(":")[0]


class Decision(Past, frozen=True, gc=False):
    data: Decided


class Opening(Past, frozen=True, gc=False):
    data: Opened


class Ending(Past, frozen=True, gc=False):
    data: Ended


class Settling(Past, frozen=True, gc=False):
    data: Settled


class Happening(Past, frozen=True, gc=False):
    data: Ingested


_KINDS: dict[bytes, type[Past]] = {
    b"decision_recorded": Decision,
    b"approval_required": Opening,
    b"action_blocked": Ending,
    b"approval_cancelled": Ending,
    b"approval_expired": Ending,
    b"action_executed": Settling,
    b"action_failed": Settling,
    b"action_unknown": Settling,
    b"clearance_expired": Settling,
    b"event_ingested": Happening,
}
_DECODERS = {kind: json.Decoder(shape) for kind, shape in _KINDS.items()}
DECISION = b"decision_recorded"
_MARK = b'"kind":"'


class Unreadable(Struct, frozen=True, gc=False):
    """A record that says it is a decision, and cannot be read as one."""

    seq: int


def past(row: RecordRow) -> Past | Unreadable | None:
    """What a record says; None when it says nothing that a simulation asks about."""
    kind = kind_of(row.body)
    decoder = _DECODERS.get(kind)
    if decoder is None:
        return None
    try:
        return decoder.decode(row.body)
    except DecodeError:  # a refusal without a hold also ends in `action_blocked`, and names no approval
        return Unreadable(row.seq) if kind == DECISION else None


def kind_of(body: bytes) -> bytes:
    """The kind of a canonical record. Its members are in order, and what follows `kind` has no text of a caller."""
    start = body.rfind(_MARK) + len(_MARK)
    return body[start : body.find(b'"', start)]


@lru_cache(maxsize=64)
def _instant(text: str) -> int:
    return parse_rfc3339(text, field="at")


def pages(store: Store, tenant: str, first: int) -> Iterator[list[RecordRow]]:
    """A tenant's records from one place on, in order."""
    after = first - 1
    while page := store.records(tenant, after=after, limit=PAGE):
        yield page
        after = page[-1].seq


def first_since(store: Store, tenant: str, size: int, at_ms: int) -> int:
    """The place of the first record that is not before an instant; `size` when there is none. Time only grows."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        [row] = store.records(tenant, after=middle - 1, limit=1)
        if when(row) < at_ms:
            low = middle + 1
        else:
            high = middle
    return low


def when(row: RecordRow) -> int:
    """Instant (ms) of a record."""
    return _instant(_WHEN.decode(row.body).at)


class When(Struct, frozen=True, gc=False):
    at: str


_WHEN = json.Decoder(When)
