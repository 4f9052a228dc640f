"""While a clearance is open the world goes on: events, a clock that is put back, ids that only look alike
(DESIGN sections 5 and 7)."""

from __future__ import annotations

from pathlib import Path

import pytest
from aftermath import problems
from outside import Book
from refund_shop import (
    AGENT,
    HUMAN,
    STRIPE,
    WAIT,
    Held,
    SteppedClock,
    kinds,
    large_refund,
    open_shop,
    paid,
    paying,
    refund,
    until,
)

from kiff import Caller, Principal, Runtime
from kiff.errors import ApprovalDecided, Forbidden, InvalidInput

HOUR = 3_600_000


def events(runtime: Runtime, entity: str) -> list[str]:
    """The types of an entity's events, in order."""
    records = runtime.read.timeline(entity)
    return [r["data"]["event"]["type"] for r in records if r["kind"] == "event_ingested"]


def test_events_while_a_clearance_is_open_are_kept_in_order(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    with open_shop(tmp_path, held) as runtime:
        order = paid(runtime, "ord_001")
        call = refund(runtime, order)
        held.wait_for()
        for number in range(3):
            noted = runtime.ingest(STRIPE, type="ORDER_NOTED", entity=order, id=f"note_{number}").result(WAIT)
            assert (noted.applied, noted.settled) == (True, None)
        held.let_go()
        assert call.result(WAIT).executed
        assert events(runtime, order) == ["ORDER_PLACED", "ORDER_PAID", *["ORDER_NOTED"] * 3, "ORDER_REFUNDED"]
        assert kinds(runtime, order)[-6:] == [
            "event_ingested",
            "event_ingested",
            "event_ingested",
            "action_executed",
            "event_ingested",
            "state_changed",
        ]
        assert problems(tmp_path, runtime, book, []) == []


def test_an_event_that_moves_the_entity_away_leaves_the_effect_recorded(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    with open_shop(tmp_path, held) as runtime:
        order = paid(runtime, "ord_001")
        call = refund(runtime, order)
        held.wait_for()
        runtime.ingest(STRIPE, type="ORDER_CLOSED", entity=order).result(WAIT)
        held.let_go()
        assert call.result(WAIT).executed
        state = runtime.read.state(order)
        assert state is not None and state.state == "CLOSED"
        assert kinds(runtime, order)[-3:] == ["action_executed", "event_ingested", "transition_refused"]
        assert problems(tmp_path, runtime, book, []) == []


def test_the_event_of_the_effect_settles_it_and_the_answer_confirms(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    with open_shop(tmp_path, held) as runtime:
        order = paid(runtime, "ord_001")
        call = refund(runtime, order, id="prop_one")
        held.wait_for()
        told = runtime.ingest(STRIPE, type="ORDER_REFUNDED", entity=order).result(WAIT)
        assert told.settled == call.result(WAIT).clearance_id
        assert refund(runtime, order).result(WAIT).reason == "state_not_allowed"
        held.let_go()
        until(lambda: kinds(runtime, order)[-1] == "outcome_confirmed")
        assert events(runtime, order).count("ORDER_REFUNDED") == 1
        assert len(book.debits()) == 1
        assert problems(tmp_path, runtime, book, []) == []


def test_an_event_nobody_declared_is_recorded_and_moves_nothing(tmp_path: Path, book: Book) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        order = paid(runtime, "ord_001")
        lost = runtime.ingest(STRIPE, type="ORDER_TELEPORTED", entity=order).result(WAIT)
        assert (lost.applied, lost.code, lost.state) == (False, "invalid_transition", "PAID")
        assert kinds(runtime, order)[-2:] == ["event_ingested", "transition_refused"]
        assert problems(tmp_path, runtime, book, []) == []


def test_an_agent_reports_no_events_but_those_of_its_own_open_clearance(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    with open_shop(tmp_path, held) as runtime:
        order, other = paid(runtime, "ord_001"), paid(runtime, "ord_002")
        refund(runtime, order)
        held.wait_for()
        for kind, entity in (("ORDER_NOTED", order), ("ORDER_REFUNDED", other)):
            with pytest.raises(Forbidden):
                runtime.ingest(AGENT, type=kind, entity=entity).result(WAIT)
        stranger = Caller(Principal("other-agent", "agent"), ("ops_agent",))
        with pytest.raises(Forbidden):
            runtime.ingest(stranger, type="ORDER_REFUNDED", entity=order).result(WAIT)
        held.let_go()


def test_a_clock_that_is_put_back_never_puts_the_log_back(tmp_path: Path, book: Book) -> None:
    clock = SteppedClock()
    with open_shop(tmp_path, paying(book), clock=clock) as runtime:
        for number in range(4):
            order = paid(runtime, f"ord_{number}")
            clock.wall -= HOUR
            assert refund(runtime, order).result(WAIT).executed
            clock.wall -= HOUR
        times = [r["at"] for n in range(4) for r in runtime.read.timeline(f"order:ord_{n}")]
        assert times == sorted(times)
        assert problems(tmp_path, runtime, book, []) == []


def test_what_expired_by_the_logs_time_stays_expired_when_the_clock_is_put_back(tmp_path: Path, book: Book) -> None:
    clock = SteppedClock()
    with open_shop(tmp_path, paying(book), clock=clock) as runtime:
        order = paid(runtime, "ord_002")
        asked, granted = large_refund(runtime, order).result(WAIT), large_refund(runtime, order, {"amount": 7})
        runtime.grant(HUMAN, granted.result(WAIT).approval_id, "verified").result(WAIT)
        clock.wall += 25 * HOUR
        paid(runtime, "ord_003")
        clock.wall -= 25 * HOUR
        with pytest.raises(ApprovalDecided) as late:
            runtime.grant(HUMAN, asked.approval_id, "verified").result(WAIT)
        assert late.value.detail["status"] == "expired"
        approval = granted.result(WAIT).approval_id
        used = large_refund(runtime, order, {"amount": 7}, approval_id=approval).result(WAIT)
        assert (used.outcome, used.reason) == ("blocked", "approval_expired")
        assert book.debits() == []
        assert problems(tmp_path, runtime, book, []) == []


def test_a_clock_that_is_put_back_while_an_executor_runs_does_not_give_it_up(tmp_path: Path, book: Book) -> None:
    clock = SteppedClock()
    held = Held(paying(book))
    with open_shop(tmp_path, held, clock=clock) as runtime:
        order = paid(runtime, "ord_001")
        call = refund(runtime, order)
        held.wait_for()
        clock.wall -= HOUR
        paid(runtime, "ord_002")
        held.let_go()
        assert call.result(WAIT).status == "succeeded"


LOOK_ALIKES = {
    "cyrillic_o": "\u043erd_001",
    "fullwidth_digit": "ord_00\uff11",
    "arabic_digit": "ord_00\u0661",
    "zero_width_space": "ord_\u200b001",
    "zero_width_joiner": "ord_001\u200d",
    "soft_hyphen": "ord\u00ad_001",
    "bidi_override": "\u202eord_001",
    "combining": "ord_001\u0301",
    "no_break_space": "ord_001\u00a0",
    "newline": "ord_001\n",
    "null": "ord_001\0",
    "tag": "ord_001\U000e0041",
}


@pytest.mark.parametrize("name", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
def test_an_id_that_only_looks_alike_is_refused_everywhere(tmp_path: Path, book: Book, name: str) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        order = paid(runtime, "ord_001")
        before = runtime.checkpoint().result(WAIT)
        for attempt in (
            lambda: refund(runtime, f"order:{name}"),
            lambda: refund(runtime, order, id=name),
            lambda: refund(runtime, order, approval_id=name),
            lambda: runtime.execute(AGENT, entity=order, action=name),
            lambda: runtime.ingest(STRIPE, type="ORDER_NOTED", entity=f"order:{name}"),
            lambda: runtime.ingest(STRIPE, type=name, entity=order),
            lambda: runtime.ingest(STRIPE, type="ORDER_NOTED", entity=order, id=name),
            lambda: runtime.grant(HUMAN, name, "yes"),
            lambda: runtime.settle(HUMAN, name, "failed"),
            lambda: Principal(name, "human"),
            lambda: runtime.read.timeline(f"order:{name}"),
        ):
            with pytest.raises(InvalidInput):
                attempt()
        assert runtime.checkpoint().result(WAIT) == before
        assert book.debits() == []
