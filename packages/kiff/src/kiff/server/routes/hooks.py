"""Hooks of coding agents that ask by HTTP: Claude Code's. It tells of every tool call, before and after.

INVARIANT: the answer to a call that nobody knows how to decide is `deny`, and its status is 200: Claude Code runs the
tool on every other status, on an answer it cannot read, and on a decision it does not know.

Which tool is which action an owner says, and nobody else: an agent holds its own key, and would call its refund a look
at the weather.
"""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, json, structs

from kiff.canonical import encode
from kiff.errors import Forbidden, InvalidInput, KiffError, NotFound
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import AUTHOR
from kiff.protocol.clearance import Clearance
from kiff.protocol.ids import require_id
from kiff.runtime.answers import Decided
from kiff.runtime.rows import CommandRow
from kiff.server.notes import note
from kiff.server.problems import Problem
from kiff.server.references import typed
from kiff.server.route import Answer, Call, Route

log = logging.getLogger("kiff.server")

TOOLS = "hooktools:"
MOST = 500
BEFORE, SUCCEEDED, FAILED = "PreToolUse", "PostToolUse", "PostToolUseFailure"
CLEARED = "already_cleared: this very call was allowed before, and may have run"
_TEXT = 500

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Told = Annotated[str, Meta(max_length=512)]
"""A name or an id as Claude Code tells it. It is compared with every pattern, while all other requests wait."""


class BoundTool(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One tool, or a pattern of them (`*`, `?`, `[…]`), and the action it is.

    `entity_arg` is the argument that names the entity; `entity_id` an entity that is always the same. `parameters`
    are the arguments that KIFF is told, all others of them if it is left out.
    """

    name: Name
    action: Name
    entity_type: Name
    entity_arg: Name | UnsetType = UNSET
    entity_id: Name | UnsetType = UNSET
    parameters: Annotated[list[Name], Meta(max_length=128)] | UnsetType = UNSET


class HookTools(Struct, forbid_unknown_fields=True):
    """An agent's tools. They take the place of those that were said before.

    `ungoverned` are names or patterns of tools that KIFF has no say in: they run, and there is no record of them here.
    """

    agent_id: str
    tools: Annotated[list[BoundTool], Meta(max_length=MOST)] = []
    ungoverned: Annotated[list[Name], Meta(max_length=MOST)] = []


class HookToolsQuery(Struct, forbid_unknown_fields=True):
    """Whose tools: the agent of the key, unless it is named."""

    agent_id: str | None = None


class HookEvent(Struct):
    """What Claude Code tells of a call. It tells more than this, and may tell more still."""

    hook_event_name: Told
    session_id: Told = ""
    tool_name: Told = ""
    tool_use_id: Told = ""
    tool_input: dict[str, Any] | None = None
    tool_response: Any = None
    is_interrupt: bool | None = None


class Permission(Struct, rename="camel"):
    """Claude Code's own words for a decision."""

    hook_event_name: str
    permission_decision: str
    permission_decision_reason: str


class HookAnswer(Struct, rename="camel", omit_defaults=True):
    """`deny`, or nothing at all: no objection, and the permissions of Claude Code itself still apply."""

    hook_specific_output: Permission | UnsetType = UNSET


def denied(why: str) -> HookAnswer:
    return HookAnswer(Permission(BEFORE, "deny", why))


def refuses(problem: dict[str, Any]) -> HookAnswer:
    """An error, as a no."""
    return denied(f"KIFF withheld the call: {problem['code']}: {problem['message']}; it did not run")


async def claude_code(call: Call) -> Answer:
    event: HookEvent = call.body
    if event.hook_event_name == BEFORE:
        return Answer(await _before(call, event))
    if event.hook_event_name in (SUCCEEDED, FAILED):
        await _after(call, event)
        return Answer(HookAnswer())
    message = f"`{event.hook_event_name[:64]}` is no event of a tool call; this answers {BEFORE}, {SUCCEEDED}, {FAILED}"
    raise InvalidInput(message, field="hook_event_name")


async def _before(call: Call, event: HookEvent) -> HookAnswer:
    """May this call run?"""
    agent, kept = _agent(call), _tools(call, _agent(call))
    bound = _bound(kept, event.tool_name)
    if bound is None:
        if any(fnmatchcase(event.tool_name, each) for each in kept.ungoverned):
            call.authenticate_again()  # no batch follows that would read the key's row as it is now
            return HookAnswer()
        return denied(_said(event, "invalid", "unmapped_tool: no action is bound to it; an owner binds tools"))
    for name in ("session_id", "tool_use_id"):
        if not getattr(event, name):
            raise InvalidInput(f"`{name}` is missing, so nobody could say which call it is", field=name)
    id = _id(agent, event)
    if _operation(call, id) is not None:
        return denied(_said(event, "blocked", CLEARED))
    told = await _propose(call, event, bound, id, None)
    if told.outcome == "approval_required" and told.approval_id and _is_granted(call, told.approval_id):
        told = await _propose(call, event, bound, id, told.approval_id)
    call.decided(told.outcome)
    if told.outcome == "allowed":
        return denied(_said(event, "blocked", CLEARED)) if told.replayed else HookAnswer()
    return denied(_said(event, told.outcome, f"{told.reason}: {told.message}", told.approval_id, told.next_step))


async def _propose(call: Call, event: HookEvent, bound: BoundTool, id: str, approval_id: str | None) -> Decided:
    entity, parameters = _split(bound, event.tool_input or {})
    return await call.write(
        lambda caller: call.tower.runtime.propose(
            caller,
            entity=entity,
            action=bound.action,
            parameters=parameters,
            id=id,
            approval_id=approval_id,
            settles=True,
            run_context={"hook": "claude-code", "session": event.session_id[:128], "tool": event.tool_name[:128]},
            trace=call.given_trace,
        )
    )


async def _after(call: Call, event: HookEvent) -> None:
    """How a call ended. Nothing that fails here can be stopped any more: the operation stays open, and is unknown."""
    agent = _agent(call)
    operation_id = _operation(call, _id(agent, event))
    if operation_id is None:
        return
    status, message = _ending(event)
    try:
        await call.write(
            lambda caller: call.tower.runtime.settle(caller, operation_id, status, message=message)  # type: ignore[arg-type]
        )
    except KiffError as error:
        log.warning("how a call ended could not be kept", extra={"trace_id": call.trace, "code": error.code})


def _ending(event: HookEvent) -> tuple[str, str]:
    """An error is no failure: the money may have left before it was told (ADR 0002)."""
    response = event.tool_response
    if event.hook_event_name == FAILED:
        return "unknown", "interrupted" if event.is_interrupt else "the tool failed"
    if isinstance(response, dict) and response.get("interrupted") is True:
        return "unknown", "interrupted"
    if isinstance(response, dict) and (response.get("isError") is True or response.get("is_error") is True):
        return "unknown", "the tool says that it failed"
    return "succeeded", ""


async def bind(call: Call) -> Answer:
    body: HookTools = call.body
    agent = require_id(body.agent_id, "agent_id")
    if AUTHOR not in call.afresh().roles:
        raise Forbidden(f"that needs the role `{AUTHOR}`", reason="permission_denied", missing_roles=[AUTHOR])
    _check(body.tools)
    call.id_of_write(None)
    await call.write(lambda caller: call.tower.runtime.note(caller, _note(agent), json.encode(body)))
    return Answer(body)


async def show(call: Call) -> Answer:
    query: HookToolsQuery = call.query
    caller = call.caller()
    agent = require_id(query.agent_id, "agent_id") if query.agent_id is not None else _agent(call)
    if agent != caller.principal.id and not call.sees_all(caller):
        raise NotFound(f"there are no tools of an agent `{agent}`", agent_id=agent)
    return Answer(_tools(call, agent))


def _agent(call: Call) -> str:
    """Whose calls these are: the key says, and nothing else.

    Raises:
        Forbidden: the key is bound to nobody.
    """
    bound = call.credential.principal
    if bound is None:
        raise Forbidden("this key is bound to no agent; use a key of the agent", reason="key_not_bound_to_agent")
    return bound


def _note(agent: str) -> str:
    return f"{TOOLS}{sha256(agent.encode()).hexdigest()[:32]}"


def _tools(call: Call, agent: str) -> HookTools:
    row = note(call.tower.store, call.tenant, _note(agent))
    return HookTools(agent) if row is None else json.decode(row.body, type=HookTools)


def _bound(kept: HookTools, tool: str) -> BoundTool | None:
    """The binding of a tool: by its name first, then by patterns that agree.

    Raises:
        InvalidInput: it fits patterns that are bound differently.
    """
    exact = next((each for each in kept.tools if each.name == tool), None)
    if exact is not None:
        return exact
    fitting = [each for each in kept.tools if fnmatchcase(tool, each.name)]
    if len({json.encode(structs.replace(each, name="any")) for each in fitting}) > 1:
        names = " and ".join(f"`{each.name}`" for each in fitting)
        raise InvalidInput(
            f"the tool fits {names}, which are bound differently; bind it by its name", field="tool_name"
        )
    return fitting[0] if fitting else None


def _split(bound: BoundTool, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The entity that a call is about, and its parameters.

    Raises:
        InvalidInput: the arguments do not name the entity.
    """
    rest, entity_id = dict(given), bound.entity_id
    if isinstance(bound.entity_arg, str):
        entity_id = rest.pop(bound.entity_arg, None)
        if isinstance(entity_id, int) and not isinstance(entity_id, bool):
            entity_id = str(entity_id)
    if not isinstance(entity_id, str):
        raise InvalidInput(f"`{bound.entity_arg}` names no entity", field="tool_input")
    if bound.parameters is not UNSET:
        rest = {name: value for name, value in rest.items() if name in bound.parameters}
    return typed(bound.entity_type, entity_id), rest


def _check(tools: list[BoundTool]) -> None:
    """
    Raises:
        InvalidInput: a tool is there twice, or names its entity in two ways, or in none.
    """
    names: set[str] = set()
    for number, tool in enumerate(tools):
        if tool.name in names:
            raise InvalidInput(f"the tool `{tool.name}` is there twice", field=f"tools[{number}].name")
        names.add(tool.name)
        if (tool.entity_arg is UNSET) == (tool.entity_id is UNSET):
            message = f"the tool `{tool.name}` has either `entity_arg` or `entity_id`"
            raise InvalidInput(message, field=f"tools[{number}].entity_arg")


def _id(agent: str, event: HookEvent) -> str:
    """The proposal of one call. With other arguments it is another call: nobody settles this one by it."""
    named = [agent, event.session_id, event.tool_use_id, event.tool_name, event.tool_input or {}]
    return f"hook_{sha256(encode(named)).hexdigest()[:40]}"


def _operation(call: Call, id: str) -> str | None:
    """The operation that a proposal was allowed, if it was."""
    row = call.tower.store.row(CommandRow, call.tenant, f"propose:{id}")
    if row is None:
        return None
    answer = json.decode(row.answer) if row.answer else {}
    operation_id = answer.get("clearance_id") or row.operation_id
    clearance = None if operation_id is None else call.tower.store.row(Clearance, call.tenant, operation_id)
    return None if clearance is None else clearance.id


def _is_granted(call: Call, approval_id: str) -> bool:
    row = call.tower.store.row(ApprovalRequest, call.tenant, approval_id)
    return row is not None and row.status == "granted"


def _said(event: HookEvent, outcome: str, why: str, approval_id: str | None = None, then: str | None = None) -> str:
    """What the model is told: one line, never empty."""
    parts = [f"KIFF withheld `{_plain(event.tool_name)}`: {outcome}: {why}"]
    if approval_id:
        parts.append(f"approval {approval_id}")
    if outcome == "approval_required":
        then = "a person has to grant it in KIFF; call again with the same arguments after that"
    return _plain("; ".join([*parts, then or "it did not run, do not retry it unchanged"]), 3 * _TEXT)


def _plain(text: str, most: int = 128) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:most])


ROUTES = (
    Route(
        "POST",
        "/v1/hooks/claude-code",
        claude_code,
        "Answer a hook of Claude Code: may this tool call run, and how did it end.",
        "Hooks",
        body=HookEvent,
        answers={200: HookAnswer},
        refuses=refuses,
        writes=True,
    ),
    Route(
        "PUT",
        "/v1/hooks/tools",
        bind,
        "Say which tools of an agent are which actions.",
        "Hooks",
        body=HookTools,
        answers={200: HookTools},
        access="owner",
        writes=True,
    ),
    Route(
        "GET",
        "/v1/hooks/tools",
        show,
        "Which tools of an agent are which actions.",
        "Hooks",
        query=HookToolsQuery,
        answers={200: HookTools, 404: Problem},
    ),
)
