"""DSPy: the guard around the function of each tool.

Its rule: a callback of DSPy cannot stop a tool (what it raises is logged, and the tool runs), so nothing is decided
there. A module calls a tool, the tool checks its arguments, and then calls its function: that one is guarded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from inspect import Signature, iscoroutinefunction, signature
from typing import Any

from kiff_guard.adapters import Refusal, framework, refused
from kiff_guard.adapters.holding import started_by
from kiff_guard.decision import Hold
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard

ADAPTER = "dspy"
EXTRA = "dspy"
OWN = {"ReAct": "finish", "ReActV2": "submit"}
"""How a module ends: a tool that it adds itself, and that does nothing."""
SENT_ELSEWHERE = ("CodeAct",)
"""Modules that send the source of their tools into a sandbox, and leave the guard here."""


def hook(guard: Guard, *, fail_closed: bool | None = None, tell: bool = False) -> Callable[[Any], Any]:
    """Guards one tool: `guarded = hook(guard)`, then `dspy.ReAct(signature, tools=[guarded(refund)])`.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
        tell: a withheld call gives a text, for a model to read, instead of raising `Hold`. Code would take it for the
            tool's result.
    """
    seam = Seam(guard, fail_closed, tell)

    def guarded(tool: Any) -> Any:
        kind = framework("dspy", extra=EXTRA).Tool
        return seam.guarded(tool if isinstance(tool, kind) else kind(tool))

    return guarded


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None) -> Any:
    """Guards every tool of a module and of the modules in it, and returns it. Tools added later are not.

    Modules that hand results to a model alone (ReAct) are given a text for a withheld call; others an exception.

    Raises:
        ConfigurationError: a module sends its tools into a sandbox, where no guard is; or there are no tools.
    """
    found = [(tool, _is_react(module)) for module in _modules(agent, set()) for tool in _tools(module)]
    if not found:
        raise ConfigurationError(
            f"agent: `{type(agent).__name__}` holds no tools that a guard can find; use hook(guard)"
        )
    for tool, tell in found:
        Seam(guard, fail_closed, tell).guarded(tool)
    return agent


@dataclass(frozen=True)
class Seam:
    """What all tools of a module share."""

    guard: Guard
    fail_closed: bool | None
    tell: bool

    def guarded(self, tool: Any) -> Any:
        """The tool itself, with its function guarded."""
        if getattr(tool.func, "kiff_guard", None) is not self.guard:
            tool.func = self.around(tool.func, str(tool.name))
        return tool

    def around(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, guarded."""
        known = _signature(function)
        about: dict[str, Any] = {"fail_closed": self.fail_closed, "failed": refused, "adapter": ADAPTER}

        def arguments(named: dict[str, Any]) -> dict[str, Any]:
            try:
                return _arguments(known, named)
            except TypeError:  # in observe it is left to the function to say so
                if self.guard.mode == "enforce":
                    raise
                return named

        async def acall(**named: Any) -> Any:
            try:
                return await self.guard.aevaluate(name, arguments(named), partial(function, **named), **about)
            except Hold as hold:
                return self.told(hold)

        def call(**named: Any) -> Any:
            if _is_awaited():
                return acall(**named)
            try:
                return self.guard.evaluate(name, arguments(named), partial(function, **named), **about)
            except Hold as hold:
                return self.told(hold)

        is_async = iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
        made: Any = acall if is_async else call
        for each in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
            if hasattr(function, each):
                setattr(made, each, getattr(function, each))
        if known is not None:
            made.__signature__ = known
        made.kiff_guard = self.guard
        return made  # type: ignore[no-any-return]

    def told(self, hold: Hold) -> str:
        if self.tell:
            return Refusal(hold)
        raise hold


def _is_awaited() -> bool:
    """Does a tool call its function where it awaits what it gets? There a decision need not stop the event loop."""
    caller = sys._getframe(2)
    return caller.f_code.co_name == "acall" and caller.f_globals.get("__name__", "").startswith("dspy.")


def _signature(function: Callable[..., Any]) -> Signature | None:
    try:
        return signature(function)
    except (TypeError, ValueError):
        return None


def _arguments(known: Signature | None, named: dict[str, Any]) -> dict[str, Any]:
    """What the function gets, by name: what is left out is decided on as well.

    Raises:
        TypeError: it does not take these.
    """
    if known is None:
        return named
    bound = known.bind(**named)
    bound.apply_defaults()
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = known.parameters[name].kind
        if kind is kind.VAR_KEYWORD:
            if not found.keys().isdisjoint(value):
                raise TypeError("an argument was given by its name, and the function takes it by its place")
            found.update(value)
        elif kind is not kind.VAR_POSITIONAL:
            found[name] = value
    return found


def _modules(agent: Any, seen: set[int]) -> Iterator[Any]:
    """A module, those in it, and those that the functions of their tools name or hold."""
    if not _is_module(agent):
        raise ConfigurationError(f"agent: expected a module of DSPy, found a `{type(agent).__name__}`")
    for _, module in agent.named_sub_modules():
        if id(module) in seen:
            continue
        seen.add(id(module))
        kinds = {each.__name__ for each in type(module).__mro__}
        if not kinds.isdisjoint(SENT_ELSEWHERE):
            raise ConfigurationError(
                f"agent: `{type(module).__name__}` sends the source of its tools into a sandbox, and no guard is "
                "around them there: use dspy.ReAct, or call the tools through kiff-mcp"
            )
        yield module
        for tool in _tools(module):
            for below in started_by(tool.func, _is_module):
                yield from _modules(below, seen)


def _is_module(value: Any) -> bool:
    return callable(getattr(value, "named_sub_modules", None))


def _is_react(module: Any) -> bool:
    return any(each.__name__ in OWN for each in type(module).__mro__)


def _tools(module: Any) -> Iterator[Any]:
    kind = framework("dspy", extra=EXTRA).Tool
    own = {OWN[each.__name__] for each in type(module).__mro__ if each.__name__ in OWN}
    for tool in _held([*vars(module).values(), _of_flex(module, kind)], kind, set()):
        if tool.name not in own:
            yield tool


def _of_flex(module: Any, kind: Any) -> Any:
    """The tools of a `dspy.Flex`, which may be plain functions: from now on they are tools."""
    tools = getattr(getattr(module, "_flex_ctx", None), "tools", None)
    if isinstance(tools, list):
        tools[:] = [tool if isinstance(tool, kind) else kind(tool) for tool in tools]
    return tools


def _held(value: Any, kind: Any, seen: set[int]) -> Iterator[Any]:
    """The tools in a value, at any depth of lists and dicts."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
        seen.add(id(value))
        for each in list(value.values()) if isinstance(value, dict) else value:
            yield from _held(each, kind, seen)
