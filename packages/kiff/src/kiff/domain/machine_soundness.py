"""What an author may not mean about time and attributes; questions as in `soundness`."""

from __future__ import annotations

from collections.abc import Iterator

from kiff.domain.entries import written_timeouts, written_transitions
from kiff.domain.issue import Finding, listed, shown, warning
from kiff.domain.parts import Parts
from kiff.domain.reading import valueless


def idle_timeouts(parts: Parts) -> Iterator[Finding]:
    """Does what comes by itself lead anywhere from where it comes?"""
    if not parts.transitions or not parts.are_sound(("transitions", None, "on"), ("events",)):
        return
    for path, timeout in written_timeouts(parts.written):
        if not parts.are_sound(path) or not {"in", "emit"} <= timeout.keys():
            continue
        states = parts.written.get("groups", {}).get(timeout["in"], (timeout["in"],))
        there = (state for state in states if state in parts.reached)
        lost = next((state for state in there if (state, timeout["emit"]) not in parts.transitions), None)
        if lost is not None:
            message = f"{shown(timeout['emit'])} leads nowhere from {shown(lost)}, so it is refused when it comes"
            fix = "add a transition for it from there, without `to` if the state stays"
            yield Finding((*path, "emit"), "idle_timeout", message, fix, "warning")


def dead_timeouts(parts: Parts) -> Iterator[Finding]:
    """Does an entity get to where something comes by itself?"""
    for path, timeout in written_timeouts(parts.written) if parts.reached else ():
        if parts.are_sound(path) and "in" in timeout:
            states = parts.written.get("groups", {}).get(timeout["in"], (timeout["in"],))
            if parts.reached.isdisjoint(states):
                message = f"no entity gets to {listed(states)}, so this never comes"
                fix = "add a transition that leads there, or remove it"
                yield warning((*path, "in"), "dead_timeout", message, fix)


def unset_attributes(parts: Parts) -> Iterator[Finding]:
    """Does every attribute get a value?"""
    if not parts.are_sound(("attributes",), ("transitions", None, "set")):
        return
    told = valueless(parts.written)
    given = {name for _, transition in written_transitions(parts.written) for name in transition.get("set", {})}
    for name, schema in parts.written.get("attributes", {}).items():
        if name not in given and name not in told and "default" not in schema:
            message = f"no transition sets {shown(name)}, and it has no default: what reads it has no answer"
            yield Finding(("attributes", name), "unset_attribute", message, "set it, or remove it", "warning")
