"""A timer ran out: the event that its state's timeout names happens, as if it came from outside."""

from __future__ import annotations

from msgspec import structs

from kiff.protocol.event import Event
from kiff.protocol.state import EntityState
from kiff.runtime.commands import SYSTEM, Expire
from kiff.runtime.rows import ActiveDomain, TimerRow
from kiff.runtime.step.fold import governing, take_in
from kiff.runtime.world import Change

SOURCE = "kiff"


def fire(change: Change, command: Expire) -> None:
    """Brings the event of a timer that is due, once; the active version says what comes of it.

    A timer whose entity moved on was stopped when it did, so one that is still wound fits the state it is in.
    It ends no operation that is under way on the entity: time is nobody's report.
    """
    timer = change.get(TimerRow, command.id)
    if timer is None or timer.due_at is None or change.at < timer.due_at:
        return
    change.need(
        (ActiveDomain, change.tenant, timer.entity.split(":", 1)[0]), (EntityState, change.tenant, timer.entity)
    )
    entity, domain = change.get(EntityState, timer.entity), governing(change, timer.entity)
    change.put(structs.replace(timer, due_at=None))
    if domain is None or entity is None or entity.state != timer.state or entity.version < timer.since:
        return
    event = Event(f"evt_{command.suffix}", timer.event, timer.entity, SOURCE)
    take_in(change, domain, event, actor=SYSTEM, trace=f"trace_{command.suffix}", cause=timer.id)
