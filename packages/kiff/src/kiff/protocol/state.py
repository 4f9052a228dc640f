"""What is true now: the fold of an entity's events through the transition table."""

from __future__ import annotations

from msgspec import Struct


class EntityState(Struct, frozen=True, gc=False):
    """The materialised state of one entity.

    Args:
        entity: `type:id`.
        state: a name from the domain's `states`.
        version: how many events were accepted; moves with every one, also those that keep the state.
        data: canonical JSON object of its attributes, as transitions set them.
        timers: how many timers were started when it came into its state.
    """

    tenant: str
    entity: str
    domain: str
    state: str | None
    version: int
    data: bytes = b"{}"
    timers: int = 0
