"""What a function holds: for finding the agents that a tool starts by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any


def held_by(function: FunctionType, is_wanted: Callable[[Any], bool]) -> Iterator[Any]:
    """What it closes over, and what it names of its module: what is wanted, and other functions.

    Args:
        is_wanted: a name of the module counts if it stands for such a thing.
    """
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    for name in function.__code__.co_names:
        named = function.__globals__.get(name)
        if is_wanted(named) or getattr(named, "__globals__", None) is function.__globals__:
            yield named


def started_by(value: Any, is_wanted: Callable[[Any], bool], seen: dict[int, Any] | None = None) -> Iterator[Any]:
    """The agents that a tool's function names or holds: itself, through other functions, or in the object whose method
    it is. What it comes by in another way is not found.

    Args:
        value: the function.
        is_wanted: tells an agent from everything else.
        seen: what was looked at already.
    """
    seen = {} if seen is None else seen
    if id(value) in seen:
        return
    seen[id(value)] = value  # kept, so that its id stays its own
    if not isinstance(value, type) and is_wanted(value):
        yield value
        return
    for part in _parts(value, is_wanted):
        yield from started_by(part, is_wanted, seen)


def _parts(value: Any, is_wanted: Callable[[Any], bool]) -> Iterator[Any]:
    if isinstance(value, FunctionType):
        yield getattr(value, "__wrapped__", None)
        yield from held_by(value, is_wanted)
    elif isinstance(value, MethodType):
        yield value.__func__
        yield from getattr(value.__self__, "__dict__", {}).values()
    elif isinstance(value, partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, dict):
        yield from list(value.values())
    elif isinstance(value, (list, tuple)):
        yield from value
