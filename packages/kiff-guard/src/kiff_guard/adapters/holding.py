"""What a function holds: for finding the agents that a tool starts by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
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
