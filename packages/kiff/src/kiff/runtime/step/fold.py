"""Events move state, through the transition table of the version they are folded under. Nothing else does."""

from __future__ import annotations

from typing import Any

from kiff.domain import Domain
from kiff.protocol.actor import Principal
from kiff.protocol.event import Event
from kiff.protocol.state import EntityState
from kiff.runtime.rows import ActiveDomain
from kiff.runtime.world import Change


def governing(change: Change, entity: str) -> Domain | None:
    """The active domain of an entity's type."""
    active = change.get(ActiveDomain, entity.split(":", 1)[0])
    return None if active is None else change.domain(active.version, active.digest)


def transition(domain: Domain, entity: EntityState, event_type: str) -> EntityState | None:
    """The entity after the event; None when the table has no such transition. Replay folds with this too."""
    if (entity.state, event_type) not in domain.transitions:
        return None
    state = domain.transitions[entity.state, event_type]
    return EntityState(entity.tenant, entity.entity, domain.name, state, entity.version + 1)


def take_in(
    change: Change, domain: Domain, event: Event, *, actor: Principal, trace: str, cause: str
) -> tuple[EntityState, str | None]:
    """Records an event and applies it.

    Returns:
        The entity as it is now, and why the event was refused: None, `unknown_event` or `no_transition`.
    """
    before = change.get(EntityState, event.entity) or EntityState(change.tenant, event.entity, domain.name, None, 0)
    after = transition(domain, before, event.type)

    def record(kind: str, data: dict[str, Any]) -> None:
        change.record(kind, actor, entity=event.entity, trace=trace, cause=cause, version=domain.version, data=data)

    told = {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        **change.value("payload", event.payload),
    }
    if event.actor is not None:
        told["actor_id"] = event.actor
    if event.occurred_at is not None:
        told["occurred_at"] = event.occurred_at
    record("event_ingested", {"event": told})
    if after is None:
        reason = "no_transition" if event.type in domain.events else "unknown_event"
        refused = {"event_id": event.id, "reason": reason, "state": before.state, "type": event.type}
        record("transition_refused", refused)
        return before, reason
    change.put(after)
    if after.state != before.state:
        moved = {"event_id": event.id, "from": before.state, "to": after.state, "version": after.version}
        record("state_changed", moved)
    return after, None
