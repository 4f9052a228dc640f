"""Replicas, clients, executors and a store that lose, delay and die, in virtual time: one seed is one history.

The replicas run the real lane over the real step; only its thread, its pauses and its clock are ours. The store is
the one in memory behind a wire: a call takes time, its reply may be lost after it did its work, before, or while its
work is still to come; a replica may die at any of these points. Executors make their effect, or not, and say so, or
not. Clients ask again with the same id, of any replica.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any, ClassVar

import orjson
from plain_facts import HOURLY_CAP, MAY_BE_TRIED_AGAIN
from promises import Happened, held_by, truth_of
from tills import DOMAIN, SIGNER, START, TRUSTED
from universe import Everything
from virtual_clients import SECOND, TENANT, Drawn, Script, agent, feed, reviewer, settler
from virtual_replica import Replica, Shared
from virtual_time import Moments

import kiff.runtime.lane
from kiff import Caller
from kiff.analysis import replay_store, verify_store
from kiff.errors import StoreConflict, StoreError, StoreRefused
from kiff.protocol.authority import AUTHOR
from kiff.protocol.clearance import Clearance
from kiff.protocol.limit import Usage
from kiff.runtime.answers import Decided
from kiff.runtime.commands import SYSTEM, Activate, Command, Ingest, Propose, Review
from kiff.runtime.lane import Item, Lane
from kiff.runtime.ports import Append
from kiff.runtime.rows import CommandRow
from kiff.runtime.seal import Sealer, sign_each
from kiff.runtime.world import Context


class Simulation:
    """One history.

    Args:
        calls: how many calls each agent makes.
        proves: verifies the log and decides it again at the end, which takes as long as a third of the history.
    """

    TROUBLE: ClassVar[dict[str, float]] = {
        "unavailable": 0.02,
        "lost_before": 0.03,
        "lost_after": 0.05,
        "still_to_come": 0.03,
    }
    """How likely it is, for each call over a wire, that this goes wrong."""

    def __init__(self, seed: int, *, replicas: int = 3, agents: int = 3, calls: int = 4, proves: bool = True) -> None:
        self.proves = proves
        self.random = Random(seed)
        self.moments = Moments()
        self.after = self.moments.after
        self.figures: Counter[str] = Counter()
        self.most_used = 0
        self.store = Shared(SimpleNamespace(now=lambda: START + self.moments.now))  # type: ignore[arg-type]
        self._ids = 0
        self.calm = False
        self.commands: list[Command] = []
        self.effects: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self.first: dict[str, Any] = {}
        self.domains = {DOMAIN.digest: DOMAIN}
        self._publish()
        self.replicas = [Replica(self, number) for number in range(replicas)]
        scripts = [feed(self), *(agent(self, calls) for _ in range(agents))]
        scripts += [reviewer(self, "nils"), reviewer(self, "olga"), settler(self)]
        self.agents = 1 + agents
        for number, script in enumerate(scripts):
            self._go(script, None, counts=number < self.agents)

    # the ports: a clock and ids

    @property
    def now(self) -> int:  # type: ignore[override]
        return self.moments.now

    def monotonic(self) -> float:
        return self.moments.now / 1000

    def draw(self) -> str:
        self._ids += 1
        return f"{self._ids:026d}"

    def bad(self, what: str) -> bool:
        happens = not self.calm and self.random.random() < self.TROUBLE[what]
        self.figures[what] += happens
        return happens

    # what is written

    def _publish(self) -> None:
        """The domain governs before anything else happens."""
        answer: Future[Any] = Future()
        lane = self.lane(self.store, None, "run_first")
        command = Activate(Caller(SYSTEM, (AUTHOR,), TENANT), DOMAIN, self.draw())
        lane._serve([Item(TENANT, command, answer)])
        assert answer.result().changed

    def lane(self, store: Any, runner: Any, owner: str) -> Lane:
        context = Context(owner, frozenset({"till.pay"}), self.domains)
        sealer = Sealer(store, lambda _: SIGNER, "kiff", self, sign_each)
        return Lane(
            store, sealer, context, self.domains, runner, max_waiting=1000, monotonic=self.monotonic, tenant=TENANT
        )

    def written(self, batch: Append) -> None:
        self.store.append(batch)
        self.figures["commits"] += 1
        for row in batch.rows:
            if isinstance(row, Usage) and row.kind == "budget":
                count = orjson.loads(row.state)
                self.most_used = max(self.most_used, count["spent"] + count["held"])

    def late(self, batch: Append) -> None:
        """A commit whose reply was lost long ago arrives."""
        try:
            self.written(batch)
            self.figures["came_late"] += 1
        except (StoreConflict, StoreRefused):
            pass

    # what happens outside

    def handed(self, id: str) -> None:
        self.begun[id] += 1
        row = self.store.row(Clearance, TENANT, id)
        assert row is not None and row.status == "open", f"`{id}` runs, and its clearance is {row and row.status}"
        assert self.begun[id] == 1, f"`{id}` was handed to an executor twice"

    def effect(self, id: str) -> None:
        self.effects[id] += 1
        assert self.store.row(Clearance, TENANT, id) is not None, f"`{id}` happened without a clearance"

    def _acknowledged(self, command: Command, answer: Any) -> None:
        """What a caller was told is durable, and it is told the same whenever it asks again."""
        if not isinstance(command, Propose | Review | Ingest) or isinstance(answer, Exception):
            return
        self.figures["answers"] += 1
        row = self.store.row(CommandRow, TENANT, command.id)
        assert row is not None, f"`{command.id}` was answered, and is not there"
        shown: Any = answer
        if isinstance(answer, Decided):
            if answer.outcome == "approval_required" or answer.reason in MAY_BE_TRIED_AGAIN:
                return  # that is not the last word
            shown = (answer.outcome, answer.reason, answer.clearance_id, answer.approval_id)
        first = self.first.setdefault(f"{command.id} {command.digest}", shown)
        assert first == shown, f"`{command.id}` was answered {first}, and then {shown}"

    # clients

    def ask(self, drawn: Drawn, on_answer: Callable[[Any], None], tries: int = 40) -> None:
        """Asks any replica, and again with the same id until there is an answer."""
        up = [replica for replica in self.replicas if replica.up]
        heard = False

        def on_end(answer: Any) -> None:
            nonlocal heard
            if not isinstance(answer, StoreError | ConnectionError):
                self._acknowledged(command, answer)
            if heard:
                return
            heard = True
            if isinstance(answer, StoreError | ConnectionError) and tries:
                self.figures["asked_again"] += 1
                self.after(self.random.randrange(500), lambda: self.ask(drawn, on_answer, tries - 1))
            else:
                on_answer(answer)

        if not up:
            self.after(200, lambda: self.ask(drawn, on_answer, tries))
            return
        replica = self.random.choice(up)
        command = drawn(replica.edge)
        self.commands.append(command)
        replica.put(command, on_end)
        if not self.calm:
            patience = self.random.choice((500, 3 * SECOND, 60 * SECOND))
            self.after(patience, lambda: on_end(ConnectionError("no answer yet")))

    def _go(self, script: Script, value: Any, *, counts: bool) -> None:
        try:
            wanted = script.send(value)
        except StopIteration:
            self.agents -= counts
            return
        if isinstance(wanted, int):
            self.after(wanted, lambda: self._go(script, None, counts=counts))
        else:
            self.ask(wanted, lambda answer: self._go(script, answer, counts=counts))

    # the run

    def run(self) -> Counter[str]:
        """Lives it, and holds the end against what was promised."""
        with no_real_time(self):
            try:
                for replica in self.replicas:
                    self._ticks(replica)
                for _ in range(self.random.randrange(4)):
                    self.after(self.random.randrange(60 * SECOND), self._kill)
                self.after(90 * SECOND, self._calm)
                self.moments.run(lambda: self.calm and self.agents == 0, most=60_000)
                self._signed()
            finally:
                for replica in self.replicas:
                    if replica.up:
                        replica.die()
        self._judge()
        return self.figures

    def _ticks(self, replica: Replica) -> None:
        def again() -> None:
            replica.tick()
            self.after(2 * SECOND, again)

        self.after(self.random.randrange(SECOND), again)

    def _calm(self) -> None:
        self.calm = True

    def _kill(self) -> None:
        up = [replica for replica in self.replicas if replica.up]
        if up and not self.calm:
            replica = self.random.choice(up)
            replica.die()
            self.figures["kills"] += 1
            self.after(self.random.randrange(5 * SECOND), replica.begin_again)

    def _signed(self) -> None:
        done: list[Any] = []
        self.after(6 * SECOND, lambda: self.replicas[0].put(None, done.append))
        self.moments.run(lambda: bool(done), most=20_000)

    def _judge(self) -> None:
        rows = Everything(self.store._rows)
        executed = {
            data["operation_id"]
            for row in self.store.records(TENANT, limit=100_000)
            if (record := orjson.loads(row.body))["kind"] in ("action_executed", "clearance_expired")
            for data in [record["data"]]
        }
        broken = list(held_by(truth_of(self.commands), rows, Happened(spent=frozenset(executed))))
        assert broken == [], broken
        assert all(count == 1 for count in self.effects.values()), "an effect happened twice"
        disputed = any(row.disputed for row in self.store.clearances(TENANT))
        assert disputed or self.most_used <= HOURLY_CAP, "a cap was exceeded"
        if self.proves:
            assert verify_store(self.store, TRUSTED).problems == ()
            assert replay_store(self.store).problems == ()
        self.figures["effects"] = sum(self.effects.values())
        self.figures["records"] = self.store.heads()[0].size


@contextmanager
def no_real_time(sim: Simulation) -> Iterator[None]:
    """The lane's pauses and its clock are virtual."""
    module: Any = kiff.runtime.lane
    before = module.time, module._pause
    module.time = SimpleNamespace(monotonic=sim.monotonic, sleep=lambda _: None)
    module._pause = lambda seconds, number: None  # every call over the wire takes its time anyway
    try:
        yield
    finally:
        module.time, module._pause = before
