"""Entities: where they are, were, and what may be done with them."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import UNSET, Struct, UnsetType, json

from kiff.domain import Domain
from kiff.errors import InvalidInput, NotFound
from kiff.protocol.action import ActionContract
from kiff.protocol.record import KINDS
from kiff.protocol.state import EntityState
from kiff.runtime.rows import Runway
from kiff.server.references import find
from kiff.server.route import Answer, Call, Route
from kiff.server.sight import told
from kiff.server.wire import State, state

PAGE = 200
SCAN = 5
"""How many pages of a log a filtered page may look through."""


class At(Struct, forbid_unknown_fields=True):
    """`at`: the state once the record of that seq was written."""

    at: int | None = None


class Page(Struct, forbid_unknown_fields=True):
    """A page of a list."""

    after: str = ""
    limit: int = 100
    type: str | None = None


class Filter(Struct, forbid_unknown_fields=True):
    """A page of a timeline. `after`: a seq; `kind`: only records of it."""

    after: int = -1
    limit: int = 100
    kind: str | None = None
    at: int | None = None


class Entities(Struct, omit_defaults=True):
    """Entities in order of their reference. `next` is the `after` of the next page."""

    entities: list[State]
    next: str | UnsetType = UNSET


class Timeline(Struct, omit_defaults=True):
    """An entity's records, oldest first. `next` is the `after` of the next page."""

    entity: str
    records: list[dict[str, Any]]
    next: int | UnsetType = UNSET


class Action(Struct):
    """An action, and whether the caller could run it now, as far as that is known without its parameters."""

    name: str
    description: str
    allowed: bool
    reasons: list[str]
    risk: str
    approval: str
    allowed_states: list[str]
    required_parameters: list[str]
    required_permissions: list[str]
    parameters: dict[str, Any] | None


class Actions(Struct, omit_defaults=True):
    """The actions of an entity's domain. `version`: which one governs; `held_by`: the operation that has the entity."""

    entity: str
    state: str | None
    actions: list[Action]
    version: str
    held_by: str | UnsetType = UNSET


class Rebuilt(Struct):
    """The entity as it is kept, beside the same events folded again."""

    entity: str
    materialized: str | None
    replayed: str | None
    match: bool
    events: int


async def list_(call: Call) -> Answer:
    query: Page = call.query
    most = _most(query.limit)
    after = query.after
    if query.type is not None and not after:
        after = f"{query.type.lower()}:"
    rows = await asyncio.to_thread(call.tower.store.entities, call.tenant, after=after, limit=most + 1)
    if query.type is not None:
        rows = [row for row in rows if row.entity.startswith(f"{query.type.lower()}:")]
    shown = rows[:most]
    seen = [state(row) for row in shown if call.covers(row.entity)]
    return Answer(Entities(seen, shown[-1].entity if len(rows) > most else UNSET))


async def show(call: Call) -> Answer:
    query: At = call.query
    entity = _entity(call)
    if query.at is None:
        row = call.tower.store.row(EntityState, call.tenant, entity)
    else:
        row = await asyncio.to_thread(call.tower.runtime.read.state_at, entity, query.at, tenant=call.tenant)
    if row is None:
        raise NotFound(f"nothing has happened to `{entity}`", entity=entity)
    return Answer(state(row))


async def timeline(call: Call) -> Answer:
    query: Filter = call.query
    entity = _entity(call)
    if query.kind is not None and query.kind not in KINDS:
        raise InvalidInput(f"`kind` must be one of {', '.join(KINDS)}", field="kind")
    records, next_ = await asyncio.to_thread(_records, call, entity, query)
    return Answer(Timeline(entity, records, next_))


def _records(call: Call, entity: str, query: Filter) -> tuple[list[dict[str, Any]], int | UnsetType]:
    """A page of what the caller may see: everything, or what belongs to their own proposals."""
    most, after, seen = _most(query.limit), query.after, call.sight()
    found: list[dict[str, Any]] = []
    for _ in range(SCAN):
        rows = call.tower.store.records(call.tenant, entity=entity, after=after, limit=most + 1)
        for row in rows[:most]:
            if query.at is not None and row.seq > query.at:
                return found, UNSET
            after = row.seq
            said = told(row)
            if query.kind in (None, said.kind) and seen.record(said):
                found.append(json.decode(row.body))
            if len(found) == most:
                return found, after if row is not rows[-1] else UNSET
        if len(rows) <= most:
            return found, UNSET
    return found, after


def _entity(call: Call) -> str:
    """The entity of the path.

    Raises:
        NotFound: there is none, or it is none of this key's.
    """
    entity = find(call.tower, call.tenant, call.path["id"])
    if not call.covers(entity):
        raise NotFound(f"there is no entity `{call.path['id']}`", entity_id=call.path["id"])
    return entity


async def actions(call: Call) -> Answer:
    entity = _entity(call)
    domain = call.tower.runtime.read.domains(call.tenant).get(entity.split(":", 1)[0])
    if domain is None:
        raise NotFound(f"no active domain governs `{entity.split(':', 1)[0]}`", code_hint="unknown_entity_type")
    row = call.tower.store.row(EntityState, call.tenant, entity)
    at = None if row is None else row.state
    runway = call.tower.store.row(Runway, call.tenant, entity)
    busy = runway is not None and runway.holder is not None
    roles = call.caller().roles
    told = [_action(domain, contract, at, roles, busy=busy) for contract in domain.actions.values()]
    holder = None if runway is None else runway.holder
    return Answer(Actions(entity, at, told, domain.version, holder or UNSET))


def _action(domain: Domain, contract: ActionContract, at: str | None, roles: tuple[str, ...], *, busy: bool) -> Action:
    reasons = []
    if at not in contract.allowed_states:
        reasons.append("state_not_allowed")
    if not all(domain.permits(roles, needed) for needed in contract.required_permissions):
        reasons.append("permission_denied")
    if busy and contract.lock == "entity":
        reasons.append("entity_busy")
    return Action(
        contract.name,
        contract.description,
        not reasons,
        reasons,
        contract.risk.value,
        contract.approval_requirement.value,
        list(contract.allowed_states),
        list(contract.required_parameters),
        list(contract.required_permissions),
        contract.parameters,
    )


async def rebuild(call: Call) -> Answer:
    entity = _entity(call)
    told = await asyncio.to_thread(call.tower.runtime.read.rebuild, entity, tenant=call.tenant)
    if told.materialized is None and not told.events:
        raise NotFound(f"nothing has happened to `{entity}`", entity=entity)
    return Answer(Rebuilt(told.entity, told.materialized, told.replayed, told.match, told.events))


def _most(limit: int) -> int:
    if not 1 <= limit <= PAGE:
        raise InvalidInput(f"`limit` must be 1 to {PAGE}", field="limit")
    return limit


ROUTES = (
    Route("GET", "/v1/entities", list_, "Entities, page by page.", "Entities", query=Page, answers={200: Entities}),
    Route("GET", "/v1/entities/{id}/state", show, "Where an entity is.", "Entities", query=At, answers={200: State}),
    Route(
        "GET",
        "/v1/entities/{id}/timeline",
        timeline,
        "What happened to it.",
        "Entities",
        query=Filter,
        answers={200: Timeline},
    ),
    Route(
        "GET",
        "/v1/entities/{id}/allowed-actions",
        actions,
        "What may be done with it.",
        "Entities",
        answers={200: Actions},
    ),
    Route(
        "POST",
        "/v1/entities/{id}/rebuild",
        rebuild,
        "Fold its events again, and compare.",
        "Entities",
        answers={200: Rebuilt},
    ),
    Route(
        "GET",
        "/v1/entities/{id}",
        show,
        "Where an entity is, or was.",
        "Entities",
        query=At,
        answers={200: State},
    ),
)
