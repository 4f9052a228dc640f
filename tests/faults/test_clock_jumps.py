"""A wall clock that jumps by hours, back and forth, while a shop works, between its lives and under its executors:
a log's time never goes back, nothing is approved or used past its expiry, no timer is early, caps hold, and nothing
happens twice (DESIGN invariants 1, 9, 11).

Time is judged as the log tells it, from its records alone.

    KIFF_CLOCK_SEED=<n>  draws the same jumps and the same work
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aftermath import TENANT, problems
from msgspec.structs import replace
from outside import Book
from power.replay import seed_of
from refund_shop import AGENT, HUMAN, STRIPE, WAIT, SteppedClock, open_shop
from reliability import note_run

from kiff import Operation, Runtime, load
from kiff.errors import KiffError
from kiff.protocol.instant import parse_rfc3339
from kiff.runtime.ports import Key, Slice
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
FAR = (-30 * DAY, -DAY, DAY, 30 * DAY)
NEAR = (-5 * HOUR, -HOUR, -HOUR, -20 * MINUTE, -20 * MINUTE, -1, 1, 10 * MINUTE, 20 * MINUTE, HOUR, HOUR, 5 * HOUR)
PER_DAY, PER_HOUR, AMOUNT = 40, 15, 5

DOMAIN = f"""
domain: clocked
version: v1
entity: Order
events: [PLACED, PAID_FOR, REFUNDED, LAPSED]
states: [CREATED, PAID, REFUNDED, LAPSED]
transitions:
  - {{on: PLACED, to: CREATED}}
  - {{on: PAID_FOR, from: CREATED, to: PAID}}
  - {{on: LAPSED, from: CREATED, to: LAPSED}}
  - {{on: REFUNDED, from: PAID, to: REFUNDED}}
timeouts:
  - {{in: CREATED, after: 2h, emit: LAPSED}}
actions:
  - name: REFUND
    allowed_states: [PAID]
    required_permissions: [orders.refund]
    required_parameters: [amount]
    risk: low
    approval: never
    executor: refund.issue
    emits: [REFUNDED]
    parameters: {{amount: {{type: integer, minimum: 1, maximum: 100}}}}
    limits:
      - {{id: daily, kind: budget, max: {PER_DAY}, per: day, amount: parameters.amount}}
      - {{id: hourly, kind: budget, max: {PER_HOUR}, per: 1h, amount: parameters.amount}}
  - name: REFUND_LARGE
    allowed_states: [PAID]
    required_permissions: [orders.refund]
    required_parameters: [amount]
    risk: high
    approval: required
    executor: refund.issue
    emits: [REFUNDED]
    parameters: {{amount: {{type: integer, minimum: 1, maximum: 100}}}}
    approval_policy: {{expires: 1h, use_within: 15m}}
permissions:
  roles: {{ops_agent: [orders.refund], ops_operator: [orders.approve], adapter: [events.ingest]}}
"""


class Forgetful:
    """The mutant: a store that does not know how late it is in its log."""

    exclusive = True

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def load(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        found = self._store.load(tenants, keys)
        heads = {tenant: head and replace(head, last_at=0) for tenant, head in found.heads.items()}
        return replace(found, heads=heads)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Day:
    """A shop at work under a clock that jumps."""

    def __init__(self, folder: Path, book: Book, seed: int, *, forgetful: bool = False) -> None:
        self.clock = SteppedClock()
        self.jumps = 0
        self._folder = folder
        self._book = book
        self._draw = random.Random(seed)
        self._forgetful = forgetful
        self._orders = 0
        self._held: list[Any] = []
        often = (self._grant, self._use)
        self._works = (self._place, self._refund, self._refund, self._hold, self._settle, *often, *often)

    def live(self, steps: int) -> list[str]:
        """Starts, works, and stops. Returns what is wrong then."""
        self.jump()
        store: Any = SqliteStore(self._folder / "shop.db", clock=self.clock)
        store = Forgetful(store) if self._forgetful else store
        governed = load(DOMAIN)
        with open_shop(self._folder, self._issue, governed=governed, clock=self.clock, store=store) as runtime:
            runtime._sweeper.close()  # deadlines are looked for when the seed says so
            for _ in range(steps):
                self._step(runtime)
            found = problems(self._folder, runtime, self._book, [])
        return found + list(wrong_by_the_log(self._folder / "shop.db"))

    def jump(self) -> None:
        self.jumps += 1
        self.clock.wall += self._draw.choice(FAR if self._draw.random() < 0.05 else NEAR)

    def _step(self, runtime: Runtime) -> None:
        work = self._draw.choice(self._works)
        if self._draw.random() < 0.3:
            self.jump()
        else:
            self.clock.pass_by(self._draw.choice((0.0, 1.0, 90.0, 600.0)))
        try:
            work(runtime)
        except KiffError as error:
            assert error.code in ("approval_decided", "conflict", "operation_settled"), repr(error)
        if self._draw.random() < 0.2:
            runtime._sweeper._due()

    def _place(self, runtime: Runtime, *, paid: bool = False) -> str:
        self._orders += 1
        entity = f"order:o{self._orders}"
        runtime.ingest(STRIPE, type="PLACED", entity=entity).result(WAIT)
        if paid:
            runtime.ingest(STRIPE, type="PAID_FOR", entity=entity).result(WAIT)
        return entity

    def _refund(self, runtime: Runtime) -> None:
        for _ in range(self._draw.randrange(1, 5)):
            self._ask(runtime, "REFUND", self._place(runtime, paid=True)).result(WAIT)

    def _hold(self, runtime: Runtime) -> None:
        self._held.append(self._ask(runtime, "REFUND_LARGE", self._place(runtime, paid=True)).result(WAIT))

    def _grant(self, runtime: Runtime) -> None:
        if self._held:
            runtime.grant(HUMAN, self._draw.choice(self._held[-2:]).approval_id, "looked at it").result(WAIT)

    def _use(self, runtime: Runtime) -> None:
        if self._held:
            hold = self._draw.choice(self._held[-2:])
            again = {"id": hold.proposal_id, "approval_id": hold.approval_id}
            self._ask(runtime, "REFUND_LARGE", hold.entity, **again).result(WAIT)

    def _settle(self, runtime: Runtime) -> None:
        made = {debit["operation_id"] for debit in self._book.debits()}
        for operation in runtime.read.operations(status="unknown"):
            runtime.settle(HUMAN, operation.id, "succeeded" if operation.id in made else "failed").result(WAIT)

    def _ask(self, runtime: Runtime, action: str, entity: str, **more: Any) -> Any:
        return runtime.execute(AGENT, entity=entity, action=action, parameters={"amount": AMOUNT}, **more)

    def _issue(self, operation: Operation) -> dict[str, Any]:
        luck = self._draw.random()
        if luck < 0.3:
            self.jump()
        if luck < 0.1:
            return {"status": "failed"}
        self._book.debit(operation.id, operation.entity_id, operation.parameters["amount"])
        if luck > 0.9:
            raise ConnectionError("no answer")
        return {"status": "succeeded"}


def wrong_by_the_log(database: Path) -> Iterator[str]:
    """What the records of a log say against each other's times."""
    store = SqliteStore(database, read_only=True)
    records = [orjson.loads(row.body) for row in store.records(TENANT, limit=100_000)]
    expires = {approval.id: approval.expires_at for approval in store.approvals(TENANT, limit=10_000)}
    store.close()
    latest = 0
    use_by: dict[str, int] = {}
    created: dict[str, int] = {}
    spent: dict[str, int] = {}
    for record in records:
        at, kind = parse_rfc3339(record["at"], field="at"), record["kind"]
        entity, data = record["entity"], record["data"]
        if at < latest:
            yield f"time goes back: at {kind} of {entity}"
        at = latest = max(at, latest)  # what has passed has passed
        if kind == "approval_granted":
            use_by[data["approval_id"]] = parse_rfc3339(data["use_by"], field="use_by")
            if at > expires[data["approval_id"]]:
                yield f"granted after it had expired: {data['approval_id']}"
        elif kind == "decision_recorded" and data["outcome"] == "allowed":
            approval = data.get("approval_id")
            if approval is not None and at > use_by[approval]:
                yield f"used after it had expired: {approval}"
            if data["action"] == "REFUND":
                spent[data["clearance_id"]] = at
                yield from _over_a_cap(at, spent)
        elif data.get("status") == "failed":
            spent.pop(data["operation_id"], None)  # what did not happen is given back
        elif kind == "state_changed" and data["to"] == "CREATED":
            created[entity] = at
        elif kind == "state_changed" and data["to"] == "LAPSED" and at < created[entity] + 2 * HOUR:
            yield f"a timer was early: {entity}"


def _over_a_cap(now: int, spent: dict[str, int]) -> Iterator[str]:
    day = AMOUNT * sum(at // DAY == now // DAY for at in spent.values())
    hour = AMOUNT * sum(at > now - HOUR for at in spent.values())
    if day > PER_DAY or hour > PER_HOUR:
        yield f"over a cap: {day} in a day, {hour} in an hour, at {now}"


def jump_about(folder: Path, book: Book, seed: int, steps: int) -> None:
    day = Day(folder, book, seed)
    found = [problem for _ in range(3) for problem in day.live(steps // 3)]
    for problem in found:
        print(problem)
    note_run("clock-jumps", seed, {"jumps": day.jumps, "steps": steps, "problems": len(found)})
    assert not found, f"seed {seed}"


@pytest.mark.parametrize("number", range(4))
def test_a_clock_that_jumps_moves_no_log_back_and_nothing_past_its_expiry(
    tmp_path: Path, book: Book, number: int
) -> None:
    jump_about(tmp_path, book, seed_of("KIFF_CLOCK_SEED", 40 + number), 90)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(12))
def test_many_clock_jumps(tmp_path: Path, book: Book, number: int) -> None:
    jump_about(tmp_path, book, seed_of("KIFF_CLOCK_SEED", random.SystemRandom().randrange(1 << 40)), 300)


def test_control_a_store_that_forgets_how_late_it_was_is_found_out(tmp_path: Path, book: Book) -> None:
    found = {problem.partition(":")[0] for problem in Day(tmp_path, book, 54, forgetful=True).live(120)}
    late = {"granted after it had expired", "used after it had expired", "a timer was early", "over a cap"}
    assert {"time goes back", *late} <= found
