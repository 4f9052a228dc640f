"""What happened. Only events move state."""

from __future__ import annotations

from msgspec import Struct


class Event(Struct, frozen=True, gc=False):
    """One fact about one entity.

    Args:
        id: unique in its tenant; the same id is stored once.
        type: a name from the domain's `events`.
        entity: `type:id`.
        source: the system it came from (`stripe`, `executor`).
        payload: canonical JSON bytes of an object.
        actor: a label for who caused it; carries no authority.
        occurred_at: RFC 3339, as the source said it; None when it said nothing.
    """

    id: str
    type: str
    entity: str
    source: str
    payload: bytes = b"{}"
    actor: str | None = None
    occurred_at: str | None = None
