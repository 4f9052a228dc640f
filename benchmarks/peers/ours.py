"""KIFF's side: the same decision through the runtime on SQLite, and with everything in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.subject import AGENT, PARAMETERS, STRIPE, Prepared, domain, from_threads
from kiff import Runtime
from kiff.runtime.clock import Ulids
from kiff.runtime.edge import Edge
from kiff.runtime.governed import Governed
from kiff.runtime.ports import Store
from kiff.runtime.seal import Sealer, sign_each, sign_together
from kiff.runtime.step import step
from kiff.runtime.world import Context, World
from kiff.stores.keyfile import load_or_create
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore


def durable(
    prepared: Prepared, count: int, callers: int, *, receipts: str = "each", store: type[SqliteStore] = SqliteStore
) -> float:
    """Seconds for `count` allowed decisions, each committed and its receipt signed before its caller goes on."""
    with prepared.runtime(receipts=receipts, store=store) as runtime:

        def call(number: int) -> None:
            entity = f"order:{number}"
            answer = runtime.propose(AGENT, entity=entity, action="AUTO_REFUND", parameters=PARAMETERS).result()
            assert answer.outcome == "allowed", answer

        started = time.perf_counter()
        from_threads(callers, count, call)
        return time.perf_counter() - started


class InMemory:
    """All that a lane does for a decision, in one thread, over the store in memory.

    Args:
        count: how many decisions one run may take.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._signer = load_or_create(folder / "memory.pem")
        self._count = count

    def run(self, at_once: int) -> float:
        """Processor seconds for the decisions; several at once share a signature, as with `receipts="batch"`."""
        store = self._paid()
        decide = self._lane(store, at_once)
        numbers = [range(start, start + at_once) for start in range(0, self._count - at_once + 1, at_once)]
        started = time.process_time()
        for batch in numbers:
            decide(batch)
        taken = time.process_time() - started
        return taken * self._count / (len(numbers) * at_once)

    def _paid(self) -> MemoryStore:
        store = MemoryStore()
        with Runtime(store, self._signer, domains=[domain()]) as runtime:
            for event in ("ORDER_PLACED", "ORDER_PAID"):
                for start in range(0, self._count, 2000):
                    orders = range(start, min(start + 2000, self._count))
                    for pending in [runtime.ingest(STRIPE, type=event, entity=f"order:{n}") for n in orders]:
                        pending.result()
        return store

    def _lane(self, store: Store, at_once: int) -> Callable[[range], None]:
        governs, ids = domain(), Ulids()
        context = Context("run_bench", frozenset({"refund.issue_refund"}), {governs.digest: governs})
        edge = Edge(ids, Governed({(AGENT.tenant, governs.entity_type): governs}))
        signing = sign_each if at_once == 1 else sign_together
        sealer = Sealer(store, lambda _: self._signer, "kiff", ids, signing)

        def decide(numbers: range) -> None:
            commands = [
                edge.propose("decide", AGENT, entity=f"order:{n}", action="AUTO_REFUND", parameters=PARAMETERS)
                for n in numbers
            ]
            keys = {key for command in commands for key in command.reads()}
            world = World(context, store.load({AGENT.tenant}, keys))
            for command in commands:
                change = step(world, command)
                assert change.answer.outcome == "allowed"
                world.take(change)
            append, unsigned = sealer.seal(world)
            assert not unsigned
            store.append(append)

        return decide
