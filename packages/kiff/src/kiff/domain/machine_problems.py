"""Whether the parts of the state machine fit together: states and their groups, events, transitions, timeouts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kiff.domain.document import Json, seconds, starts
from kiff.domain.entries import (
    Use,
    each_name,
    event_lists,
    mapped_events,
    unknown_names,
    written_actions,
    written_timeouts,
    written_transitions,
)
from kiff.domain.issue import Finding, Path, shown


def unknown_states(document: Json) -> Iterator[Finding]:
    """Is every state that is used declared?"""
    groups: Json = document.get("groups", {})
    alone = [use for name, states in groups.items() for use in each_name(("groups", name), states)]
    placed = list(each_name(("final",), document.get("final", [])))
    for path, transition in written_transitions(document):
        placed += each_name((*path, "from"), transition.get("from", []))
        alone += each_name((*path, "to"), transition.get("to", []))
    for path, action in written_actions(document):
        placed += each_name((*path, "allowed_states"), action.get("allowed_states", []))
    for path, timeout in written_timeouts(document):
        placed += each_name((*path, "in"), timeout.get("in", []))
    for path, name in alone:
        if name in groups and name not in document.get("states", ()):
            yield Finding(path, "unknown_state", f"{shown(name)} is a group, and a single state is expected")
    used = [(path, name) for path, name in placed + alone if name not in groups]
    yield from unknown_names("state", document.get("states"), used, also=groups)


def unknown_events(document: Json) -> Iterator[Finding]:
    """Is every event that is used declared?"""
    used: list[Use] = [((*path, "on"), transition["on"]) for path, transition in written_transitions(document)]
    for path, action in written_actions(document):
        for where, names in event_lists(path, action):
            used += each_name(where, names)
    for path, timeout in written_timeouts(document):
        used += each_name((*path, "emit"), timeout.get("emit", []))
    used += mapped_events(document)
    used += [(("payloads", event), event) for event in document.get("payloads", {})]
    yield from unknown_names("event", document.get("events"), used)


def unfit_groups(document: Json) -> Iterator[Finding]:
    """Does every group stand for something, under a name of its own?"""
    for name, states in document.get("groups", {}).items():
        if not states:
            message = f"expected the states that {shown(name)} stands for, found none"
            yield Finding(("groups", name), "empty_list", message, "list them, or remove it")
        if name in document.get("states", ()):
            message = f"{shown(name)} is a state already, so it would mean two things"
            yield Finding(("groups", name), "duplicate_name", message, "give the group another name")


class _Row(NamedTuple):
    """A written transition from one state. `set` is what it sets, in any order."""

    to: str | None
    when: str
    set: frozenset[tuple[str, str]]


def ambiguous_transitions(document: Json) -> Iterator[Finding]:
    """Does every event lead from a state to one place, or does each of its ways have a guard?"""
    groups = document.get("groups", {})
    table: dict[tuple[str | None, str], list[_Row]] = {}
    for path, transition in written_transitions(document):
        if "from" not in transition and "to" not in transition:
            message = "expected `from`, `to` or both: this transition says nothing"
            yield Finding(path, "empty_transition", message)
            continue
        given = frozenset(transition.get("set", {}).items())
        for start in _starts(transition, groups):
            row = _Row(transition.get("to", start), transition.get("when", "").strip(), given)
            key = start, transition["on"]
            found = next(filter(None, (_clash(key, first, row) for first in table.get(key, ()))), None)
            if found is not None:
                yield Finding(path, *found)
            table.setdefault(key, []).append(row)


def _starts(transition: Json, groups: Json) -> list[str | None]:
    """The states it starts from, each once; None stands for the beginning."""
    if "from" not in transition:
        return [None]
    return list(dict.fromkeys(state for name in starts(transition) for state in groups.get(name or "", (name,))))


def _clash(key: tuple[str | None, str], first: _Row, second: _Row) -> tuple[str, str, str] | None:
    start, event = key
    where = f"from {shown(start)}" if start else "at the beginning"
    if first == second:
        return "duplicate_name", f"{shown(event)} {where} is already a transition", "remove one of them"
    guards = {first.when, second.when}
    if len(guards) == 2 and "" not in guards:
        return None
    ends = f"leads to {shown(first.to)} and to {shown(second.to)}"
    if first.to == second.to:
        ends = f"leads to {shown(first.to)} in two ways"
    if guards == {""}:
        return "ambiguous_transition", f"{shown(event)} {where} {ends}", "keep one of them"
    same = "under the same guard" if len(guards) == 1 else "and only one of the two has a guard"
    fix = "write a `when` on each, so that one is true when the other is not"
    return "ambiguous_transition", f"{shown(event)} {where} {ends}, {same}", fix


def unfit_timeouts(document: Json) -> Iterator[Finding]:
    """Can every event that comes by itself be taken, and does it come once?"""
    groups, payloads = document.get("groups", {}), document.get("payloads", {})
    seen: set[tuple[str, str, int]] = set()
    for path, timeout in written_timeouts(document):
        yield from _needy(path, timeout.get("emit", ""), payloads)
        if not {"in", "after", "emit"} <= timeout.keys():
            continue
        timed = {(s, timeout["emit"], seconds(timeout["after"])) for s in groups.get(timeout["in"], (timeout["in"],))}
        if timed & seen:
            message = f"{shown(timeout['emit'])} comes after {shown(timeout['after'])} in this state already"
            yield Finding(path, "duplicate_name", message, "remove one of them")
        seen |= timed


def _needy(path: Path, event: str, payloads: Json) -> Iterator[Finding]:
    needs = [name for name, schema in payloads.get(event, {}).items() if not schema.get("optional")]
    if needs:
        message = f"{shown(event)} needs {shown(needs[0])} in its payload, and what comes by itself has none"
        fix = f"write `optional: true` beside {shown(needs[0])}, or emit another event"
        yield Finding((*path, "emit"), "needs_payload", message, fix)
