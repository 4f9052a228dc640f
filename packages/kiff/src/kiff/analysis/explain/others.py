"""What others, time, or another call would have to do: a role, a yes, an event, an hour, another action."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from kiff.analysis.explain.answer import (
    ActionChange,
    ApprovalChange,
    AskAgainChange,
    Demanded,
    EventStep,
    RoleChange,
    StateChange,
    WaitChange,
)
from kiff.analysis.explain.made import Made
from kiff.analysis.explain.tried import WORDS, outcome
from kiff.domain.expr import Expression
from kiff.protocol.approval import Demand
from kiff.protocol.decision import Objection
from kiff.protocol.instant import rfc3339

MINUTE_MS = 60_000
DAYS_AHEAD = 8
"""How far ahead time windows are looked at: every weekly one opens and closes in that time."""


def roles(made: Made, objection: Objection) -> Iterator[RoleChange]:
    """Each role that holds all that is missing."""
    missing = tuple(objection.detail.get("missing_permissions", ()))
    for role, held in sorted(made.domain.roles.items()) if missing else ():
        if not held.issuperset(missing) or role in made.facts.roles:
            continue
        leads_to = outcome(made, objection, made.with_facts(roles=(*made.facts.roles, role)))
        if leads_to is not None:
            said = f"with the role `{role}`, which holds {', '.join(missing)}, {WORDS[leads_to]}"
            yield RoleChange(objection=objection.code, message=said, leads_to=leads_to, role=role, permissions=missing)


def consent(made: Made) -> Iterator[ApprovalChange]:
    """The yes that a held call waits for."""
    decision, contract = made.decision, made.contract
    if decision.outcome != "approval_required":
        return
    then = made.granted(decision.demands)
    leads_to = outcome(made, decision.objections[0], then)
    if leads_to is None:
        return
    permissions = contract.reviewer_permissions
    may = tuple(sorted(r for r, held in made.domain.roles.items() if permissions and held.issuperset(permissions)))
    demands = asked(decision.demands)
    people = max((each.people for each in demands), default=1)
    who = ", ".join(may) or "no role may"
    whose = (
        f"{people} people who may review it ({who}) say" if people > 1 else f"somebody who may review it ({who}) says"
    )
    said = f"when {whose} yes, {WORDS[leads_to]}"
    yield ApprovalChange(
        objection=decision.reason,
        message=said,
        leads_to=leads_to,
        people=people,
        roles=may,
        permissions=tuple(permissions),
        demands=demands,
    )


def asked(demands: tuple[Demand, ...]) -> tuple[Demanded, ...]:
    return tuple(Demanded(each.rule, max(each.quorum, 1), each.roles) for each in demands)


def moves(made: Made, objection: Objection) -> Iterator[StateChange]:
    """Each state in which it may start, and how the entity gets there."""
    current, allowed = made.facts.state, made.contract.allowed_states
    if current in allowed:  # a denial answers so, too
        return
    for state in allowed:
        events = _way(made, current, state)
        leads_to = None
        if current is not None:  # of what it would be then, nothing is known before its first event
            leads_to = outcome(made, objection, made.with_facts(state=state))
            if leads_to is None:
                continue
        by = ", then ".join(f"`{step.event}`" for step in events)
        how = f", by {by}" if events else ", where no event leads from here"
        then = f", {WORDS[leads_to]}" if leads_to else " it may start"
        said = f"once the entity is {state}{how}{then}"
        yield StateChange(objection=objection.code, message=said, leads_to=leads_to, state=state, events=events)


def _way(made: Made, start: str | None, end: str) -> tuple[EventStep, ...]:
    """The shortest way, guards taken to be true."""
    leads: dict[str | None, list[EventStep]] = {}
    for (state, event), ways in made.domain.transitions.items():
        leads.setdefault(state, []).extend(EventStep(event, way.to) for way in ways)
    known: dict[str | None, tuple[EventStep, ...]] = {start: ()}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        for step in leads.get(state, ()):
            if step.to not in known:
                known[step.to] = (*known[state], step)
                waiting.append(step.to)
    return known.get(end, ())


def room(made: Made, objection: Objection, code: str) -> Iterator[WaitChange]:
    """Until there is room under a cap."""
    usage = made.facts.usage.get(code, {})
    if usage.get("amount", 0) > usage.get("cap", -1):
        return
    wait = usage.get("retry_after_ms")
    free: dict[str, Any] = {**usage, "used": usage["cap"] - usage["amount"]}
    when = made.facts.at + (wait or 0)
    then = made.later(when, {**made.facts.usage, code: free})
    leads_to = outcome(made, objection, then)
    if leads_to is None or (wait is None and usage.get("kind") != "concurrency"):
        return
    until = None if wait is None else rfc3339(when)
    said = "once an operation in flight has ended" if until is None else f"from {until}, if nothing else comes"
    yield WaitChange(objection=objection.code, message=f"{said}, {WORDS[leads_to]}", leads_to=leads_to, until=until)


def hours(made: Made, objection: Objection, expression: Expression) -> Iterator[WaitChange]:
    """When a time window that a condition reads next opens or closes."""
    read = {path.removeprefix("schedule.") for path in expression.reads if path.startswith("schedule.")}
    schedules = dict(made.domain.schedules) | ({} if made.policy is None else dict(made.policy.schedules))
    first = made.facts.at - made.facts.at % MINUTE_MS + MINUTE_MS
    for name in sorted(read & schedules.keys()):
        now, minutes = made.facts.schedule.get(name), range(DAYS_AHEAD * 24 * 60)
        ahead = (first + minute * MINUTE_MS for minute in minutes)
        turns = next((at for at in ahead if schedules[name].is_open(at) is not now), None)
        leads_to = None if turns is None else outcome(made, objection, made.later(turns))
        if turns is not None and leads_to is not None:
            opens = "closes" if now else "opens"
            said = f"from {rfc3339(turns)}, when `{name}` {opens}, {WORDS[leads_to]}"
            yield WaitChange(objection=objection.code, message=said, leads_to=leads_to, until=rfc3339(turns))
            return


def free(made: Made, objection: Objection) -> Iterator[WaitChange]:
    """When nobody else holds the entity."""
    leads_to = outcome(made, objection, made.with_facts(holder=None))
    if leads_to is not None:
        said = f"once the operation in flight has ended, {WORDS[leads_to]}"
        yield WaitChange(objection=objection.code, message=said, leads_to=leads_to)


def anew(made: Made, objection: Objection) -> Iterator[AskAgainChange]:
    """The call without an approval that is of no use to it."""
    then = made.with_facts(approval=None, approval_id=None, operation_id=None, operation_status=None, covers=())
    leads_to = outcome(made, objection, then)
    if leads_to is not None:
        when = ", once the entity has moved" if objection.code == "approval_denied" else ""
        said = f"asked again without this approval{when}, {WORDS[leads_to]}"
        yield AskAgainChange(objection=objection.code, message=said, leads_to=leads_to)


def other(made: Made, objection: Objection) -> Iterator[ActionChange]:
    """The action that the contract suggests."""
    action = objection.detail.get("otherwise")
    if not isinstance(action, str) or action not in made.domain.actions:
        return
    then = made.with_action(action)
    leads_to = None if then is None else then.outcome
    what = WORDS.get(leads_to or "", "it may fit")
    said = f"as `{action}`, {what}"
    yield ActionChange(objection=objection.code, message=said, leads_to=leads_to, action=action)
