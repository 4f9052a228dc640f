"""Whether each action can do what it is meant to, where it may run; questions as in `soundness`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kiff.domain.document import Json, contract_of
from kiff.domain.entries import event_lists
from kiff.domain.issue import Finding, did_you_mean, listed, shown, warning
from kiff.domain.machine import reachable
from kiff.domain.parts import Parts
from kiff.protocol.action import ActionContract


def dead_actions(parts: Parts) -> Iterator[Finding]:
    """Can every action run somewhere?"""
    for path, action in parts.actions("allowed_states"):
        allowed = action.get("allowed_states", ())
        if allowed and parts.reached and parts.reached.isdisjoint(allowed):
            message = f"{_name(action)} can never run: no entity gets to {listed(allowed)}"
            fix = f"allow a state that is reached, such as {shown(min(parts.reached, key=parts.states.index))}"
            yield warning((*path, "allowed_states"), "dead_action", message, fix)


def lost_events(parts: Parts) -> Iterator[Finding]:
    """Is what an action emits taken wherever the action may run?"""
    if not parts.are_sound(("transitions", None, "on")):
        return
    for path, action in parts.actions("allowed_states", "emits"):
        for where, events in event_lists(path, action):
            for event, states in _refused(parts, action, events).items():
                message = f"{_name(action)} may run in {listed(states)}, where {shown(event)} leads nowhere: the effect"
                message += " would happen, and the state not move"
                fix = "add a transition for it from there, without `to` if the state stays"
                yield warning((*where, events.index(event)), "lost_event", message, fix)


def _refused(parts: Parts, action: Json, events: list[str]) -> dict[str, list[str]]:
    """Event -> the states the action may run in and that do not take it, not even after others of the list."""
    own = {(start, on): ways for (start, on), ways in parts.transitions.items() if on in events}
    refused: dict[str, list[str]] = {}
    for state in action.get("allowed_states", ()):
        ahead = reachable(own, state)
        taken = {on for start, on in own if start in ahead}
        for event in events if state in parts.reached else ():
            if event not in taken:
                refused.setdefault(event, []).append(state)
    return refused


def unfit_alternatives(parts: Parts) -> Iterator[Finding]:
    """May the action that is suggested instead run where this one is refused?"""
    actions = {action["name"]: action for _, action in parts.actions("allowed_states")}
    for path, action in parts.actions("allowed_states", "otherwise"):
        other = actions.get(action.get("otherwise", ""))
        left = _beyond(action.get("allowed_states", ()), other)
        if "otherwise" in action and "when" not in action:
            message = f"{_name(action)} has no `when` that could fail, so `otherwise` is never suggested"
            yield warning((*path, "otherwise"), "idle_alternative", message, "add a `when`, or remove it")
        elif other is not None and left:
            message = f"{_name(other)} is suggested instead, and may not run in {listed(left)}"
            fix = f"add it to the `allowed_states` of {_name(other)}, or name another action"
            yield warning((*path, "otherwise"), "unfit_alternative", message, fix)


def unfit_compensations(parts: Parts) -> Iterator[Finding]:
    """May the action that undoes a success run where the success leads?"""
    actions = {action["name"]: action for _, action in parts.actions("allowed_states")}
    for path, action in parts.actions("allowed_states", "emits", "compensate"):
        other = actions.get(action.get("compensate", ""))
        left = _beyond(_successes(parts, contract_of(action)), other) if parts.reached else []
        if other is not None and left:
            message = f"a success of {_name(action)} leads to {listed(left)}, where {_name(other)} may not run"
            fix = f"add it to the `allowed_states` of {_name(other)}"
            yield warning((*path, "compensate"), "unfit_compensation", message, fix)


def _beyond(states: Iterable[str], action: Json | None) -> list[str]:
    """The states, of these, in which another action may not run."""
    allowed = action.get("allowed_states", ()) if action else ()
    return [state for state in states if state not in allowed]


def _successes(parts: Parts, contract: ActionContract) -> list[str]:
    """The states a success leads to; nothing while it is not said what it reports."""
    events = contract.emits.success
    if not contract.emits.declared:
        return []
    own = {(start, on): ways for (start, on), ways in parts.transitions.items() if on in events}
    found: set[str] = set()
    for state in parts.reached.intersection(contract.allowed_states):
        ahead = reachable(own, state)
        found |= {way.to for (start, _), ways in own.items() if start in ahead for way in ways} if events else {state}
    return [state for state in parts.states if state in found]


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
            yield warning((*path, "lock"), "unlocked_action", message, fix)


def _leaving(parts: Parts, contract: ActionContract) -> str:
    """An event of the action that takes the entity to where the action may not run; empty when there is none."""
    allowed = contract.allowed_states
    out = {on for start, on, end in parts.steps() if start in allowed and end not in allowed}
    return next((event for event in (*contract.emits.success, *contract.emits.failure) if event in out), "")


def unreviewed_risks(parts: Parts) -> Iterator[Finding]:
    """Is a person asked about what can do most harm?"""
    for path, action in parts.actions("risk", "approval"):
        if (action.get("risk"), action.get("approval")) == ("high", "never"):
            message = f"{_name(action)} is of high risk, and nobody is asked"
            fix = "write `approval: required`, or a lower `risk` if that is what it is"
            yield warning((*path, "approval"), "unreviewed_risk", message, fix)


def undescribed_parameters(parts: Parts) -> Iterator[Finding]:
    """Is it said what a required parameter may be?"""
    for path, action in parts.actions("required_parameters", "parameters"):
        required = action.get("required_parameters", [])
        undescribed = [name for name in required if name not in action.get("parameters", {})]
        if undescribed:
            message = f"{_name(action)} takes any value as {listed(undescribed)}"
            fix = f"describe it under `parameters`, such as `{undescribed[0]}: {{type: string, maxLength: 200}}`"
            place = (*path, "required_parameters", required.index(undescribed[0]))
            yield warning(place, "undescribed_parameter", message, fix)


def missing_executors(parts: Parts) -> Iterator[Finding]:
    """Is every executor that a contract names registered?"""
    for path, action in parts.actions("executor") if parts.executors is not None else ():
        name = action.get("executor")
        if name and "://" not in name and name not in (known := parts.executors or ()):
            message = f"{shown(name)} is not among the executors, so {_name(action)} cannot run"
            fix = did_you_mean(name, known) or "write it, and add it to EXECUTORS"
            yield Finding((*path, "executor"), "executor_missing", message, fix, "activation")


def _name(action: Json) -> str:
    return shown(action["name"])
