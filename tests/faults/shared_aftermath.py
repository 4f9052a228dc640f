"""What must hold of a shared database after faults, seen by one more process that comes an hour later.

By its clock every deadline is over, so what nobody will report any more has become unknown when it looks.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import json
from outside import Book
from refund_shop import WAIT, open_shop, paying

from kiff import Runtime
from kiff.analysis import verify_store
from kiff.ledger import parse_jwks
from kiff.protocol.clearance import Clearance
from kiff.runtime.clock import SystemClock
from kiff.runtime.ports import Store
from kiff.runtime.rows import Runway
from kiff.stores.postgres import PostgresStore

TENANT = "default"
HOUR_MS = 3_600_000


class LaterClock(SystemClock):
    """The machine's clock, an hour ahead."""

    def now(self) -> int:
        return super().now() + HOUR_MS


class Verdict(NamedTuple):
    """What is wrong, in sentences, by promise; and how much there was that could have been.

    Attributes:
        lost: acknowledged, and not there.
        uncleared: effects without a durable clearance.
        repeated: second effects.
        hidden: outcomes that are not known, and do not show it.
        false: successes that had no effect.
        broken: what verification says.
    """

    lost: list[str]
    uncleared: list[str]
    repeated: list[str]
    hidden: list[str]
    false: list[str]
    broken: list[str]
    acknowledged: int
    effects: int
    unknown: int

    def problems(self) -> list[str]:
        return list(chain(self.lost, self.uncleared, self.repeated, self.hidden, self.false, self.broken))

    def figures(self) -> dict[str, int]:
        """Counts for the reliability log."""
        return {name: value if isinstance(value, int) else len(value) for name, value in self._asdict().items()}


def judged(folder: Path, url: str, book: Book, acknowledged: list[dict[str, Any]]) -> Verdict:
    """Looks at a database that nobody else writes any more.

    Args:
        folder: where its key is.
        acknowledged: what callers were told (see `callers.Told`).
    """
    clock = LaterClock()
    with open_shop(folder, paying(book), store=PostgresStore(url, clock=clock), clock=clock) as runtime:
        store = PostgresStore(url, read_only=True)
        try:
            _until_nothing_is_open(store)
            runtime.checkpoint(TENANT).result(WAIT)
            return _looked(folder, runtime, store, book, acknowledged)
        finally:
            store.close()


def _looked(folder: Path, runtime: Runtime, store: Store, book: Book, told: list[dict[str, Any]]) -> Verdict:
    operations = {operation.id: operation for operation in _all_operations(store)}
    debits = book.debits()
    effects = Counter(debit["operation_id"] for debit in debits)
    orders = Counter(debit["order"] for debit in debits)
    unknown = [each for each in operations.values() if each.status == "unknown"]
    return Verdict(
        lost=_lost(store, operations, told),
        uncleared=[f"effect without a clearance: {id}" for id in effects if id not in operations],
        repeated=[f"{count} effects of one clearance: {id}" for id, count in effects.items() if count > 1]
        + [f"{count} effects on one order: {order}" for order, count in orders.items() if count > 1],
        hidden=_hidden(store, operations.values()),
        false=[
            f"{e.id} succeeded without an effect"
            for e in operations.values()
            if e.status == "succeeded" and not effects[e.id]
        ],
        broken=_broken(folder, runtime, store),
        acknowledged=len(told),
        effects=len(debits),
        unknown=len(unknown),
    )


def _lost(store: Store, operations: dict[str, Clearance], told: list[dict[str, Any]]) -> list[str]:
    receipts, events = _all_receipts(store), _all_events(store)
    found = []
    for said in told:
        if "event" in said:
            if said["event"] not in events:
                found.append(f"acknowledged and lost: event {said['event']}")
        elif said["receipt"] not in receipts:
            found.append(f"acknowledged and lost: receipt {said['receipt']}")
        elif said["operation"] is not None:
            operation = operations.get(said["operation"])
            # What was unknown may have been reported since; no other answer changes.
            if operation is None or said["status"] not in (operation.status, "unknown"):
                found.append(f"acknowledged as {said['status']}: {said['operation']}")
    return found


def _hidden(store: Store, operations: Iterable[Clearance]) -> list[str]:
    found = [f"{each.id} is still open, and nobody runs it" for each in operations if each.status == "open"]
    for each in operations:
        if each.status == "unknown" and each.holds_runway:
            runway = store.row(Runway, TENANT, each.entity)
            if runway is None or runway.holder is None:
                found.append(f"{each.entity} is free, though {each.id} is unknown")
    return found


def _broken(folder: Path, runtime: Runtime, store: Store) -> list[str]:
    verdict = verify_store(store, parse_jwks((folder / "key.jwks.json").read_bytes()))
    found = [f"{problem.where} {problem.field}: {problem.message}" for problem in verdict.problems]
    return found + ([] if verdict.status == "valid" else [f"the database is {verdict.status}"])


def _until_nothing_is_open(store: Store) -> None:
    """The sweep of whoever looks has written down what is over."""
    tick = threading.Event()
    for _ in range(round(WAIT * 20)):
        if not store.open_clearances(1):
            return
        tick.wait(0.05)


def _all_operations(store: Store) -> list[Clearance]:
    found: list[Clearance] = []
    while page := store.rows(Clearance, TENANT, after=found[-1].id if found else ""):
        found += page
    return found


def _all_receipts(store: Store) -> set[str]:
    found: set[str] = set()
    after = -1
    while page := store.receipts(TENANT, after=after):
        found |= {receipt.id for receipt in page}
        after = page[-1].seq
    return found


def _all_events(store: Store) -> set[str]:
    found: set[str] = set()
    after = -1
    while page := store.records(TENANT, after=after):
        data = (json.decode(row.body)["data"] for row in page)
        found |= {each["event"]["id"] for each in data if "event" in each}
        after = page[-1].seq
    return found
