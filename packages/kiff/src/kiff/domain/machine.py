"""What a transition table lets happen: where an entity can get to, and from where it never gets on.

Everything takes the table as `Domain.transitions` has it; the state is None before the first event. Guards are taken
to be true at times: what cannot happen without them is told, what they rule out is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kiff.domain.way import Way

Transitions = Mapping[tuple[str | None, str], tuple[Way, ...]]
Graph = dict[str | None, set[str | None]]
"""A state -> the states that one event may lead to, whatever guards say."""


def reachable(transitions: Transitions, start: str | None = None) -> frozenset[str]:
    """The states that events lead to from `start`, itself included; from the beginning when it is left out."""
    return _spread(_graph(transitions), [start])


def leading_to(transitions: Transitions, states: Iterable[str]) -> frozenset[str]:
    """The states from which events lead to one of `states`, themselves included."""
    return _spread(_reversed(_graph(transitions)), states)


def closed_groups(transitions: Transitions, states: Iterable[str]) -> list[tuple[str, ...]]:
    """The groups of `states` that lead to each other and nowhere else, in order: whatever enters one stays in it."""
    states = tuple(dict.fromkeys(states))
    graph = _graph(transitions)
    back = _reversed(graph)
    groups: list[tuple[str, ...]] = []
    placed: set[str] = set()
    for state in states:
        ahead = frozenset() if state in placed else _spread(graph, [state])
        if ahead and ahead <= _spread(back, [state]):
            groups.append(tuple(each for each in states if each in ahead))
            placed |= ahead
    return groups


def _graph(transitions: Transitions) -> Graph:
    graph: Graph = {}
    for (start, _), ways in transitions.items():
        graph.setdefault(start, set()).update(way.to for way in ways)
    return graph


def _reversed(graph: Graph) -> Graph:
    back: Graph = {}
    for start, ends in graph.items():
        for end in ends:
            back.setdefault(end, set()).add(start)
    return back


def _spread(graph: Graph, starts: Iterable[str | None]) -> frozenset[str]:
    """Everything that can be got to, without the beginning, which is no state."""
    found = set(starts)
    left = list(found)
    while left:
        new = graph.get(left.pop(), set()) - found
        found |= new
        left += new
    return frozenset(state for state in found if state is not None)
