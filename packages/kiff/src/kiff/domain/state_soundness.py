"""Whether an entity gets where it is meant to, and stops where it may; questions as in `soundness`."""

from __future__ import annotations

from collections.abc import Iterator

from kiff.domain.document import starts
from kiff.domain.entries import written_actions, written_timeouts, written_transitions
from kiff.domain.issue import Finding, listed, shown, warning
from kiff.domain.machine import closed_groups, leading_to
from kiff.domain.parts import Parts


def unreachable_states(parts: Parts) -> Iterator[Finding]:
    """Can an entity get into every state?"""
    for index, state in enumerate(parts.states if parts.reached else ()):
        if state not in parts.reached:
            starts = {start for start, _, end in parts.steps() if end == state != start}
            before = [each for each in parts.states if each in starts]
            message = f"no transition leads to {shown(state)}"
            if before:
                message = f"{shown(state)} is only reached from {listed(before)}, where no entity gets"
            fix = "add a transition that leads to it from a state that is reached, or remove it"
            yield warning(("states", index), "unreachable_state", message, fix)


def traps(parts: Parts) -> Iterator[Finding]:
    """Is every state where nothing goes on meant to be one?"""
    for state in _dead_ends(parts):
        message = f"nothing leads on from {shown(state)}, no transition and no action, and it is not `final`"
        fix = "add it to `final` if an entity may stay there, or a transition that leads on"
        yield warning(("states", parts.states.index(state)), "trap", message, fix)


def endless_states(parts: Parts) -> Iterator[Finding]:
    """Is there a way to the end from wherever an entity gets?"""
    final = parts.document.get("final", [])
    if not final or not parts.are_sound(("final",)):
        return
    lost = parts.reached - leading_to(parts.transitions, final) - _dead_ends(parts).keys()
    for group in closed_groups(parts.transitions, (state for state in parts.states if state in lost)):
        message = f"from {listed(group)} an entity never gets to a final state"
        fix = f"add a transition that leads on, or {'it' if len(group) == 1 else 'one of these'} to `final`"
        yield warning(("states", parts.states.index(group[0])), "endless_state", message, fix)


def _dead_ends(parts: Parts) -> dict[str, None]:
    """The states an entity gets to and where nothing happens any more; none while that cannot be told."""
    if not parts.are_sound(("final",), ("actions", None, "allowed_states")):
        return {}
    lively = {start for start, _ in parts.transitions} | set(parts.document.get("final", ()))
    lively.update(state for _, action in parts.actions() for state in action.get("allowed_states", ()))
    return dict.fromkeys(state for state in parts.states if state in parts.reached - lively)


def unused_events(parts: Parts) -> Iterator[Finding]:
    """Does every event have a transition?"""
    taken = {transition["on"] for _, transition in written_transitions(parts.document)}
    if not taken or not parts.are_sound(("events",), ("transitions", None, "on")):
        return
    for index, event in enumerate(parts.events):
        if event not in taken:
            message = f"no transition takes {shown(event)}, so it is refused in every state"
            fix = "add a transition for it, without `to` if the state stays, or remove it"
            yield warning(("events", index), "unused_event", message, fix)


def open_ends(parts: Parts) -> Iterator[Finding]:
    """Is a final state one that an entity may stay in? What leads from one to another is the end still."""
    final: list[str] = parts.document.get("final", [])
    if not parts.transitions or not parts.are_sound(("final",)):
        return
    stays = {*final, *_dead_ends(parts)}
    for index, state in enumerate(parts.written["final"] if final else ()):
        inside = parts.written.get("groups", {}).get(state, (state,))
        for start, event, end in parts.steps():
            if start in inside and end not in stays:
                message = f"{shown(start)} is `final`, and {shown(event)} leads on from it to {shown(end)}"
                fix = f"take it out of `final`, or add {shown(end)} if an entity may stay there too"
                yield warning(("final", index), "open_end", message, fix)
                break


def unused_groups(parts: Parts) -> Iterator[Finding]:
    """Is every group of states used?"""
    document = parts.written
    used = set(document.get("final", ()))
    for _, transition in written_transitions(document):
        used.update(filter(None, starts(transition)))
    for _, action in written_actions(document):
        used.update(action.get("allowed_states", ()))
    used.update(timeout.get("in", "") for _, timeout in written_timeouts(document))
    for name in document.get("groups", {}):
        if name not in used and parts.are_sound(("groups", name)):
            yield warning(("groups", name), "unused_group", f"nothing uses {shown(name)}", "use it, or remove it")
