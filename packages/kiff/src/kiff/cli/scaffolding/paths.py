"""How an entity gets into each state: the shortest way through the transition table, as events."""

from __future__ import annotations

from kiff.domain import Domain

Paths = dict[str, tuple[str, ...]]


def paths(domain: Domain) -> Paths:
    """State -> the events that lead there from the beginning, in the order of `states`, without unreachable ones."""
    found: dict[str | None, tuple[str, ...]] = {None: ()}
    for start in (waiting := list(found)):
        for event in domain.events:
            end = domain.transitions.get((start, event))
            if end is not None and end not in found:
                found[end] = (*found[start], event)
                waiting.append(end)
    return {state: found[state] for state in domain.states if state in found}
