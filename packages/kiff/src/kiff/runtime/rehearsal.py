"""A dry run: the same edge and the same step, over a store that is only read.

Nothing is written, reserved or opened, so it needs neither the writer's lock nor a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import structs

from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.runtime.clock import Ulids
from kiff.runtime.commands import Command
from kiff.runtime.edge import Edge
from kiff.runtime.governed import Governed
from kiff.runtime.ports import Remote, Store
from kiff.runtime.rounds import active_domains, active_policies, rounds, with_moves
from kiff.runtime.vault import Vault
from kiff.runtime.world import Change, Context, World


class Rehearsal:
    """What commands would do to a store as it stands.

    Args:
        store: a snapshot, or one that a lane writes.
        executors: the names that a runtime over it would have; `remote` is what it would reach.
        edge: draws up commands; one for the store's active domains, when not given.
        domains, policies: compiled versions by digest; those that are active, when not given.
        vault: as in `Runtime`; with another one than the runtime's, no approval fits a call with sensitive values.
    """

    def __init__(
        self,
        store: Store,
        executors: Iterable[str] = (),
        *,
        edge: Edge | None = None,
        domains: dict[str, Domain] | None = None,
        policies: dict[str, Policy] | None = None,
        vault: bytes | Callable[[], bytes] | None = None,
        remote: Remote | None = None,
    ) -> None:
        self._store = store
        self._domains = active_domains(store) if domains is None else domains
        known = active_policies(store) if policies is None else policies
        self._context = Context("rehearsal", frozenset(executors), self._domains, known)
        if remote is not None:
            self._context = structs.replace(self._context, usable=remote.usable)
        governs = self._domains if domains is None or edge is not None else active_domains(store)
        self.edge = edge or Edge(Ulids(), Governed.by(store, governs), Vault(vault))

    def take(self, command: Command) -> Change:
        """What the command would change now. The change is dropped; its ids mean nothing.

        Raises:
            KiffError: what the command itself would be answered with.
        """
        world = World(self._context, self._store.peek({command.tenant}, command.reads()))
        change = rounds(with_moves(self._store.peek, self._store), self._domains, world, command)
        if not self._store.exclusive:
            self.edge.governs.learn(world.rows.values(), self._domains)
        if isinstance(change.answer, Exception):
            raise change.answer
        return change
