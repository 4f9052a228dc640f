"""Events: what happened. From callers that may say so, and from webhooks by their signature alone."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from kiff.domain.adapter import Adapter, read_webhook, verify_signature
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.ids import require_id
from kiff.runtime.answers import Ingested
from kiff.server.problems import Problem, problem
from kiff.server.references import typed
from kiff.server.route import Answer, Call, Route
from kiff.server.secrets import is_tenant

INGESTS = "events.ingest"


class Event(Struct, forbid_unknown_fields=True):
    """One thing that happened to an entity. `actor_id` is a label and carries no authority."""

    type: str
    entity_id: str
    entity_type: str
    source: str = "api"
    id: str | None = None
    adapter: str | None = None
    actor_id: str | None = None
    occurred_at: str | None = None
    payload: dict[str, Any] = {}


class Told(Struct, omit_defaults=True):
    """The event as it was stored, and where it led."""

    id: str
    entity: str
    state: str | None
    version: int
    trace_id: str
    settled: str | UnsetType = UNSET


class EventAnswer(Struct):
    """A stored event."""

    event: Told


class Ignored(Struct):
    """A webhook whose type the adapter's map does not name: nothing was stored."""

    ignored: bool


async def ingest(call: Call) -> Answer:
    body: Event = call.body
    entity = typed(body.entity_type, body.entity_id)
    id = call.id_of_write(body.id)
    runtime = call.tower.runtime
    told = await call.write(
        lambda caller: runtime.ingest(
            caller,
            type=body.type,
            entity=entity,
            payload=body.payload,
            source=body.adapter or body.source,
            id=id,
            actor_id=body.actor_id,
            occurred_at=body.occurred_at,
            trace=call.given_trace,
        )
    )
    return _answer(call, told)


async def webhook(call: Call) -> Answer:
    """Nothing here is authenticated by a key: the signature is the authority, so it is checked first."""
    tenant, name = call.path["tenant"], call.path["name"]
    adapter = _adapter(call, tenant, name)
    secrets = call.tower.settings.adapter_secrets.get(f"{tenant}/{name}", ())
    headers: dict[str, str] = {}
    for key, value in call.request.headers.items():
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    verify_signature(adapter, headers, call.raw, [secret.encode() for secret in secrets], call.tower.clock.now())
    call.tower.tenant_rates.take(tenant)
    found = read_webhook(adapter, call.raw)
    if found is None:
        return Answer(Ignored(True))
    entity_type = next(
        kind for kind, domain in call.tower.runtime.read.domains(tenant).items() if domain.adapters.get(name) == adapter
    )
    caller = Caller(Principal(f"adapter:{name}", "service"), (), tenant, adapter=name)
    told = await call.answer(
        call.tower.runtime.ingest(
            caller,
            type=found.type,
            entity=typed(entity_type, found.entity_id),
            payload=found.payload,
            source=adapter.source,
            id=found.id,
            occurred_at=found.occurred_at,
            trace=call.given_trace,
        )
    )
    return _answer(call, told)


def _adapter(call: Call, tenant: str, name: str) -> Adapter:
    """The adapter of that name in a domain that governs now.

    Where there is none, it is one that no signature fits: nobody without a secret learns which tenants there are.
    """
    require_id(name, "name")
    if is_tenant(tenant):
        for domain in call.tower.runtime.read.domains(tenant).values():
            adapter = domain.adapters.get(name)
            if adapter is not None and adapter.map is not None:
                return adapter
    return Adapter(name, name, "webhook")


def _answer(call: Call, told: Ingested) -> Answer:
    if told.applied:
        event = Told(told.event_id, told.entity, told.state, told.version, told.trace_id, told.settled or UNSET)
        return Answer(EventAnswer(event), 201)
    detail = {"event_id": told.event_id, "entity": told.entity, "current_state": told.state, "version": told.version}
    return Answer(problem(told.code or "invalid_transition", told.message or "", told.trace_id, detail), 422)


ROUTES = (
    Route(
        "POST",
        "/v1/events",
        ingest,
        "Record what happened, and move the entity.",
        "Events",
        body=Event,
        answers={201: EventAnswer, 422: Problem},
        writes=True,
    ),
    Route(
        "POST",
        "/v1/events/raw",
        ingest,
        "The same, as an adapter sends it.",
        "Events",
        body=Event,
        answers={201: EventAnswer, 422: Problem},
        writes=True,
    ),
    Route(
        "POST",
        "/v1/adapters/{tenant}/{name}",
        webhook,
        "Take a webhook by its signature.",
        "Events",
        answers={200: Ignored, 201: EventAnswer, 422: Problem},
        media="application/json",
        access="public",
        writes=True,
    ),
)
