"""JSON that every reader reads alike: what `json.loads` takes beside it is refused, with a ValueError.

json.loads(text, object_pairs_hook=once, parse_constant=no_number)
"""

from __future__ import annotations

from typing import Any, NoReturn


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses a name that stands twice: readers disagree on which one counts, and one of them runs the tool."""
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name is given twice")
    return names


def no_number(name: str) -> NoReturn:
    """Refuses NaN and the infinities."""
    raise ValueError(f"`{name}` is no number that JSON knows")
