"""MCP servers made with the `mcp` SDK 2.x: the guard as an extension, inside of every middleware.

    server = MCPServer("shop", extensions=[hook(guard)])

Its rule: what is decided is what is executed. Middleware may rewrite a request before it is validated; an extension
sees what the tool will be given, and nothing after it can change that.

A server that is not yours to change, or is made with SDK 1.x or another language, is guarded by `kiff-mcp`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any
from uuid import uuid4

from kiff_guard.adapters import framework
from kiff_guard.adapters.mcp_calls import FORM, QUESTION, Call, Seam, answer_of, can_ask, told, trace_of
from kiff_guard.decision import Decision
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard

ADAPTER = "mcp"
EXTRA = "mcp"
IDENTIFIER = "dev.kiff/guard"
METHOD = "tools/call"
MODERN = "2026-07-28"


def hook(guard: Guard, *, fail_closed: bool | None = None) -> Any:
    """The extension that guards a server's tools: `MCPServer(name, extensions=[hook(guard)])`. Give it last.

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
    seam = Seam(guard, ADAPTER, fail_closed)

    async def guarded(context: Any, params: Any) -> Any:
        return await _called(seam, context, params, lambda: entry.handler(context, params))

    low_level.add_request_handler(METHOD, entry.params_type, guarded)
    return server


async def _called(seam: Seam, context: Any, params: Any, run: Callable[[], Awaitable[Any]]) -> Any:
    call = Call(
        tool=params.name,
        arguments=params.arguments or {},
        call_id=f"{_connection(context)}:{context.request_id}",
        session=_session(context),
        trace=trace_of(context.meta),
        state=getattr(params, "request_state", None),
        answer=answer_of(getattr(params, "input_responses", None)),
    )
    if call.returns:  # our state is of no use to the tool
        params.request_state = params.input_responses = None
    return await seam(call, run, _Answers(context))


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

    def failed(self, result: Any) -> str:
        if isinstance(result, self._types.InputRequiredResult):
            return "input_required"  # the tool asks first: the call that comes back is decided by itself
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
    base: Any = framework("mcp.server.extension", extra=EXTRA).Extension

    class KIFF(base):  # type: ignore[misc]  # the framework's class is known when it is there
        """Every tool call of the server is decided by KIFF."""

        identifier = IDENTIFIER

        def __init__(self, seam: Seam) -> None:
            self._seam = seam

        async def intercept_tool_call(self, params: Any, ctx: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
            return await _called(self._seam, ctx, params, lambda: call_next(ctx))

    return KIFF
