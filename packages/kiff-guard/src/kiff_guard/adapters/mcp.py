"""MCP servers made with the `mcp` SDK 2.x: the guard as an extension, inside of every middleware.

    server = MCPServer("shop", extensions=[hook(guard)])

Its rule: what is decided is what is executed. Middleware may rewrite a request, and other extensions may change or
repeat it, wherever they stand in the list: the guard comes after all of them, and gives the tool a copy of its own.

A server that is not yours to change, or is made with SDK 1.x or another language, is guarded by `kiff-mcp`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import deepcopy
from functools import cache
from types import FunctionType
from typing import Any
from uuid import uuid4

from kiff_guard.adapters import framework
from kiff_guard.adapters.mcp_calls import FORM, QUESTION, Call, Seam, answer_of, can_ask, goes_on, told, trace_of
from kiff_guard.decision import Decision
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard
from kiff_guard.watching import GoesOn

ADAPTER = "mcp"
EXTRA = "mcp"
IDENTIFIER = "dev.kiff/guard"
METHOD = "tools/call"
MODERN = "2026-07-28"

_SDK = "mcp.server.extension"

_Handler = Callable[[Any, Any], Awaitable[Any]]
_Next = Callable[[Any], Awaitable[Any]]


def hook(guard: Guard, *, fail_closed: bool | None = None) -> Any:
    """The extension that guards a server's tools: `MCPServer(name, extensions=[hook(guard)])`.

    It decides next to the tool, also when other extensions come after it in the list.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
    """
    return _extension()(Seam(guard, ADAPTER, fail_closed))


def attach(guard: Guard, server: Any, *, fail_closed: bool | None = None) -> Any:
    """Guards a server that is there already, an `MCPServer` or a low-level `Server`, and returns it.

    Call it when the server has all its handlers: one that is registered later is not guarded.
    """
    low_level = getattr(server, "_lowlevel_server", server)
    entry = low_level.get_request_handler(METHOD) if hasattr(low_level, "get_request_handler") else None
    if entry is None:
        raise ConfigurationError(f"server: a `{type(server).__name__}` has no handler for {METHOD} to guard")
    extensions, handler = _handled(server, entry.handler)
    guarded = _guarded(Seam(guard, ADAPTER, fail_closed), handler)
    if extensions:
        guarded = framework(_SDK, extra=EXTRA).compose_tool_call_handler(extensions, guarded)
    low_level.add_request_handler(METHOD, entry.params_type, guarded)
    return server


def _guarded(seam: Seam, handler: _Handler) -> _Handler:
    """The handler with the guard around it. Once is enough: a guard that is there already is not asked twice."""
    if seam in _seams(handler):
        return handler

    async def guarded(context: Any, params: Any) -> Any:
        return await _called(seam, context, params, handler)

    return guarded


def _seams(handler: _Handler) -> Iterator[Seam]:
    """The guards around a handler, with nothing else between them and it."""
    while {"seam", "handler"} <= (held := _held(handler)).keys():
        yield held["seam"]
        handler = held["handler"]


async def _called(seam: Seam, context: Any, params: Any, handler: _Handler) -> Any:
    """Has a call decided, and gives the handler what was decided: no one else holds its arguments."""
    call = _call(context, params)
    arguments = params.arguments

    def run() -> Awaitable[Any]:
        own: dict[str, Any] = {"name": call.tool, "arguments": deepcopy(arguments)}
        if call.returns:  # our state is of no use to the tool
            own |= {"request_state": None, "input_responses": None}
        return handler(context, params.model_copy(update=own))

    return await seam(call, run, _Answers(context))


def _call(context: Any, params: Any) -> Call:
    return Call(
        tool=params.name,
        arguments=params.arguments or {},
        call_id=f"{_connection(context)}:{context.request_id}",
        session=_session(context),
        trace=trace_of(context.meta),
        state=getattr(params, "request_state", None),
        answer=answer_of(getattr(params, "input_responses", None)),
    )


def _handled(server: Any, handler: _Handler) -> tuple[Sequence[Any], _Handler]:
    """A server's extensions, and the handler that they stand around."""
    held = _held(handler)
    if {"extensions", "handler"} <= held.keys():
        return held["extensions"], held["handler"]
    base: Any = framework(_SDK, extra=EXTRA).Extension
    for each in getattr(server, "_extensions", ()):
        if type(each).intercept_tool_call is not base.intercept_tool_call:
            raise ConfigurationError(
                f"server: its extension `{type(each).__name__}` cannot be told from its tools; "
                "make the server with extensions=[..., hook(guard)]"
            )
    return (), handler


def _inside(call_next: Any) -> tuple[list[Any], _Handler] | None:
    """The extensions from here to the tool, and the tool's handler; None where they cannot be seen.

    The SDK makes one function for each and keeps in its closure what that one calls; so do `_around` and `_last`, for
    the next guard.
    """
    extensions: list[Any] = []
    while True:
        held = _held(call_next)
        if {"extension", "call_next"} <= held.keys():
            extensions.append(held["extension"])
            call_next = held["call_next"]
        elif {"handler", "params"} <= held.keys():
            return extensions, held["handler"]
        else:
            return None


def _held(function: Any) -> dict[str, Any]:
    """What a function of the SDK, or one of ours, holds of the place where it was made."""
    if not isinstance(function, FunctionType) or function.__module__ not in (_SDK, __name__):
        return {}
    cells = function.__closure__ or ()
    return {name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, cells, strict=True)}


def _around(extension: Any, params: Any, call_next: _Next) -> _Next:
    async def call(context: Any) -> Any:
        return await extension.intercept_tool_call(params, context, call_next)

    return call


def _last(handler: _Handler, params: Any) -> _Next:
    async def call(context: Any) -> Any:
        return await handler(context, params)

    return call


class _Answers:
    """The SDK's own results."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._types = framework("mcp_types", extra=EXTRA)

    def withheld(self, decision: Decision) -> Any:
        text = self._types.TextContent(type="text", text=decision.explain())
        return self._types.CallToolResult(content=[text], is_error=True, _meta=told(decision))

    def paused(self, decision: Decision, state: str) -> Any:
        if self._context.protocol_version < MODERN or not can_ask(self._context.session.client_capabilities):
            return None
        params = self._types.ElicitRequestFormParams(message=decision.explain(), requested_schema=FORM)
        question = self._types.ElicitRequest(params=params)
        return self._types.InputRequiredResult(
            request_state=state, input_requests={QUESTION: question}, _meta=told(decision)
        )

    async def ask(self, decision: Decision) -> bool:
        session = self._context.session
        if self._context.protocol_version >= MODERN or not can_ask(session.client_capabilities):
            return False
        answer = await session.elicit_form(decision.explain(), FORM, self._context.request_id)
        return bool(answer.action == "accept")

    def failed(self, result: Any) -> Any:
        if isinstance(result, self._types.InputRequiredResult):
            return "input_required"  # the tool asks first: the call that comes back is decided by itself
        if goes_on(result):
            return GoesOn("task")
        return "is_error" if getattr(result, "is_error", False) else ""


def _connection(context: Any) -> str:
    """Names the connection: clients begin to count their requests anew on each."""
    connection = getattr(context.session, "_connection", None)
    state = getattr(connection, "state", None)
    return str(state.setdefault(IDENTIFIER, uuid4().hex)) if isinstance(state, dict) else uuid4().hex


def _session(context: Any) -> str | None:
    """The session, where the transport has one; its id is a secret, so it goes by the connection's own name."""
    connection = getattr(context.session, "_connection", None)
    return f"mcp_{_connection(context)}" if getattr(connection, "session_id", None) else None


@cache
def _extension() -> type:
    base: Any = framework(_SDK, extra=EXTRA).Extension

    class KIFF(base):  # type: ignore[misc]  # the framework's class is known when it is there
        """Every tool call of the server is decided by KIFF."""

        identifier = IDENTIFIER

        def __init__(self, seam: Seam) -> None:
            self._seam = seam

        async def intercept_tool_call(self, params: Any, ctx: Any, call_next: _Next) -> Any:
            inside = _inside(call_next)
            if inside is None:
                return await self._blind(params, ctx, call_next)
            extensions, handler = inside
            chain = _last(_guarded(self._seam, handler), params)
            for each in reversed(extensions):
                chain = _around(each, params, chain)
            return await chain(ctx)

        async def _blind(self, params: Any, ctx: Any, call_next: _Next) -> Any:
            """Nobody can say what stands between here and the tool."""
            if self._seam.guard.mode == "enforce":
                return self._seam.not_last(_call(ctx, params), _Answers(ctx), "something that the guard cannot see")
            return await _called(self._seam, ctx, params, lambda context, _: call_next(context))

    return KIFF
