"""Execute: KIFF runs the executor. And what may be known of an action before: a dry run, the approval it takes."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct

from kiff.errors import DomainChanged
from kiff.gate import MESSAGES
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.proposal import Mode
from kiff.runtime.answers import Decided, Executed
from kiff.runtime.commands import Propose
from kiff.runtime.world import Change
from kiff.server.problems import Problem
from kiff.server.references import find
from kiff.server.route import Answer, Call, Route
from kiff.server.wire import Actor, Approval, ExecuteAnswer, approval, executed, refused, retry_after


class Execute(Struct, forbid_unknown_fields=True):
    """An action to run. `actor` is compared with the key; its `roles` are display only."""

    entity_type: str | None = None
    actor: Actor | None = None
    parameters: dict[str, Any] = {}
    approval_id: str | None = None
    id: str | None = None
    reasoning_summary: str | None = None
    confidence: float | None = None
    evidence: Any = None
    run_context: dict[str, Any] | None = None


class Validate(Struct, forbid_unknown_fields=True):
    """A call to try: nothing is written, reserved or opened. `mode`: execute (the default) or decide."""

    entity_type: str | None = None
    actor: Actor | None = None
    parameters: dict[str, Any] = {}
    approval_id: str | None = None
    mode: Mode = "execute"
    run_context: dict[str, Any] | None = None


class Ask(Struct, forbid_unknown_fields=True):
    """A call whose approval is to be opened."""

    actor: Actor | None = None
    parameters: dict[str, Any] = {}
    reason: str | None = None
    entity_type: str | None = None
    id: str | None = None


class Valid(Struct):
    """The gate would allow the call as things stand; `records`: the kinds of what would be recorded."""

    valid: bool
    outcome: str
    message: str
    records: list[str]


class Asked(Struct):
    """The approval, and the decision that opened it or met it."""

    approval: Approval
    decision: dict[str, Any]


async def execute(call: Call) -> Answer:
    body: Execute = call.body
    entity = find(call.tower, call.tenant, call.path["id"], body.entity_type)
    id = call.id_of_write(body.id)
    runtime = call.tower.runtime
    told = await call.write(
        lambda caller: runtime.execute(
            caller,
            entity=entity,
            action=call.path["name"],
            parameters=body.parameters,
            id=id,
            approval_id=body.approval_id,
            reasoning_summary=body.reasoning_summary,
            confidence=body.confidence,
            evidence=body.evidence,
            run_context=body.run_context,
            trace=call.given_trace,
        ),
        acting(body.actor),
    )
    call.decided(told.outcome)
    if told.status is not None:
        return Answer(executed(told))
    status, refusal = refused(told)
    return Answer(refusal, status, retry_after(told))


async def validate(call: Call) -> Answer:
    body: Validate = call.body
    entity = find(call.tower, call.tenant, call.path["id"], body.entity_type)
    caller = call.caller(acting(body.actor))

    def rehearsed() -> Change:
        command: Propose = call.tower.rehearsal.edge.propose(
            body.mode,
            caller,
            entity=entity,
            action=call.path["name"],
            parameters=body.parameters,
            approval_id=body.approval_id,
            run_context=body.run_context,
        )
        return call.tower.rehearsal.take(command)

    try:
        change = rehearsed()
    except DomainChanged:
        change = rehearsed()  # by what governs now
    told = change.answer
    records = [record.kind for record in change.records]
    if not isinstance(told, Decided) or told.outcome == "allowed":
        return Answer(Valid(True, "allowed", MESSAGES["allowed"], records))
    status, refusal = refused(told)
    for name in ("receipt_id", "proposal_id", "expires_at"):  # a dry run leaves none
        refusal.pop(name, None)
    if call.tower.store.row(ApprovalRequest, call.tenant, refusal.get("approval_id", "")) is None:
        refusal.pop("approval_id", None)
    return Answer({"valid": False, **refusal, "records": records}, status)


async def ask(call: Call) -> Answer:
    body: Ask = call.body
    entity = find(call.tower, call.tenant, call.path["id"], body.entity_type)
    id = call.id_of_write(body.id)
    runtime = call.tower.runtime
    told: Executed = await call.write(
        lambda caller: runtime.ask(
            caller,
            entity=entity,
            action=call.path["name"],
            parameters=body.parameters,
            id=id,
            reasoning_summary=body.reason,
            trace=call.given_trace,
        ),
        acting(body.actor),
    )
    if told.outcome != "approval_required" or told.approval_id is None:
        status, refusal = refused(told)
        return Answer(refusal, status)
    row = await asyncio.to_thread(call.tower.store.row, ApprovalRequest, call.tenant, told.approval_id)
    assert row is not None, "the decision opened it"
    return Answer(Asked(approval(row, call.tower.clock.now()), refused(told)[1]), 201)


def acting(actor: Actor | None) -> str | None:
    return None if actor is None else actor.id


ROUTES = (
    Route(
        "POST",
        "/v1/entities/{id}/actions/{name}/execute",
        execute,
        "Run an action through its executor, if the gate allows it now.",
        "Execute",
        body=Execute,
        answers={200: ExecuteAnswer, 422: Problem},
        writes=True,
    ),
    Route(
        "POST",
        "/v1/entities/{id}/actions/{name}/validate",
        validate,
        "What the gate would say; nothing is written.",
        "Execute",
        body=Validate,
        answers={200: Valid, 422: Problem},
        rehearses=True,
    ),
    Route(
        "POST",
        "/v1/entities/{id}/actions/{name}/approvals",
        ask,
        "Open the approval that the call takes; the open one comes back.",
        "Approvals",
        body=Ask,
        answers={201: Asked, 422: Problem},
        writes=True,
    ),
)
