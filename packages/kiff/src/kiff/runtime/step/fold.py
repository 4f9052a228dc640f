"""Events move state, through the transition table of the version they are folded under. Nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import json, structs

from kiff.canonical import admit
from kiff.domain import Domain
from kiff.domain.expr import EvaluationError
from kiff.domain.way import Way
from kiff.errors import InvalidJson
from kiff.protocol.actor import Principal
from kiff.protocol.event import Event
from kiff.protocol.state import EntityState
from kiff.runtime.rows import ActiveDomain, TimerRow
from kiff.runtime.world import Change

POLICY_ERROR = "policy_error"


class Refusal(NamedTuple):
    """Why an event does not move its entity.

    Args:
        reason: unknown_event | no_transition | guard_not_met | invalid_payload | policy_error.
        told: what the record says beside it: `message`, and the `field` of a payload that does not fit.
    """

    reason: str
    told: Mapping[str, str] = {}


class Folded(NamedTuple):
    """What one event does to an entity.

    Args:
        entity: as it is now; as it was, when the event is refused.
        set: canonical JSON object of the attributes it set; empty bytes when it set none.
    """

    entity: EntityState
    refusal: Refusal | None = None
    set: bytes = b""


def governing(change: Change, entity: str) -> Domain | None:
    """The active domain of an entity's type."""
    active = change.get(ActiveDomain, entity.split(":", 1)[0])
    return None if active is None else change.domain(active.version, active.digest)


def transition(domain: Domain, entity: EntityState, event_type: str, payload: Mapping[str, Any], at: int) -> Folded:
    """The entity after the event: exactly one way must be open. Replay folds with this too.

    Args:
        payload: read only when the domain declares what this event's payload holds.
        at: instant (ms) of the event's record: what `now` is, whenever this is folded.
    """
    ways = domain.transitions.get((entity.state, event_type))
    if ways is None:
        return Folded(entity, Refusal("no_transition" if event_type in domain.events else "unknown_event"))
    given: dict[str, Any] = {}
    if event_type in domain.payloads:
        given = {name: payload[name] for name in domain.payloads[event_type] if name in payload}
        wrong = domain.payload_checks[event_type](given)
        if wrong:
            return Folded(entity, _misfit(*wrong[0]))
    if len(ways) == 1 and ways[0].is_plain:
        return Folded(_after(domain, entity, ways[0].to, entity.data))
    seen = {"entity": attributes_of(domain, entity), "event": given, "now": at}
    way = _open(ways, seen)
    return Folded(entity, way) if isinstance(way, Refusal) else _taken(domain, entity, way, seen)


def attributes_of(domain: Domain, entity: EntityState) -> dict[str, Any]:
    """What conditions read as `entity`: its attributes, with defaults for those that nothing set, and its own."""
    own: dict[str, Any] = {"id": entity.entity.split(":", 1)[1], "version": entity.version}
    if entity.state is not None:
        own["state"] = entity.state
    return {**domain.defaults, **json.decode(entity.data), **own}


def _open(ways: tuple[Way, ...], seen: dict[str, Any]) -> Way | Refusal:
    """The one way whose guard is true."""
    found: list[Way] = []
    for way in ways:
        try:
            if way.when is None or way.when(seen) is True:
                found.append(way)
        except EvaluationError as error:
            return Refusal(
                POLICY_ERROR, {"message": f"the guard of the way to `{way.to}` has no value: {error.message}"}
            )
    if len(found) > 1:
        ends = ", ".join(f"`{way.to}`" for way in found)
        return Refusal(POLICY_ERROR, {"message": f"the guards of {len(found)} ways are true at once, to {ends}"})
    return found[0] if found else Refusal("guard_not_met")


def _taken(domain: Domain, entity: EntityState, way: Way, seen: dict[str, Any]) -> Folded:
    """The entity at the end of a way, with what the way sets."""
    if not way.set:
        return Folded(_after(domain, entity, way.to, entity.data))
    values: dict[str, Any] = {}
    for name, value in way.set:
        try:
            values[name] = value(seen)
        except EvaluationError as error:
            return Folded(entity, Refusal(POLICY_ERROR, {"message": f"`{name}` has no new value: {error.message}"}))
    try:
        told, data = admit(values), admit({**json.decode(entity.data), **values}).data
    except InvalidJson as error:
        return Folded(entity, Refusal(POLICY_ERROR, {"message": f"what is set cannot be kept: {error.message}"}))
    wrong = domain.attribute_check(told.value)
    if wrong:
        why = wrong[0][1].get("message", f"`{wrong[0][1]['parameter']}` is missing")
        return Folded(entity, Refusal(POLICY_ERROR, {"message": f"what is set does not fit: {why}"}))
    return Folded(_after(domain, entity, way.to, data), None, told.data)


def _after(domain: Domain, entity: EntityState, state: str, data: bytes) -> EntityState:
    timers = entity.timers if state == entity.state else len(domain.timeouts.get(state, ()))
    return EntityState(entity.tenant, entity.entity, domain.name, state, entity.version + 1, data, timers)


def _misfit(code: str, detail: Mapping[str, Any]) -> Refusal:
    """Never repeats a value: a payload may hold anything about anybody."""
    field = detail["parameter"]
    why = f"`{field}` is missing" if code == "missing_parameter" else f"`{field}` must be {detail['expected']}"
    return Refusal("invalid_payload", {"field": f"payload.{field}", "message": f"of its payload, {why}"})


def timers_of(domain: Domain, entity: EntityState, at: int) -> list[TimerRow]:
    """What comes by itself while an entity stays in the state it has just come into.

    Args:
        at: instant (ms) at which it came.
    """
    timeouts = domain.timeouts.get(entity.state or "", ())
    return [
        TimerRow(
            tenant=entity.tenant,
            id=f"{entity.entity}/{number}",
            entity=entity.entity,
            event=timeout.event,
            state=entity.state or "",
            since=entity.version,
            due_at=at + timeout.after_ms,
        )
        for number, timeout in enumerate(timeouts)
    ]


def take_in(
    change: Change, domain: Domain, event: Event, *, actor: Principal, trace: str, cause: str
) -> tuple[EntityState, Refusal | None]:
    """Records an event and applies it.

    Returns:
        The entity as it is now, and why the event was refused.
    """
    before = change.get(EntityState, event.entity) or EntityState(change.tenant, event.entity, domain.name, None, 0)
    payload = json.decode(event.payload) if event.type in domain.payloads else {}
    after, refusal, given = transition(domain, before, event.type, payload, change.at)

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
    record("event_ingested", {"event": told} | (change.value("set", given) if given else {}))
    if refusal is not None:
        refused = {"event_id": event.id, "reason": refusal.reason, "state": before.state, "type": event.type}
        record("transition_refused", refused | dict(refusal.told))
        return before, refusal
    change.put(after)
    if after.state != before.state:
        moved = {"event_id": event.id, "from": before.state, "to": after.state, "version": after.version}
        record("state_changed", moved)
        _wind(change, before, timers_of(domain, after, change.at))
    return after, None


def _wind(change: Change, before: EntityState, timers: list[TimerRow]) -> None:
    """Stops the timers of the state that was left, and starts those of the one that was entered."""
    for timer in timers:
        change.put(timer)
    left = [f"{before.entity}/{number}" for number in range(len(timers), before.timers)]
    change.need(*((TimerRow, change.tenant, id) for id in left))
    for id in left:
        stopped = change.get(TimerRow, id)
        if stopped is not None and stopped.due_at is not None:
            change.put(structs.replace(stopped, due_at=None))
