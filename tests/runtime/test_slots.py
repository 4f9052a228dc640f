"""Executor slots: reserved before deciding, a share for each tenant, given back whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from lane_cases import PATIENCE_SECONDS, POISON, SIGNER, Spied, shop, told

from kiff import Caller, Operation, Principal, Runtime
from kiff.errors import Overloaded, StoreRefused
from kiff.protocol.state import EntityState
from kiff.runtime.clock import SystemClock, Ulids
from kiff.runtime.executors import Slots
from kiff.runtime.ports import Append

EVERYTHING = ("tenant_owner", "event_source", "ops_agent")


def slots(size: int, share: int | None = None) -> Slots:
    return Slots({}, size, lambda settle: None, SystemClock(), Ulids(), None, share=share)


def test_when_every_slot_is_taken_nobody_gets_one() -> None:
    taken = slots(2)
    taken.reserve("acme")
    taken.reserve("zebra")
    for tenant in ("acme", "zebra", "third"):
        with pytest.raises(Overloaded, match="all 2 executor slots") as refused:
            taken.reserve(tenant)
        assert refused.value.detail == {"slots": 2}


def test_a_tenant_that_has_its_share_gets_no_more_and_the_others_do() -> None:
    taken = slots(4, share=2)
    taken.reserve("acme")
    taken.reserve("acme")
    with pytest.raises(Overloaded) as refused:
        taken.reserve("acme")
    assert refused.value.detail == {"slots": 2}
    taken.reserve("zebra")
    taken.reserve("zebra")
    with pytest.raises(Overloaded, match="all 4"):
        taken.reserve("third")


def test_without_a_share_one_tenant_may_have_them_all() -> None:
    taken = slots(3)
    for _ in range(3):
        taken.reserve("acme")
    with pytest.raises(Overloaded):
        taken.reserve("acme")


def test_what_is_given_back_can_be_had_again_by_the_same_tenant_and_by_others() -> None:
    taken = slots(2, share=1)
    for _ in range(3):
        taken.reserve("acme")
        with pytest.raises(Overloaded):
            taken.reserve("acme")
        taken.release("acme")
    taken.reserve("zebra")
    taken.reserve("acme")


def test_nothing_is_kept_of_a_tenant_that_holds_none() -> None:
    taken = slots(2)
    for number in range(100):
        taken.reserve(f"tenant-{number}")
        taken.release(f"tenant-{number}")
    assert taken._held == {}


def test_threads_that_reserve_at_once_get_no_more_than_there_are() -> None:
    taken, got, refused = slots(8, share=5), list[str](), list[str]()
    start = threading.Barrier(16)

    def reserve(tenant: str) -> None:
        start.wait(PATIENCE_SECONDS)
        try:
            taken.reserve(tenant)
            got.append(tenant)
        except Overloaded:
            refused.append(tenant)

    threads = [threading.Thread(target=reserve, args=("acme" if number % 2 else "zebra",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(got) == 8
    assert max(got.count("acme"), got.count("zebra")) <= 5
    assert len(refused) == 8


# --- in a runtime ---


class Executor:
    """Hangs for the entities it is told to, until it is let go."""

    def __init__(self) -> None:
        self.hangs: set[str] = set()
        self.go = threading.Event()
        self.ran: list[str] = []
        self._came = threading.Condition()

    def __call__(self, operation: Operation) -> dict[str, Any]:
        with self._came:
            self.ran.append(f"{operation.tenant}/{operation.entity_id}")
            self._came.notify_all()
        if operation.entity_id in self.hangs:
            self.go.wait(PATIENCE_SECONDS)
        return {"status": "succeeded"}

    def wait_for(self, count: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.ran) >= count, PATIENCE_SECONDS), "it was never called"


class Two:
    """Two tenants with the same shop, and orders to refund."""

    def __init__(self, store: Any = None, **options: Any) -> None:
        self.executor = Executor()
        executors = {"shop.refund": self.executor}
        self.runtime = Runtime(store or Spied(), SIGNER, executors=executors, **options)
        for tenant in ("acme", "zebra"):
            caller = self.caller(tenant)
            told(self.runtime.activate(caller, shop()))
            for number in range(4):
                told(self.runtime.ingest(caller, type="PLACED", entity=f"order:o_{number}"))

    @staticmethod
    def caller(tenant: str) -> Caller:
        return Caller(Principal("ops-agent", "agent"), EVERYTHING, tenant)

    def refund(self, tenant: str, order: str, action: str = "REFUND") -> Any:
        return self.runtime.execute(self.caller(tenant), entity=f"order:{order}", action=action)

    def size(self, tenant: str) -> int:
        [size] = [head.size for head in self.runtime._store.heads() if head.tenant == tenant]
        return size


@pytest.fixture
def two() -> Iterator[Two]:
    two = Two(slots=3, tenant_slots=2)
    yield two
    two.executor.go.set()
    two.runtime.close()


def test_a_tenant_whose_executors_hang_is_refused_before_deciding_and_the_other_is_served(two: Two) -> None:
    two.executor.hangs = {"o_0", "o_1"}
    hanging = [two.refund("acme", order) for order in ("o_0", "o_1")]
    two.executor.wait_for(2)
    size = two.size("acme")
    with pytest.raises(Overloaded):
        two.refund("acme", "o_2")
    assert two.size("acme") == size, "nothing was recorded"
    assert told(two.refund("zebra", "o_2")).executed
    two.executor.go.set()
    assert all(told(each).executed for each in hanging)
    assert told(two.refund("acme", "o_2")).executed


def test_a_refusal_a_hold_and_an_error_give_their_slot_back(two: Two) -> None:
    for _ in range(3):
        assert told(two.refund("acme", "o_9")).outcome == "blocked"
        assert told(two.refund("acme", "o_0", "REFUND_MUCH")).outcome == "approval_required"
    told(two.runtime.execute(two.caller("acme"), entity="order:o_1", action="REFUND", id="call-1"))
    for _ in range(3):
        answer = told(two.runtime.execute(two.caller("acme"), entity="order:o_2", action="REFUND", id="call-1"))
        assert answer.code == "idempotency_conflict"
    assert two.runtime._slots._held == {}


def test_the_slot_is_free_by_the_time_the_answer_is_there(two: Two) -> None:
    for number in range(4):
        assert told(two.refund("acme", f"o_{number}")).executed
        two.runtime._slots.reserve("acme")
        two.runtime._slots.reserve("acme")
        two.runtime._slots.release("acme")
        two.runtime._slots.release("acme")


def test_a_command_that_the_queue_has_no_room_for_gives_its_slot_back() -> None:
    store = Spied()
    two = Two(store, max_waiting=1)
    gate, inside = threading.Event(), threading.Event()

    def wait(batch: Append) -> None:
        inside.set()
        gate.wait(PATIENCE_SECONDS)

    store.before = wait
    first = two.refund("acme", "o_0")
    inside.wait(PATIENCE_SECONDS)
    waiting = two.refund("acme", "o_1")
    with pytest.raises(Overloaded, match="commands are waiting"):
        two.refund("acme", "o_2")
    assert two.runtime._slots._held == {"acme": 2}
    gate.set()
    assert told(first).executed
    assert told(waiting).executed
    two.runtime.close()


def test_a_command_that_the_store_refuses_gives_its_slot_back() -> None:
    store = Spied()
    two = Two(store)
    told(two.runtime.ingest(two.caller("acme"), type="PLACED", entity=POISON))

    def refuse(batch: Append) -> None:
        if any(getattr(row, "entity", None) == POISON and not isinstance(row, EntityState) for row in batch.rows):
            raise StoreRefused("these rows break a rule")

    store.before = refuse
    answer = told(two.runtime.execute(two.caller("acme"), entity=POISON, action="REFUND"))
    assert isinstance(answer, StoreRefused)
    assert two.runtime._slots._held == {}
    two.runtime.close()
