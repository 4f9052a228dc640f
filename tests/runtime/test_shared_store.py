"""A lane over a store that others write as well: lost replies, outages, calls that run elsewhere, idle lanes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lane_cases import AGENT, HUMAN, PATIENCE_SECONDS, SHOP, SIGNER, Door, Refunds, Spied, opened, place, shop, told
from msgspec import structs

import kiff.runtime.lane
from kiff import Caller, Principal, Runtime, load
from kiff.errors import DomainChanged, StoreConflict, StoreInDoubt, StoreUnavailable
from kiff.runtime.lanes import Lanes
from kiff.runtime.ports import Append

SHOP_OF_PARCELS = SHOP.replace("domain: shop", "domain: parcels").replace("entity: Order", "entity: Parcel")
OWNER = Caller(Principal("owner", "human"), ("tenant_owner",))


class Shared(Spied):
    """Several runtimes may write it."""

    exclusive = False

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[int] = []

    def load(self, tenants: Any, keys: Any) -> Any:
        keys = list(keys)
        self.loads.append(len(keys))
        return self.inner.load(tenants, keys)


@pytest.fixture
def store() -> Shared:
    return Shared()


@pytest.fixture
def refunds() -> Refunds:
    return Refunds()


@pytest.fixture
def runtime(store: Shared, refunds: Refunds) -> Iterator[Runtime]:
    with opened(store, refunds) as runtime:
        told(place(runtime, "order:1"))
        yield runtime


def kinds(runtime: Runtime, entity: str = "order:1") -> list[str]:
    return [record["kind"] for record in runtime.read.timeline(entity)]


def once(store: Shared, when: str, what: Callable[[], None]) -> None:
    def do(batch: Append) -> None:
        if batch.records:
            setattr(store, when, lambda batch: None)
            what()

    setattr(store, when, do)


def lost() -> None:
    raise StoreInDoubt("the reply was lost")


# --- replies that are lost ---


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_reply_neither_loses_the_call_nor_makes_it_twice(
    runtime: Runtime, store: Shared, refunds: Refunds, when: str
) -> None:
    once(store, when, lost)
    assert told(runtime.execute(AGENT, entity="order:1", action="REFUND")).executed
    assert refunds.made == ["1"]
    assert kinds(runtime).count("decision_recorded") == kinds(runtime).count("action_executed") == 1


def test_a_commit_that_comes_true_after_its_reply_was_lost_is_found_by_its_leaf(
    runtime: Runtime, store: Shared, refunds: Refunds
) -> None:
    late: list[Append] = []

    def keep(batch: Append) -> None:
        store.before = arrive
        late.append(structs.replace(batch, receipts=list(batch.receipts)))
        raise StoreInDoubt("the reply was lost, and the server is still at it")

    def arrive(batch: Append) -> None:
        store.before = lambda batch: None
        store.inner.append(late[0])

    store.before = keep
    assert told(runtime.execute(AGENT, entity="order:1", action="REFUND")).executed
    assert refunds.made == ["1"]
    assert kinds(runtime).count("decision_recorded") == 1


def test_a_report_whose_reply_was_lost_is_recorded_once(runtime: Runtime, store: Shared) -> None:
    cleared = told(runtime.propose(AGENT, entity="order:1", action="REFUND", settles=True))
    once(store, "after", lost)
    assert told(runtime.settle(AGENT, cleared.clearance_id, "succeeded")).status == "succeeded"
    assert kinds(runtime).count("action_executed") == 1


def test_whoever_cannot_be_told_hears_that_it_is_in_doubt(
    runtime: Runtime, store: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kiff.runtime.lane, "OUTAGE_SECONDS", 0)

    def vanish(batch: Append) -> None:
        monkeypatch.setattr(store.inner, "load", away)
        raise StoreInDoubt("the reply was lost")

    store.before = vanish
    assert isinstance(told(runtime.propose(AGENT, entity="order:1", action="REFUND")), StoreInDoubt)


def away(*asked: object, **more: object) -> Any:
    raise StoreUnavailable("the database does not answer")


class Steady:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> int:
        return 1_779_616_435_000 + int(self.passed * 1_000)

    def monotonic(self) -> float:
        return self.passed


def test_an_operation_whose_time_was_up_before_its_commit_was_known_is_never_started(store: Shared) -> None:
    clock, refunds = Steady(), Refunds()

    def lasts() -> None:
        clock.passed += 3_600  # meanwhile another process gives it up, and a person may settle it
        lost()

    with opened(store, refunds, clock=clock) as runtime:
        told(place(runtime, "order:1"))
        once(store, "after", lasts)
        answer = told(runtime.execute(AGENT, entity="order:1", action="REFUND"))
    assert (answer.status, answer.message) == ("failed", "its time was up before it could be started; nothing was sent")
    assert refunds.made == []


# --- outages ---


def test_a_store_that_is_away_does_not_end_the_lane(
    runtime: Runtime, store: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kiff.runtime.lane, "OUTAGE_SECONDS", 0)
    with monkeypatch.context() as gone:
        gone.setattr(store.inner, "load", away)
        assert isinstance(told(place(runtime, "order:2")), StoreUnavailable)
        assert isinstance(runtime.failure, StoreUnavailable)
    assert told(place(runtime, "order:2")).applied
    assert runtime.failure is None


def test_a_short_outage_is_not_noticed(runtime: Runtime, store: Shared) -> None:
    failures = iter([StoreUnavailable("the database is starting")] * 3)

    def start(batch: Append) -> None:
        for failure in failures:
            raise failure

    store.before = start
    assert told(place(runtime, "order:2")).applied


def test_what_an_executor_reports_during_an_outage_is_kept_until_it_can_be_written(
    store: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kiff.runtime.lane, "OUTAGE_SECONDS", 0)
    monkeypatch.setattr(kiff.runtime.lane, "CHECKPOINT_SECONDS", 0.05)
    gone = monkeypatch.context()

    def refund(operation: object) -> dict[str, str]:
        patch.setattr(store.inner, "load", away)
        return {"status": "succeeded"}

    with gone as patch, Runtime(store, SIGNER, domains=[shop()], executors={"shop.refund": refund}) as runtime:
        told(place(runtime, "order:1"))
        pending = runtime.execute(AGENT, entity="order:1", action="REFUND")
        until(lambda: runtime.failure is not None)
        patch.undo()
        assert told(pending).status == "succeeded"


def test_another_writer_who_is_first_thirty_times_is_waited_for(runtime: Runtime, store: Shared) -> None:
    failures = iter([StoreConflict("somebody was first")] * 30)

    def first(batch: Append) -> None:
        for failure in failures:
            raise failure

    store.before = first
    assert told(place(runtime, "order:2")).applied


# --- what it costs ---


def test_what_a_whole_batch_lacks_is_loaded_at_once(runtime: Runtime, store: Shared) -> None:
    entities = [f"order:{number}" for number in range(20)]
    for entity in entities:
        told(place(runtime, entity))
        told(runtime.propose(AGENT, entity=entity, action="REFUND"))
    door, store.before = Door(), lambda batch: None
    store.before = door
    first = place(runtime, "order:first")
    door.wait_for_someone()
    # Each finds its runway held, and asks for the clearance that holds it: another row for each of them.
    held = [runtime.propose(AGENT, entity=entity, action="REFUND", id=f"again-{entity}") for entity in entities]
    store.before = lambda batch: None
    store.loads.clear()
    door.open()
    assert {told(pending).reasons[0].code for pending in [*held] if told(first)} == {"entity_busy"}
    assert len(store.loads) == 2, "the batch, and what all of it lacked"


# --- two runtimes on one store ---


@pytest.fixture
def other(store: Shared, runtime: Runtime, refunds: Refunds) -> Iterator[Runtime]:
    with opened(store, refunds) as other:
        yield other


def test_a_call_that_another_process_runs_is_answered_when_it_has_ended(store: Shared) -> None:
    door = Door()

    def refund(operation: object) -> dict[str, str]:
        door(operation)
        return {"status": "succeeded", "message": "by the first one"}

    slow = Runtime(store, SIGNER, domains=[shop()], executors={"shop.refund": refund})
    refunds = Refunds()
    with slow, opened(store, refunds) as other:
        told(place(slow, "order:1"))
        first = slow.execute(AGENT, entity="order:1", action="REFUND", id="call-1")
        door.wait_for_someone()
        again = other.execute(AGENT, entity="order:1", action="REFUND", id="call-1")
        door.open()
        assert told(again) == told(first)
        assert told(again).message == "by the first one"
    assert refunds.made == []


def test_a_domain_that_another_process_activated_governs_the_next_call(runtime: Runtime, other: Runtime) -> None:
    parcels = load(SHOP_OF_PARCELS)
    told(runtime.activate(OWNER, parcels))
    told(place(runtime, "parcel:1"))
    answer = told(other.propose(AGENT, entity="parcel:1", action="REFUND"))
    if isinstance(answer, DomainChanged):  # it knew nothing of parcels, and learnt it from the rows of its batch
        answer = told(other.propose(AGENT, entity="parcel:1", action="REFUND"))
    assert answer.outcome == "allowed"


def test_an_approval_granted_in_one_process_is_used_in_the_other_once(
    runtime: Runtime, other: Runtime, refunds: Refunds
) -> None:
    held = told(runtime.propose(AGENT, entity="order:1", action="REFUND_MUCH"))
    told(other.deny(HUMAN, held.approval_id, "no"))
    again = told(runtime.propose(AGENT, entity="order:1", action="REFUND_MUCH", approval_id=held.approval_id))
    assert again.outcome == "blocked"


# --- lanes ---


def test_each_tenant_has_a_lane_of_its_own_and_loses_it_when_it_is_idle(store: Shared) -> None:
    ended: list[str | None] = []
    lanes = lanes_of(store, ended)
    door = Door()
    store.before = lambda batch: door(batch) if batch.records and batch.records[0].tenant == "slow" else None
    with opened(store) as runtime:
        runtime._lanes, before = lanes(runtime), runtime._lanes
        slow = runtime.activate(of("slow"), shop())
        door.wait_for_someone()
        assert told(runtime.activate(of("fast"), shop())).version == "shop-v1", "one tenant waits for another"
        door.open()
        told(slow)
        until(lambda: set(ended) == {"slow", "fast"})
        assert told(runtime.activate(of("slow"), shop())).version == "shop-v1"
        before.close()


def of(tenant: str) -> Caller:
    return Caller(Principal("owner", "human"), ("tenant_owner",), tenant)


def lanes_of(store: Shared, ended: list[str | None]) -> Callable[[Runtime], Lanes]:
    """Lanes that end at once when there is nothing to do."""

    def made(runtime: Runtime) -> Lanes:
        make = runtime._lanes._make

        def hasty(tenant: str | None, on_idle: Any) -> Any:
            lane = make(tenant, lambda lane: on_idle(lane) and (ended.append(lane.tenant) or True))
            lane._idle_seconds = 0.05
            return lane

        return Lanes(hasty, one=False)

    return made


def until(true: Callable[[], bool]) -> None:
    gives_up = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < gives_up, "it never became so"
        time.sleep(0.01)
