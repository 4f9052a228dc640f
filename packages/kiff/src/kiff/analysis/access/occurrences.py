"""Events worth trying on an entity before any happens: those at which the guards of its transitions turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from msgspec import Struct

from kiff.analysis.boundaries.distance import distance
from kiff.analysis.boundaries.examples import Schema, conforms, examples
from kiff.analysis.boundaries.instants import ORDINARY
from kiff.analysis.boundaries.relations import Path, relations
from kiff.analysis.boundaries.space import (
    Assignment,
    Space,
    changed_once,
    changed_twice,
    distinct,
    nearest,
    placed,
    space,
)
from kiff.analysis.boundaries.thresholds import ABSENT, Values, thresholds
from kiff.canonical import admit
from kiff.domain import Domain
from kiff.domain.expr.node import Leaf, Node, walk
from kiff.protocol.instant import rfc3339
from kiff.protocol.state import EntityState
from kiff.runtime.step.fold import Folded, transition

USUAL = 500
NOW: Path = ("now",)

Key = tuple[str | None, str]


class Occurrence(Struct, frozen=True):
    """An event, and the entity that it happens to.

    Args:
        state: None for an entity that nothing has happened to.
        at: the instant (ms).
    """

    state: str | None
    event: str
    attributes: dict[str, Any]
    payload: dict[str, Any]
    at: int = ORDINARY


def lands(domain: Domain, occurrence: Occurrence) -> str | None:
    """Where the entity is afterwards, as the runtime folds; None when the event is refused."""
    folded = _folded(domain, occurrence)
    return None if folded.refusal is not None else folded.entity.state


def event_test(domain: Domain, occurrence: Occurrence, name: str) -> dict[str, Any]:
    """The event as a test file with one case, which expects what comes of it."""
    folded = _folded(domain, occurrence)
    expected = {"state": folded.entity.state} if folded.refusal is None else {"error": folded.refusal.reason}
    state = {} if occurrence.state is None else {"state": occurrence.state}
    happened = {"type": occurrence.event, "payload": occurrence.payload, "on": "it"}
    return {
        "domain": domain.name,
        "now": rfc3339(occurrence.at),
        "entities": {"it": state | occurrence.attributes},
        "cases": [{"name": name, "then": [{"event": happened, "expect": expected}]}],
    }


def _folded(domain: Domain, occurrence: Occurrence) -> Folded:
    data = admit(occurrence.attributes).data
    version = 0 if occurrence.state is None else 1
    entity = EntityState("default", f"{domain.entity_type}:it", domain.name, occurrence.state, version, data)
    return transition(domain, entity, occurrence.event, occurrence.payload, occurrence.at)


def seen_by(domain: Domain, occurrence: Occurrence) -> dict[str, Any]:
    """What guards read of it."""
    version = 0 if occurrence.state is None else 1
    own = {"id": "it", "version": version} | ({} if occurrence.state is None else {"state": occurrence.state})
    entity = {**domain.defaults, **occurrence.attributes, **own}
    return {"entity": entity, "event": occurrence.payload, "now": occurrence.at}


def occurrences(
    domain: Domain, state: str | None, event: str, *, besides: Sequence[Domain] = (), limit: int = USUAL
) -> Iterator[Occurrence]:
    """Events of one type in one state, an ordinary one first, each once.

    Args:
        besides: other versions, whose guards are looked at too.
    """
    domains, key = (domain, *besides), (state, event)
    found = guard_space(domains, key)
    seen: dict[str, Occurrence] = {}
    for at in islice(_assignments(found, _guards(domains, key)), limit):
        occurrence = occurrence_of(key, at)
        if seen.setdefault(repr(occurrence), occurrence) is occurrence:
            yield occurrence


def occurrence_of(key: Key, at: Assignment) -> Occurrence:
    """The event that an assignment means. An entity has no attributes before the first one."""
    state, event = key
    parts = placed(at, "entity", "event")
    own = ("id", "version", "state")
    attributes = {name: value for name, value in parts["entity"].items() if name not in own}
    return Occurrence(state, event, {} if state is None else attributes, parts["event"], at.get(NOW, ORDINARY))


def guard_space(domains: Sequence[Domain], key: Key) -> Space:
    """What can differ between two events of one type in one state."""
    event = key[1]
    guards = _guards(domains, key)
    read: Values = {}
    for guard in guards:
        for path, listed in thresholds(guard, ORDINARY).items():
            read.setdefault(path, []).extend(listed)
    needed = [("event", name) for domain in domains for name in domain.payloads.get(event, {})]
    leaves = [leaf.path for guard in guards for leaf in walk(guard) if isinstance(leaf, Leaf) and not leaf.local]
    values: dict[Path, list[Any]] = {}
    for path in dict.fromkeys((*needed, *(path for path in leaves if path[0] in ("entity", "event")))):
        values[path] = _values(domains, key, path, read)
    if NOW in leaves:
        values[NOW] = distinct((ORDINARY, *(each for each in read.get(NOW, ()) if each is not ABSENT)))
    return space(values, (relation for guard in guards for relation in relations(guard)))


def _guards(domains: Sequence[Domain], key: Key) -> list[Node]:
    return [way.when.node for each in domains for way in each.transitions.get(key, ()) if way.when is not None]


def _assignments(found: Space, guards: Sequence[Node]) -> Iterator[Assignment]:
    yield found.ordinary
    anchors = []
    for wanted in (True, False):
        for guard in guards:
            far = distance(guard, wanted)
            anchors.append(nearest(found, found.ordinary, lambda at, _, far=far: far(_env(at))))  # type: ignore[misc]
    yield from anchors
    for anchor in (found.ordinary, *anchors):
        yield from changed_once(found, anchor)
    yield from changed_twice(found, found.ordinary)


def _env(at: Assignment) -> dict[str, Any]:
    return placed(at, "entity", "event") | {"now": at.get(NOW, ORDINARY)}


def _values(domains: Sequence[Domain], key: Key, path: Path, read: Values) -> list[Any]:
    """Of an attribute, or a field of the payload. What an entity has of its own (`id`, `state`) is not tried."""
    declared = [d.attributes if path[0] == "entity" else d.payloads.get(key[1], {}) for d in domains]
    schemas: list[Schema] = [each[path[1]] for each in declared if path[1] in each and len(path) == 2]
    if not schemas:
        return []
    tried = [value for schema in (*_becoming(domains, key, path), *schemas) for value in examples(schema)]
    found = distinct(value for value in (*tried, *read.get(path, ())) if value is not ABSENT)
    found = [value for value in found if not isinstance(value, tuple) and conforms(value, schemas[0])]
    return [ABSENT, *found] if any(schema.get("optional") for schema in schemas) else found


def _becoming(domains: Sequence[Domain], key: Key, path: Path) -> Iterator[Schema]:
    """The schemas of the attributes that are set to what stands at a path: it must fit them too."""
    for domain in domains:
        for way in domain.transitions.get(key, ()):
            for name, value in way.set:
                if isinstance(value.node, Leaf) and value.node.path == path:
                    yield domain.attributes[name]
