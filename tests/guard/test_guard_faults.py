"""Faults around a call: callers that go, ledgers that fail, a KIFF that cannot be told. Nothing is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from kiff_guard import Decision, Guard, Hold, Receipt, attempts, outcomes
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import LedgerError, Unreachable

ARGS = {"order": 1}


class Gated:
    """A ledger like a disk: it writes in a thread, and when it is let."""

    blocking = True

    def __init__(self, *, opens: bool = False) -> None:
        self.receipts: list[Receipt] = []
        self.asked, self.let = threading.Event(), threading.Event()
        if opens:
            self.open = self._wait

    def append(self, receipt: Receipt) -> None:
        self._wait(receipt)
        self.receipts.append(receipt)

    def _wait(self, receipt: Receipt) -> None:
        self.asked.set()
        assert self.let.wait(20)


class Unwell(list[Receipt]):
    """A ledger that fails while it is ill."""

    ill = True

    def append(self, receipt: Receipt) -> None:
        if self.ill:
            raise LedgerError("no space left")
        super().append(receipt)


class Deaf(ScriptedClient):
    """A KIFF that answers, and cannot be told anything."""

    tries = 0

    def settle(self, *given: Any, **more: Any) -> None:
        self.tries += 1
        raise Unreachable("down")


def enforcing(client: Any, **more: Any) -> Guard:
    return Guard(client, agent="a", mode="enforce", **{"session": "s", **more})


async def until(true: Callable[[], Any]) -> None:
    async def wait() -> None:
        while not true():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), 20)


async def cut_off(call: Any, ledger: Gated) -> None:
    """Cancels a call while the ledger is at work, and lets the ledger go on."""
    task = asyncio.ensure_future(call)
    await until(ledger.asked.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ledger.let.set()


# Callers that go


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_a_call_whose_caller_went_while_it_was_opened_leaves_its_receipt_and_nothing_open(mode: Any) -> None:
    client, ledger = ScriptedClient(), Gated(opens=True)
    guard = Guard(client, agent="a", mode=mode, ledger=ledger)
    ran: list[int] = []

    async def go() -> None:
        await cut_off(guard.aevaluate("refund", ARGS, lambda: ran.append(1), call_id="c1"), ledger)
        await until(lambda: ledger.receipts)

    asyncio.run(go())
    assert (ran, guard.pending()) == ([], [])
    assert [(each.executed, each.execution) for each in ledger.receipts] == [(False, "not_run")]


def test_a_call_whose_caller_went_while_an_older_one_was_swept_is_not_left_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "OPEN_LIMIT", 1)
    client, ledger = ScriptedClient(), Gated()
    guard = enforcing(client, ledger=ledger)
    guard.decide_only("refund", {"order": 0})
    ran: list[int] = []

    async def go() -> None:
        await cut_off(guard.aevaluate("refund", ARGS, lambda: ran.append(1)), ledger)
        await until(lambda: len(ledger.receipts) == 2)

    asyncio.run(go())
    assert (ran, guard.pending()) == ([], [])
    guard.flush()
    assert sorted(each.status for each in client.settles) == ["cancelled", "unknown"]


def test_a_call_that_is_thrown_away_while_kiff_is_asked_does_not_run_and_leaves_nothing_open() -> None:
    client = ScriptedClient(slow=0.2)
    guard = enforcing(client)
    ran: list[int] = []

    async def go() -> None:
        call = guard.aevaluate("refund", ARGS, lambda: ran.append(1))
        call.send(None)
        while not client.decides:
            time.sleep(0.001)
        call.close()
        await until(lambda: client.settles)

    asyncio.run(go())
    assert (ran, guard.pending()) == ([], [])
    assert [(each.outcome, each.execution) for each in guard.receipts] == [("error", "not_run")]


def test_no_loop_stands_still_while_kiff_is_told_that_arguments_were_changed() -> None:
    args = {"amount": 10}
    loops = threading.get_ident()
    told_in: list[int] = []

    class Meddler(ScriptedClient):
        def decide(self, *given: Any, **more: Any) -> Decision:
            args["amount"] = 9_999
            return super().decide(*given, **more)

        def settle(self, *given: Any, **more: Any) -> None:
            told_in.append(threading.get_ident())

    with pytest.raises(Hold, match="integrity_violation"):
        asyncio.run(enforcing(Meddler()).aevaluate("refund", args, lambda: "ran"))
    assert told_in and loops not in told_in


# What is handed on


def test_a_future_of_a_thread_is_settled_when_it_is_done() -> None:
    given: Future[int] = Future()
    guard = Guard(mode="observe")
    assert asyncio.run(guard.aevaluate("work", {}, lambda: given)) is given
    assert guard.receipts == []
    given.set_result(7)
    assert [each.execution for each in guard.receipts] == ["succeeded"]


# Ledgers that fail


def test_a_ledger_is_closed_although_receipts_cannot_be_written() -> None:
    class Closing(Unwell):
        closed = False

        def close(self) -> None:
            self.closed = True

    ledger = Closing()
    guard = Guard(mode="observe", ledger=ledger)
    guard.evaluate("refund", {}, lambda: None)
    with pytest.raises(LedgerError):
        guard.close()
    assert ledger.closed


# A KIFF that cannot be told


def test_outcomes_that_had_to_go_are_told_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(outcomes, "WAITING_LIMIT", 2)
    guard = enforcing(Deaf())
    for order in range(3):
        guard.settle(guard.decide_only("refund", {"order": order}), result="ran")
    assert "too many outcomes wait" in caplog.text


def test_a_flush_tries_a_kiff_that_cannot_be_told_once() -> None:
    """At the end of a process each try may take as long as the client waits."""
    client = Deaf()
    guard = enforcing(client)
    for order in range(5):
        guard.decide_only("refund", {"order": order})
    guard.flush()
    assert (client.tries, len(guard.receipts)) == (1, 5)


# What comes from elsewhere


def test_calls_of_another_process_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "OPEN_LIMIT", 3)
    before, after = enforcing(ScriptedClient()), enforcing(ScriptedClient())
    for order in range(6):
        after.adopt(before.keep(before.decide_only("refund", {"order": order})))
    assert (len(after.pending()), len(after.receipts)) == (3, 3)
