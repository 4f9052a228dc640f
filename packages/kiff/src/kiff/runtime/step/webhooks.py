"""Webhooks in a step: who is told, how an attempt to tell ended, and telling again. Secrets are in no record."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, json, structs

from kiff.errors import Conflict, Forbidden, IdempotencyConflict, KiffError, NotFound
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.authority import AUTHOR
from kiff.protocol.instant import rfc3339
from kiff.protocol.webhook import Endpoint, Secret, endpoints_of, kept
from kiff.runtime.answers import Established, Resent
from kiff.runtime.commands import SYSTEM, Attempted, ChangeHook, Resend
from kiff.runtime.outbox import FAILING_MS, KEPT_MS, SCHEDULE_SECONDS, pause_ms
from kiff.runtime.rows import HOOKS, CommandRow, Delivery, Hooks, NoteRow, delivery_id
from kiff.runtime.world import Change

MOST_ENDPOINTS = 20
"""How many a tenant may have: every record is told to each."""


class Health(Struct, frozen=True):
    """How an endpoint does, in the note beside it; a note that is empty says that it does well.

    Args:
        failing_since, at: instants (ms): of the first attempt since the last delivery that failed, and of the last.
        said: why it failed.
    """

    failing_since: int
    at: int
    said: str


def note_id(endpoint_id: str) -> str:
    return f"webhook:{endpoint_id}"


def change_hook(change: Change, command: ChangeHook) -> None:
    """An endpoint is added, taken away, gets another secret, or is put on again. Only an owner asks for it."""
    if refusal := _may_not(command.caller):
        change.answer = refusal
        return
    done = change.get(CommandRow, command.id) if command.key is not None else None
    if done is not None:
        if done.digest == command.asked:
            change.answer = structs.replace(json.decode(done.answer, type=Established), repeated=True)
        else:
            change.answer = IdempotencyConflict("this idempotency key was used before for another request")
        return
    before = {each.id: each for each in _endpoints(change)}
    endpoint, refusal = _changed(change, command, before)
    if endpoint is None:
        change.answer = refusal
        return
    if command.verb == "enable":
        _healthy(change, endpoint.id)
    after = {id: each for id, each in before.items() if id != endpoint.id or command.verb != "remove"}
    _put(change, after | ({} if command.verb == "remove" else {endpoint.id: endpoint}))
    answer = change.answer = Established(endpoint.id, rfc3339(change.at))
    data: dict[str, Any] = {}
    if command.key is not None:
        data = {"asked": command.asked, "command_id": command.id}
        change.put(CommandRow(change.tenant, command.id, command.asked, "final", json.encode(answer)))
    _record_change(change, endpoint, _VERBS[command.verb], command.caller.principal, command.suffix, data)


_VERBS = {"add": "added", "remove": "removed", "rotate": "secret rotated", "enable": "switched on"}


def _changed(
    change: Change, command: ChangeHook, before: dict[str, Endpoint]
) -> tuple[Endpoint, None] | tuple[None, KiffError]:
    """The endpoint as it becomes, or was; or why it becomes nothing."""
    if command.verb == "add":
        if len(before) >= MOST_ENDPOINTS:
            return None, Conflict(f"a tenant has at most {MOST_ENDPOINTS} endpoints; remove one first")
        assert command.endpoint is not None, "what is added is given"
        secrets = (Secret(command.secret),)
        return structs.replace(command.endpoint, created_at=change.at, why="", secrets=secrets), None
    endpoint = before.get(command.endpoint_id)
    if endpoint is None:
        return None, missing(command.endpoint_id)
    if command.verb == "rotate":
        old = Secret(endpoint.secrets[0].sealed, change.at + command.overlap_ms)
        both = (Secret(command.secret), old)
        return structs.replace(endpoint, secrets=both if command.overlap_ms else both[:1]), None
    return structs.replace(endpoint, why=""), None


def attempted(change: Change, command: Attempted) -> None:
    """What becomes of a delivery that was tried. One that was written since has had another fate, which stands."""
    row = change.get(Delivery, command.id)
    if row is None or row.version != command.version:
        return
    endpoint = next((each for each in _endpoints(change) if each.id == row.endpoint), None)
    if endpoint is None or row.status == "dead" or command.ended == "delivered":
        change.drop(row)
        if command.ended == "delivered":
            _healthy(change, row.endpoint)
        return
    _failed(change, command, row)
    if command.ended == "refused":
        _switch_off(change, command, endpoint, "it answered 410: it wants no more")
    elif change.at - _failing(change, command) >= FAILING_MS:
        _switch_off(change, command, endpoint, f"nothing was delivered for {FAILING_MS // 86_400_000} days")


def _failed(change: Change, command: Attempted, row: Delivery) -> None:
    """It is tried again later, until it was tried often enough."""
    attempts = row.attempts + 1
    tried = structs.replace(row, attempts=attempts, last=command.said, version=row.version + 1)
    if attempts < len(SCHEDULE_SECONDS):
        due_at = change.at + pause_ms(attempts, command.draw, command.asked_ms)
        change.put(structs.replace(tried, due_at=due_at))
        return
    change.put(structs.replace(tried, status="dead", due_at=change.at + KEPT_MS))
    change.record(
        "webhook_failed",
        SYSTEM,
        entity=None,
        trace=f"trace_{command.suffix}",
        cause=row.endpoint,
        version=None,
        data={"attempts": attempts, "delivery": row.id, "endpoint": row.endpoint, "of": row.seq, "said": command.said},
    )


def _failing(change: Change, command: Attempted) -> int:
    """Notes that the endpoint fails. Returns since when it does."""
    note = change.get(NoteRow, note_id(command.endpoint))
    since, first, times = change.at, change.at, 0
    if note is not None:
        first, times = note.first_at, note.times
        since = json.decode(note.body, type=Health).failing_since if note.body else since
    body = json.encode(Health(since, change.at, command.said))
    change.put(NoteRow(change.tenant, note_id(command.endpoint), body, first, change.at, times + 1))
    return since


def _healthy(change: Change, endpoint_id: str) -> None:
    note = change.get(NoteRow, note_id(endpoint_id))
    if note is not None and note.body:
        change.put(structs.replace(note, body=b"", last_at=change.at, times=note.times + 1))


def _switch_off(change: Change, command: Attempted, endpoint: Endpoint, why: str) -> None:
    """What is due to it waits until somebody puts it on again."""
    if not endpoint.is_on:
        return
    off = structs.replace(endpoint, why=why)
    _put(change, {each.id: each for each in _endpoints(change)} | {off.id: off})
    _record_change(change, off, "switched off", SYSTEM, command.suffix, {})


def resend(change: Change, command: Resend) -> None:
    """An endpoint is told again, of dead deliveries and of records that it was told of before. Only an owner asks."""
    if refusal := _may_not(command.caller):
        change.answer = refusal
        return
    endpoint = next((each for each in _endpoints(change) if each.id == command.endpoint_id), None)
    if endpoint is None:
        change.answer = missing(command.endpoint_id)
        return
    if not endpoint.is_on:
        change.answer = Conflict(f"`{endpoint.id}` is off ({endpoint.why}); enable it first", endpoint=endpoint.id)
        return
    change.need(*((Delivery, change.tenant, delivery_id(endpoint.id, seq)) for seq, _ in command.told))
    for seq, entity in command.told:
        id = delivery_id(endpoint.id, seq)
        row = change.get(Delivery, id) or Delivery(change.tenant, id, endpoint.id, entity, seq, "due", 0, 0, version=0)
        attempts = 0 if row.status == "dead" else row.attempts
        again = structs.replace(row, status="due", attempts=attempts, due_at=change.at, version=row.version + 1)
        change.put(again)
    change.answer = Resent(len(command.told), command.after)


def missing(endpoint_id: str) -> NotFound:
    return NotFound(f"there is no webhook `{endpoint_id}`", endpoint=endpoint_id)


def _endpoints(change: Change) -> tuple[Endpoint, ...]:
    hooks = change.get(Hooks, HOOKS)
    return () if hooks is None else endpoints_of(hooks.endpoints)


def _put(change: Change, endpoints: dict[str, Endpoint]) -> None:
    change.put(Hooks(change.tenant, HOOKS, kept(endpoints.values())))


def _may_not(caller: Caller) -> KiffError | None:
    if AUTHOR in caller.roles:
        return None
    return Forbidden(f"that needs the role `{AUTHOR}`", reason="permission_denied", missing_roles=[AUTHOR])


def _record_change(
    change: Change, endpoint: Endpoint, what: str, actor: Principal, suffix: str, data: dict[str, Any]
) -> None:
    trace = f"trace_{suffix}"
    data = {"change": what, "webhook": endpoint.told(), **data}
    change.record("webhook_changed", actor, entity=None, trace=trace, cause=endpoint.id, version=None, data=data)
