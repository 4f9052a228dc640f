"""Stepping a command over a world that is loaded as the step asks for it. The lane does it, and a rehearsal."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.errors import KiffError
from kiff.runtime.commands import Command
from kiff.runtime.governed import Governed
from kiff.runtime.in_use import Moves, moved
from kiff.runtime.ports import Key, Slice, Store
from kiff.runtime.rows import POLICY, ActivePolicy, DomainVersion, PolicyVersion
from kiff.runtime.step import step
from kiff.runtime.world import Change, NotLoaded, World

ROUNDS = 3
"""How often a batch is stepped again after a conflict."""
LOADS = 12
"""How often a step may ask for more keys: one row may name the next, and a shadow asks after everything else."""


Load = Callable[[Iterable[str], Iterable[Key]], Slice]
"""`Store.load`, or `Store.peek`."""
Ahead = Callable[[], Iterable[Command]]


def with_moves(read: Load, store: Store) -> Load:
    """`read`, that answers for `Moves` too: what no table holds is read off the log."""

    def both(tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        keys = list(keys)
        loaded = read(tenants, [key for key in keys if key[0] is not Moves])
        for key in keys:
            if key[0] is Moves:
                loaded.rows[key] = moved(store, key[1], key[2])  # type: ignore[assignment]  # it is asked for like a row
        return loaded

    return both


def rounds(read: Load, domains: dict[str, Domain], world: World, command: Command, ahead: Ahead = tuple) -> Change:
    """Steps one command, loading what it lacks. The world does not take the change.

    Args:
        domains: the compiled versions the world's context shows; versions met for the first time are added.
        ahead: commands that are stepped next. What they lack is loaded together with what this one lacks: a round trip
            for the batch, and not for each of them.

    Raises:
        StoreError: the store cannot serve. Anything else is a defect that this command runs into.
    """
    for _ in range(LOADS + 1):
        try:
            return step(world, command)
        except NotLoaded as missing:
            keys = dict.fromkeys(missing.keys)
            for later in ahead():
                keys |= dict.fromkeys(_lacking(world, later))
            load(read, domains, world, keys)
    raise KiffError("a step kept asking for more of the world; this is a defect")


def _lacking(world: World, command: Command) -> Iterable[Key]:
    """What a step would ask for now. It is pure, so it may be tried; what it finds is stepped again in its turn."""
    try:
        step(world, command)
    except NotLoaded as missing:
        return missing.keys
    except Exception:  # noqa: BLE001  in its turn it fails for itself
        return ()
    return ()


def load(read: Load, domains: dict[str, Domain], world: World, keys: Iterable[Key]) -> None:
    """Takes more of the store into the world; versions of domains and policies among it are compiled."""
    loaded = read((), keys)
    policies = world.context.policies
    for row in loaded.rows.values():
        if isinstance(row, DomainVersion) and row.digest not in domains:
            domains[row.digest] = Domain.from_content(row.content)
        elif isinstance(row, PolicyVersion) and row.digest not in policies:
            policies[row.digest] = Policy.from_content(row.content)
    world.add(loaded)


def active_domains(store: Store) -> dict[str, Domain]:
    """The versions that are asked, ready before the first command. Others are compiled when a record names them."""
    rows = store.active_domains()
    active = {row.digest for row in rows} | {row.shadow_digest for row in rows}
    published = {row.digest: row.content for row in store.domain_versions() if row.digest in active}
    return {digest: Domain.from_content(content) for digest, content in published.items()}


def look_for_domains(store: Store, domains: dict[str, Domain], governs: Governed) -> None:
    """Learns what other processes activated, before a command is drawn up by it.

    Args:
        domains: compiled versions by digest; those that are met for the first time are added.
    """
    rows = store.active_domains()
    for row in rows:
        if row.digest not in domains:
            version = store.row(DomainVersion, row.tenant, row.version)
            if version is not None:
                domains[row.digest] = Domain.from_content(version.content)
    governs.learn(rows, domains)


def active_policies(store: Store) -> dict[str, Policy]:
    """The policy versions that hold, ready before the first command."""
    found: dict[str, Policy] = {}
    for head in store.heads():
        active = store.row(ActivePolicy, head.tenant, POLICY)
        if active is not None and active.version and active.digest not in found:
            row = store.row(PolicyVersion, head.tenant, active.version)
            if row is not None:
                found[row.digest] = Policy.from_content(row.content)
    return found
