"""Which states entities are in, for an activation that would drop some of them.

Looking through every entity takes long, so it is done beside the lane. What moved since is read off the log, in it:
a page of records at most.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, json

from kiff.protocol.state import EntityState
from kiff.runtime.ports import Store

PAGE = 1_000
"""Entities, or records, at a time."""


class InUse(Struct, frozen=True):
    """A look at a tenant's entities of one type.

    Args:
        states: what was looked for.
        found: state -> one of the entities that were in it.
        size: how many records of the log the look takes in.
    """

    entity_type: str
    states: frozenset[str]
    found: dict[str, str]
    size: int

    @property
    def since(self) -> str:
        """The id of the `Moves` that this look does not take in."""
        return f"{self.size}:{self.entity_type}"


class Moves(Struct, frozen=True):
    """What entities of a type came into since their log had a size. It is no row: it is read off the log.

    Args:
        into: state -> one of the entities that came into it.
        size: how many records of the log were looked at.
        complete: the log ended there.
    """

    into: dict[str, str]
    size: int
    complete: bool


def look(store: Store, tenant: str, entity_type: str, states: frozenset[str]) -> InUse:
    """Looks for entities in these states. It may take as long as there are entities."""
    if not states:
        return InUse(entity_type, states, {}, 0)
    head = store.peek((tenant,), ()).heads[tenant]
    moves = Moves({}, 0 if head is None else head.size, False)
    found: dict[str, str] = {}
    for row in _entities(store, tenant, entity_type):
        if row.state in states:
            found.setdefault(row.state, row.entity)
            if len(found) == len(states):
                break
    while not moves.complete:  # what moved during the look, so that little is left for the lane
        moves = moved(store, tenant, f"{moves.size}:{entity_type}")
        found |= {state: entity for state, entity in moves.into.items() if state in states}
    return InUse(entity_type, states, found, moves.size)


def moved(store: Store, tenant: str, since: str) -> Moves:
    """One page of what moved.

    Args:
        since: `<size of the log>:<entity type>`.
    """
    said, entity_type = since.split(":")
    size = int(said)
    rows = store.records(tenant, after=size - 1, limit=PAGE)
    into: dict[str, str] = {}
    for row in rows:
        if row.entity is None or not row.entity.startswith(f"{entity_type}:") or b'"state_changed"' not in row.body:
            continue
        record = json.decode(row.body)
        if record["kind"] == "state_changed":
            into[record["data"]["to"]] = row.entity
    return Moves(into, size + len(rows), len(rows) < PAGE)


def _entities(store: Store, tenant: str, entity_type: str) -> Iterator[EntityState]:
    prefix = f"{entity_type}:"
    after = prefix
    while page := store.entities(tenant, after=after, limit=PAGE):
        for row in page:
            if not row.entity.startswith(prefix):
                return
            yield row
        after = page[-1].entity
