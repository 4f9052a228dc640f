"""A dry run: the same edge and the same step, over a store that is only read.

Nothing is written, reserved or opened, so it needs neither the writer's lock nor a key.
"""

from __future__ import annotations

from collections.abc import Iterable

from kiff.domain import Domain
from kiff.runtime.clock import Ulids
from kiff.runtime.commands import Command
from kiff.runtime.edge import Edge
from kiff.runtime.ports import Store
from kiff.runtime.rounds import active_domains, rounds, with_moves
from kiff.runtime.world import Change, Context, World


class Rehearsal:
    """What commands would do to a store as it stands.

    Args:
        store: a snapshot, or one that a lane writes.
        executors: the names that a runtime over it would have.
        edge: draws up commands; one for the store's active domains, when not given.
        domains: compiled versions by digest; those that are active, when not given.
    """

    def __init__(
        self,
        store: Store,
        executors: Iterable[str] = (),
        *,
        edge: Edge | None = None,
        domains: dict[str, Domain] | None = None,
    ) -> None:
        self._store = store
        self._domains = active_domains(store) if domains is None else domains
        self._context = Context("rehearsal", frozenset(executors), self._domains)
        self.edge = edge or Edge(Ulids(), {(row.tenant, row.entity_type): row.domain for row in store.active_domains()})

    def take(self, command: Command) -> Change:
        """What the command would change now. The change is dropped; its ids mean nothing.

        Raises:
            KiffError: what the command itself would be answered with.
        """
        world = World(self._context, self._store.peek({command.tenant}, command.reads()))
        change = rounds(with_moves(self._store.peek, self._store), self._domains, world, command)
        if isinstance(change.answer, Exception):
            raise change.answer
        return change
