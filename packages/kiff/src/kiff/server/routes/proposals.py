"""Decide: the app runs the tool. Propose, report the outcome, look at a proposal again."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, json

from kiff.errors import InvalidInput, NotFound
from kiff.protocol.clearance import Clearance
from kiff.protocol.ids import require_id
from kiff.runtime.rows import Blob, CommandRow
from kiff.server.references import typed
from kiff.server.route import Answer, Call, Route
from kiff.server.wire import DECIDE_STATUS, DecideAnswer, Operation, decided, operation, retry_after


class Proposal(Struct, forbid_unknown_fields=True):
    """What an agent wants to do, on what, and why.

    `actor_id` is compared with the key. `settles` promises a report of the outcome.
    """

    entity_id: str
    entity_type: str
    action_name: str
    actor_id: str | None = None
    parameters: dict[str, Any] = {}
    id: str | None = None
    domain: str | None = None
    reasoning_summary: str | None = None
    confidence: float | None = None
    evidence: Any = None
    run_context: dict[str, Any] | None = None
    approval_id: str | None = None
    fingerprint: str | None = None
    settles: bool = False


class Outcome(Struct, forbid_unknown_fields=True):
    """How the app's own attempt ended."""

    status: str
    result_hash: str | None = None
    error: str | None = None


class OutcomeAnswer(Struct):
    """How the operation stands now."""

    operation_id: str
    proposal_id: str
    status: str
    entity: str
    state: str | None
    trace_id: str
    late: bool
    confirmed: bool


class ProposalAnswer(Struct, omit_defaults=True):
    """A proposal and what came of it."""

    proposal: DecideAnswer
    operation: Operation | UnsetType = UNSET


async def decide(call: Call) -> Answer:
    body: Proposal = call.body
    entity = typed(body.entity_type, body.entity_id)
    id = call.id_of_write(body.id)
    runtime = call.tower.runtime
    _of_domain(call, entity, body.domain)
    told = await call.write(
        lambda caller: runtime.propose(
            caller,
            entity=entity,
            action=body.action_name,
            parameters=body.parameters,
            id=id,
            approval_id=body.approval_id,
            settles=body.settles,
            reasoning_summary=body.reasoning_summary,
            confidence=body.confidence,
            evidence=body.evidence,
            run_context=body.run_context,
            trace=call.given_trace,
        ),
        body.actor_id,
    )
    call.decided(told.outcome)
    return Answer(decided(told), DECIDE_STATUS[told.outcome], retry_after(told))


def _of_domain(call: Call, entity: str, domain: str | None) -> None:
    """A caller that names the domain means that one and no other."""
    if domain is None:
        return
    entity_type = entity.split(":", 1)[0]
    governs = call.tower.runtime.governs(call.tenant, entity_type)
    if governs and domain != governs:
        raise InvalidInput(f"`{entity_type}` is governed by `{governs}`", field="domain", domain=governs)


async def show(call: Call) -> Answer:
    proposal_id = require_id(call.path["id"], "id")
    row = call.tower.store.row(CommandRow, call.tenant, f"propose:{proposal_id}")
    if row is None:
        raise _none(proposal_id)
    clearance = None if row.operation_id is None else call.tower.store.row(Clearance, call.tenant, row.operation_id)
    answer = json.decode(row.answer) if row.answer else {}
    operation_id = answer.get("clearance_id") or row.operation_id
    if clearance is None and operation_id is not None:
        clearance = call.tower.store.row(Clearance, call.tenant, operation_id)
    if not _may_see(call, answer, clearance):
        raise _none(proposal_id)
    told = DecideAnswer(
        proposal_id=proposal_id,
        outcome=answer.get("outcome", "allowed"),
        reasons=[reason["code"] for reason in answer.get("reasons", ())],
        message=answer.get("message", "in flight"),
        trace_id=answer.get("trace_id") or ("" if clearance is None else clearance.trace_id),
        receipt_id=answer.get("receipt_id") or UNSET,
        approval_id=answer.get("approval_id") or UNSET,
        clearance_id=operation_id or UNSET,
        expires_at=answer.get("expires_at") or UNSET,
    )
    return Answer(ProposalAnswer(told, UNSET if clearance is None else operation(clearance)))


def _may_see(call: Call, answer: dict[str, Any], clearance: Clearance | None) -> bool:
    """Agents see their own proposals; the operation, or the record of the decision, says whose it was."""
    sight = call.sight()
    if clearance is not None:
        return sight.operation(clearance)
    return sight.receipt(answer.get("receipt_id", "")) is not None


async def settle(call: Call) -> Answer:
    body: Outcome = call.body
    proposal_id = require_id(call.path["id"], "id")
    row = call.tower.store.row(CommandRow, call.tenant, f"propose:{proposal_id}")
    answer = {} if row is None or not row.answer else json.decode(row.answer)
    operation_id = None if row is None else answer.get("clearance_id") or row.operation_id
    if operation_id is None:
        raise NotFound(f"there is no open operation of a proposal `{proposal_id}`", proposal_id=proposal_id)
    message = body.error or ""
    output = None if body.result_hash is None else {"result_hash": body.result_hash}
    runtime = call.tower.runtime
    clearance = call.tower.store.row(Clearance, call.tenant, operation_id)
    # An unbound key proposed in somebody's name, and reports in the same; of what another key proposed it does not.
    unbound = call.credential.principal is None and clearance is not None
    own = unbound and _asked_with(call, clearance) == call.credential.id
    told = await call.write(
        lambda caller: runtime.settle(caller, operation_id, body.status, message=message, output=output),  # type: ignore[arg-type]  # the edge refuses another status
        clearance.principal if own and clearance is not None else None,
    )
    return Answer(
        OutcomeAnswer(
            told.operation_id,
            proposal_id,
            told.status,
            told.entity,
            told.state,
            told.trace_id,
            told.late,
            told.confirmed,
        )
    )


def _asked_with(call: Call, clearance: Clearance | None) -> str | None:
    """The credential that the operation was proposed with, as the record of the decision says."""
    receipt = None if clearance is None else call.tower.store.receipt(call.tenant, clearance.receipt_id)
    if receipt is None:
        return None
    [row] = call.tower.store.records(call.tenant, after=receipt.seq - 1, limit=1)
    data = json.decode(row.body)["data"]
    if "proposal_beside" in data:
        blob = call.tower.store.row(Blob, call.tenant, data["proposal_beside"]["digest"])
        data["proposal"] = {} if blob is None else json.decode(blob.data)
    credential = data["proposal"].get("credential")
    return credential if isinstance(credential, str) else None


def _none(proposal_id: str) -> NotFound:
    return NotFound(f"there is no proposal `{proposal_id}`", proposal_id=proposal_id)


ROUTES = (
    Route(
        "POST",
        "/v1/proposals/decide",
        decide,
        "Ask whether the caller's own code may run an action now.",
        "Decide",
        body=Proposal,
        answers={200: DecideAnswer, 400: DecideAnswer, 429: DecideAnswer},
        decides=True,
        writes=True,
    ),
    Route(
        "POST",
        "/v1/proposals/{id}/outcome",
        settle,
        "Report how it ended.",
        "Decide",
        body=Outcome,
        answers={200: OutcomeAnswer},
        writes=True,
    ),
    Route(
        "GET", "/v1/proposals/{id}", show, "A proposal and what came of it.", "Decide", answers={200: ProposalAnswer}
    ),
)
