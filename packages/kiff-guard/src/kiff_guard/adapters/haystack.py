"""Haystack 2 and 3: the guard around the tools themselves, the one place that both have in common.

Its rule: what is decided is what is executed. Confirmation strategies and hooks speak before a tool is called, and may
change what it is called with; here all of them have spoken. Haystack has no pause that a decision could start, so a
held call is told to the model, which may call again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy, deepcopy
from inspect import signature
from threading import Lock
from types import FunctionType
from typing import Any

from kiff_guard.adapters import ArgumentsDoNotFit, framework
from kiff_guard.adapters.holding import started_by
from kiff_guard.decision import Hold
from kiff_guard.errors import ConfigurationError, MissingFramework
from kiff_guard.guard import Guard

ADAPTER = "haystack"
EXTRA = "haystack"
JSON = (str, int, float, list, dict)
_CALLS: ContextVar[Calls | None] = ContextVar("kiff_haystack_calls", default=None)


def hook(guard: Guard, *, fail_closed: bool | None = None) -> Seam:
    """Guards tools for whatever calls them: `Agent(tools=hook(guard)([refund, lookup]))`, or a toolset's.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
    """
    return Seam(guard, fail_closed)


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None) -> Any:
    """Guards an agent that is there already, or those of a pipeline, with the tools that a run is given, too; and so a
    `ToolInvoker` of Haystack 2.

    Agents that are tools of a run, or in a pipeline that is one, are guarded when it begins. Returns it. On Haystack 3
    the guard also learns the ids of the calls.
    """
    framework("haystack.tools.utils", extra=EXTRA)
    agents = list(_agents(agent))
    if not agents:
        raise ConfigurationError(
            f"agent: the tools of a `{type(agent).__name__}` cannot be guarded from outside: "
            "write Agent(..., tools=hook(guard)(tools))"
        )
    for each in agents:
        _guard_runs(hook(guard, fail_closed=fail_closed), each)
    return agent


def kiff_confirmation_strategy(
    guard: Guard, fail_closed: bool | None = None, decision_factory: Callable[..., Any] | None = None
) -> Any:
    """The strategy of kiff-guard 1.x, for `ConfirmationHook({"*": …})` or Haystack 2's `confirmation_strategies`.

    It never learns how a call ended, so a receipt of it says `unknown`, and what speaks behind it may still change the
    arguments. `attach` is the better seam.

    Args:
        guard: decides.
        fail_closed: as for `hook`.
        decision_factory: makes the answer, from (tool name, call id, execute, feedback).
    """
    return Strategy(guard, fail_closed, decision_factory or _execution_decision)


class Seam:
    """Guards tools and toolsets. Those that it guards already stay as they are."""

    def __init__(self, guard: Guard, fail_closed: bool | None) -> None:
        self.guard = guard
        self.fail_closed = fail_closed

    def __call__(self, tools: Any) -> Any:
        """The same tools, guarded: a list of tools and toolsets, or a toolset; None for none."""
        if isinstance(tools, (list, tuple)):
            return [self._one(each) for each in tools]
        return None if tools is None else self._one(tools)

    def _one(self, item: Any) -> Any:
        if type(item) in (GuardedTool, GuardedToolset) and item.seam.guard is self.guard:
            return item
        return GuardedTool(item, self) if hasattr(item, "invoke") else GuardedToolset(item, self)

    def about(self, tool: Any, args: Mapping[str, Any]) -> dict[str, Any]:
        """What the guard is told beside the call."""
        calls = _CALLS.get()
        call_id = None if calls is None else calls.take(tool.name, args)
        return {"call_id": call_id, "fail_closed": self.fail_closed, "adapter": ADAPTER}


class _Proxy:
    """To everything that asks, the thing itself."""

    def __init__(self, inner: Any, seam: Seam) -> None:
        self.inner = inner
        self.seam = seam

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # `isinstance` asks this one
        return self.inner.__class__

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __copy__(self) -> Any:
        return type(self)(copy(self.inner), self.seam)

    def __deepcopy__(self, memo: Any) -> Any:
        return type(self)(deepcopy(self.inner, memo), self.seam)


class GuardedTool(_Proxy):
    """A tool of Haystack's with the guard around its call."""

    def invoke(self, **args: Any) -> Any:
        about = self.seam.about(self.inner, args)

        def run() -> Any:
            with _misfits_named(self.inner):
                return self.inner.invoke(**args)

        with _failures_told(self.inner):
            return self.seam.guard.evaluate(self.inner.name, _seen(self.inner, args), run, **about)

    async def invoke_async(self, **args: Any) -> Any:
        about = self.seam.about(self.inner, args)

        async def run() -> Any:
            with _misfits_named(self.inner):
                return await self.inner.invoke_async(**args)

        with _failures_told(self.inner):
            return await self.seam.guard.aevaluate(self.inner.name, _seen(self.inner, args), run, **about)


class GuardedToolset(_Proxy):
    """A toolset whose tools are guarded, those that it finds later, too."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self.seam(list(self.inner)))

    @property
    def tools(self) -> Any:
        return self.seam(self.inner.tools)

    def __len__(self) -> int:
        return len(self.inner)

    def __contains__(self, item: Any) -> bool:
        return (item.inner if type(item) is GuardedTool else item) in self.inner

    def __getitem__(self, index: int) -> Any:
        return self.seam([self.inner[index]])[0]

    def get_selectable_tools(self) -> list[Any]:
        return list(self.seam(self.inner.get_selectable_tools()))

    def spawn(self, *about: Any, **more: Any) -> Any:
        spawned = self.inner.spawn(*about, **more)
        return self if spawned is self.inner else GuardedToolset(spawned, self.seam)


class Calls:
    """The calls that a model asked for in one step, and nobody has made yet: Haystack 3 tells a tool no id."""

    def __init__(self, calls: list[Any]) -> None:
        self._calls = calls
        self._lock = Lock()

    def take(self, tool: str, args: Mapping[str, Any]) -> str | None:
        """The id of the first call that this may be. Calls that are the same in all may be each other's."""
        with self._lock:
            for call in self._calls:
                if call.tool_name == tool and all(args.get(name) == value for name, value in call.arguments.items()):
                    self._calls.remove(call)
                    return call.id  # type: ignore[no-any-return]
        return None


class LearnsIds:
    """A hook of Haystack 3's: keeps the ids of the calls that are about to be made. It asks nobody."""

    allowed_hook_points = ("before_tool",)

    def run(self, state: Any) -> None:
        messages = state.data.get("messages") or []
        _CALLS.set(Calls([call for call in messages[-1].tool_calls if call.id]) if messages else None)

    async def run_async(self, state: Any) -> None:
        self.run(state)

    def to_dict(self) -> dict[str, Any]:
        return {"type": f"{__name__}.{type(self).__name__}", "init_parameters": {}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LearnsIds:
        return cls()


class Strategy:
    """A confirmation strategy of Haystack's."""

    def __init__(self, guard: Guard, fail_closed: bool | None, build: Callable[..., Any]) -> None:
        self._guard = guard
        self._fail_closed = fail_closed
        self._build = build

    def run(self, *, tool_name: str, tool_params: Any = None, tool_call_id: str | None = None, **_: Any) -> Any:
        decision = self._guard.decide_only(tool_name, tool_params, **self._about(tool_call_id))
        return self._answer(decision, tool_name, tool_params, tool_call_id)

    async def run_async(
        self, *, tool_name: str, tool_params: Any = None, tool_call_id: str | None = None, **_: Any
    ) -> Any:
        decision = await self._guard.adecide_only(tool_name, tool_params, **self._about(tool_call_id))
        return self._answer(decision, tool_name, tool_params, tool_call_id)

    def _about(self, call_id: str | None) -> dict[str, Any]:
        return {"call_id": call_id, "fail_closed": self._fail_closed, "settles": False, "adapter": ADAPTER}

    def _answer(self, decision: Any, tool: str, params: Any, call_id: str | None) -> Any:
        answer = self._build(tool, call_id, not decision.withheld, decision.explain() if decision.withheld else "")
        if not decision.withheld and getattr(answer, "final_tool_params", params) is None:
            answer.final_tool_params = params
        return answer


def _agents(thing: Any) -> Iterator[Any]:
    """An agent or a `ToolInvoker`, or those in a pipeline, or in a component that is one."""
    if _runs_tools(thing):
        yield thing
    pipeline = getattr(thing, "pipeline", thing)
    for _, each in pipeline.walk() if callable(getattr(pipeline, "walk", None)) else ():
        yield from _agents(each)


def _runs_tools(thing: Any) -> bool:
    return hasattr(thing, "_select_tools") or hasattr(thing, "_validate_and_prepare_tools")


def _guard_runs(seam: Seam, agent: Any) -> None:
    """From its next run on, whatever tools that run has are guarded, and so are the agents that they run."""
    if not hasattr(agent, "_select_tools"):
        _guard_invoker(seam, agent)
        return
    select = agent._select_tools
    if getattr(select, "kiff_guard", None) is seam.guard:
        return

    def selected(*about: Any, **more: Any) -> Any:
        return _guarded(seam, select(*about, **more))

    selected.kiff_guard = seam.guard  # type: ignore[attr-defined]
    agent._select_tools = selected
    hooks = getattr(agent, "hooks", None)
    if isinstance(hooks, dict):
        before = [each for each in hooks.get("before_tool", []) if not isinstance(each, LearnsIds)]
        agent.hooks = {**hooks, "before_tool": [*before, LearnsIds()]}


def _guard_invoker(seam: Seam, invoker: Any) -> None:
    """Haystack 2 also calls tools in a pipeline without an agent: those it was made with, and those of a run."""
    prepare = invoker._validate_and_prepare_tools
    if getattr(prepare, "kiff_guard", None) is seam.guard:
        return

    def prepared(tools: Any) -> Any:
        return prepare(_guarded(seam, tools))

    prepared.kiff_guard = seam.guard  # type: ignore[attr-defined]
    invoker._validate_and_prepare_tools = prepared
    invoker._tools_with_names = prepared(invoker.tools)


def _guarded(seam: Seam, tools: Any) -> Any:
    """The tools of a run, and the agents that they run."""
    for tool in framework("haystack.tools.utils", extra=EXTRA).flatten_tools_or_toolsets(tools):
        for below in _agents(getattr(tool, "_component", None)):
            _guard_runs(seam, below)
        for name in ("function", "async_function"):
            for below in started_by(getattr(tool, name, None), _runs_tools):
                _guard_runs(seam, below)
    return seam(tools)


def _seen(tool: Any, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without what Haystack itself puts among them, which is its state, and where pieces are sent to,
    and with what the function fills in: what is left out is decided on as well."""
    state = framework("haystack.components.agents.state.state", extra=EXTRA).State
    ours = {name: value for name, value in args.items() if not isinstance(value, state)}
    if callable(ours.get("streaming_callback")):
        del ours["streaming_callback"]
    return {**_defaults(tool), **ours}


def _defaults(tool: Any) -> dict[str, Any]:
    function: Any = getattr(tool, "function", None) or getattr(tool, "async_function", None)
    try:
        parameters = signature(function).parameters.values()
        known = tool.parameters["properties"]
    except (AttributeError, KeyError, TypeError, ValueError):  # made of something else than a function
        return {}
    return {each.name: each.default for each in parameters if each.name in known and isinstance(each.default, JSON)}


def _execution_decision(tool_name: str, tool_call_id: str | None, execute: bool, feedback: str = "") -> Any:
    try:
        words = framework("haystack.hooks.human_in_the_loop.dataclasses", extra=EXTRA)
    except MissingFramework:  # Haystack 2 has them elsewhere
        words = framework("haystack.human_in_the_loop.dataclasses", extra=EXTRA)
    return words.ToolExecutionDecision(tool_name, execute, tool_call_id, feedback or None)


@contextmanager
def _misfits_named(tool: Any) -> Iterator[None]:
    """Haystack looks at no arguments. Python does, when it calls the function: such an error comes from outside it."""
    failed = framework("haystack.tools.errors", extra=EXTRA).ToolInvocationError
    try:
        yield
    except failed as error:
        why = error.__cause__
        at_the_call = isinstance(why, TypeError) and why.__traceback__ is not None and why.__traceback__.tb_next is None
        if at_the_call and FunctionType in (type(tool.function), type(getattr(tool, "async_function", None))):
            raise ArgumentsDoNotFit(error) from error
        raise


@contextmanager
def _failures_told(tool: Any) -> Iterator[None]:
    """Whatever is raised becomes what every failed tool raises, and what Haystack tells the model then."""
    failed = framework("haystack.tools.errors", extra=EXTRA).ToolInvocationError
    try:
        yield
    except failed:
        raise
    except ArgumentsDoNotFit as misfit:
        raise misfit.error from misfit.error.__cause__
    except Hold as hold:
        raise failed(str(hold), tool_name=tool.name) from hold
    except Exception as error:
        text = f"KIFF's guard failed, so the call is withheld: {error!r}"
        raise failed(text, tool_name=tool.name) from error
