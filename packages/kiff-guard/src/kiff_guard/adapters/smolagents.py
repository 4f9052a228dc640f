"""smolagents: the guard inside each tool, around the code that it runs.

Its rule: wherever a tool is called from, its `forward` is what runs. A `ToolCallingAgent` calls it with arguments it
checked and filled in; a `CodeAgent` calls it from the code a model wrote, any number of times and by position, where no
hook of the agent looks. Code that is sent to another machine takes the source of its tools along and leaves the guard
here: such an agent is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import signature
from typing import Any

from kiff_guard.adapters import framework
from kiff_guard.adapters.holding import started_by
from kiff_guard.decision import Hold
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard

ADAPTER = "smolagents"
EXTRA = "smolagents"
STORED = ("image", "audio")
"""Kinds of results that an agent keeps for itself: a model is told of them, and never what they say."""


def hook(guard: Guard, *, fail_closed: bool | None = None) -> Callable[[Any], Any]:
    """Guards one tool: `guarded = hook(guard)`, then `ToolCallingAgent(tools=[guarded(refund)], ...)`.

    `attach` guards all tools of an agent, and tells their receipts the ids of the calls.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
    """
    seam = Seam(guard, fail_closed)
    return lambda tool: _guarded(seam, tool)


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None) -> Any:
    """Guards every tool of an agent and of the agents it manages, and returns it. Tools added later are not.

    Raises:
        ConfigurationError: the agent's code runs on another machine, where no guard is.
    """
    agents = list(_agents(agent, set()))
    for each in agents:
        _refuse_elsewhere(each)
    seam = Seam(guard, fail_closed)
    final_answer = framework("smolagents", extra=EXTRA).FinalAnswerTool
    for each in agents:
        for tool in each.tools.values():
            if type(tool) is not final_answer:  # how an agent ends, and nothing else
                _guarded(seam, tool)
        _tell_ids(each)
    return agent


_CALL: ContextVar[str | None] = ContextVar("kiff_smolagents_call", default=None)
"""The call that an agent is making now; "" if the model gave it no id, None in code that a model wrote."""


@dataclass(frozen=True)
class Seam:
    """What all tools of an agent share."""

    guard: Guard
    fail_closed: bool | None

    def arguments(self, tool: Any, forward: Any, args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        """What the tool's code will get, by name.

        Raises:
            TypeError: it does not take these; in observe it is left to the tool to say so.
        """
        try:
            return _arguments(tool, forward, args, named)
        except (TypeError, ValueError):
            if self.guard.mode == "enforce":
                raise
            return {**_by_place(tool, args), **named}

    def call(self, tool: Any, forward: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Runs a tool, if it may run. Code a model wrote gets an exception, for it would take a text for the result."""
        call_id = _CALL.get()

        def run() -> Any:
            with _calling(None):
                return forward(*args, **named)

        try:
            return self.guard.evaluate(
                tool.name,
                self.arguments(tool, forward, args, named),
                run,
                call_id=call_id or None,
                fail_closed=self.fail_closed,
                adapter=ADAPTER,
            )
        except Hold as hold:
            if call_id is None or tool.output_type in STORED:
                raise
            return str(hold)


def _guarded(seam: Seam, tool: Any) -> Any:
    """The tool itself, of a class of its own: a copy of its source elsewhere has no guard, and does not work."""
    if getattr(tool, "kiff_guard", None) is seam.guard:
        return tool
    if not callable(getattr(tool, "forward", None)) or not hasattr(tool, "inputs"):
        raise ConfigurationError(f"tool: expected a tool of smolagents, found a `{type(tool).__name__}`; use @tool")
    own = type(tool)
    if own.__call__ not in _calls():
        raise ConfigurationError(
            f"tool: `{tool.name}` has a `__call__` of its own; what it does has to be in `forward`"
        )
    inner = vars(tool).pop("forward", None)

    def forward(self: Any, *args: Any, **named: Any) -> Any:
        return seam.call(self, inner or super(guarded, self).forward, args, named)

    def setup(self: Any) -> None:
        """Loads what the tool is made of, which may be its `forward`."""
        nonlocal inner
        super(guarded, self).setup()
        inner = vars(self).pop("forward", inner)

    members = {
        "forward": forward,
        "setup": setup,
        "kiff_guard": seam.guard,
        "__doc__": own.__doc__,
        "__module__": own.__module__,
    }
    guarded: Any = type(own.__name__, (own,), {**members, "skip_forward_signature_validation": True})
    tool.__class__ = guarded
    return tool


def _calls() -> set[Any]:
    """How smolagents calls a tool: all of these go through `forward`. A guarded tool has one of them."""
    tools = framework("smolagents.tools", extra=EXTRA)
    return {tools.Tool.__call__, tools.PipelineTool.__call__}


def _arguments(tool: Any, forward: Any, args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """What the tool's code gets, by name: what is left out and what is passed by place is decided on as well."""
    known_as = signature(forward)
    # What `@tool` makes is said to take a `self`, and takes none.
    parameters = [each for each in known_as.parameters.values() if each.name != "self"]
    bound = known_as.replace(parameters=parameters).bind(*args, **named)
    bound.apply_defaults()
    known: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is kind.VAR_KEYWORD:
            if not known.keys().isdisjoint(value):
                raise TypeError("an argument was given by its place and by its name")
            known.update(value)
        elif kind is kind.VAR_POSITIONAL and not known:
            known.update(_by_place(tool, value))
        else:
            known[name] = value
    return known


def _by_place(tool: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    """Arguments by the names that the tool gives its inputs; those it has no name for, by their place."""
    if len(args) == 1 and isinstance(args[0], dict) and set(args[0]) <= set(tool.inputs):
        return dict(args[0])
    names = list(tool.inputs)
    return {names[place] if place < len(names) else f"argument_{place}": value for place, value in enumerate(args)}


def _tell_ids(agent: Any) -> None:
    """Has an agent say which call it makes. Only agents that call tools by name know ids; code has none."""
    process, execute = getattr(agent, "process_tool_calls", None), getattr(agent, "execute_tool_call", None)
    if process is None or execute is None or "execute_tool_call" in vars(agent):
        return

    ids: dict[int, str] = {}

    def process_tool_calls(chat_message: Any, *more: Any, **named: Any) -> Any:
        for call in getattr(chat_message, "tool_calls", None) or ():
            ids[id(call.function.arguments)] = str(call.id or "")
        try:
            yield from process(chat_message, *more, **named)
        finally:
            ids.clear()

    def execute_tool_call(tool_name: str, arguments: Any) -> Any:
        # An agent below makes calls of its own.
        with _calling(None if tool_name in agent.managed_agents else ids.get(id(arguments), "")):
            return execute(tool_name, arguments)

    agent.process_tool_calls, agent.execute_tool_call = process_tool_calls, execute_tool_call


@contextmanager
def _calling(call: str | None) -> Iterator[None]:
    token = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(token)


def _agents(agent: Any, seen: set[int]) -> Iterator[Any]:
    """An agent, those it manages, and those that its tools name or hold."""
    if not isinstance(getattr(agent, "tools", None), dict):
        raise ConfigurationError(f"agent: expected an agent of smolagents, found a `{type(agent).__name__}`")
    if id(agent) in seen:
        return
    seen.add(id(agent))
    yield agent
    for each in (getattr(agent, "managed_agents", None) or {}).values():
        yield from _agents(each, seen)
    for tool in agent.tools.values():
        for below in started_by(getattr(tool, "forward", None), _is_agent):
            yield from _agents(below, seen)


def _is_agent(value: Any) -> bool:
    return isinstance(getattr(value, "tools", None), dict) and hasattr(value, "managed_agents")


def _refuse_elsewhere(agent: Any) -> None:
    executor = getattr(agent, "python_executor", None)
    kind = getattr(agent, "executor_type", "local")
    if kind != "local" or any(each.__name__ == "RemotePythonExecutor" for each in type(executor).__mro__):
        raise ConfigurationError(
            f"agent: its code runs elsewhere ({kind}), with a copy of its tools that no guard is around: "
            'use executor_type="local", or call the tools through kiff-mcp'
        )
