"""FastMCP servers and proxies: the guard as the last middleware around every tool.

    server.add_middleware(hook(guard))      # after all others

Its rule: what is decided is what is executed. A middleware that stands behind the guard, on its server or on one that
is mounted in it, could change the arguments after they were decided on, so with one there, in enforce, no tool runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from kiff_guard.adapters import framework
from kiff_guard.adapters.mcp_calls import FORM, QUESTION, Call, Seam, answer_of, can_ask, goes_on, told, trace_of
from kiff_guard.decision import Decision
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard
from kiff_guard.watching import GoesOn

ADAPTER = "fastmcp"
EXTRA = "fastmcp"
MODERN = "2026-07-28"

_SEES_CALLS = ("__call__", "on_message", "on_request", "on_call_tool")
_names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def hook(guard: Guard, *, fail_closed: bool | None = None) -> Any:
    """The middleware that guards a server's tools: `server.add_middleware(hook(guard))`, as the last one.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
    """
    return _middleware()(Seam(guard, ADAPTER, fail_closed))


def attach(guard: Guard, server: Any, *, fail_closed: bool | None = None) -> Any:
    """Guards a server that is there already, or a proxy in front of another one, and returns it.

    What is mounted in it is guarded with it. A mounted server that has middleware of its own is to be attached too:
    that middleware stands behind this guard.
    """
    if not hasattr(server, "add_middleware"):
        raise ConfigurationError(f"server: a `{type(server).__name__}` takes no middleware; expected a FastMCP")
    if guard.mode == "enforce":
        _refuse_what_answers_first(server)
    server.add_middleware(hook(guard, fail_closed=fail_closed))
    return server


def _refuse_what_answers_first(server: Any) -> None:
    """Before FastMCP 4 middleware that injects tools calls them itself, and no middleware behind it hears of it."""
    for each in getattr(server, "middleware", ()):
        kinds = {kind.__name__: kind for kind in type(each).__mro__}
        injects = kinds.get("ToolInjectionMiddleware")
        if injects is not None and "on_call_tool" in vars(injects):
            raise ConfigurationError(
                f"server: its middleware `{type(each).__name__}` calls the tools that it injects past every other: "
                "add them to the server, by `server.add_tool`"
            )


class _Answers:
    """FastMCP's own results."""

    def __init__(self, context: Any) -> None:
        self._fastmcp = context
        self._request = getattr(context, "request_context", None)

    def withheld(self, decision: Decision) -> Any:
        """Raised: a result that is made up would have to fit the tool's output schema."""
        raise framework("fastmcp.exceptions", extra=EXTRA).ToolError(decision.explain())

    def paused(self, decision: Decision, state: str) -> Any:
        if not self._is_modern or not self._can_ask:
            return None
        types = framework("mcp_types", extra=EXTRA)
        params = types.ElicitRequestFormParams(message=decision.explain(), requested_schema=FORM)
        question = {QUESTION: types.ElicitRequest(params=params)}
        asking = types.InputRequiredResult(request_state=state, input_requests=question, _meta=told(decision))
        return framework("fastmcp.tools.base", extra=EXTRA).InputRequiredToolResult(asking)

    async def ask(self, decision: Decision) -> bool:
        if self._is_modern or not self._can_ask:
            return False
        answer = await self._fastmcp.elicit(decision.explain(), bool)
        return bool(answer.action == "accept")

    def failed(self, result: Any) -> Any:
        if type(result).__name__ == "InputRequiredToolResult":
            return "input_required"  # the tool asks first: the call that comes back is decided by itself
        if goes_on(result):
            return GoesOn("task")
        return "is_error" if getattr(result, "is_error", False) else ""

    @property
    def _is_modern(self) -> bool:
        return str(getattr(self._request, "protocol_version", "")) >= MODERN

    @property
    def _can_ask(self) -> bool:
        session = getattr(self._request, "session", None)
        known = getattr(session, "client_capabilities", None)
        if known is None:  # SDK 1.x
            known = getattr(getattr(session, "client_params", None), "capabilities", None)
        return can_ask(known)


def _call(message: Any, context: Any) -> Call:
    request = getattr(context, "request_context", None)
    given = getattr(request, "request_id", None)
    return Call(
        tool=message.name,
        arguments=message.arguments or {},
        call_id=uuid4().hex if given is None else f"{_connection(request)}:{given}",
        trace=trace_of(getattr(request, "meta", None)),
        state=getattr(message, "request_state", None),
        answer=answer_of(getattr(message, "input_responses", None)),
    )


def _forget(context: Any) -> None:
    """Our state is of no use to the tool, and a server behind a proxy would refuse it as none of its own."""
    request = getattr(getattr(context, "request_context", None), "_srctx", None)
    params = getattr(request, "params", None)
    if isinstance(params, dict):
        params.pop("requestState", None)
        params.pop("inputResponses", None)


def _connection(request: Any) -> str:
    """Names the connection: clients begin to count their requests anew on each."""
    session = getattr(request, "session", None)
    connection = getattr(session, "_connection", session)
    try:
        return _names.setdefault(connection, uuid4().hex)
    except TypeError:
        return uuid4().hex


def _behind(middleware: Any, context: Any) -> str:
    """The name of what would have the call after the guard and could change or repeat it; "" if there is nothing."""
    server = getattr(context, "fastmcp", None)
    name = _free(server, lambda each: each is middleware)
    if name:
        return f"`{name[:80]}`"
    for mounted in _mounted(server, set()):
        name = _free(mounted, _enforces)
        if name:
            return f"`{name[:80]}` of the mounted server `{str(getattr(mounted, 'name', ''))[:80]}`"
    return ""


def _comes_again(middleware: Any, context: Any) -> bool:
    """Is the same guard behind this one on its server? Then that one decides."""
    chain: list[Any] = list(getattr(getattr(context, "fastmcp", None), "middleware", ()))
    at = next((place for place, each in enumerate(chain) if each is middleware), len(chain))
    return any(
        type(each) is _middleware() and getattr(each, "seam", None) == middleware.seam for each in chain[at + 1 :]
    )


def _free(server: Any, guards: Callable[[Any], bool]) -> str:
    """The name of what has a server's calls after its last guard, or without one; "" if there is nothing."""
    base = framework("fastmcp.server.middleware", extra=EXTRA).Middleware
    chain = list(getattr(server, "middleware", ()))
    at = max((place for place, each in enumerate(chain) if guards(each)), default=-1)
    for each in chain[at + 1 :]:
        if type(each) is _middleware():
            continue  # another guard changes and repeats nothing
        if any(getattr(type(each), name, None) is not getattr(base, name) for name in _SEES_CALLS):
            return type(each).__name__
    for each in getattr(server, "_extensions", {}).values():
        if _intercepts(type(each)):
            return type(each).__name__
    return ""


def _enforces(middleware: Any) -> bool:
    return type(middleware) is _middleware() and getattr(middleware, "mode", "") == "enforce"


def _mounted(provider: Any, seen: set[int]) -> Iterator[Any]:
    """The servers that are mounted below a server or another provider of tools, at any depth."""
    if provider is None or id(provider) in seen:
        return
    seen.add(id(provider))
    server = getattr(provider, "server", None)
    if server is not None and hasattr(server, "middleware"):
        yield server
    for each in (server, getattr(provider, "_inner", None), *getattr(provider, "providers", ())):
        yield from _mounted(each, seen)


def _intercepts(extension: type) -> bool:
    """Does an extension, other than FastMCP's own, stand between the middleware and the tool?"""
    by = next((each for each in extension.__mro__ if "intercept_tool_call" in vars(each)), None)
    return by is not None and by.__module__.partition(".")[0] != "fastmcp"


@cache
def _middleware() -> type:
    base: Any = framework("fastmcp.server.middleware", extra=EXTRA).Middleware

    class KIFF(base):  # type: ignore[misc]  # the framework's class is known when it is there
        """Every tool call of the server is decided by KIFF."""

        def __init__(self, seam: Seam) -> None:
            self.seam = seam

        @property
        def mode(self) -> str:
            return str(self.seam.guard.mode)

        async def on_call_tool(self, context: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
            if _comes_again(self, context.fastmcp_context):
                return await call_next(context)
            answers = _Answers(context.fastmcp_context)
            call = _call(context.message, context.fastmcp_context)
            if call.returns:
                _forget(context.fastmcp_context)
            behind = _behind(self, context.fastmcp_context) if self.mode == "enforce" else ""
            if behind:
                return self.seam.not_last(call, answers, behind)
            return await self.seam(call, lambda: call_next(context), answers)

    return KIFF
