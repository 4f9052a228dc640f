"""Whether a domain does what its author wants: the questions about a document that could govern, and yet misleads.

One question = one function, as in `structure`. Nothing found here keeps a domain from anything, and `load` does
not ask. What rests on something that is wrong is not asked either, so that nobody is sent after what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from kiff.domain.document import Json, contract_of
from kiff.domain.issue import Finding, Path, did_you_mean, shown
from kiff.domain.machine import closed_groups, leading_to, reachable
from kiff.domain.parts import Parts
from kiff.domain.structure import event_lists, mapped_events, written_transitions
from kiff.protocol.action import ActionContract

INGEST = "events.ingest"
KNOWN = frozenset((INGEST, "records.read"))
"""Permissions that KIFF itself asks for."""

Question = Callable[[Parts], Iterator[Finding]]


def unreachable_states(parts: Parts) -> Iterator[Finding]:
    """Can an entity get into every state?"""
    for index, state in enumerate(parts.states if parts.reached else ()):
        if state not in parts.reached:
            starts = {start for (start, _), end in parts.transitions.items() if end == state != start}
            before = [each for each in parts.states if each in starts]
            message = f"no transition leads to {shown(state)}"
            if before:
                message = f"{shown(state)} is only reached from {_listed(before)}, where no entity gets"
            fix = "add a transition that leads to it from a state that is reached, or remove it"
            yield _warning(("states", index), "unreachable_state", message, fix)


def dead_actions(parts: Parts) -> Iterator[Finding]:
    """Can every action run somewhere?"""
    for path, action in parts.actions("allowed_states"):
        allowed = action.get("allowed_states", ())
        if allowed and parts.reached and parts.reached.isdisjoint(allowed):
            message = f"{_name(action)} can never run: no entity gets to {_listed(allowed)}"
            fix = f"allow a state that is reached, such as {shown(min(parts.reached, key=parts.states.index))}"
            yield _warning((*path, "allowed_states"), "dead_action", message, fix)


def traps(parts: Parts) -> Iterator[Finding]:
    """Is every state where nothing goes on meant to be one?"""
    for state in _dead_ends(parts):
        message = f"nothing leads on from {shown(state)}, no transition and no action, and it is not `final`"
        fix = "add it to `final` if an entity may stay there, or a transition that leads on"
        yield _warning(("states", parts.states.index(state)), "trap", message, fix)


def endless_states(parts: Parts) -> Iterator[Finding]:
    """Is there a way to the end from wherever an entity gets?"""
    final = parts.document.get("final", [])
    if not final or not parts.are_sound(("final",)):
        return
    lost = parts.reached - leading_to(parts.transitions, final) - _dead_ends(parts).keys()
    for group in closed_groups(parts.transitions, (state for state in parts.states if state in lost)):
        message = f"from {_listed(group)} an entity never gets to a final state"
        fix = f"add a transition that leads on, or {'it' if len(group) == 1 else 'one of these'} to `final`"
        yield _warning(("states", parts.states.index(group[0])), "endless_state", message, fix)


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
            yield _warning(("events", index), "unused_event", message, fix)


def lost_events(parts: Parts) -> Iterator[Finding]:
    """Is what an action emits taken wherever the action may run?"""
    if not parts.are_sound(("transitions", None, "on")):
        return
    for path, action in parts.actions("allowed_states", "emits"):
        for where, events in event_lists(path, action):
            for event, states in _refused(parts, action, events).items():
                message = (
                    f"{_name(action)} may run in {_listed(states)}, where {shown(event)} leads nowhere: the effect"
                )
                message += " would happen, and the state not move"
                fix = "add a transition for it from there, without `to` if the state stays"
                yield _warning((*where, events.index(event)), "lost_event", message, fix)


def _refused(parts: Parts, action: Json, events: list[str]) -> dict[str, list[str]]:
    """Event -> the states the action may run in and that do not take it, not even after others of the list."""
    own = {(start, on): end for (start, on), end in parts.transitions.items() if on in events}
    refused: dict[str, list[str]] = {}
    for state in action.get("allowed_states", ()):
        ahead = reachable(own, state)
        taken = {on for start, on in own if start in ahead}
        for event in events if state in parts.reached else ():
            if event not in taken:
                refused.setdefault(event, []).append(state)
    return refused


def unlocked_actions(parts: Parts) -> Iterator[Finding]:
    """Does an action that needs a state keep the entity in it?"""
    for path, action in parts.actions("allowed_states", "emits", "executor", "lock"):
        contract = contract_of(action)
        inside = parts.reached.intersection(contract.allowed_states)
        leaving = _leaving(parts, contract)
        if contract.lock == "none" and inside and inside != parts.reached and (leaving or contract.executor_name):
            why = f"though {shown(leaving)} takes it out of these states" if leaving else "and its state may change"
            message = f"{_name(action)} does not hold the entity: two can run at once, {why}"
            fix = "remove `lock: none`, or allow every state if it may run in all of them"
            yield _warning((*path, "lock"), "unlocked_action", message, fix)


def _leaving(parts: Parts, contract: ActionContract) -> str:
    """An event of the action that takes the entity to where the action may not run; empty when there is none."""
    allowed = contract.allowed_states
    out = {on for (start, on), end in parts.transitions.items() if start in allowed and end not in allowed}
    return next((event for event in (*contract.emits.success, *contract.emits.failure) if event in out), "")


def unreviewed_risks(parts: Parts) -> Iterator[Finding]:
    """Is a person asked about what can do most harm?"""
    for path, action in parts.actions("risk", "approval"):
        if (action.get("risk"), action.get("approval")) == ("high", "never"):
            message = f"{_name(action)} is of high risk, and nobody is asked"
            fix = "write `approval: required`, or a lower `risk` if that is what it is"
            yield _warning((*path, "approval"), "unreviewed_risk", message, fix)


def undescribed_parameters(parts: Parts) -> Iterator[Finding]:
    """Is it said what a required parameter may be?"""
    for path, action in parts.actions("required_parameters", "parameters"):
        required = action.get("required_parameters", [])
        undescribed = [name for name in required if name not in action.get("parameters", {})]
        if undescribed:
            message = f"{_name(action)} takes any value as {_listed(undescribed)}"
            fix = f"describe it under `parameters`, such as `{undescribed[0]}: {{type: string, maxLength: 200}}`"
            place = (*path, "required_parameters", required.index(undescribed[0]))
            yield _warning(place, "undescribed_parameter", message, fix)


def shared_duties(parts: Parts) -> Iterator[Finding]:
    """Are proposing and approving left to different roles?"""
    reviewed = [contract for contract in _reviewed(parts) if contract.required_permissions]
    for role, held in parts.roles.items():
        both = [each for each in reviewed if held.issuperset(_either(each))]
        if both:
            names = _listed(each.name for each in both)
            message = f"{shown(role)} may propose and approve {names}: two who hold it can approve for each other"
            yield _warning(("permissions", "roles", role), "shared_duties", message, _apart(parts, both[0]))


def _reviewed(parts: Parts) -> Iterator[ActionContract]:
    """The contracts that say that a person is asked."""
    for _, action in parts.actions("required_permissions", "approval", "approval_policy"):
        if action.get("approval") in ("required", "conditional"):
            yield contract_of(action)


def _either(contract: ActionContract) -> tuple[str, ...]:
    return contract.required_permissions + contract.reviewer_permissions


def _apart(parts: Parts, contract: ActionContract) -> str:
    """How to keep the two apart: by a role that only approves."""
    proposing, approving = contract.required_permissions, contract.reviewer_permissions
    able = [role for role, held in parts.roles.items() if held.issuperset(approving) and not held.issuperset(proposing)]
    owner = f"leave that to {_listed(able)}" if able else "give that to a role of its own"
    return f"take {_listed(approving)} from it and {owner}, if duties must be apart"


def unused_permissions(parts: Parts) -> Iterator[Finding]:
    """Is every permission asked for by something?"""
    keys = ("name", "required_permissions", "approval_policy")
    if not parts.are_sound(*(("actions", None, key) for key in keys)) or not parts.document.get("actions"):
        return
    asked = {permission for _, action in parts.actions() for permission in _either(contract_of(action))} | KNOWN
    held_by_none = asked.difference(*parts.roles.values())
    for role, held in parts.document["permissions"]["roles"].items() if parts.roles else ():
        for index, permission in enumerate(held):
            if permission not in asked:
                message = f"{shown(role)} holds {shown(permission)}, which no action asks for"
                fix = did_you_mean(permission, held_by_none) or "remove it, or name it in `required_permissions`"
                yield _warning(("permissions", "roles", role, index), "unused_permission", message, fix)


def silent_beginnings(parts: Parts) -> Iterator[Finding]:
    """May somebody say that an entity's first event happened?"""
    told = {event for _, event in mapped_events(parts.document)} & {on for start, on in parts.transitions if not start}
    if parts.reached and parts.roles and not told and not any(INGEST in held for held in parts.roles.values()):
        message = f"no role holds `{INGEST}`, so nobody can report the event that an entity begins with"
        fix = f"add a role for what reports events, such as `event_source: [{INGEST}]`"
        yield _warning(("permissions", "roles"), "nobody_can_ingest", message, fix)


def missing_executors(parts: Parts) -> Iterator[Finding]:
    """Is every executor that a contract names registered?"""
    for path, action in parts.actions("executor") if parts.executors is not None else ():
        name = action.get("executor")
        if name and name not in (known := parts.executors or ()):
            message = f"{shown(name)} is not among the executors, so {_name(action)} cannot run"
            fix = did_you_mean(name, known) or "write it, and add it to EXECUTORS"
            yield Finding((*path, "executor"), "executor_missing", message, fix, "activation")


QUESTIONS: tuple[Question, ...] = (
    unreachable_states,
    dead_actions,
    traps,
    endless_states,
    unused_events,
    lost_events,
    unlocked_actions,
    unreviewed_risks,
    undescribed_parameters,
    shared_duties,
    unused_permissions,
    silent_beginnings,
    missing_executors,
)


def soundness(document: Json, findings: Iterable[Finding], executors: Collection[str] | None = None) -> list[Finding]:
    """What a document of the right shape says that its author may not mean.

    Args:
        findings: what is known to be wrong with it.
        executors: the names that are registered; None asks nothing about them.
    """
    parts = Parts(document, findings, executors)
    return [finding for question in QUESTIONS for finding in question(parts)]


def _warning(path: Path, code: str, message: str, fix: str) -> Finding:
    return Finding(path, code, message, fix, "warning")


def _name(action: Json) -> str:
    return shown(action["name"])


_LISTED = 4


def _listed(names: Iterable[str]) -> str:
    """`A`, `B` and 3 more."""
    first, *rest = map(shown, names)
    shorter = [first, *rest[: _LISTED - 1]]
    more = len(rest) + 1 - len(shorter)
    if more:
        return f"{', '.join(shorter)} and {more} more"
    return " and ".join(filter(None, (", ".join(shorter[:-1]), shorter[-1])))
