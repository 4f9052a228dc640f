"""A dry run: the same edge and the same step, over a store that is only read.

Nothing is written, reserved or opened, so it needs neither the writer's lock nor a key.
"""

from __future__ import annotations

from collections.abc import Iterable

from kiff.runtime.clock import Ulids
from kiff.runtime.commands import Command
from kiff.runtime.edge import Edge
from kiff.runtime.ports import Store
from kiff.runtime.rounds import active_domains, rounds
from kiff.runtime.world import Change, Context, World


class Rehearsal:
    """What commands would do to a store as it stands.

    Args:
        store: best a snapshot; only read.
        executors: the names that a runtime over it would have.

    Attributes:
        edge: draws up commands, as a runtime's edge would.
    """

    def __init__(self, store: Store, executors: Iterable[str] = ()) -> None:
        self._store = store
        self._domains = active_domains(store)
        self._context = Context("rehearsal", frozenset(executors), self._domains)
        governs = {(row.tenant, row.entity_type): row.domain for row in store.active_domains()}
        self.edge = Edge(Ulids(), governs)

    def take(self, command: Command) -> Change:
        """What the command would change now. The change is dropped; its ids mean nothing.

        Raises:
            KiffError: what the command itself would be answered with.
        """
        world = World(self._context, self._store.load({command.tenant}, command.reads()))
        change = rounds(self._store, self._domains, world, command)
        if isinstance(change.answer, Exception):
            raise change.answer
        return change
