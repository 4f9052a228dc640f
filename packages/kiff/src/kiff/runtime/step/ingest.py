"""Taking in an event: it is recorded whatever it is, and settles the operation whose effect it reports."""

from __future__ import annotations

from msgspec import json

from kiff.domain import Domain
from kiff.errors import Forbidden, IdempotencyConflict, NotFound
from kiff.protocol.actor import Caller
from kiff.protocol.clearance import Clearance
from kiff.protocol.event import Event
from kiff.protocol.state import EntityState
from kiff.runtime.answers import Ingested
from kiff.runtime.commands import Ingest, Settle
from kiff.runtime.rows import CommandRow, Runway
from kiff.runtime.step.fold import Refusal, governing, take_in
from kiff.runtime.step.payload import other_than_cleared
from kiff.runtime.step.settle import finish, tell_again
from kiff.runtime.world import Change

INGEST = "events.ingest"
"""The permission that lets a caller say what happened (DESIGN invariant 21)."""


def ingest(change: Change, command: Ingest) -> None:
    """Records one event, moves the entity, and settles the open operation it belongs to."""
    event, caller = command.event, command.caller
    row = change.get(CommandRow, command.id)
    if row is not None:
        if row.digest == command.digest:
            _answer_again(change, json.decode(row.answer, type=Ingested))
        else:
            message = f"event `{event.id}` was stored before with other content; draw a new id"
            change.answer = IdempotencyConflict(message, event_id=event.id)
        return
    domain = governing(change, event.entity)
    if domain is None:
        message = f"no active domain governs `{event.entity.split(':', 1)[0]}`"
        change.answer = NotFound(message, code_hint="unknown_entity_type", entity=event.entity)
        return
    operation = _in_flight(change, event.entity)
    if not (
        domain.permits(caller.roles, INGEST)
        or _is_verified(domain, caller, event)
        or _is_own_effect(change, caller, event, operation)
    ):
        message = f"ingesting events takes the permission `{INGEST}`"
        change.answer = Forbidden(message, reason="permission_denied", missing_permissions=[INGEST])
        return
    trace = command.trace or f"trace_{command.suffix}" if operation is None else operation.trace_id
    before = change.get(EntityState, event.entity)
    after, refused = take_in(change, domain, event, actor=caller.principal, trace=trace, cause=event.id)
    moved = refused is None and (before is None or before.state != after.state)
    settled = None
    if operation is not None and refused is None:
        settled = _settle(change, command, operation, moved=moved)
    answer = Ingested(
        event_id=event.id,
        entity=event.entity,
        state=after.state,
        version=after.version,
        trace_id=trace,
        applied=refused is None,
        code=None if refused is None else "invalid_transition",
        message=None if refused is None else _why(domain, event.type, after.state, refused),
        settled=settled,
    )
    change.answer = answer
    change.put(CommandRow(change.tenant, command.id, command.digest, "final", json.encode(answer)))


def _is_verified(domain: Domain, caller: Caller, event: Event) -> bool:
    """Whether an adapter that the domain declares now vouches for it, and for its own source."""
    adapter = None if caller.adapter is None else domain.adapters.get(caller.adapter)
    return adapter is not None and adapter.map is not None and adapter.source == event.source


def _is_own_effect(change: Change, caller: Caller, event: Event, operation: Clearance | None) -> bool:
    """Whether it is among the `emits` of the caller's own open clearance, and says nothing else than that."""
    if operation is None or operation.principal != caller.principal.id:
        return False
    if operation.mode != "decide" or operation.status != "open":
        return False  # what KIFF runs its executor tells of, and what nobody knows a person settles
    return (
        event.type in _emits(change, operation)
        and other_than_cleared(event.type, event.payload, operation.payloads) is None
    )


def _answer_again(change: Change, answer: Ingested) -> None:
    change.answer = answer
    settled = None if answer.settled is None else change.get(Clearance, answer.settled)
    if settled is not None:
        tell_again(change, settled)


def _in_flight(change: Change, entity: str) -> Clearance | None:
    """The operation that holds the entity's runway and has no known outcome."""
    runway = change.get(Runway, entity)
    if runway is None or runway.holder is None:
        return None
    clearance = change.get(Clearance, runway.holder)
    return clearance if clearance is not None and clearance.status in ("open", "unknown") else None


def _emits(change: Change, operation: Clearance) -> dict[str, str]:
    """Which events end this operation, and how."""
    emits = change.domain(operation.domain_version, operation.domain_digest).actions[operation.action].emits
    return dict.fromkeys(emits.failure, "failed") | dict.fromkeys(emits.success, "succeeded")


def _settle(change: Change, command: Ingest, operation: Clearance, *, moved: bool) -> str | None:
    """Settles the operation if this event is its effect: among its `emits`, or, with none declared, if it moved."""
    emits = _emits(change, operation)
    status = emits.get(command.event.type) if emits else ("succeeded" if moved else None)
    if status is None:
        return None
    report = Settle(
        tenant=change.tenant,
        operation_id=operation.id,
        status="succeeded" if status == "succeeded" else "failed",
        by="caller",
        suffix=command.suffix,
        message=f"reported by event {command.event.type}",
    )
    finish(change, operation, report, by="event", actor=command.caller.principal, events=())
    return operation.id


def _why(domain: Domain, event_type: str, state: str | None, refused: Refusal) -> str:
    start = state or "the beginning"
    if refused.reason == "unknown_event":
        why = f"`{domain.name}` declares no event `{event_type}`"
    elif refused.reason == "no_transition":
        why = f"`{event_type}` leads nowhere from {start}"
    elif refused.reason == "guard_not_met":
        why = f"no guard of `{event_type}` is true from {start}"
    else:
        why = f"`{event_type}` is refused from {start}: {refused.told['message']}"
    return f"{why}, so the state stays"
