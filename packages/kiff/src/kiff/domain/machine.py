"""What a transition table lets happen: where an entity can get to, and from where it never gets on.

Everything takes the table as `Domain.transitions` has it; the state is None before the first event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Transitions = Mapping[tuple[str | None, str], str]
Ways = dict[str | None, set[str | None]]
"""A state -> the states that one event leads to."""


def reachable(transitions: Transitions, start: str | None = None) -> frozenset[str]:
    """The states that events lead to from `start`, itself included; from the beginning when it is left out."""
    return _spread(_ways(transitions), [start])


def leading_to(transitions: Transitions, states: Iterable[str]) -> frozenset[str]:
    """The states from which events lead to one of `states`, themselves included."""
    return _spread(_reversed(_ways(transitions)), states)


def closed_groups(transitions: Transitions, states: Iterable[str]) -> list[tuple[str, ...]]:
    """The groups of `states` that lead to each other and nowhere else, in order: whatever enters one stays in it."""
    states = tuple(dict.fromkeys(states))
    ways = _ways(transitions)
    back = _reversed(ways)
    groups: list[tuple[str, ...]] = []
    placed: set[str] = set()
    for state in states:
        ahead = frozenset() if state in placed else _spread(ways, [state])
        if ahead and ahead <= _spread(back, [state]):
            groups.append(tuple(each for each in states if each in ahead))
            placed |= ahead
    return groups


def _ways(transitions: Transitions) -> Ways:
    ways: Ways = {}
    for (start, _), end in transitions.items():
        ways.setdefault(start, set()).add(end)
    return ways


def _reversed(ways: Ways) -> Ways:
    back: Ways = {}
    for start, ends in ways.items():
        for end in ends:
            back.setdefault(end, set()).add(start)
    return back


def _spread(ways: Ways, starts: Iterable[str | None]) -> frozenset[str]:
    """Everything that can be got to, without the beginning, which is no state."""
    found = set(starts)
    left = list(found)
    while left:
        new = ways.get(left.pop(), set()) - found
        found |= new
        left += new
    return frozenset(state for state in found if state is not None)
