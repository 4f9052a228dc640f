"""Executors that raise, hang, return garbage or answer too late: unknown is shown, and never sent again
(DESIGN section 5, invariants 13 and 16)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aftermath import problems
from outside import Book
from refund_shop import (
    AGENT,
    HUMAN,
    WAIT,
    Held,
    SteppedClock,
    domain,
    kinds,
    open_shop,
    paid,
    paying,
    refund,
    until,
)

from kiff import ActionFailed, Operation, Runtime
from kiff.errors import Forbidden, OperationSettled, Overloaded
from kiff.protocol.clearance import Clearance

pytestmark = pytest.mark.slow


def raising(error: BaseException) -> Callable[[Operation], Any]:
    def executor(operation: Operation) -> Any:
        raise error

    return executor


def only(runtime: Runtime) -> Clearance:
    """The shop's one operation."""
    [operation] = runtime.read.operations()
    return operation


def about(runtime: Runtime, kind: str) -> dict[str, Any]:
    """The data of the one record of a kind."""
    [data] = [r["data"] for r in runtime.read.timeline("order:ord_001") if r["kind"] == kind]
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("connection reset after the request was sent"),
        TimeoutError(),
        MemoryError(),
        RecursionError(),
        SystemExit(1),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_an_executor_raises_leaves_the_outcome_unknown(
    tmp_path: Path, book: Book, error: BaseException
) -> None:
    with open_shop(tmp_path, raising(error)) as runtime:
        order = paid(runtime, "ord_001")
        answer = refund(runtime, order).result(WAIT)
        assert (answer.outcome, answer.status, answer.executed) == ("allowed", "unknown", False)
        assert refund(runtime, order).result(WAIT).reason == "entity_busy"
        until(lambda: not runtime.running())
        assert problems(tmp_path, runtime, book, []) == []


def test_what_an_exception_says_is_not_recorded(tmp_path: Path) -> None:
    with open_shop(tmp_path, raising(RuntimeError("key sk_live_4242"))) as runtime:
        answer = refund(runtime, paid(runtime, "ord_001")).result(WAIT)
        told = repr(runtime.read.timeline("order:ord_001")) + repr(answer)
        assert "RuntimeError" in told and "sk_live" not in told


@pytest.mark.parametrize("how", ["raised", "returned"])
def test_only_an_executor_that_says_it_failed_has_failed(tmp_path: Path, how: str) -> None:
    returned = lambda _: {"status": "failed", "message": "card expired"}  # noqa: E731
    executor = raising(ActionFailed("card expired")) if how == "raised" else returned
    with open_shop(tmp_path, executor) as runtime:
        order = paid(runtime, "ord_001")
        answer = refund(runtime, order).result(WAIT)
        assert (answer.status, answer.message, answer.executed) == ("failed", "card expired", False)
        assert kinds(runtime, order)[-1] == "action_failed"
        assert refund(runtime, order).result(WAIT).reason == "allowed"


def _broken_list() -> Any:
    yield "ORDER_REFUNDED"
    raise ValueError("halfway")


GARBAGE: dict[str, Any] = {
    "nothing": None,
    "text": "ok",
    "true": True,
    "empty": {},
    "list": [{"status": "succeeded"}],
    "other_status": {"status": "done"},
    "status_list": {"status": ["succeeded"]},
    "unknown_field": {"status": "succeeded", "approved": True},
    "number_key": {"status": "succeeded", 7: 7},
    "message_number": {"status": "succeeded", "message": 7},
    "message_surrogate": {"status": "succeeded", "message": "\ud800"},
    "output_nan": {"status": "succeeded", "output": float("nan")},
    "output_object": {"status": "succeeded", "output": object()},
    "output_huge": {"status": "succeeded", "output": "x" * 70_000},
    "output_deep": {"status": "succeeded", "output": eval("[" * 60 + "]" * 60)},
    "output_integer": {"status": "succeeded", "output": 2**60},
    "event_undeclared": {"status": "succeeded", "events": ["ORDER_PAID"]},
    "event_unheard_of": {"status": "succeeded", "events": ["ORDER_LOST"]},
    "event_text": {"status": "succeeded", "events": "ORDER_REFUNDED"},
    "event_number": {"status": "succeeded", "events": [7]},
    "events_number": {"status": "succeeded", "events": 7},
    "events_none": {"status": "succeeded", "events": []},
    "events_null": {"status": "succeeded", "events": None},
    "events_raise": {"status": "succeeded", "events": _broken_list()},
    "events_object": {"status": "succeeded", "events": {"ORDER_REFUNDED": {}}},
    "event_payload": {"status": "succeeded", "events": [{"type": "ORDER_REFUNDED", "payload": [1]}]},
    "event_extra": {"status": "succeeded", "events": [{"type": "ORDER_REFUNDED", "id": "evt_forged"}]},
}


@pytest.fixture(scope="module")
def garbage_shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One shop whose executor returns the garbage that the order's id names."""
    with open_shop(tmp_path_factory.mktemp("garbage"), lambda op: GARBAGE[op.entity_id]) as runtime:
        yield runtime


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_an_unknown_outcome(garbage_shop: Runtime, name: str) -> None:
    order = paid(garbage_shop, name)
    answer = refund(garbage_shop, order).result(WAIT)
    assert (answer.status, answer.executed) == ("unknown", False)
    assert kinds(garbage_shop, order)[-1] == "action_unknown"
    state = garbage_shop.read.state(order)
    assert state is not None and state.state == "PAID"
    assert refund(garbage_shop, order).result(WAIT).reason == "entity_busy"


def test_an_awaitable_executor_runs(tmp_path: Path, book: Book) -> None:
    async def executor(operation: Operation) -> dict[str, Any]:
        await asyncio.sleep(0)
        return paying(book)(operation)

    with open_shop(tmp_path, executor) as runtime:
        assert refund(runtime, paid(runtime, "ord_001")).result(WAIT).executed
        assert len(book.debits()) == 1


def test_the_answer_can_be_awaited(tmp_path: Path, book: Book) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        orders = [paid(runtime, f"ord_{number}") for number in range(8)]

        async def ask() -> list[Any]:
            return await asyncio.gather(*(refund(runtime, order) for order in orders))

        assert all(answer.executed for answer in asyncio.run(ask()))


@pytest.mark.parametrize("error", [RuntimeError(), asyncio.CancelledError()], ids=lambda e: type(e).__name__)
def test_an_awaitable_executor_that_raises_is_unknown(tmp_path: Path, error: BaseException) -> None:
    async def executor(operation: Operation) -> Any:
        await asyncio.sleep(0)
        raise error

    with open_shop(tmp_path, executor) as runtime:
        assert refund(runtime, paid(runtime, "ord_001")).result(WAIT).status == "unknown"
        until(lambda: not runtime.running())


def test_an_executor_that_hangs_past_its_deadline_is_unknown_and_keeps_its_slot(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    with open_shop(tmp_path, held, governed=domain(timeout_seconds=1), slots=1) as runtime:
        order = paid(runtime, "ord_001")
        other = paid(runtime, "ord_002")
        answer = refund(runtime, order, id="prop_hangs").result(WAIT)
        assert (answer.status, answer.executed) == ("unknown", False)
        assert [running.operation.id for running in runtime.running()] == [answer.clearance_id]
        with pytest.raises(Overloaded):
            refund(runtime, other)
        assert runtime.read.operations(status="unknown")[0].settled_by == "deadline"
        held.let_go()


class Late:
    """A shop whose one executor is past its deadline, and about to answer."""

    def __init__(self, folder: Path, then: Callable[[Operation], Any]) -> None:
        self.clock = SteppedClock()
        self.held = Held(then)
        self.runtime = open_shop(folder, self.held, clock=self.clock)
        self.order = paid(self.runtime, "ord_001")
        call = refund(self.runtime, self.order, id="prop_late")
        self.held.wait_for()
        self.clock.pass_by(31)
        self.operation_id = call.result(WAIT).clearance_id

    def answer(self) -> None:
        """Lets the executor answer, and waits until that is recorded."""
        self.held.let_go()
        self.runtime.close()

    def __enter__(self) -> Late:
        return self

    def __exit__(self, *_: object) -> None:
        self.answer()


def test_an_answer_after_the_deadline_settles_it_as_late(tmp_path: Path, book: Book) -> None:
    with Late(tmp_path, paying(book)) as late:
        assert only(late.runtime).status == "unknown"
    with open_shop(tmp_path, paying(book)) as runtime:
        assert (only(runtime).status, only(runtime).settled_by) == ("succeeded", "executor")
        assert about(runtime, "action_executed")["late"] is True
        assert refund(runtime, late.order, id="prop_late").result(WAIT).executed
        assert refund(runtime, late.order).result(WAIT).reason == "state_not_allowed"
        assert len(book.debits()) == 1
        assert problems(tmp_path, runtime, book, []) == []


def test_an_answer_that_a_person_gave_before_is_confirmed(tmp_path: Path, book: Book) -> None:
    with Late(tmp_path, paying(book)) as late:
        settled = late.runtime.settle(HUMAN, late.operation_id, "succeeded").result(WAIT)
        assert (settled.state, settled.late) == ("REFUNDED", True)
    with open_shop(tmp_path, paying(book)) as runtime:
        assert (only(runtime).status, only(runtime).settled_by) == ("succeeded", "person")
        assert about(runtime, "outcome_confirmed")["settled_by"] == "person"
        assert kinds(runtime, late.order).count("state_changed") == 3
        assert problems(tmp_path, runtime, book, []) == []


def test_an_answer_that_contradicts_a_person_closes_the_runway_again(tmp_path: Path, book: Book) -> None:
    with Late(tmp_path, paying(book)) as late:
        late.runtime.settle(HUMAN, late.operation_id, "failed").result(WAIT)
    with open_shop(tmp_path, paying(book)) as runtime:
        assert (only(runtime).status, only(runtime).disputed) == ("unknown", True)
        assert about(runtime, "outcome_contradicted")["reported"] == "succeeded"
        assert refund(runtime, late.order).result(WAIT).reason == "entity_busy"
        assert refund(runtime, late.order, id="prop_late").result(WAIT).status == "unknown"
        assert runtime.settle(HUMAN, late.operation_id, "succeeded").result(WAIT).state == "REFUNDED"
        assert len(book.debits()) == 1
        assert problems(tmp_path, runtime, book, []) == []


def test_a_contradiction_while_another_operation_is_in_flight_keeps_the_runway_closed_after_it(
    tmp_path: Path, book: Book
) -> None:
    first, second = Held(paying(book)), Held(lambda _: {"status": "failed"})
    turns = iter([first, second])
    clock = SteppedClock()
    with open_shop(tmp_path, lambda operation: next(turns)(operation), clock=clock) as runtime:
        order = paid(runtime, "ord_001")
        hung = refund(runtime, order)
        first.wait_for()
        clock.pass_by(31)
        operation_id = hung.result(WAIT).clearance_id
        runtime.settle(HUMAN, operation_id, "failed").result(WAIT)
        other = refund(runtime, order)
        second.wait_for()
        first.let_go()
        until(lambda: "outcome_contradicted" in kinds(runtime, order))
        second.let_go()
        assert other.result(WAIT).status == "failed"
        assert refund(runtime, order).result(WAIT).reason == "entity_busy"


def test_a_person_who_settles_what_still_runs_is_confirmed_by_its_answer(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    with open_shop(tmp_path, held) as runtime:
        order = paid(runtime, "ord_001")
        call = refund(runtime, order)
        held.wait_for()
        operation_id = only(runtime).id
        runtime.settle(HUMAN, operation_id, "succeeded").result(WAIT)
        assert call.result(WAIT).executed
        held.let_go()
    with open_shop(tmp_path, held) as runtime:
        assert about(runtime, "outcome_confirmed")["by"] == "executor"


def test_the_proposer_settles_nothing(tmp_path: Path) -> None:
    with open_shop(tmp_path, raising(RuntimeError())) as runtime:
        operation = refund(runtime, paid(runtime, "ord_001")).result(WAIT)
        with pytest.raises(Forbidden):
            runtime.settle(AGENT, operation.clearance_id, "failed").result(WAIT)
        assert only(runtime).status == "unknown"


def test_a_person_who_contradicts_a_known_outcome_is_told(tmp_path: Path, book: Book) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        operation = refund(runtime, paid(runtime, "ord_001")).result(WAIT)
        with pytest.raises(OperationSettled):
            runtime.settle(HUMAN, operation.clearance_id, "failed").result(WAIT)
        assert (only(runtime).status, only(runtime).disputed) == ("unknown", True)


def test_with_every_slot_taken_nothing_is_recorded(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    with open_shop(tmp_path, held, slots=2) as runtime:
        orders = [paid(runtime, f"ord_{number}") for number in range(3)]
        calls = [refund(runtime, order) for order in orders[:2]]
        held.wait_for(2)
        before = kinds(runtime, orders[2])
        with pytest.raises(Overloaded) as refused:
            refund(runtime, orders[2], id="prop_third")
        assert refused.value.detail == {"slots": 2}
        assert kinds(runtime, orders[2]) == before
        assert len(runtime.running()) == 2
        held.let_go()
        assert all(call.result(WAIT).executed for call in calls)
    with open_shop(tmp_path, paying(book)) as runtime:
        assert refund(runtime, orders[2], id="prop_third").result(WAIT).executed


@pytest.mark.parametrize("answer", ["refused", "raised", "ran"])
def test_a_slot_comes_back_however_the_call_ended(tmp_path: Path, book: Book, answer: str) -> None:
    executor = raising(RuntimeError()) if answer == "raised" else paying(book)
    with open_shop(tmp_path, executor, slots=1) as runtime:
        orders = [paid(runtime, f"ord_{number}") for number in range(5)]
        for order in orders:
            amount = 1_000 if answer == "refused" else 49
            until(lambda: not runtime.running())
            assert refund(runtime, order, amount=amount).result(WAIT) is not None


def test_a_full_queue_says_so_and_records_nothing(tmp_path: Path, book: Book) -> None:
    gate, stuck = threading.Event(), threading.Event()

    def probe(point: str) -> None:
        if point == "load" and stuck.is_set():
            assert gate.wait(WAIT)

    with open_shop(tmp_path, paying(book), max_waiting=3, probe=probe) as runtime:
        order = paid(runtime, "ord_001")
        stuck.set()
        asked: list[Any] = []
        with pytest.raises(Overloaded):
            for _ in range(3 + 256 + 1):
                asked.append(runtime.propose(AGENT, entity=order, action="AUTO_REFUND"))
        gate.set()
        assert {call.result(WAIT).outcome for call in asked} == {"invalid"}
        assert kinds(runtime, order).count("decision_recorded") == len(asked)
