"""How an entity gets into each state: the shortest way through the transition table, as events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kiff.cli.scaffolding.examples import example_payloads
from kiff.domain import Domain
from kiff.domain.way import Way
from kiff.protocol.state import EntityState
from kiff.runtime.step.fold import transition

Step = tuple[str, dict[str, Any]]
"""An event and its payload."""
Paths = dict[str, tuple[Step, ...]]


def paths(domain: Domain) -> Paths:
    """State -> the steps that lead there from the beginning, in the order of `states`, without unreachable ones.

    A way is only taken where a payload was found that opens its guard. What asks the time is not taken at all.
    """
    begin = EntityState("", f"{domain.entity_type}:1", domain.name, None, 0)
    found: dict[str | None, tuple[Step, ...]] = {None: ()}
    for entity in (waiting := [begin]):
        for step, after in _next(domain, entity):
            if after.state not in found:
                found[after.state] = (*found[entity.state], step)
                waiting.append(after)
    return {state: found[state] for state in domain.states if state in found}


def _next(domain: Domain, entity: EntityState) -> Iterator[tuple[Step, EntityState]]:
    """What one event can lead to."""
    for event in domain.events:
        ways = domain.transitions.get((entity.state, event), ())
        if ways and not any(map(_asks_the_time, ways)):
            for payload in example_payloads(domain, event):
                folded = transition(domain, entity, event, payload, 0)
                if folded.refusal is None:
                    yield (event, payload), folded.entity


def _asks_the_time(way: Way) -> bool:
    expressions = [value for _, value in way.set] + ([way.when] if way.when else [])
    return any("now" in expression.reads for expression in expressions)
