"""Approvals: see what waits, grant, deny, cancel. Whoever answers is the holder of the key, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, json

from kiff.errors import Forbidden, NotFound
from kiff.gate.quorum import concerns, counts, demands_of, lasting, votes_of
from kiff.protocol.approval import ApprovalRequest, ApprovalStatus
from kiff.protocol.ids import require_id
from kiff.runtime.answers import Reviewed
from kiff.runtime.pending import Pending
from kiff.server.opened import opened
from kiff.server.references import find
from kiff.server.route import Answer, Call, Route
from kiff.server.wire import Actor, Approval, ApprovalAnswer, Approvals, Needed, approval, needed, refused

PAGE = 200
SCAN = 5
"""How many pages of approvals a filtered page may look through."""
OPEN = 10_000
"""How many open approvals are looked at: the store finds them at once, however many have ended."""


class Review(Struct, forbid_unknown_fields=True):
    """A person's answer. `conditions` and `evidence` are recorded with it; `expires_at` can only shorten its use."""

    reason: str = ""
    actor: Actor | None = None
    conditions: Any = None
    expires_at: str | None = None
    evidence: Any = None


class Filter(Struct, forbid_unknown_fields=True):
    """A page of approvals. `after`: an id; `status`: only those that stand so."""

    status: ApprovalStatus | None = None
    after: Annotated[str, Meta(max_length=128)] = ""
    limit: Annotated[int, Meta(ge=1, le=PAGE)] = 100


class Verdict(Struct, omit_defaults=True):
    """What this review made of it. `pending`: it counts, and the yes of those in `still_needed` is needed as well."""

    status: str
    reviewed_by: str
    reviewed_at: str
    reason: str
    use_by: str | UnsetType = UNSET
    still_needed: list[Needed] | UnsetType = UNSET


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
    told: Reviewed = await call.write(verbs[verdict], _asker(call, approval_id, body.actor, verdict))
    row = call.tower.store.row(ApprovalRequest, call.tenant, approval_id)
    assert row is not None, "it was just reviewed"
    decision = UNSET if told.decision is None else refused(told.decision)[1]
    still = needed(told.still_needed) or UNSET
    review = Verdict(told.status, told.reviewed_by, told.reviewed_at, told.reason, told.use_by or UNSET, still)
    shown = approval(row, call.tower.clock.now(), opened(call, row))
    return Answer(ReviewAnswer(shown, review, told.receipt_id or UNSET, told.operation_id or UNSET, decision))


def _asker(call: Call, approval_id: str, actor: Actor | None, verdict: str) -> str | None:
    """In whose name a question is taken back. An unbound key does so only where it asked itself."""
    if verdict != "cancel" or actor is None:
        return None
    if call.credential.principal is None:
        row = call.tower.store.row(ApprovalRequest, call.tenant, approval_id)
        if row is None or json.decode(row.proposal).get("credential") != call.credential.id:
            return None
    return actor.id


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
    """A page of what the caller may see, and what they may answer."""
    sight, reviews, after, now = call.sight(), _reviewer(call), query.after, call.tower.clock.now()
    found: list[Approval] = []
    for _ in range(SCAN):
        rows, more = _rows(call, query.status, after)
        for row in rows:
            asked = entity in (None, row.entity) and query.status in (None, row.status)
            if asked and (sight.approval(row) or reviews(row)):
                if len(found) == query.limit:
                    return Approvals(found, after)
                found.append(approval(row, now, opened(call, row)))
            after = row.id
        if not more:
            return Approvals(found)
    return Approvals(found, after)


def _rows(call: Call, status: ApprovalStatus | None, after: str) -> tuple[list[ApprovalRequest], bool]:
    """Approvals in order of their ids, which begin with the time, and whether there are more."""
    store = call.tower.store
    if status in ("pending", "granted"):
        rows = store.approvals(call.tenant, status=status, limit=OPEN)
        return sorted((row for row in rows if row.id > after), key=lambda row: row.id), False
    rows = store.rows(ApprovalRequest, call.tenant, after=after, limit=PAGE)
    return rows, len(rows) == PAGE


async def show(call: Call) -> Answer:
    approval_id = require_id(call.path["id"], "id")
    row = call.tower.store.row(ApprovalRequest, call.tenant, approval_id)
    if row is None or not (call.sight().approval(row) or _reviewer(call)(row)):
        raise NotFound(f"there is no approval `{approval_id}`", approval_id=approval_id)
    return Answer(ApprovalAnswer(approval(row, call.tower.clock.now(), opened(call, row))))


def _reviewer(call: Call) -> Callable[[ApprovalRequest], bool]:
    """Whoever may answer an approval may read it, and so may whoever said yes to it."""
    domains, caller = call.tower.runtime.read.domains(call.tenant), call.caller()
    roles, person, now = caller.roles, caller.principal.someone, call.tower.clock.now()

    def counted(row: ApprovalRequest) -> bool:
        demands, votes = demands_of(row), votes_of(row)
        if any(vote.person == person for vote in votes):
            return True
        if row.status == "pending":
            return counts(demands, lasting(votes, now), roles, person)
        return concerns(demands, roles)

    def reviews(row: ApprovalRequest) -> bool:
        domain = domains.get(row.entity.split(":", 1)[0]) if call.covers(row.entity) else None
        permitted = domain is not None and all(domain.permits(roles, each) for each in row.reviewers.split(","))
        return permitted and counted(row)

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
