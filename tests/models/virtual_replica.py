"""A replica of a simulation: the real lane and step, with a wire to the store and executors that take their time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from tills import DOMAIN, START
from virtual_clients import SECOND, TENANT
from virtual_time import Fiber

from kiff.errors import StoreConflict, StoreInDoubt, StoreUnavailable
from kiff.protocol.clearance import Clearance
from kiff.runtime.commands import Command, Expire, Settle
from kiff.runtime.edge import Edge
from kiff.runtime.governed import Governed
from kiff.runtime.lane import BATCH, Item
from kiff.runtime.ports import Append, Key, Slice
from kiff.runtime.recovery import KINDS
from kiff.stores.memory import MemoryStore

if TYPE_CHECKING:
    from simulation import Simulation


class Shared(MemoryStore):
    """A store that several replicas write."""

    exclusive = False


class Wire:
    """A replica's way to the store."""

    exclusive = False

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._sim = replica.sim

    def load(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        self._replica.wait()
        if self._sim.bad("unavailable"):
            raise StoreUnavailable("the line is down")
        loaded = self._sim.store.load(list(tenants), list(keys))
        self._replica.wait()
        return loaded

    def append(self, batch: Append) -> None:
        batch.receipts = list(batch.receipts)
        self._replica.wait()
        if self._sim.bad("unavailable"):
            raise StoreUnavailable("the line is down")
        if self._sim.bad("lost_before"):
            raise self._lost()
        if self._sim.bad("still_to_come"):
            self._sim.after(self._sim.random.randrange(4 * SECOND), lambda: self._sim.late(batch))
            raise self._lost()
        try:
            self._sim.written(batch)
        except StoreConflict:
            self._sim.figures["conflicts"] += 1
            self._replica.wait()
            raise
        if self._sim.bad("lost_after"):
            raise self._lost()
        self._replica.wait()

    def leaves(self, tenant: str, *, after: int = -1, limit: int = 1000) -> list[bytes]:
        self._replica.wait()
        if self._sim.bad("unavailable"):
            raise StoreUnavailable("the line is down")
        return self._sim.store.leaves(tenant, after=after, limit=limit)

    def _lost(self) -> StoreInDoubt:
        self._replica.wait()
        return StoreInDoubt("the reply was lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sim.store, name)


class Replica:
    """One process: a lane, and executors that it started. When it dies, another one takes its place."""

    def __init__(self, sim: Simulation, number: int) -> None:
        self.sim, self.number = sim, number
        self.edge = Edge(sim, Governed({(TENANT, "till"): DOMAIN}))
        self._start()

    def _start(self) -> None:
        sim, wire = self.sim, Wire(self)
        self.fiber: Fiber | None = None
        self.owner = f"run_{sim.draw()}"
        self.up, self.idle = True, False
        self.asked: dict[Future[Any], Callable[[Any], None]] = {}
        self.overdue: dict[str, int] = {}
        self.lane = sim.lane(wire, self, self.owner)
        self.fiber = Fiber(self._work)
        self.fiber.turn()

    def _work(self) -> None:
        """What the lane's thread does, without its waits."""
        lane = self.lane
        while True:
            self.idle = True
            self.fiber.wait()
            self.idle = False
            while len(lane.queue) or lane._unreported:
                batch = lane._unreported + (lane.queue.take(BATCH, 0) or []) + lane._ended_elsewhere()
                lane._unreported = []
                lane._serve(batch)
                self.wait()
            if ended := lane._ended_elsewhere():
                lane._serve(ended)

    def wait(self) -> None:
        """A moment passes, in which anything else may happen."""
        fiber = self.fiber
        self.sim.after(
            self.sim.random.randrange(1, 40), lambda: fiber.turn() if fiber is self.fiber and self.up else None
        )
        fiber.wait()

    def wake(self) -> None:
        if self.up and self.idle:
            self.fiber.turn()

    def put(self, command: Command | None, on_end: Callable[[Any], None] | None = None) -> None:
        future: Future[Any] | None = None
        if on_end is not None:
            future = Future()
            self.asked[future] = on_end
            future.add_done_callback(self._ended)
        self.lane.queue.put(TENANT, Item(TENANT, command, future))
        self.sim.after(1, self.wake)

    def _ended(self, future: Future[Any]) -> None:
        on_end = self.asked.pop(future)
        answer = future.exception() or future.result()
        self.sim.after(1, lambda: on_end(answer))

    def die(self) -> None:
        """Nothing that it was about to do happens any more; whoever asked it hears nothing."""
        self.up = False
        self.fiber.kill()
        self.lane._sealer.close()
        asked = list(self.asked.values())
        self.asked.clear()
        for on_end in asked:
            self.sim.after(50, lambda on_end=on_end: on_end(ConnectionError("it is gone")))  # type: ignore[misc]

    def begin_again(self) -> None:
        self._start()

    def tick(self) -> None:
        """What the sweep's thread does."""
        if self.up:
            late = [id for id, deadline in self.overdue.items() if deadline <= self.sim.now]
            for id in late:
                del self.overdue[id]
                self.put(Settle(TENANT, id, "unknown", "deadline", self.sim.draw(), message="late"))
            for row in self.sim.store.due(START + self.sim.now):
                self.put(Expire(TENANT, KINDS[type(row)], row.id, self.sim.draw()))
            if self.lane._elsewhere:
                self.wake()

    # the lane's runner

    def reserve(self, tenant: str) -> None:
        pass

    def release(self, tenant: str) -> None:
        pass

    def start(self, clearance: Clearance, proposal: Any, contract: Any, since: float) -> None:
        """The effect happens, or not; its answer comes, or is lost; all of it takes a while."""
        sim, id, lane = self.sim, clearance.id, self.lane
        if since + contract.timeout_seconds <= sim.now / 1000:  # as Slots does
            self.put(Settle(TENANT, id, "failed", "executor", sim.draw(), entity=clearance.entity))
            return
        sim.handed(id)
        self.overdue[id] = sim.now + 1000 * contract.timeout_seconds
        says = sim.random.choice(("succeeded", "succeeded", "succeeded", "failed", "unknown", "nothing"))

        def effect() -> None:
            if (
                lane is self.lane and self.up
            ) or sim.random.random() < 0.5:  # what was sent arrives, also from the dead
                sim.effect(id)

        def answer() -> None:
            if lane is self.lane and self.up:
                self.overdue.pop(id, None)
                self.put(Settle(TENANT, id, says, "executor", sim.draw(), entity=clearance.entity))  # type: ignore[arg-type]

        takes = sim.random.randrange(2 * SECOND)
        if says != "failed":
            sim.after(takes, effect)
        if says != "nothing":
            sim.after(takes + sim.random.choice((10, 500, 40 * SECOND)), answer)
