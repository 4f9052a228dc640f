"""What clients of a simulation do: scripts that wait so many milliseconds, or for the answer to a command."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from tills import CALLERS

from kiff.runtime.commands import Command
from kiff.runtime.edge import Edge

if TYPE_CHECKING:
    from simulation import Simulation

TENANT = "default"
ENTITIES = ("a", "b")
SECOND = 1000

Drawn = Callable[[Edge], Command]
"""Draws a command up, at whatever replica it is asked of."""
Script = Generator[Any, Any, None]


def feed(sim: Simulation) -> Script:
    """Says what happens to the tills: they open, and are shut and opened again."""
    for entity in ENTITIES:
        yield _event(sim, "OPENED", entity)
    for _ in range(2):
        yield sim.random.randrange(20 * SECOND)
        entity = sim.random.choice(ENTITIES)
        yield _event(sim, "SHUT", entity)
        yield _event(sim, "OPENED", entity)


def _event(sim: Simulation, kind: str, entity: str) -> Drawn:
    id = f"e{sim.draw()}"
    return lambda edge: edge.ingest(CALLERS["feed"], type=kind, entity=f"till:{entity}", id=id)


def agent(sim: Simulation, calls: int) -> Script:
    """Calls, waits for people, uses what they granted, reports, and asks again what it knows already."""
    for _ in range(calls):
        who, entity = sim.random.choice(("agent", "mary")), sim.random.choice(ENTITIES)
        action = sim.random.choice(("PAY", "PAY", "ASK", "SEND", "ASK_TWO"))
        mode = sim.random.choice(("execute", "execute", "decide"))
        amount, id = sim.random.choice((1, 4, 7)), f"p{sim.draw()}"

        def call(edge: Edge, approval: str | None = None, c: Any = (mode, who, entity, action, amount, id)) -> Command:
            mode, who, entity, action, amount, id = c
            return edge.propose(
                mode,
                CALLERS[who],
                entity=f"till:{entity}",
                action=action,
                parameters={"amount": amount},
                id=id,
                approval_id=approval,
                settles=mode == "decide",
            )

        answer = yield call
        for _ in range(3):
            approval = getattr(answer, "approval_id", None)
            if getattr(answer, "outcome", None) != "approval_required":
                break
            yield sim.random.randrange(8 * SECOND)
            answer = yield lambda edge, call=call, approval=approval: call(edge, approval)
        if mode == "decide" and getattr(answer, "clearance_id", None) and sim.random.random() < 0.8:
            status = sim.random.choice(("succeeded", "failed"))
            yield lambda edge, who=who, id=answer.clearance_id, s=status: edge.settle(CALLERS[who], id, s)
        if sim.random.random() < 0.4:
            yield call  # asked again, whatever came of it
        yield sim.random.randrange(3 * SECOND)


def reviewer(sim: Simulation, who: str) -> Script:
    """Answers what is pending, now and then."""
    while True:
        yield sim.random.randrange(1, 3 * SECOND)
        waiting = sim.store.approvals(TENANT, status="pending")
        if waiting:
            id, verdict = sim.random.choice(waiting).id, sim.random.choice(("grant", "grant", "grant", "deny"))
            key = f"k{sim.draw()}"
            yield lambda edge, id=id, verdict=verdict, key=key: edge.review(CALLERS[who], id, verdict, "seen", key)


def settler(sim: Simulation) -> Script:
    """Somebody who looks what became of what nobody knows."""
    while True:
        yield sim.random.randrange(1, 20 * SECOND)
        unknown = sim.store.clearances(TENANT, status="unknown")
        if unknown:
            id = sim.random.choice(unknown).id
            status = "succeeded" if sim.effects[id] else "failed"
            yield lambda edge, id=id, status=status: edge.settle(CALLERS["nils"], id, status)
