"""Guards: which of them run beside the tenant's agents, and which tools they saw. Nothing here decides anything."""

from __future__ import annotations

import asyncio
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, json, structs

from kiff.canonical import encode
from kiff.errors import Conflict, Forbidden, InvalidInput, NotFound
from kiff.protocol.actor import Caller
from kiff.protocol.ids import require_id
from kiff.protocol.instant import rfc3339
from kiff.runtime.answers import Noted
from kiff.runtime.pending import Pending
from kiff.runtime.rows import NoteRow
from kiff.server.notes import note, notes
from kiff.server.route import Answer, Call, Route
from kiff.server.secrets import SANDBOX

RUNTIME, OBSERVATION = "guard:", "observation:"
HEARTBEAT = "60s"
MOST = {RUNTIME: 2_000, OBSERVATION: 500}
"""How many guards of one tenant are known at most, and how many have told what they saw."""
PAGE = 200
SCHEMA_BYTES = 16_384

Text = Annotated[str, Meta(max_length=128)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Prose = Annotated[str, Meta(max_length=4_000)]
Names = Annotated[list[Name], Meta(max_length=128)]
Mode = Literal["observe", "enforce"]


class Connect(Struct, forbid_unknown_fields=True):
    """A guard says that it runs. Without `agent_id` the key says which agent it stands beside."""

    adapter: Name
    mode: Mode
    agent_id: str | None = None
    project: Text = ""
    environment: Text = ""
    workflow: Text = ""
    sdk_version: Text = ""


class Tool(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A tool that a guard saw, and as much as it knows of it."""

    name: Name
    description: Prose | UnsetType | None = UNSET
    parameter_schema: dict[str, Any] | UnsetType | None = UNSET
    entity_arg: Text | UnsetType | None = UNSET
    action: Text | UnsetType | None = UNSET
    entity_type: Text | UnsetType | None = UNSET
    required: Names | UnsetType | None = UNSET
    observed_call_count: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET


class Observe(Struct, forbid_unknown_fields=True):
    """The tools that a guard saw so far. They take the place of those it told of before."""

    adapter: Name
    mode: Mode
    tools: Annotated[list[Tool], Meta(max_length=500)]
    agent_id: str | None = None
    project: Text = ""
    environment: Text = ""
    workflow: Text = ""
    sdk_version: Text = ""


class Guard(Struct):
    """A guard that connected. It is one and the same by tenant, project, environment, agent, workflow and adapter."""

    runtime_id: str
    heartbeat_interval: str
    tenant_id: str
    project: str
    environment: str
    agent_id: str
    workflow: str
    adapter: str
    mode: str
    sdk_version: str
    first_seen_at: str
    last_seen_at: str
    seen_count: int


class GuardPage(Struct, forbid_unknown_fields=True):
    """A page of guards."""

    after: str = ""
    limit: int = 100


class Guards(Struct, omit_defaults=True):
    """Guards that connected, by id. `next` is the `after` of the next page."""

    runtimes: list[Guard]
    next: str | UnsetType = UNSET


class Observation(Struct):
    """What a guard saw, as it is kept. Risk, limits and states are for people to say: nothing of it is inferred."""

    runtime_id: str
    tenant_id: str
    project: str
    environment: str
    agent_id: str
    workflow: str
    adapter: str
    mode: str
    sdk_version: str
    tools: list[Tool]
    observed_at: str
    updated_at: str


class Observed(Struct):
    """An observation."""

    observation: Observation


class ForgottenGuard(Struct):
    """The guard is forgotten until it connects again."""

    runtime_id: str


class Kept(Struct):
    """What a note keeps of a guard, beside the times it keeps itself."""

    project: str
    environment: str
    agent_id: str
    workflow: str
    adapter: str
    mode: str
    sdk_version: str
    tools: list[Tool] = []


async def connect(call: Call) -> Answer:
    body: Connect = call.body
    kept = _kept(call, body)
    id = _id(call.tenant, kept)
    told = await _keep(call, RUNTIME, id, kept, body.agent_id)
    return Answer(_runtime(call.tenant, id, kept, told.first_at, told.last_at, told.times))


async def observe(call: Call) -> Answer:
    body: Observe = call.body
    _check(body.tools)
    kept = structs.replace(_kept(call, body), tools=body.tools)
    id = _id(call.tenant, kept)
    told = await _keep(call, OBSERVATION, id, kept, body.agent_id)
    return Answer(Observed(_observation(call.tenant, id, kept, told.first_at, told.last_at)))


async def list_(call: Call) -> Answer:
    query: GuardPage = call.query
    if not 1 <= query.limit <= PAGE:
        raise InvalidInput(f"`limit` must be 1 to {PAGE}", field="limit")
    caller = call.caller()
    rows = await asyncio.to_thread(_page, call, query, None if call.sees_all(caller) else caller.principal.id)
    told = [_told(row) for row in rows[: query.limit]]
    return Answer(Guards(told, told[-1].runtime_id if len(rows) > query.limit else UNSET))


def _page(call: Call, query: GuardPage, agent: str | None) -> list[NoteRow]:
    """The guards of a page, and one more: all of them, or those of one agent."""
    rows = notes(call.tower.store, call.tenant, RUNTIME, after=query.after)
    seen = (row for row in rows if agent is None or _read(row).agent_id == agent)
    return list(islice(seen, query.limit + 1))


async def seen(call: Call) -> Answer:
    id = require_id(call.path["id"], "id")
    row = note(call.tower.store, call.tenant, f"{OBSERVATION}{id}")
    caller = call.caller()
    if row is None or not (call.sees_all(caller) or _read(row).agent_id == caller.principal.id):
        raise NotFound(f"there is no observation of a guard `{id}`", runtime_id=id)
    return Answer(Observed(_observation(row.tenant, id, _read(row), row.first_at, row.last_at)))


async def forget(call: Call) -> Answer:
    id = require_id(call.path["id"], "id")
    there = [each for kind in MOST if note(call.tower.store, call.tenant, each := f"{kind}{id}") is not None]
    if not there:
        raise NotFound(f"there is no guard `{id}`", runtime_id=id)
    for each in there:
        await call.write(partial(_forget, call, each))
    return Answer(ForgottenGuard(id))


def _forget(call: Call, id: str, caller: Caller) -> Pending[Noted]:
    return call.tower.runtime.note(caller, id, None)


def _kept(call: Call, body: Connect | Observe) -> Kept:
    """What a guard says of itself; for whom it stands is what its key says, wherever the key is bound.

    Raises:
        Forbidden: it names somebody else than the key is bound to, or nobody, with a key that is bound to nobody.
    """
    named, bound = body.agent_id, call.credential.principal
    if named is not None:
        require_id(named, "agent_id")
    if named is None and bound is None:
        message = "this key is bound to no agent; name one with `agent_id`, or use a key of the agent"
        raise Forbidden(message, reason="key_not_bound_to_agent")
    agent = call.caller(named).principal.id
    return Kept(body.project, body.environment, agent, body.workflow, body.adapter, body.mode, body.sdk_version)


def _check(tools: list[Tool]) -> None:
    """What the types do not say.

    Raises:
        InvalidInput: a tool is there twice, or a schema is too large.
    """
    names: set[str] = set()
    for number, tool in enumerate(tools):
        if tool.name in names:
            raise InvalidInput(f"the tool `{tool.name}` is there twice", field=f"tools[{number}].name")
        names.add(tool.name)
        if isinstance(tool.parameter_schema, dict) and len(json.encode(tool.parameter_schema)) > SCHEMA_BYTES:
            message = f"a tool's schema has at most {SCHEMA_BYTES} bytes"
            raise InvalidInput(message, field=f"tools[{number}].parameter_schema")


def _id(tenant: str, kept: Kept) -> str:
    """The same guard has the same id, whenever and wherever it runs."""
    named = [tenant, kept.project, kept.environment, kept.agent_id, kept.workflow, kept.adapter]
    return f"grt_{sha256(encode(named)).hexdigest()[:32]}"


async def _keep(call: Call, kind: str, id: str, kept: Kept, named: str | None) -> Noted:
    """
    Raises:
        Conflict: the tenant has as many guards as it may.
    """
    call.id_of_write(None)
    if note(call.tower.store, call.tenant, f"{kind}{id}") is None:
        most, rows = MOST[kind], notes(call.tower.store, call.tenant, kind)
        if await asyncio.to_thread(lambda: sum(1 for _ in islice(rows, most))) >= most:
            message = f"a tenant has at most {most} guards here; an owner can forget one that is gone"
            raise Conflict(message, limit=most)
    body = json.encode(kept)
    return await call.write(lambda caller: call.tower.runtime.note(caller, f"{kind}{id}", body), named)


def _read(row: NoteRow) -> Kept:
    return json.decode(row.body, type=Kept)


def _told(row: NoteRow) -> Guard:
    return _runtime(row.tenant, row.id.removeprefix(RUNTIME), _read(row), row.first_at, row.last_at, row.times)


def _runtime(tenant: str, id: str, kept: Kept, first: int, last: int, times: int) -> Guard:
    return Guard(
        runtime_id=id,
        heartbeat_interval=HEARTBEAT,
        tenant_id=tenant.removesuffix(SANDBOX),
        project=kept.project,
        environment=kept.environment,
        agent_id=kept.agent_id,
        workflow=kept.workflow,
        adapter=kept.adapter,
        mode=kept.mode,
        sdk_version=kept.sdk_version,
        first_seen_at=rfc3339(first),
        last_seen_at=rfc3339(last),
        seen_count=times,
    )


def _observation(tenant: str, id: str, kept: Kept, first: int, last: int) -> Observation:
    return Observation(
        runtime_id=id,
        tenant_id=tenant.removesuffix(SANDBOX),
        project=kept.project,
        environment=kept.environment,
        agent_id=kept.agent_id,
        workflow=kept.workflow,
        adapter=kept.adapter,
        mode=kept.mode,
        sdk_version=kept.sdk_version,
        tools=kept.tools,
        observed_at=rfc3339(first),
        updated_at=rfc3339(last),
    )


ROUTES = (
    Route(
        "POST",
        "/v1/guard/connect",
        connect,
        "Say that a guard runs; again every `heartbeat_interval`.",
        "Guard",
        body=Connect,
        answers={200: Guard},
        writes=True,
    ),
    Route(
        "GET",
        "/v1/guard/runtimes",
        list_,
        "The guards that connected.",
        "Guard",
        query=GuardPage,
        answers={200: Guards},
    ),
    Route(
        "DELETE",
        "/v1/guard/runtimes/{id}",
        forget,
        "Forget a guard, and what it saw.",
        "Guard",
        answers={200: ForgottenGuard},
        access="owner",
        writes=True,
    ),
    Route(
        "POST",
        "/v1/guard/observations",
        observe,
        "Tell which tools a guard saw.",
        "Guard",
        body=Observe,
        answers={200: Observed},
        writes=True,
    ),
    Route(
        "GET",
        "/v1/guard/observations/{id}",
        seen,
        "What the guard of that id saw.",
        "Guard",
        answers={200: Observed},
    ),
)
