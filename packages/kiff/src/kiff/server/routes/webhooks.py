"""Webhooks: where the tenant wants to be told of its records. Secrets are shown once, when they are drawn."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from kiff.errors import InvalidInput
from kiff.protocol.ids import require_id
from kiff.protocol.instant import rfc3339
from kiff.protocol.webhook import Endpoint, require_events
from kiff.runtime.rows import Delivery as DeliveryRow
from kiff.server.problems import Problem
from kiff.server.route import Answer, Call, Route
from kiff.server.routes.evidence import Limit, Seq

MOST_NAMES = 64
"""How many events, or entity types, one endpoint may name."""
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
Overlap = Annotated[int, Meta(ge=0, le=7 * 86_400)]
Position = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class NewWebhook(Struct, forbid_unknown_fields=True):
    """An endpoint to tell. `events`: names, `approval.*` for all of a noun, `*` for all; of `entity_types` only."""

    url: str
    events: list[str]
    entity_types: list[str] = []


class Webhook(Struct, omit_defaults=True):
    """An endpoint, without its secrets.

    `off_because` is there while it is off. `failing_since` and `last_failure` are there while nothing reaches it.
    `old_secret_until`: until when messages are signed with the secret before this one too.
    """

    id: str
    url: str
    events: list[str]
    entity_types: list[str]
    enabled: bool
    created_at: str
    off_because: str | UnsetType = UNSET
    failing_since: str | UnsetType = UNSET
    last_failure: str | UnsetType = UNSET
    old_secret_until: str | UnsetType = UNSET


class Webhooks(Struct):
    """The tenant's endpoints."""

    webhooks: list[Webhook]


class WithSecret(Struct):
    """An endpoint with its new secret, shown here and never again; null when this request was carried out before."""

    webhook: Webhook
    secret: str | None


class Rotation(Struct, forbid_unknown_fields=True):
    """How long messages are signed with the old secret too, so that nobody has to change both sides at once."""

    overlap_seconds: Overlap = 86_400


class RemovedWebhook(Struct):
    """The endpoint is told no more."""

    id: str
    removed_at: str


class Tested(Struct):
    """What came of a test message. `status` is null when there was no answer; `message` says why it did not arrive."""

    delivered: bool
    status: int | None
    message: str


class Delivery(Struct):
    """A message that has not arrived. Its id is its `webhook-id`; `due_at` of a dead one is when it is forgotten."""

    id: str
    seq: int
    entity: str
    status: str
    attempts: int
    due_at: str
    last_failure: str


class Deliveries(Struct):
    """What has not arrived, in the order of the log. What arrived is not kept."""

    deliveries: list[Delivery]
    next: int | None


class Which(Struct, forbid_unknown_fields=True):
    """`due`: to be tried again; `dead`: tried often enough. `after`: the `next` of the page before."""

    status: Literal["due", "dead"] | None = None
    after: Seq = -1
    limit: Limit = 100


class Replay(Struct, forbid_unknown_fields=True):
    """What to send again: one delivery by its `id`, or all since a seq or an RFC 3339 time."""

    since: Position | str | None = None
    id: str | None = None


class Replayed(Struct):
    """How many messages are due by that; `next` is the `since` to go on with, when there are more."""

    count: int
    next: int | None


async def list_(call: Call) -> Answer:
    endpoints = await asyncio.to_thread(call.tower.runtime.webhooks.all, call.tenant)
    return Answer(Webhooks([await asyncio.to_thread(_shown, call, each) for each in endpoints]))


async def add(call: Call) -> Answer:
    body: NewWebhook = call.body
    call.tower.egress.require(body.url)
    for name, values in (("events", body.events), ("entity_types", body.entity_types)):
        if len(values) > MOST_NAMES:
            raise InvalidInput(f"`{name}` may have at most {MOST_NAMES} members", field=name)
    webhooks = call.tower.runtime.webhooks
    types = tuple(dict.fromkeys(map(_entity_type, body.entity_types)))
    endpoint = Endpoint(webhooks.draw_id(), body.url, require_events(body.events), types)
    secret, sealed = await asyncio.to_thread(call.tower.hook_secrets.draw, call.tenant, endpoint.id)
    key = call.id_of_write(None)
    told = await call.write(lambda caller: webhooks.add(caller, endpoint, sealed, key=key))
    added = await asyncio.to_thread(_one, call, told.id)
    return Answer(WithSecret(added, None if told.repeated else secret), 200 if told.repeated else 201)


async def remove(call: Call) -> Answer:
    id, key = require_id(call.path["id"], "id"), call.id_of_write(None)
    told = await call.write(lambda caller: call.tower.runtime.webhooks.remove(caller, id, key=key))
    return Answer(RemovedWebhook(told.id, told.at))


async def rotate(call: Call) -> Answer:
    body: Rotation = call.body
    id, key = require_id(call.path["id"], "id"), call.id_of_write(None)
    webhooks, overlap_ms = call.tower.runtime.webhooks, body.overlap_seconds * 1_000
    secret, sealed = await asyncio.to_thread(call.tower.hook_secrets.draw, call.tenant, id)
    told = await call.write(lambda caller: webhooks.rotate(caller, id, sealed, overlap_ms, key=key))
    rotated = await asyncio.to_thread(_one, call, id)
    return Answer(WithSecret(rotated, None if told.repeated else secret))


async def enable(call: Call) -> Answer:
    id, key = require_id(call.path["id"], "id"), call.id_of_write(None)
    await call.write(lambda caller: call.tower.runtime.webhooks.enable(caller, id, key=key))
    call.tower.outbox.again(call.tenant, id)
    return Answer(await asyncio.to_thread(_one, call, id))


async def test(call: Call) -> Answer:
    id = require_id(call.path["id"], "id")
    endpoint = await asyncio.to_thread(call.tower.runtime.webhooks.one, call.tenant, id)
    ended = await asyncio.wrap_future(call.tower.outbox.test(call.tenant, endpoint))
    return Answer(Tested(ended.how == "delivered", ended.status, ended.said))


async def deliveries(call: Call) -> Answer:
    query: Which = call.query
    id = require_id(call.path["id"], "id")

    def read() -> list[DeliveryRow]:
        call.tower.runtime.webhooks.one(call.tenant, id)
        store = call.tower.store
        return store.deliveries(call.tenant, id, status=query.status, after=query.after, limit=query.limit)

    rows = await asyncio.to_thread(read)
    told = [
        Delivery(row.id, row.seq, row.entity, row.status, row.attempts, rfc3339(row.due_at), row.last) for row in rows
    ]
    return Answer(Deliveries(told, rows[-1].seq if len(rows) == query.limit else None))


async def replay(call: Call) -> Answer:
    body: Replay = call.body
    id = require_id(call.path["id"], "id")
    resend = call.tower.runtime.webhooks.resend
    caller = call.afresh()
    pending = await asyncio.to_thread(lambda: resend(caller, id, since=body.since, delivery=body.id))
    told = await call.answer(pending)
    call.tower.outbox.again(call.tenant, id)
    return Answer(Replayed(told.count, told.after))


def _one(call: Call, id: str) -> Webhook:
    return _shown(call, call.tower.runtime.webhooks.one(call.tenant, id))


def _shown(call: Call, endpoint: Endpoint) -> Webhook:
    health = call.tower.runtime.webhooks.health(call.tenant, endpoint.id)
    now = call.tower.clock.now()
    old = max((each.until for each in endpoint.secrets if each.until is not None and each.until > now), default=None)
    return Webhook(
        id=endpoint.id,
        url=endpoint.url,
        events=list(endpoint.events),
        entity_types=list(endpoint.entity_types),
        enabled=endpoint.is_on,
        created_at=rfc3339(endpoint.created_at),
        off_because=endpoint.why or UNSET,
        failing_since=UNSET if health is None else rfc3339(health.failing_since),
        last_failure=UNSET if health is None else health.said,
        old_secret_until=UNSET if old is None else rfc3339(old),
    )


def _entity_type(text: str) -> str:
    if _TYPE.fullmatch(text):
        return text.lower()
    message = "`entity_types` must be names of types: a letter, then A-Z a-z 0-9 _ -, at most 64"
    raise InvalidInput(message, field="entity_types")


ROUTES = (
    Route(
        "GET",
        "/v1/webhooks",
        list_,
        "Where the tenant is told of its records.",
        "Webhooks",
        answers={200: Webhooks},
        access="owner",
    ),
    Route(
        "POST",
        "/v1/webhooks",
        add,
        "Tell an endpoint of what is recorded from now on; its secret is shown once.",
        "Webhooks",
        body=NewWebhook,
        answers={200: WithSecret, 201: WithSecret},
        access="owner",
        writes=True,
    ),
    Route(
        "DELETE",
        "/v1/webhooks/{id}",
        remove,
        "Tell an endpoint no more.",
        "Webhooks",
        answers={200: RemovedWebhook},
        access="owner",
        writes=True,
    ),
    Route(
        "POST",
        "/v1/webhooks/{id}/rotate",
        rotate,
        "Sign with a new secret, and for a while with the old one too.",
        "Webhooks",
        body=Rotation,
        answers={200: WithSecret},
        access="owner",
        writes=True,
    ),
    Route(
        "POST",
        "/v1/webhooks/{id}/enable",
        enable,
        "Put an endpoint on again that was switched off.",
        "Webhooks",
        answers={200: Webhook},
        access="owner",
        writes=True,
    ),
    Route(
        "POST",
        "/v1/webhooks/{id}/test",
        test,
        "Send a test message now, and say what came of it.",
        "Webhooks",
        answers={200: Tested, 404: Problem},
        access="owner",
    ),
    Route(
        "GET",
        "/v1/webhooks/{id}/deliveries",
        deliveries,
        "Messages that have not arrived, due or dead.",
        "Webhooks",
        query=Which,
        answers={200: Deliveries, 404: Problem},
        access="owner",
    ),
    Route(
        "POST",
        "/v1/webhooks/{id}/replay",
        replay,
        "Send messages again, or for the first time.",
        "Webhooks",
        body=Replay,
        answers={200: Replayed},
        access="owner",
        writes=True,
    ),
)
