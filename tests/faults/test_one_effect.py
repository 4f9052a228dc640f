"""Two actors on one entity never both hold the runway: counted at the outside ledger (DESIGN invariants 10, 12)."""

from __future__ import annotations

from pathlib import Path

import pytest
from aftermath import problems
from outside import Book
from refund_shop import (
    AGENT,
    HUMAN,
    WAIT,
    Held,
    at_once,
    domain,
    large_refund,
    open_shop,
    paid,
    paying,
    refund,
)

from kiff.runtime.answers import Executed

CALLERS = 50


def test_fifty_threads_and_one_order_make_one_effect_and_49_reasons(tmp_path: Path, book: Book) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        order = paid(runtime, "ord_001")
        answers = at_once(CALLERS, lambda _: refund(runtime, order).result(WAIT))
        assert [answer.executed for answer in answers].count(True) == 1
        refused = [answer for answer in answers if not answer.executed]
        assert {answer.reason for answer in refused} <= {"entity_busy", "state_not_allowed"}
        assert len({runtime.read.receipt(answer.receipt_id)["receipt_id"] for answer in answers}) == CALLERS
        assert len(book.debits("ord_001")) == 1
        assert problems(tmp_path, runtime, book, []) == []


def test_a_busy_runway_names_the_operation_that_holds_it(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    with open_shop(tmp_path, held) as runtime:
        order = paid(runtime, "ord_001")
        first = refund(runtime, order)
        held.wait_for()
        answers = at_once(CALLERS - 1, lambda _: refund(runtime, order).result(WAIT))
        holders = {answer.reasons[0].detail["operation_id"] for answer in answers}
        assert {answer.reason for answer in answers} == {"entity_busy"}
        held.let_go()
        assert holders == {first.result(WAIT).clearance_id}
        assert len(book.debits("ord_001")) == 1


def test_control_without_the_lock_the_counter_sees_more_than_one_effect(tmp_path: Path, book: Book) -> None:
    held = Held(paying(book))
    with open_shop(tmp_path, held, governed=domain(lock="none")) as runtime:
        order = paid(runtime, "ord_001")
        calls = at_once(CALLERS, lambda _: refund(runtime, order))
        held.wait_for(2)
        held.let_go()
        answers = [call.result(WAIT) for call in calls]
        made = len(book.debits("ord_001"))
        assert made == sum(answer.executed for answer in answers) > 1
        assert f"{made} effects on one order: ord_001" in problems(tmp_path, runtime, book, [])


def test_fifty_threads_with_one_id_get_one_answer(tmp_path: Path, book: Book) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        order = paid(runtime, "ord_001")
        answers = at_once(CALLERS, lambda _: refund(runtime, order, id="prop_storm").result(WAIT))
        assert answers == [answers[0]] * CALLERS
        assert isinstance(answers[0], Executed) and answers[0].executed
        assert refund(runtime, order, id="prop_storm").result(WAIT) == answers[0]
        assert len(book.debits("ord_001")) == 1
        assert problems(tmp_path, runtime, book, []) == []


@pytest.mark.parametrize("threads", [1, 20])
def test_a_held_call_re_issued_with_its_id_and_approval_runs_once(tmp_path: Path, book: Book, threads: int) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        order = paid(runtime, "ord_002")
        hold = large_refund(runtime, order).result(WAIT)
        runtime.grant(HUMAN, hold.approval_id, "verified").result(WAIT)

        def again(_: int) -> Executed:
            answer: Executed = large_refund(runtime, order, id=hold.proposal_id, approval_id=hold.approval_id).result(
                WAIT
            )
            return answer

        answers = at_once(threads, again)
        assert answers == [answers[0]] * threads and answers[0].executed
        assert again(0) == answers[0]
        assert len(book.debits("ord_002")) == 1
        assert problems(tmp_path, runtime, book, []) == []


def test_one_granted_approval_used_64_times_at_once_makes_one_effect(tmp_path: Path, book: Book) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        order = paid(runtime, "ord_002")
        approval = large_refund(runtime, order).result(WAIT).approval_id
        runtime.grant(HUMAN, approval, "verified").result(WAIT)
        answers = at_once(64, lambda _: large_refund(runtime, order, approval_id=approval).result(WAIT))
        assert sum(answer.executed for answer in answers) == 1
        refused = {answer.reason for answer in answers if not answer.executed}
        assert refused <= {"approval_used", "entity_busy", "state_not_allowed"}
        assert len(book.debits("ord_002")) == 1
        assert problems(tmp_path, runtime, book, []) == []


def test_an_approval_that_failed_to_bring_its_effect_is_used_all_the_same(tmp_path: Path, book: Book) -> None:
    with open_shop(tmp_path, lambda _: {"status": "failed", "message": "no funds"}) as runtime:
        order = paid(runtime, "ord_002")
        approval = large_refund(runtime, order).result(WAIT).approval_id
        runtime.grant(HUMAN, approval, "verified").result(WAIT)
        assert large_refund(runtime, order, approval_id=approval).result(WAIT).status == "failed"
        again = large_refund(runtime, order, approval_id=approval).result(WAIT)
        assert (again.outcome, again.reason) == ("blocked", "approval_used")
        assert AGENT.principal.id == runtime.read.approvals()[0].proposer
        assert book.debits() == []
