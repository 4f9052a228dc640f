"""The shop that the fault tests break: seed 000's orders, refunded through the outside ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from outside import Book

from kiff import (
    ActionContract,
    Approval,
    ApprovalPolicy,
    Caller,
    Domain,
    Emits,
    Operation,
    Principal,
    Risk,
    Runtime,
    Transition,
)
from kiff.runtime.pending import Pending
from kiff.runtime.ports import Clock, Store
from kiff.stores.keyfile import load_or_create
from kiff.stores.sqlite import SqliteStore

STRIPE = Caller(Principal("stripe", "service"), ("adapter",))
AGENT = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
HUMAN = Caller(Principal("ops-human", "human"), ("ops_operator",))

WAIT = 60.0
"""Seconds after which a test gives up on something that should have come: a defect, not a measure."""


def domain(*, lock: str = "entity", timeout_seconds: int = 30, on_grant: str = "wait") -> Domain:
    """The refund domain. `lock: none` is the mutant that the effect counter must catch."""
    schema = {"amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 100}, "reason": {"type": "string"}}
    refunded = Emits(success=("ORDER_REFUNDED",))
    return Domain(
        name="refund-ops",
        version=f"{lock}-{timeout_seconds}-{on_grant}",
        entity="Order",
        events=["ORDER_PLACED", "ORDER_PAID", "ORDER_REFUNDED", "ORDER_NOTED", "ORDER_CLOSED"],
        states=["CREATED", "PAID", "REFUNDED", "CLOSED"],
        transitions=[
            Transition(on="ORDER_PLACED", to="CREATED"),
            Transition(on="ORDER_PAID", from_="CREATED", to="PAID"),
            Transition(on="ORDER_NOTED", from_="PAID", to="PAID"),
            Transition(on="ORDER_CLOSED", from_="PAID", to="CLOSED"),
            Transition(on="ORDER_REFUNDED", from_="PAID", to="REFUNDED"),
        ],
        actions=[
            ActionContract(
                "AUTO_REFUND",
                ("PAID",),
                ("amount", "reason"),
                ("orders.refund",),
                Risk.MEDIUM,
                Approval.NEVER,
                "refund.issue",
                parameters=schema,
                emits=refunded,
                lock=lock,  # type: ignore[arg-type]  # entity | none
                timeout_seconds=timeout_seconds,
            ),
            ActionContract(
                "REFUND_ORDER",
                ("PAID",),
                ("amount",),
                ("orders.refund",),
                Risk.HIGH,
                Approval.REQUIRED,
                "refund.issue",
                approval_policy=ApprovalPolicy(on_grant=on_grant),  # type: ignore[arg-type]  # wait | run
                emits=refunded,
                timeout_seconds=timeout_seconds,
            ),
        ],
        roles={
            "ops_agent": ["orders.refund"],
            "ops_operator": ["orders.approve"],
            "adapter": ["events.ingest"],
        },
    )


def paying(book: Book) -> Callable[[Operation], dict[str, Any]]:
    """An executor that does what it is told: one debit at the outside ledger."""

    def issue(operation: Operation) -> dict[str, Any]:
        debit = book.debit(operation.id, operation.entity_id, operation.parameters["amount"])
        return {"status": "succeeded", "message": "refund issued", "output": {"debit": debit}}

    return issue


class Held:
    """Executors that have started and stay where they are until the test lets them go.

    Args:
        then: what each does, and answers, once it may.
    """

    def __init__(self, then: Callable[[Operation], Any]) -> None:
        self._then = then
        self._entered = threading.Semaphore(0)
        self._go = threading.Event()

    def __call__(self, operation: Operation) -> Any:
        self._entered.release()
        assert self._go.wait(WAIT), "the test never let the executor go"
        return self._then(operation)

    def wait_for(self, count: int = 1) -> None:
        """Until `count` more executors have started."""
        for _ in range(count):
            assert self._entered.acquire(timeout=WAIT), "no executor started"

    def let_go(self) -> None:
        self._go.set()


class SteppedClock:
    """A clock that goes where the test puts it.

    Args:
        wall: milliseconds since the epoch; may be put back.
    """

    def __init__(self, wall: int = 1_700_000_000_000) -> None:
        self.wall = wall
        self._monotonic = 0.0

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self._monotonic

    def pass_by(self, seconds: float) -> None:
        """Time goes on."""
        self._monotonic += seconds
        self.wall += round(1000 * seconds)


def open_shop(
    folder: Path,
    executor: Callable[[Operation], Any],
    *,
    governed: Domain | None = None,
    clock: Clock | None = None,
    store: Store | None = None,
    **options: Any,
) -> Runtime:
    """The shop's runtime on its folder: a real database and a real key file."""
    kept = store or SqliteStore(folder / "shop.db", clock=clock)
    signer = load_or_create(folder / "key.pem")
    domains = (governed or domain(),)
    return Runtime(kept, signer, domains=domains, executors={"refund.issue": executor}, clock=clock, **options)


def paid(runtime: Runtime, order: str) -> str:
    """Places and pays an order. Returns its reference."""
    entity = f"order:{order}"
    runtime.ingest(STRIPE, type="ORDER_PLACED", entity=entity, source="stripe").result(WAIT)
    assert runtime.ingest(STRIPE, type="ORDER_PAID", entity=entity, source="stripe").result(WAIT).state == "PAID"
    return entity


def refund(runtime: Runtime, entity: str, *, amount: float = 49, **more: Any) -> Pending[Any]:
    """A small refund: allowed without a person."""
    parameters = {"amount": amount, "reason": "customer request"}
    return runtime.execute(AGENT, entity=entity, action="AUTO_REFUND", parameters=parameters, **more)


def large_refund(
    runtime: Runtime, entity: str, parameters: Mapping[str, Any] | None = None, **more: Any
) -> Pending[Any]:
    """A large refund: held until a person grants it."""
    given = {"amount": 999, "reason": "customer request"} if parameters is None else parameters
    return runtime.execute(AGENT, entity=entity, action="REFUND_ORDER", parameters=given, **more)


def kinds(runtime: Runtime, entity: str) -> list[str]:
    """The kinds of an entity's records, in order."""
    return [record["kind"] for record in runtime.read.timeline(entity)]


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `count` threads that start together brought: an answer, or what was raised."""
    start = threading.Barrier(count)
    brought: list[Any] = [None] * count

    def one(number: int) -> None:
        start.wait(WAIT)
        try:
            brought[number] = work(number)
        except Exception as error:  # noqa: BLE001  whatever it raised is what it brought
            brought[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in threads), "a thread never came back"
    return brought


def until(true: Callable[[], bool]) -> None:
    """Asks again until something has come; only a defect lets it run out."""
    tick = threading.Event()
    for _ in range(round(WAIT * 100)):
        if true():
            return
        tick.wait(0.01)
    raise AssertionError("it never came")
