"""What moves an entity: a way that an event opens under a guard, or time that brings an event by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kiff.domain.compiled import compile
from kiff.domain.document import Json, seconds
from kiff.domain.expr import BOOL, Expression
from kiff.domain.scope import transition_scope, type_of_attribute


class Way(NamedTuple):
    """Where an event leads from a state.

    Args:
        to: the state it leads to.
        when: the guard that must be true; None asks nothing.
        set: (attribute, its new value): read off the entity as it was before the event, all at once.
    """

    to: str
    when: Expression | None = None
    set: tuple[tuple[str, Expression], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it asks nothing and sets nothing."""
        return self.when is None and not self.set


class Timeout(NamedTuple):
    """The event that comes when an entity has been in a state for so many milliseconds."""

    event: str
    after_ms: int


def ways_of(document: Json) -> dict[tuple[str | None, str], tuple[Way, ...]]:
    """(state, event) -> its ways, of a document in its normal form; the state is None before the first event."""
    table: dict[tuple[str | None, str], tuple[Way, ...]] = {}
    for transition in document["transitions"]:
        key = transition.get("from"), transition["on"]
        table[key] = (*table.get(key, ()), _way(document, transition))
    return table


def timeouts_of(document: Json) -> dict[str, tuple[Timeout, ...]]:
    """State -> what comes by itself in it, of a document in its normal form."""
    timed: dict[str, tuple[Timeout, ...]] = {}
    for timeout in document.get("timeouts", ()):
        each = Timeout(timeout["emit"], 1000 * seconds(timeout["after"]))
        timed[timeout["in"]] = (*timed.get(timeout["in"], ()), each)
    return timed


def _way(document: Json, transition: Json) -> Way:
    if not (transition.get("when") or transition.get("set")):
        return Way(transition["to"])
    scope = transition_scope(document, transition["on"], first="from" not in transition)
    when = compile(transition["when"], scope, BOOL) if transition.get("when") else None
    values: Mapping[str, Any] = transition.get("set", {})
    expected = {name: type_of_attribute(document, name) for name in values}
    return Way(transition["to"], when, tuple((name, compile(values[name], scope, expected[name])) for name in values))
