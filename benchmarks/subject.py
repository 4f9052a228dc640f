"""What is measured: the refund domain, callers, and a runtime with paid orders in a folder of its own."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kiff import ActionContract, Approval, Caller, Domain, Emits, Principal, Risk, Runtime, Transition
from kiff.runtime.executors import Operation
from kiff.runtime.ports import Append
from kiff.stores.keyfile import load_or_create
from kiff.stores.sqlite import SqliteStore

PARAMETERS = {"amount": 49.0, "reason": "customer request"}
BODY = (
    b'{"entity_type":"order","actor":{"id":"ops-agent","type":"agent"},'
    b'"parameters":{"amount":49.0,"reason":"customer request"}}'
)
STRIPE = Caller(Principal("stripe", "service"), ("adapter",))
AGENT = Caller(Principal("ops-agent", "agent"), ("ops_agent",))


def domain() -> Domain:
    """Orders that can be refunded; `NOTE` keeps the state and takes no runway, for the hot entity."""
    schema = {"amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 100}, "reason": {"type": "string"}}
    return Domain(
        name="refund-ops",
        version="v2",
        entity="Order",
        events=["ORDER_PLACED", "ORDER_PAID", "ORDER_REFUNDED"],
        states=["CREATED", "PAID", "REFUNDED"],
        transitions=[
            Transition(on="ORDER_PLACED", to="CREATED"),
            Transition(on="ORDER_PAID", from_="CREATED", to="PAID"),
            Transition(on="ORDER_REFUNDED", from_="PAID", to="REFUNDED"),
        ],
        actions=[
            ActionContract(
                name="AUTO_REFUND",
                allowed_states=["PAID"],
                required_parameters=["amount", "reason"],
                required_permissions=["orders.refund"],
                risk=Risk.MEDIUM,
                approval_requirement=Approval.NEVER,
                executor="refund.issue_refund",
                parameters=schema,
                emits=Emits(success=["ORDER_REFUNDED"]),
            ),
            ActionContract(
                name="NOTE",
                allowed_states=["PAID"],
                required_parameters=["amount", "reason"],
                required_permissions=["orders.refund"],
                risk=Risk.LOW,
                approval_requirement=Approval.NEVER,
                parameters=schema,
                lock="none",
            ),
        ],
        roles={"ops_agent": ["orders.refund"], "ops_operator": ["orders.approve"], "adapter": ["events.ingest"]},
    )


def issue_refund(operation: Operation) -> dict[str, Any]:
    """An executor that costs nothing, so that only KIFF is measured."""
    return {"status": "succeeded", "message": f"refund of ${operation.parameters['amount']:.2f} issued"}


class SlowFlush(SqliteStore):
    """A store on a disk that needs 4 ms more for each commit."""

    def append(self, batch: Append) -> None:
        super().append(batch)
        threading.Event().wait(0.004)


class CopiesInLane(SqliteStore):
    """A store that copies its write-ahead log back in its commits, as SQLite does by itself: the control."""

    def _prepare(self) -> None:
        super()._prepare()
        self._writer.execute("PRAGMA wal_autocheckpoint = 1000")


class Prepared:
    """A database whose orders `order:0` to `order:<count-1>` are paid; every run starts from a copy of it.

    Args:
        governs: what the orders are, when they are not those of `domain`.
        placed: what the event says that places one.
    """

    def __init__(
        self, folder: Path, count: int, governs: Domain | None = None, placed: dict[str, Any] | None = None
    ) -> None:
        self._folder = folder
        self._copies = 0
        self._domain = governs or domain()
        self.path = folder / f"{self._domain.name}.db"
        payloads = {"ORDER_PLACED": placed or {}, "ORDER_PAID": {}}
        with self._runtime(self.path, SqliteStore) as runtime:
            for event, payload in payloads.items():
                for chunk in _chunks(count):
                    waiting = [runtime.ingest(STRIPE, type=event, entity=f"order:{n}", payload=payload) for n in chunk]
                    for pending in waiting:
                        pending.result()

    def copy(self) -> Path:
        """A fresh copy of the database file."""
        self._copies += 1
        path = self._folder / f"{self.path.stem}-{self._copies}.db"
        shutil.copyfile(self.path, path)
        return path

    @contextmanager
    def runtime(self, *, store: type[SqliteStore] = SqliteStore, **options: Any) -> Iterator[Runtime]:
        """A runtime over a fresh copy."""
        path = self.copy()
        with self._runtime(path, store, **options) as runtime:
            yield runtime
        for left in self._folder.glob(f"{path.name}*"):
            left.unlink()

    def _runtime(self, path: Path, store: type[SqliteStore], **options: Any) -> Runtime:
        signer = load_or_create(self._folder / "key.pem")
        executors = {"refund.issue_refund": issue_refund}
        return Runtime(store(path), signer, domains=[self._domain], executors=executors, **options)


def _chunks(count: int) -> Iterator[range]:
    for start in range(0, count, 2000):
        yield range(start, min(start + 2000, count))


def from_threads(callers: int, count: int, call: Callable[[int], None]) -> None:
    """Calls `call(0)` to `call(count - 1)` from a number of threads."""
    numbers = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            call(number)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
