"""Finds what calls tools in a graph that is there already, and in the graphs below it.

Below are: graphs that are nodes, and graphs that a tool's function names or holds, as sub-agents do. What a function
comes by in another way is not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any, NamedTuple

from kiff_guard.adapters.holding import held_by

DEPTH_LIMIT = 100


class Found(NamedTuple):
    """What is to be guarded.

    Attributes:
        nodes: tool nodes.
        specs: sub-agents of deepagents that are made into graphs when they are called.
    """

    nodes: list[Any]
    specs: list[dict[str, Any]]


def find(agent: Any) -> Found:
    """All that is below an agent, and itself, each once."""
    found = Found([], [])
    _look(agent, found, {}, DEPTH_LIMIT)
    return found


def is_spec(value: Any) -> bool:
    """A sub-agent as deepagents takes it."""
    return isinstance(value, dict) and isinstance(value.get("name"), str) and "description" in value


def _look(value: Any, found: Found, seen: dict[int, Any], depth: int) -> None:
    if depth == 0 or id(value) in seen:
        return
    seen[id(value)] = value  # kept, so that its id stays its own
    if is_spec(value) and "middleware" in value:
        found.specs.append(value)
    if _is_tool_node(value):
        found.nodes.append(value)
    for part in _parts(value):
        _look(part, found, seen, depth - 1)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, FunctionType):
        yield from held_by(value, _is_graph)
    elif isinstance(value, MethodType):
        yield value.__func__
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value
    elif _is_tool_node(value):
        yield from value.tools_by_name.values()
    elif _is_graph(value):
        yield from value.nodes.values()
    elif hasattr(value, "args_schema"):
        yield from vars(value).values()
    else:
        yield from (getattr(value, name, None) for name in ("bound", "steps", "func", "afunc"))


def _is_tool_node(value: Any) -> bool:
    return hasattr(type(value), "tools_by_name") and hasattr(value, "_wrap_tool_call")


def _is_graph(value: Any) -> bool:
    return isinstance(getattr(value, "nodes", None), dict) and hasattr(value, "invoke")
