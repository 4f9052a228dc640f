"""How operations end: reported by the executor, the app, a person or an event, or given up by a deadline.

A lost answer is `unknown`: the runway stays closed and nothing is sent again. A later answer settles it as
late; one that contradicts what is known is recorded, and the operation is unknown again until a person looks.
"""

from __future__ import annotations

from typing import Any

from msgspec import json, structs

from kiff.errors import Forbidden, InvalidInput, KiffError, NotFound, OperationSettled
from kiff.protocol.action import ActionContract
from kiff.protocol.actor import Principal, principal, proposing
from kiff.protocol.clearance import Clearance, ClearanceStatus
from kiff.protocol.event import Event
from kiff.protocol.state import EntityState
from kiff.runtime.answers import Executed, Settled
from kiff.runtime.commands import SYSTEM, Settle, about_entity
from kiff.runtime.rows import CommandRow, Runway
from kiff.runtime.step import limits
from kiff.runtime.step.authority import minters
from kiff.runtime.step.fold import governing, take_in
from kiff.runtime.step.payload import Told, other_than_cleared, with_payloads
from kiff.runtime.world import Change

KIND = {
    "succeeded": "action_executed",
    "failed": "action_failed",
    "cancelled": "action_failed",
    "unknown": "action_unknown",
}


def settle(change: Change, command: Settle) -> None:
    """Writes what a report about an operation means."""
    clearance = change.get(Clearance, command.operation_id)
    if clearance is None:
        change.answer = NotFound(f"there is no operation `{command.operation_id}`", operation_id=command.operation_id)
        return
    change.need(*about_entity(clearance.tenant, clearance.entity))
    contract = change.domain(clearance.domain_version, clearance.domain_digest).actions[clearance.action]
    try:
        by, actor = _reporter(change, clearance, contract, command)
        command, events = _events(change, clearance, contract, command)
        if by == "app":
            _as_cleared(clearance, events)
    except KiffError as refusal:
        change.answer = refusal
        return
    if clearance.status == "open" or (clearance.status in ("unknown", "expired") and command.status != "unknown"):
        state = finish(change, clearance, command, by=by, actor=actor, events=events)
        _answer(change, clearance, command.status, state=state, late=clearance.status != "open")
    elif command.status in (clearance.status, "unknown"):
        _confirm(change, clearance, command, by=by, actor=actor)
    else:
        _contradict(change, clearance, command, by=by, actor=actor)


def finish(
    change: Change, clearance: Clearance, report: Settle, *, by: str, actor: Principal, events: Told
) -> EntityState | None:
    """Ends an operation: the record, the events it emitted, the runway, and the answer its callers wait for."""
    data = {
        "action": clearance.action,
        "by": by,
        "fencing": clearance.fencing,
        "operation_id": clearance.id,
        "status": report.status,
        "message": report.message,
        **change.value("output", report.output),
    }
    if clearance.status != "open":
        data["late"] = True
    if report.status != "unknown":  # while nobody knows, what it may have used stays used
        (limits.spend if report.status == "succeeded" else limits.release)(change, clearance.holds)
        if report.status == "succeeded":  # what failed may be contradicted, and then it holds them again
            clearance = structs.replace(clearance, holds=limits.NO_HOLDS)
        data |= limits.counted(change)
    change.record(
        KIND[report.status],
        actor,
        entity=clearance.entity,
        trace=clearance.trace_id,
        cause=clearance.id,
        version=clearance.domain_version,
        data=data,
    )
    told = told_with(clearance.told, report.status)
    state = _emit(change, clearance, report, () if told == clearance.told else events)
    if report.status != "unknown":
        free_runway(change, clearance)
    ended = {"status": report.status, "settled_by": by, "settled_at": change.at, "due_at": None}
    change.put(structs.replace(clearance, **ended, told=told))
    _complete(change, clearance, report.status, report.message, report.output)
    return state


def told_with(told: str, status: str) -> str:
    """The outcomes whose events were told, with one more; of one that nobody knows there are none."""
    known = [*filter(None, told.split(","))]
    return ",".join(known if status in (*known, "unknown") else [*known, status])


def expire_clearance(change: Change, clearance: Clearance) -> bool:
    """Ends a clearance of `decide` whose time is up and whose app never promised a report.

    Returns:
        Whether it ended here. Its outcome stays unreported; the runway is free (DESIGN section 5).
    """
    if clearance.status != "open" or clearance.mode != "decide" or clearance.settles or change.at < clearance.deadline:
        return False
    limits.spend(change, clearance.holds)  # it may have happened
    change.record(
        "clearance_expired",
        SYSTEM,
        entity=clearance.entity,
        trace=clearance.trace_id,
        cause=clearance.id,
        version=clearance.domain_version,
        data={"action": clearance.action, "operation_id": clearance.id, "outcome": "unreported"}
        | limits.counted(change),
    )
    free_runway(change, clearance)
    ended = {"status": "expired", "settled_by": "deadline", "settled_at": change.at, "due_at": None}
    change.put(structs.replace(clearance, **ended, holds=limits.NO_HOLDS))
    return True


def tell_again(change: Change, clearance: Clearance) -> None:
    """Whoever still waits gets the answer that is written: the commit that wrote it may have lost its reply."""
    row = change.get(CommandRow, clearance.command_id) if clearance.mode == "execute" else None
    if row is not None and row.status == "final":
        change.resolved = (clearance.id, json.decode(row.answer, type=Executed))


def free_runway(change: Change, clearance: Clearance) -> None:
    """Lets go of the runway; an operation that is disputed meanwhile takes it next."""
    runway = change.get(Runway, clearance.runway) if clearance.holds_runway else None
    if runway is None:
        return
    holder = runway.holder
    if not runway.in_doubt:
        if holder == clearance.id:
            change.put(Runway(change.tenant, clearance.runway, None, runway.fencing))
        return
    in_doubt = [waiting for waiting in runway.in_doubt.split(",") if waiting != clearance.id]
    if holder == clearance.id:
        holder = in_doubt.pop(0) if in_doubt else None
    change.put(structs.replace(runway, holder=holder, in_doubt=",".join(in_doubt)))


def _close_runway(change: Change, clearance: Clearance) -> None:
    """Takes the runway for an operation in doubt: at once when it is free, else when its holder lets go."""
    runway = change.get(Runway, clearance.runway) if clearance.holds_runway else None
    if runway is None or runway.holder == clearance.id:
        return
    if runway.holder is None:
        change.put(structs.replace(runway, holder=clearance.id))
    else:
        waiting = [*filter(None, runway.in_doubt.split(",")), clearance.id]
        change.put(structs.replace(runway, in_doubt=",".join(waiting)))


def _reporter(change: Change, clearance: Clearance, contract: ActionContract, command: Settle) -> tuple[str, Principal]:
    """Who reports, and whether they may.

    Raises:
        Forbidden: the app may report what it ran, once and in time; everything else takes a person with the
            permission to review this action, who is not the one who proposed it.
    """
    proposer = principal(clearance.principal, clearance.principal_type)
    if command.by != "caller":
        return command.by, proposer if command.by == "executor" else SYSTEM
    assert command.caller is not None, "a caller's report names the caller"
    caller = command.caller
    proposed = caller.principal.id.casefold() == clearance.principal.casefold()
    told = clearance.settled_by in ("app", "event") and not clearance.disputed
    if proposed and clearance.mode == "decide" and (clearance.status in ("open", "expired") or told):
        return "app", caller.principal
    names = proposing(clearance.principal, clearance.principal_person, clearance.principal_type)
    proposed = bool(({caller.principal.id.casefold(), caller.principal.someone} | minters(change, caller)) & names)
    if caller.principal.type != "human" or proposed:
        message = "an operation is settled by a person who did not propose it, or by the app that ran it, in time"
        raise Forbidden(message, reason="permission_denied", operation_id=clearance.id)
    domain = governing(change, clearance.entity)
    missing = [p for p in contract.reviewer_permissions if domain is None or not domain.permits(caller.roles, p)]
    if missing or not contract.reviewer_permissions:
        message = f"settling `{clearance.action}` takes {', '.join(missing) or 'a permission its contract names'}"
        raise Forbidden(message, reason="permission_denied", missing_permissions=missing)
    return "person", caller.principal


def _events(change: Change, clearance: Clearance, contract: ActionContract, report: Settle) -> tuple[Settle, Told]:
    """The events a report stands for. A success that says nothing emits the one event its contract declares.

    An executor that names an event its action does not emit, or does not say which of several, has returned
    garbage: the outcome is unknown. A caller is told instead.

    Raises:
        InvalidInput: a caller reported events the action does not emit.
    """
    if report.status not in ("succeeded", "failed"):
        return report, ()
    declared = contract.emits.success if report.status == "succeeded" else contract.emits.failure
    told = report.events
    if told is None:
        if len(declared) <= 1:
            return report, with_payloads(tuple((name, b"{}") for name in declared), clearance.payloads)
        wrong = f"it must say which of {', '.join(declared)} happened"
    else:
        domain = governing(change, clearance.entity)
        # Where a contract declares nothing, its executor may report any event of the domain: the operator wrote it.
        # A caller may not, or a clearance for anything would let an agent say that an order was paid.
        open_ended = not contract.emits.declared and domain is not None and report.by != "caller"
        known = domain.events if open_ended and domain is not None else declared
        strange = [name for name, _ in told if name not in known]
        if not strange and (told or not declared):
            return report, with_payloads(told, clearance.payloads)
        wrong = f"`{strange[0]}` is not among the events it emits" if strange else "it must emit what it declares"
    if report.by == "caller":
        raise InvalidInput(f"`{clearance.action}`: {wrong}", field="events", emits=list(declared))
    message = f"the executor's answer does not fit `{clearance.action}`: {wrong}"
    return structs.replace(report, status="unknown", message=message), ()


def _as_cleared(clearance: Clearance, events: Told) -> None:
    """Raises InvalidInput: the app that was cleared reports something else than it was cleared for."""
    for event, payload in events:
        field = other_than_cleared(event, payload, clearance.payloads)
        if field is not None:
            message = f"`{field}` of `{event}` is not what `{clearance.action}` was cleared for"
            raise InvalidInput(message, field=f"events.payload.{field}")


def _emit(change: Change, clearance: Clearance, report: Settle, events: Told) -> EntityState | None:
    domain = governing(change, clearance.entity)
    state = change.get(EntityState, clearance.entity)
    proposer = principal(clearance.principal, clearance.principal_type)
    for number, (name, payload) in enumerate(events):
        assert domain is not None, "an entity type keeps its domain"
        event_id = f"evt_{report.suffix}" if number == 0 else f"evt_{report.suffix}_{number}"
        event = Event(event_id, name, clearance.entity, "executor" if report.by == "executor" else report.by, payload)
        state, _ = take_in(change, domain, event, actor=proposer, trace=clearance.trace_id, cause=clearance.id)
    return state


def _confirm(change: Change, clearance: Clearance, report: Settle, *, by: str, actor: Principal) -> None:
    """The outcome was known; a second source that says the same is recorded, the same source again is a replay."""
    if report.status == clearance.status and by != clearance.settled_by:
        data = {
            "by": by,
            "operation_id": clearance.id,
            "settled_by": clearance.settled_by,
            "status": report.status,
        }
        if clearance.status == "succeeded" and by == "executor":
            _complete(change, clearance, "succeeded", report.message, report.output)
            data |= {"message": report.message, **change.value("output", report.output)}
        else:
            tell_again(change, clearance)  # another process may have settled it, while callers wait in this one
        _record_about(change, clearance, "outcome_confirmed", actor, data)
    else:
        tell_again(change, clearance)
    state = change.get(EntityState, clearance.entity)
    _answer(change, clearance, clearance.status, state=state, confirmed=True)


def _contradict(change: Change, clearance: Clearance, report: Settle, *, by: str, actor: Principal) -> None:
    """Two sources disagree about one effect: nobody knows, so the runway closes again until a person looks."""
    data = {
        "by": by,
        "message": report.message,
        "operation_id": clearance.id,
        "reported": report.status,
        "settled": clearance.status,
        "settled_by": clearance.settled_by,
    }
    limits.hold_again(change, clearance.holds)
    _record_about(change, clearance, "outcome_contradicted", actor, data | limits.counted(change))
    _close_runway(change, clearance)
    change.put(structs.replace(clearance, status="unknown", disputed=True))
    message = f"reported {report.status}, but it was settled as {clearance.status} by {clearance.settled_by}"
    _complete(change, clearance, "unknown", message, b"null")
    change.answer = OperationSettled(f"`{clearance.id}`: {message}", operation_id=clearance.id, status="unknown")


def _record_about(change: Change, clearance: Clearance, kind: str, actor: Principal, data: dict[str, Any]) -> None:
    change.record(
        kind,
        actor,
        entity=clearance.entity,
        trace=clearance.trace_id,
        cause=clearance.id,
        version=clearance.domain_version,
        data=data,
    )


def _complete(change: Change, clearance: Clearance, status: ClearanceStatus, message: str, output: bytes) -> None:
    """The answer that everybody who sent this command gets from now on."""
    if clearance.mode != "execute":
        return
    answer = Executed(
        proposal_id=clearance.proposal_id,
        outcome="allowed",
        action=clearance.action,
        entity=clearance.entity,
        message=message,
        receipt_id=clearance.receipt_id,
        trace_id=clearance.trace_id,
        approval_id=clearance.approval_id,
        clearance_id=clearance.id,
        next_step="a person must settle this operation" if status == "unknown" else None,
        status=status,
        executed=status == "succeeded",
        output=json.decode(output),
    )
    digest = f"{clearance.mode}:{clearance.action_digest}"
    encoded = json.encode(answer)
    change.put(CommandRow(change.tenant, clearance.command_id, digest, "final", encoded, clearance.id))
    change.resolved = (clearance.id, answer)


def _answer(
    change: Change,
    clearance: Clearance,
    status: str,
    *,
    state: EntityState | None,
    late: bool = False,
    confirmed: bool = False,
) -> None:
    change.answer = Settled(
        operation_id=clearance.id,
        status=status,
        entity=clearance.entity,
        state=None if state is None else state.state,
        trace_id=clearance.trace_id,
        late=late,
        confirmed=confirmed,
    )
