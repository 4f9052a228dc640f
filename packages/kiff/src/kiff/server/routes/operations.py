"""Operations: what was cleared, how it ended, and a person's word on what nobody knows the end of."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from kiff.errors import InvalidInput, NotFound
from kiff.protocol.clearance import Clearance, ClearanceStatus
from kiff.protocol.ids import require_id
from kiff.server.route import Answer, Call, Route
from kiff.server.routes.actions import acting
from kiff.server.wire import Actor, Operation, operation

PAGE = 200
SCAN = 5
"""How many pages of operations a filtered page may look through."""
IN_DOUBT = 10_000
"""How many operations in doubt are looked at: the store finds them at once, however many have ended."""


class Filter(Struct, forbid_unknown_fields=True):
    """A page of operations. `after`: an id; `status`: only those that stand so. `unknown` ones wait for a person."""

    status: ClearanceStatus | None = None
    after: Annotated[str, Meta(max_length=128)] = ""
    limit: Annotated[int, Meta(ge=1, le=PAGE)] = PAGE


class Operations(Struct, omit_defaults=True):
    """Operations, oldest first. `next` is the `after` of the next page; a page may be empty."""

    operations: list[Operation]
    next: str | UnsetType = UNSET


class OperationAnswer(Struct):
    """One operation."""

    operation: Operation


class Settlement(Struct, forbid_unknown_fields=True):
    """How an operation ended, and how whoever says so knows: `reason`, or `message`.

    `output`: what came of it. `events`: names, or {type, payload}, among the contract's `emits`; the one it declares
    when nothing is said.
    """

    status: Literal["succeeded", "failed", "cancelled", "unknown"]
    reason: str | None = None
    message: str | None = None
    output: Any = None
    events: list[str | dict[str, Any]] | None = None
    actor: Actor | None = None


class SettledAnswer(Struct):
    """The operation as it stands now, and the state its entity is in.

    `late`: it had been given up before. `confirmed`: the outcome was known, and this says the same.
    """

    operation: Operation
    state: str | None
    late: bool
    confirmed: bool


async def list_(call: Call) -> Answer:
    return Answer(await asyncio.to_thread(_page, call, call.query))


async def show(call: Call) -> Answer:
    return Answer(OperationAnswer(operation(await asyncio.to_thread(_seen, call))))


async def settle(call: Call) -> Answer:
    body: Settlement = call.body
    if body.reason is not None and body.message not in (None, body.reason):
        raise InvalidInput("give `reason` or `message`, not both", field="message")
    call.id_of_write(None)  # saying the same again changes nothing, so the key is only read
    id = (await asyncio.to_thread(_seen, call)).id
    message, runtime = body.reason or body.message or "", call.tower.runtime
    told = await call.write(
        lambda caller: runtime.settle(caller, id, body.status, message=message, output=body.output, events=body.events),
        acting(body.actor),
    )
    row = await asyncio.to_thread(call.tower.store.row, Clearance, call.tenant, id)
    assert row is not None, "it was just settled"
    return Answer(SettledAnswer(operation(row), told.state, told.late, told.confirmed))


def _page(call: Call, query: Filter) -> Operations:
    """A page of what the caller may see, out of at most SCAN pages of operations."""
    seen, after = call.sight(), query.after
    found: list[Clearance] = []
    for _ in range(SCAN):
        rows, more = _rows(call, query.status, after)
        for row in rows:
            if seen.operation(row) and query.status in (None, row.status):
                if len(found) == query.limit:
                    return Operations([operation(each) for each in found], after)
                found.append(row)
            after = row.id
        if not more:
            return Operations([operation(each) for each in found])
    return Operations([operation(each) for each in found], after)


def _rows(call: Call, status: ClearanceStatus | None, after: str) -> tuple[list[Clearance], bool]:
    """Operations in order of their ids, which begin with the time, and whether there are more."""
    store = call.tower.store
    if status in ("open", "unknown"):
        rows = store.clearances(call.tenant, status=status, limit=IN_DOUBT)
        return sorted((row for row in rows if row.id > after), key=lambda row: row.id), False
    rows = store.rows(Clearance, call.tenant, after=after, limit=PAGE)
    return rows, len(rows) == PAGE


def _seen(call: Call) -> Clearance:
    """The operation that the path names, when the caller may see it. Whoever may settle it may.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    id = require_id(call.path["id"], "id")
    row = call.tower.store.row(Clearance, call.tenant, id)
    if row is None or not (call.sight().operation(row) or _reviews(call, row)):
        raise NotFound(f"there is no operation `{id}`", operation_id=id)
    return row


def _reviews(call: Call, row: Clearance) -> bool:
    """Whether the caller holds what reviewing, and so settling, the operation's action takes."""
    domain = call.tower.runtime.read.domains(call.tenant).get(row.entity.split(":", 1)[0])
    contract = None if domain is None else domain.actions.get(row.action)
    if domain is None or contract is None or not contract.reviewer_permissions or not call.covers(row.entity):
        return False
    roles = call.caller().roles
    return all(domain.permits(roles, needed) for needed in contract.reviewer_permissions)


ROUTES = (
    Route(
        "GET",
        "/v1/operations",
        list_,
        "What was cleared, and how it ended.",
        "Operations",
        query=Filter,
        answers={200: Operations},
    ),
    Route("GET", "/v1/operations/{id}", show, "One operation.", "Operations", answers={200: OperationAnswer}),
    Route(
        "POST",
        "/v1/operations/{id}/settle",
        settle,
        "Say how an operation ended.",
        "Operations",
        body=Settlement,
        answers={200: SettledAnswer},
        writes=True,
    ),
)
