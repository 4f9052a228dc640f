"""LangChain and LangGraph: the guard as middleware around every tool call, in a thread or in an event loop.

Its rule: what is decided is what is executed. Middleware behind the guard may hand the tool other arguments, as a
reviewer's edit does; such a call is withheld. Let the guard be the last of the middleware, and edits are decided on.

A call that waits for a person interrupts the graph where it has a checkpointer. Whatever the resume says only wakes
the call: KIFF is asked again, with the approval, and its word alone runs the tool.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from kiff_guard.adapters import framework
from kiff_guard.adapters.langgraph_calls import EXTRA, Handler, Seam, Wrapper
from kiff_guard.adapters.langgraph_graphs import find, is_spec
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard


def hook(guard: Guard, *, fail_closed: bool | None = None, pause: bool | None = None) -> Any:
    """The middleware that guards an agent's tools: `create_agent(model, tools, middleware=[..., hook(guard)])`.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
        pause: what becomes of a call that waits for a person. True interrupts the graph, False tells the model; None
            interrupts where there is a checkpointer to resume from.
    """
    return _middleware()(Seam(guard, fail_closed, pause))


def wrappers(guard: Guard, *, fail_closed: bool | None = None, pause: bool | None = None) -> dict[str, Wrapper]:
    """What a tool node of one's own graph takes: `ToolNode(tools, **wrappers(guard))`."""
    seam = Seam(guard, fail_closed, pause)
    return {"wrap_tool_call": seam.call, "awrap_tool_call": seam.acall}


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None, pause: bool | None = None) -> Any:
    """Guards what is there already, innermost, and returns it.

    Args:
        guard: decides.
        agent: a compiled graph, with the graphs that are its nodes and those that its tools' functions name or hold;
            a tool node; or what deepagents takes as a sub-agent, of which a guarded copy is returned.
        fail_closed: as for `hook`.
        pause: as for `hook`.

    Raises:
        ConfigurationError: there is no tool node to guard.
    """
    seam = Seam(guard, fail_closed, pause)
    if is_spec(agent) and "runnable" not in agent:
        return _guarded_spec(seam, agent)
    found = find(agent)
    if not found.nodes:
        raise ConfigurationError(
            f"agent: a `{type(agent).__name__}` has no tool node to guard: write middleware=[hook(guard)], "
            "or ToolNode(tools, **wrappers(guard))"
        )
    for node in found.nodes:
        _put_innermost(seam, node)
    for spec in found.specs:
        spec.update(_guarded_spec(seam, spec))
    return agent


def kiff_wrap_tool_call(guard: Guard, fail_closed: bool | None = None) -> Wrapper:
    """The function of kiff-guard 1.x: `wrap_tool_call(kiff_wrap_tool_call(guard))`. It has no asynchronous half."""
    seam = Seam(guard, fail_closed, None)

    def kiff(request: Any, handler: Handler) -> Any:
        return seam.call(request, handler)

    return kiff


def _guarded_spec(seam: Seam, spec: dict[str, Any]) -> dict[str, Any]:
    """A sub-agent of deepagents inherits no middleware."""
    if "graph_id" in spec:
        raise ConfigurationError(f"agent: `{spec.get('name')}` runs on another server: guard it there")
    others = [each for each in spec.get("middleware", ()) if not isinstance(each, _middleware())]
    return {**spec, "middleware": [*others, _middleware()(seam)]}


def _put_innermost(seam: Seam, node: Any) -> None:
    outer, aouter = node._wrap_tool_call, getattr(node, "_awrap_tool_call", None)
    if getattr(outer, "kiff_guard", None) is seam.guard:
        return

    def call(request: Any, handler: Handler) -> Any:
        return seam.call(request, handler) if outer is None else outer(request, lambda asked: seam.call(asked, handler))

    async def acall(request: Any, handler: Handler) -> Any:
        if aouter is None:
            return await seam.acall(request, handler)
        return await aouter(request, lambda asked: seam.acall(asked, handler))

    call.kiff_guard = seam.guard  # type: ignore[attr-defined]
    node._wrap_tool_call = call
    node._awrap_tool_call = None if outer is not None and aouter is None else acall


@cache
def _middleware() -> Any:
    base = framework("langchain.agents.middleware", extra=EXTRA).AgentMiddleware

    class KiffMiddleware(base):  # type: ignore[misc,valid-type]
        """The guard, as LangChain takes it."""

        def __init__(self, seam: Seam) -> None:
            super().__init__()
            self.seam = seam

        def wrap_tool_call(self, request: Any, handler: Handler) -> Any:
            return self.seam.call(request, handler)

        async def awrap_tool_call(self, request: Any, handler: Handler) -> Any:
            return await self.seam.acall(request, handler)

    return KiffMiddleware
