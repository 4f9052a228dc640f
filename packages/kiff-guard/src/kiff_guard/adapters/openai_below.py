"""The agents that hang on an agent: those it hands off to, those that are its tools, those that its tools start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any

from kiff_guard.adapters.holding import held_by
from kiff_guard.adapters.openai_calls import Around, How, is_function_tool
from kiff_guard.errors import ConfigurationError
from kiff_guard.notice import warn

RUN_ELSEWHERE = {
    "CodeInterpreterTool", "FileSearchTool", "ImageGenerationTool", "ProgrammaticToolCallingTool", "ToolSearchTool",
    "WebSearchTool",
}  # fmt: skip
"""Tools without a call on this machine: nothing passes here that could be guarded."""


def agents_from(agent: Any, seen: set[int], how: How) -> Iterator[Any]:
    """An agent and those below it, each once."""
    if id(agent) in seen:
        return
    if not is_agent(agent):
        raise ConfigurationError(f"agent: expected an Agent, found a `{type(agent).__name__}`")
    seen.add(id(agent))
    _complain(how, agent, [tool for tool in agent.tools if _acts_unseen(tool)])
    _complain(how, agent, [each for each in getattr(agent, "capabilities", None) or () if _brings_tools(each)])
    yield agent
    for below in _below(agent):
        if below is None:
            _complain(how, agent, agent.handoffs)
        else:
            yield from agents_from(below, seen, how)


def _below(agent: Any) -> Iterator[Any]:
    for tool in agent.tools:
        if getattr(tool, "_agent_instance", None) is not None:
            yield tool._agent_instance
        elif hasattr(tool, "on_invoke_tool"):
            yield from _started_by(tool.on_invoke_tool, {})
    for handoff in agent.handoffs:
        if is_agent(handoff):
            yield handoff
        else:
            known = getattr(handoff, "_agent_ref", None)
            yield None if known is None else known()


def _started_by(value: Any, seen: dict[int, Any]) -> Iterator[Any]:
    """The agents that a function names or holds, itself or through other functions."""
    if id(value) in seen:
        return
    seen[id(value)] = value
    if is_agent(value):
        yield value
        return
    for part in _parts(value):
        yield from _started_by(part, seen)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, FunctionType):
        yield from held_by(value, is_agent)
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value
    elif isinstance(value, Around):
        yield value.tool.on_invoke_tool
    else:
        yield from (getattr(value, name, None) for name in ("_invoke_tool_impl", "__func__", "func"))


def is_agent(value: Any) -> bool:
    return hasattr(type(value), "get_all_tools") and hasattr(value, "handoffs")


def _acts_unseen(tool: Any) -> bool:
    return not is_function_tool(tool) and type(tool).__name__ not in RUN_ELSEWHERE


def _brings_tools(capability: Any) -> bool:
    """A sandbox's agent has capabilities, and some make tools anew for each run."""
    makes = next((kind for kind in type(capability).__mro__ if "tools" in vars(kind)), None)
    return makes is not None and makes.__name__ != "Capability"


def _complain(how: How, agent: Any, unseen: Iterable[Any]) -> None:
    names = ", ".join(f"`{getattr(each, 'name', None) or type(each).__name__}`" for each in unseen)
    if not names:
        return
    about = f"agent `{agent.name}`: {names} cannot be guarded here: take it out, or attach the agents below one by one"
    if how.guard.mode == "enforce":
        raise ConfigurationError(about)
    warn("%s", about)
