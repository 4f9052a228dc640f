"""Whether conditions say something, and what nothing reads; questions as in `soundness`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from kiff.domain.conditions import secret_leaves
from kiff.domain.document import Json, starts
from kiff.domain.entries import written_transitions
from kiff.domain.expr import EvaluationError, Expression
from kiff.domain.expr.meaning import meaning
from kiff.domain.issue import Finding, shown, warning
from kiff.domain.parts import Parts

_POLICY = "remove it, unless a policy of the organisation reads it"


def constant_conditions(parts: Parts) -> Iterator[Finding]:
    """Does the answer of every condition depend on something?"""
    for read in parts.reads:
        if read.written.use == "condition" and not read.expression.reads:
            message = f"{shown(read.written.text)} reads nothing, so {_always(read.expression)}"
            fix = "write what it depends on, or remove it"
            yield warning(read.written.path, "constant_condition", message, fix)


def _always(expression: Expression) -> str:
    try:
        return f"it is always {'true' if expression({}) else 'false'}"
    except EvaluationError:
        return "it never has a value, and that withholds"


def telling_conditions(parts: Parts) -> Iterator[Finding]:
    """Does what is kept out of the log stay out of it? Whether a condition held is recorded."""
    told = set()
    for read in parts.reads:
        for leaf in secret_leaves(read.expression) if read.written.use == "condition" else ():
            if (read.written.path, leaf.path) not in told:
                told.add((read.written.path, leaf.path))
                message = f"{shown('.'.join(leaf.path))} is sensitive, and the log tells whether this was true of it"
                fix = "leave it out of conditions, unless that may be known"
                yield warning(read.written.path, "telling_condition", message, fix)


def unused_attributes(parts: Parts) -> Iterator[Finding]:
    """Does a condition, or a new value, read every attribute?"""
    for name in parts.written.get("attributes", {}) if parts.reads_all else ():
        if not any(read.reads("entity", name) for read in parts.reads):
            yield warning(("attributes", name), "unused_attribute", f"nothing reads {shown(f'entity.{name}')}", _POLICY)


def unused_schedules(parts: Parts) -> Iterator[Finding]:
    """Does a condition read every schedule?"""
    for name in parts.written.get("schedules", {}) if parts.reads_all else ():
        if not any(read.reads("schedule", name) for read in parts.reads):
            yield warning(("schedules", name), "unused_schedule", f"nothing reads {shown(f'schedule.{name}')}", _POLICY)


def unused_fields(parts: Parts) -> Iterator[Finding]:
    """Does a transition of the event read every field of its payload?"""
    if not parts.reads_all or not parts.are_sound(("transitions", None, "on"), ("payloads",)):
        return
    events = {path: transition["on"] for path, transition in written_transitions(parts.written)}
    for event, fields in parts.written.get("payloads", {}).items():
        own = [read for read in parts.reads if events.get(read.written.path[:2]) == event]
        for name in fields:
            if not any(read.reads("event", name) for read in own):
                message = f"no transition of {shown(event)} reads {shown(f'event.{name}')}"
                fix = "remove it: what nothing reads needs no schema, and is refused when it does not fit"
                yield warning(("payloads", event, name), "unused_field", message, fix)


def alike_guards(parts: Parts) -> Iterator[Finding]:
    """Can the guards of one event be told apart? Those that are written alike are an error already."""
    said = {read.written.path: read for read in parts.reads}
    first: dict[tuple[str | None, str, Hashable], str] = {}
    for path, transition in written_transitions(parts.written):
        guard = said.get((*path, "when"))
        for start in _from(parts, transition) if guard else ():
            assert guard is not None
            text = guard.written.text.strip()
            other = first.setdefault((start, transition["on"], meaning(guard.expression.node)), text)
            if other != text:
                message = f"this guard says the same as {shown(other)}: when one is true both are, and nothing moves"
                fix = "write them so that one is true when the other is not"
                yield warning((*path, "when"), "alike_guards", message, fix)
                break


def _from(parts: Parts, transition: Json) -> list[str | None]:
    groups = parts.written.get("groups", {})
    return [state for name in starts(transition) for state in groups.get(name, (name,))]
