"""Approvals: see what waits, grant, deny, cancel. Whoever answers is the holder of the key, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from kiff.errors import Forbidden, NotFound
from kiff.protocol.approval import ApprovalRequest, ApprovalStatus
from kiff.protocol.ids import require_id
from kiff.runtime.answers import Reviewed
from kiff.runtime.pending import Pending
from kiff.server.references import find
from kiff.server.route import Answer, Call, Route
from kiff.server.routes.actions import acting
from kiff.server.wire import Actor, Approval, ApprovalAnswer, Approvals, approval, refused

PAGE = 200
MOST = 10_000
"""How many approvals, oldest first, a list looks through."""


class Review(Struct, forbid_unknown_fields=True):
    """A person's answer. `conditions` and `evidence` are recorded with it; `expires_at` can only shorten its use."""

    reason: str = ""
    actor: Actor | None = None
    conditions: Any = None
    expires_at: str | None = None
    evidence: Any = None


class Filter(Struct, forbid_unknown_fields=True):
    """Which approvals."""

    status: ApprovalStatus | None = None
    limit: int = 100


class Verdict(Struct, omit_defaults=True):
    """What this review made of it."""

    status: str
    reviewed_by: str
    reviewed_at: str
    reason: str
    use_by: str | UnsetType = UNSET


class ReviewAnswer(Struct):
    """The approval as it stands now. With `on_grant: run`, `decision` says what the gate said when it ran."""

    approval: Approval
    review: Verdict
    receipt_id: str | UnsetType = UNSET
    operation_id: str | UnsetType = UNSET
    decision: dict[str, Any] | UnsetType = UNSET


async def grant(call: Call) -> Answer:
    return await _review(call, "grant")


async def deny(call: Call) -> Answer:
    return await _review(call, "deny")


async def cancel(call: Call) -> Answer:
    return await _review(call, "cancel")


async def _review(call: Call, verdict: Literal["grant", "deny", "cancel"]) -> Answer:
    body: Review = call.body
    approval_id = require_id(call.path["id"], "id")
    runtime = call.tower.runtime
    key = call.id_of_write(None)
    if verdict != "cancel":
        _is_holder(call, body.actor)
    reason = body.reason or ("cancelled" if verdict == "cancel" else "")
    terms = {name: value for name in ("conditions", "evidence") if (value := getattr(body, name)) is not None}
    verbs: dict[str, Callable[..., Pending[Reviewed]]] = {
        "grant": lambda caller: runtime.grant(
            caller, approval_id, reason, key=key, expires_at=body.expires_at, terms=terms or None
        ),
        "deny": lambda caller: runtime.deny(caller, approval_id, reason, key=key),
        "cancel": lambda caller: runtime.cancel(caller, approval_id, reason, key=key),
    }
    told: Reviewed = await call.write(verbs[verdict], acting(body.actor) if verdict == "cancel" else None)
    row = call.tower.store.row(ApprovalRequest, call.tenant, approval_id)
    assert row is not None, "it was just reviewed"
    decision = UNSET if told.decision is None else refused(told.decision)[1]
    review = Verdict(told.status, told.reviewed_by, told.reviewed_at, told.reason, told.use_by or UNSET)
    return Answer(ReviewAnswer(approval(row), review, told.receipt_id or UNSET, told.operation_id or UNSET, decision))


def _is_holder(call: Call, actor: Actor | None) -> None:
    """The reviewer is whoever holds the key. A body that names somebody else is refused.

    Raises:
        Forbidden: with the code `actor_not_key_holder`; or the key is bound to nobody, so it is nobody's answer.
    """
    bound = call.credential.principal
    if bound is None:
        message = "this key is bound to no person, so it answers no approval"
        raise Forbidden(message, reason="key_not_bound_to_agent")
    if actor is not None and actor.id != bound:
        raise Forbidden(f"this key answers only as `{bound}`", reason="actor_not_key_holder", actor_id=actor.id)


async def list_(call: Call) -> Answer:
    query: Filter = call.query
    return await _list(call, None, query)


async def of_entity(call: Call) -> Answer:
    query: Filter = call.query
    return await _list(call, find(call.tower, call.tenant, call.path["id"]), query)


async def _list(call: Call, entity: str | None, query: Filter) -> Answer:
    return Answer(await asyncio.to_thread(_page, call, entity, query))


def _page(call: Call, entity: str | None, query: Filter) -> Approvals:
    """What the caller may see, and what they may answer."""
    sight, reviews = call.sight(), _reviewer(call)
    rows = call.tower.store.approvals(call.tenant, status=query.status, limit=MOST)
    asked = (row for row in rows if entity in (None, row.entity))
    seen = (row for row in asked if sight.approval(row) or reviews(row))
    return Approvals([approval(row) for row in islice(seen, min(max(query.limit, 1), PAGE))])


async def show(call: Call) -> Answer:
    approval_id = require_id(call.path["id"], "id")
    row = call.tower.store.row(ApprovalRequest, call.tenant, approval_id)
    if row is None or not (call.sight().approval(row) or _reviewer(call)(row)):
        raise NotFound(f"there is no approval `{approval_id}`", approval_id=approval_id)
    return Answer(ApprovalAnswer(approval(row)))


def _reviewer(call: Call) -> Callable[[ApprovalRequest], bool]:
    """Whoever may answer an approval may read it."""
    domains, roles = call.tower.runtime.read.domains(call.tenant), call.caller().roles

    def reviews(row: ApprovalRequest) -> bool:
        domain = domains.get(row.entity.split(":", 1)[0]) if call.covers(row.entity) else None
        return domain is not None and all(domain.permits(roles, needed) for needed in row.reviewers.split(","))

    return reviews


ROUTES = (
    Route(
        "GET",
        "/v1/approvals",
        list_,
        "What waits for a person, and what came of it.",
        "Approvals",
        query=Filter,
        answers={200: Approvals},
    ),
    Route("GET", "/v1/approvals/{id}", show, "One approval.", "Approvals", answers={200: ApprovalAnswer}),
    Route(
        "GET",
        "/v1/entities/{id}/approvals",
        of_entity,
        "The approvals of one entity.",
        "Approvals",
        query=Filter,
        answers={200: Approvals},
    ),
    Route(
        "POST",
        "/v1/approvals/{id}/grant",
        grant,
        "Say yes to a held call.",
        "Approvals",
        body=Review,
        answers={200: ReviewAnswer},
        writes=True,
    ),
    Route(
        "POST",
        "/v1/approvals/{id}/deny",
        deny,
        "Say no to a held call, for good.",
        "Approvals",
        body=Review,
        answers={200: ReviewAnswer},
        writes=True,
    ),
    Route(
        "POST",
        "/v1/approvals/{id}/cancel",
        cancel,
        "Take a question back.",
        "Approvals",
        body=Review,
        answers={200: ReviewAnswer},
        writes=True,
    ),
)
