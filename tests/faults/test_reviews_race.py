"""Grant and deny at once: one wins, the others are told who did; a grant fits one call, to the letter, once
(DESIGN invariants 3 and 9)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aftermath import problems
from hypothesis import given, settings
from hypothesis import strategies as st
from outside import Book
from refund_shop import AGENT, HUMAN, WAIT, at_once, domain, kinds, large_refund, open_shop, paid, paying

from kiff import Caller, Principal, Runtime
from kiff.errors import ApprovalDecided, Forbidden

THREADS = 64


def reviewer(number: int) -> Caller:
    return Caller(Principal(f"human-{number}", "human"), ("ops_operator",))


def test_of_64_grants_and_denials_at_once_one_wins_and_the_others_are_told_who_did(tmp_path: Path, book: Book) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        order = paid(runtime, "ord_002")
        hold = large_refund(runtime, order).result(WAIT)

        def answer(number: int) -> Any:
            say = runtime.grant if number % 2 else runtime.deny
            return say(reviewer(number), hold.approval_id, "looked at it").result(WAIT)

        answers = at_once(THREADS, answer)
        [won] = [a for a in answers if not isinstance(a, Exception)]
        lost = [a for a in answers if isinstance(a, ApprovalDecided)]
        assert len(lost) == THREADS - 1
        assert {(e.detail["status"], e.detail["reviewed_by"]) for e in lost} == {(won.status, won.reviewed_by)}
        [approval] = runtime.read.approvals()
        assert (approval.status, approval.reviewed_by) == (won.status, won.reviewed_by)
        said = [kind for kind in kinds(runtime, order) if kind in ("approval_granted", "approval_denied")]
        assert said == [f"approval_{won.status}"]
        used = large_refund(runtime, order, id=hold.proposal_id, approval_id=hold.approval_id).result(WAIT)
        assert used.executed == (won.status == "granted")
        assert len(book.debits()) == used.executed
        assert problems(tmp_path, runtime, book, []) == []


def test_of_64_grants_that_run_the_call_at_once_one_runs_it(tmp_path: Path, book: Book) -> None:
    with open_shop(tmp_path, paying(book), governed=domain(on_grant="run")) as runtime:
        order = paid(runtime, "ord_002")
        hold = large_refund(runtime, order).result(WAIT)
        answers = at_once(THREADS, lambda n: runtime.grant(reviewer(n), hold.approval_id, "yes").result(WAIT))
        assert sum(isinstance(answer, ApprovalDecided) for answer in answers) == THREADS - 1
    with open_shop(tmp_path, paying(book)) as runtime:
        assert len(book.debits("ord_002")) == 1
        assert large_refund(runtime, order, id=hold.proposal_id).result(WAIT).executed
        assert problems(tmp_path, runtime, book, []) == []


@pytest.mark.parametrize(
    "who",
    [
        AGENT,
        Caller(Principal("ops-agent", "agent", name="Olivia"), ("ops_operator",)),
        Caller(Principal("ops-agent", "human"), ("ops_operator",)),
        Caller(Principal("OPS-AGENT", "human"), ("ops_operator",)),
        Caller(Principal("other-agent", "agent"), ("ops_operator",)),
        Caller(Principal("robot", "service"), ("ops_operator",)),
        Caller(Principal("passer-by", "human"), ()),
    ],
    ids=["agent", "display_name", "as_human", "other_case", "other_agent", "service", "no_permission"],
)
def test_nobody_grants_who_proposed_or_is_no_person_or_may_not(tmp_path: Path, book: Book, who: Caller) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        hold = large_refund(runtime, paid(runtime, "ord_002")).result(WAIT)
        answers = at_once(8, lambda _: runtime.grant(who, hold.approval_id, "yes").result(WAIT))
        assert {type(answer) for answer in answers} == {Forbidden}
        assert runtime.read.approvals()[0].status == "pending"
        assert book.debits() == []


def test_the_same_approval_used_twice_is_refused(tmp_path: Path, book: Book) -> None:
    executor = lambda _: {"status": "failed"}  # noqa: E731  the state stays, so that only the approval refuses
    with open_shop(tmp_path, executor) as runtime:
        order = paid(runtime, "ord_002")
        approval = large_refund(runtime, order).result(WAIT).approval_id
        runtime.grant(HUMAN, approval, "verified").result(WAIT)
        assert large_refund(runtime, order, approval_id=approval).result(WAIT).status == "failed"
        again = large_refund(runtime, order, approval_id=approval).result(WAIT)
        assert (again.outcome, again.reason) == ("blocked", "approval_used")


# What a caller may send: JSON with at least one leaf under `amount`.
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NUMBER = st.integers(-(2**53) + 2, 2**53 - 2) | st.floats(-1e6, 1e6).filter(bool)
LEAF = TEXT | NUMBER | st.booleans() | st.none()


def _several(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, min_size=1, max_size=3) | st.dictionaries(TEXT, inner, min_size=1, max_size=3)


TREE = st.recursive(LEAF, _several)
GIVEN = st.fixed_dictionaries({"amount": st.integers(1, 10**6), "note": TEXT, "detail": TREE})


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every leaf."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*path, key))
    else:
        yield path


def changed(value: Any, draw: Any) -> Any:
    """The smallest change of a leaf: a character, one up or down, the next float."""
    if value is None or isinstance(value, bool):
        return draw(st.sampled_from([other for other in (None, True, False) if other is not value]))
    if isinstance(value, int):
        return value + draw(st.sampled_from([-1, 1]))
    if isinstance(value, float):
        return math.nextafter(value, math.inf)
    at = draw(st.integers(0, len(value)))
    letter = draw(st.characters(exclude_categories=("Cs",)))
    if at < len(value) and draw(st.booleans()):
        letter = letter if letter != value[at] else chr(ord(letter) ^ 1)
        return value[:at] + letter + value[at + 1 :]
    return value[:at] + letter + value[at:]


def put(value: Any, path: tuple[Any, ...], leaf: Any) -> Any:
    """The value with another leaf at the path."""
    if not path:
        return leaf
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(copy[path[0]], path[1:], leaf)
    return copy


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, ledger_port: int) -> Iterator[tuple[Runtime, Book]]:
    book = Book(ledger_port, "changed-after-grant")
    with open_shop(tmp_path_factory.mktemp("shop"), paying(book)) as runtime:
        yield runtime, book


_ORDERS = count()


@settings(max_examples=max(100, settings().max_examples))
@given(data=st.data())
@pytest.mark.slow
def test_parameters_changed_anywhere_after_the_grant_are_refused(shop: tuple[Runtime, Book], data: Any) -> None:
    runtime, book = shop
    name = f"ord_{next(_ORDERS)}"
    order = paid(runtime, name)
    asked = data.draw(GIVEN)
    path = data.draw(st.sampled_from(list(leaves(asked))))
    leaf = asked
    for key in path:
        leaf = leaf[key]
    other = put(asked, path, changed(leaf, data.draw))
    hold = large_refund(runtime, order, asked).result(WAIT)
    runtime.grant(HUMAN, hold.approval_id, "verified").result(WAIT)
    answer = large_refund(runtime, order, other, approval_id=hold.approval_id).result(WAIT)
    assert (answer.outcome, answer.reason) == ("blocked", "approval_mismatch")
    assert book.debits(name) == []
    assert large_refund(runtime, order, asked, approval_id=hold.approval_id).result(WAIT).executed
    assert len(book.debits(name)) == 1


@pytest.mark.parametrize("why", [None, "the customer asked politely", "x" * 2_000])
def test_a_rephrased_reason_is_not_another_call(tmp_path: Path, book: Book, why: str | None) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        order = paid(runtime, "ord_002")
        hold = large_refund(runtime, order, reasoning_summary="duplicate charge", confidence=0.9).result(WAIT)
        runtime.grant(HUMAN, hold.approval_id, "verified").result(WAIT)
        again = large_refund(runtime, order, id=hold.proposal_id, approval_id=hold.approval_id, reasoning_summary=why)
        assert again.result(WAIT).executed
        assert len(book.debits()) == 1


@pytest.mark.parametrize("what", ["entity", "principal", "action"])
def test_a_grant_fits_no_other_entity_principal_or_action(tmp_path: Path, book: Book, what: str) -> None:
    with open_shop(tmp_path, paying(book)) as runtime:
        order, other = paid(runtime, "ord_002"), paid(runtime, "ord_003")
        approval = large_refund(runtime, order, {"amount": 9, "reason": "r"}).result(WAIT).approval_id
        runtime.grant(HUMAN, approval, "verified").result(WAIT)
        answer = runtime.execute(
            Caller(Principal("other-agent", "agent"), ("ops_agent",)) if what == "principal" else AGENT,
            entity=other if what == "entity" else order,
            action="AUTO_REFUND" if what == "action" else "REFUND_ORDER",
            parameters={"amount": 9, "reason": "r"},
            approval_id=approval,
        ).result(WAIT)
        assert (answer.outcome, answer.reason) == ("blocked", "approval_mismatch")
        assert book.debits() == []
