"""Agno: the guard as a tool hook, in the middleware shape: `Agent(tool_hooks=[hook(guard)])`.

Its rule: one plain function for `run` and for `arun`. Agno leaves an `async def` hook out when a tool runs in the
synchronous way, and the tool runs without it; what Agno calls a plain function in both. In an event loop the function
answers with something to await, so that a decision never stops the loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from inspect import iscoroutinefunction, signature, unwrap
from types import FunctionType
from typing import Any

from kiff_guard.adapters import Refusal, framework, refused
from kiff_guard.adapters.holding import held_by
from kiff_guard.decision import Hold
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard

ADAPTER = "agno"
JSON = (str, int, float, list, dict)
BELOW = ("members", "reasoning_agent", "agent", "team", "workflow", "steps", "else_steps", "choices")
"""Where teams, workflows and their steps keep what they run."""


def hook(guard: Guard, *, fail_closed: bool | None = None, pause: bool = False) -> Callable[..., Any]:
    """The tool hook. What is decided is what the tool gets: where other hooks stand behind it, it goes on behind them.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
        pause: True ends the run when a call waits for a person; else the model is told, and goes on. Agno has no pause
            that a decision can begin.
    """

    return _hook(guard, fail_closed, pause)


def _hook(guard: Guard, fail_closed: bool | None, pause: bool, *, in_code: bool = False) -> Callable[..., Any]:
    def kiff_guard(function_name: str, func: Callable[..., Any], args: dict[str, Any], run_context: Any = None) -> Any:
        call = _call_behind(func)
        which: dict[str, Any] = {
            "session": getattr(run_context, "session_id", None),
            "fail_closed": fail_closed,
            "adapter": ADAPTER,
        }
        seam = Seam(guard, function_name, call, pause, which, in_code)
        place = _next_to_the_tool(func)
        if place is None:
            return seam.answer(iscoroutinefunction(func), args, lambda: func(**args))
        if guard not in getattr(place.cell_contents, "kiff_guards", ()):
            place.cell_contents = seam.around(place.cell_contents, iscoroutinefunction(func))
        return _Answer(lambda: func(**args)) if iscoroutinefunction(func) else func(**args)

    kiff_guard.guard = guard  # type: ignore[attr-defined]
    return kiff_guard


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None, pause: bool = False) -> Any:
    """Guards an agent, team or workflow and every member and step below it, and returns it.

    Members that a function makes during a run are not there yet: give them `hook(guard)`.
    """
    made = hook(guard, fail_closed=fail_closed, pause=pause)
    for each in _with_hooks(agent, set()):
        hooks = list(each.tool_hooks or [])
        if not hooks:
            _refuse_hooks_of_tools(each)
        if not any(getattr(one, "guard", None) is guard for one in hooks):
            each.tool_hooks = [*hooks, made]
        for tool in _listed(getattr(each, "tools", None)):
            _guard_cells(guard, tool, _hook(guard, fail_closed, pause=False, in_code=True))
    return agent


def agno_hook(guard: Guard) -> Callable[..., Any]:
    """The hook by its name in kiff-guard 1.x."""
    return hook(guard)


@dataclass(frozen=True)
class Seam:
    """One call, where it is decided on.

    Attributes:
        in_code: code calls the tool, and would take a text for its result.
    """

    guard: Guard
    tool: str
    call: Any
    pause: bool
    which: dict[str, Any]
    in_code: bool

    def answer(self, awaits: bool, args: dict[str, Any], run: Callable[[], Any]) -> Any:
        """What the hook gives Agno: the result, or what is told instead."""
        if awaits:
            return _Answer(lambda: self.aevaluate(args, run))
        try:
            return self.guard.evaluate(self.tool, self.decided(args), run, **self.about)
        except Hold as hold:
            return self.told(hold)

    async def aevaluate(self, args: dict[str, Any], run: Callable[[], Any]) -> Any:
        try:
            return await self.guard.aevaluate(self.tool, self.decided(args), run, **self.about)
        except Hold as hold:
            return self.told(hold)

    def around(self, tool: Callable[..., Any], awaits: bool) -> Callable[..., Any]:
        """What runs the tool, guarded: asked as often as a hook goes on to it."""

        def last(name: str, func: Any, args: dict[str, Any]) -> Any:
            return self.answer(False, args, lambda: tool(name, func, args))

        async def alast(name: str, func: Any, args: dict[str, Any]) -> Any:
            return await self.aevaluate(args, lambda: tool(name, func, args))

        made: Any = alast if awaits else last
        made.kiff_guards = (self.guard, *getattr(tool, "kiff_guards", ()))
        return made  # type: ignore[no-any-return]

    def decided(self, args: dict[str, Any]) -> dict[str, Any]:
        return args if self.call is None else _arguments(self.call)

    def told(self, hold: Hold) -> str:
        """What Agno is given for a withheld call: its text as the result.

        Raises:
            StopAgentRun: the run shall end, for a person has to speak first.
            Hold: code is to be told, or Agno would keep a result of this tool in its cache, and go on giving it once
                the call is granted.
        """
        if self.pause and hold.decision.needs_approval:
            raise framework("agno.exceptions", extra="agno").StopAgentRun(str(hold)) from hold
        if self.in_code or (self.call is not None and self.call.function.cache_results):
            raise hold
        return Refusal(hold)

    @property
    def about(self) -> dict[str, Any]:
        return {"call_id": getattr(self.call, "call_id", None), "failed": refused, **self.which}


class _Answer(AsyncIterator[Any]):
    """What the hook gives Agno in an event loop: to be awaited.

    Before 3.0.11 Agno does not await what a plain hook gives, and takes it for the tool's result. It does iterate a
    result, though, so the call is made then, and what it gives are the pieces of its result.
    """

    def __init__(self, begin: Callable[[], Awaitable[Any]]) -> None:
        self._begin = begin
        self._pieces: AsyncIterator[Any] | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._begin().__await__()

    async def __anext__(self) -> Any:
        if self._pieces is None:
            self._pieces = _pieces(self._begin())
        return await self._pieces.__anext__()


async def _pieces(result: Awaitable[Any]) -> AsyncIterator[Any]:
    given = await result
    if isinstance(given, AsyncIterator):
        async for piece in given:
            yield piece
    elif isinstance(given, Iterator):
        for piece in given:
            yield piece
    else:
        yield given.content if type(given).__name__ == "ToolResult" else given


def _call_behind(func: Any) -> Any:
    """The call that a continuation is of: Agno tells hooks neither its id nor the arguments it will pass for sure.

    Those are the call's own: what a hook before this one gave to its continuation is not what the tool gets. Of what
    continuations hold, only Agno's functions and ours are looked into. None if this Agno holds it otherwise.
    """
    found, seen = [func], set()
    while found:
        function = found.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        for cell in getattr(function, "__closure__", None) or ():
            value = _content(cell)
            if type(value).__name__ == "FunctionCall":
                return value
            if isinstance(value, FunctionType) and value.__module__ in ("agno.tools.function", __name__):
                found.append(value)
    return None


def _next_to_the_tool(func: Any) -> Any:
    """Where the last of the hooks behind ours keeps what it goes on to, of this one call; None if there are none."""
    place, deeper = None, _cell(func, "inner_func")
    while deeper is not None:
        inner = _content(deeper)
        below = _cell(inner, "inner_func")
        if below is None:
            break
        place = deeper = below
    return place


def _cell(function: Any, name: str) -> Any:
    if not isinstance(function, FunctionType) or function.__module__ != "agno.tools.function":
        return None
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)).get(name)


def _arguments(call: Any) -> dict[str, Any]:
    """What the tool will get: what is left out is decided on as well. Of what Agno itself adds, nothing is told."""
    given = dict(call.arguments or {})
    try:
        known = call.function.parameters["properties"]
        parameters = signature(call.function.entrypoint).parameters.values()
        left_out = [each for each in parameters if each.name in known and each.name not in given]
    except Exception:  # noqa: BLE001  # a schema or a callable of somebody else's, such as an MCP server's
        return given
    return {each.name: each.default for each in left_out if isinstance(each.default, JSON)} | given


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing is in it yet
        return None


def _with_hooks(agent: Any, seen: set[int]) -> Iterator[Any]:
    """Everything that takes tool hooks, from an agent down."""
    if agent is None or isinstance(agent, (str, FunctionType, type)) or id(agent) in seen:
        return
    seen.add(id(agent))
    if isinstance(agent, (list, tuple)):
        for each in agent:
            yield from _with_hooks(each, seen)
        return
    if hasattr(agent, "tool_hooks"):
        yield agent
    for name in BELOW:
        yield from _with_hooks(getattr(agent, name, None), seen)
    for tool in _listed(getattr(agent, "tools", None)):
        yield from _below_a_tool(tool, seen)


def _below_a_tool(tool: Any, seen: set[int]) -> Iterator[Any]:
    """What a tool runs: the workflow or agent of a toolkit, and the agents that a function names or holds."""
    if id(tool) in seen:
        return
    if _runs_by_itself(tool):
        yield from _with_hooks(tool, seen)
        return
    seen.add(id(tool))
    entry = getattr(tool, "entrypoint", tool)
    function = unwrap(entry) if callable(entry) else entry
    if isinstance(function, FunctionType):
        for each in held_by(function, _runs_by_itself):
            yield from _below_a_tool(each, seen)
    elif isinstance(getattr(tool, "functions", None), dict):
        for name in BELOW:
            yield from _with_hooks(getattr(tool, name, None), seen)
        for each in getattr(tool, "injected_tools", None) or ():
            yield from _below_a_tool(each, seen)


def _runs_by_itself(value: Any) -> bool:
    return hasattr(type(value), "arun") and (hasattr(value, "tool_hooks") or hasattr(value, "steps"))


def _refuse_hooks_of_tools(agent: Any) -> None:
    """An agent's hooks take the place of those its tools have: adding one would quietly take theirs away."""
    for tool in _listed(getattr(agent, "tools", None)):
        functions = getattr(tool, "functions", None)
        for each in functions.values() if isinstance(functions, dict) else (tool,):
            if getattr(each, "tool_hooks", None):
                raise ConfigurationError(
                    f"tool `{each.name}` has tool hooks of its own, and Agno drops them when its agent has some: "
                    "write Agent(tool_hooks=[..., hook(guard)]) with all of them"
                )


def _guard_cells(guard: Guard, tool: Any, made: Callable[..., Any]) -> None:
    """Code in a cell of `CodeMode` calls tools where the hooks of its agent do not reach: each of them gets our own."""
    if not getattr(tool, "injected_tools", None):
        return
    bridge = getattr(tool, "_bridge", None)
    prepare = getattr(bridge, "_prepare_function", None)
    if bridge is None or prepare is None:
        if guard.mode == "enforce":
            raise ConfigurationError(
                f"tool `{tool.name}` calls its tools past the hooks of the agent, and this Agno holds them otherwise: "
                "give each of them tool_hooks=[hook(guard)]"
            )
        return
    if guard in getattr(prepare, "kiff_guards", ()):
        return

    def prepared(function: Any) -> Any:
        ready = prepare(function)
        ready.tool_hooks = [*(ready.tool_hooks or ()), made]
        return ready

    prepared.kiff_guards = (guard, *getattr(prepare, "kiff_guards", ()))  # type: ignore[attr-defined]
    bridge._prepare_function = prepared
    bridge._built = False  # what it has prepared before has no hook yet


def _listed(tools: Any) -> list[Any]:
    return list(tools) if isinstance(tools, (list, tuple)) else []
