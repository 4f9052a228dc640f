"""Odd ends: calls that come twice, answers that are lost, streams that nobody reads, rude callers."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
from contextlib import suppress
from typing import Any

import pytest

from kiff_guard import Catalog, Decision, Guard, Hold, attempts, core
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import DeadlineExceeded


def enforcing(outcomes: Any = "allowed", **more: Any) -> tuple[Guard, ScriptedClient]:
    client = ScriptedClient(outcomes)
    return Guard(client, agent="a", mode="enforce", **more), client


@pytest.mark.parametrize("session", [None, "s"])
def test_a_vote_that_was_let_go_is_not_called_not_run_because_its_id_comes_again(session: Any) -> None:
    guard, client = enforcing()
    first = guard.decide_only("refund", {"order": 1}, call_id="call_0", session=session)
    second = guard.decide_only("refund", {"order": 2}, call_id="call_0", session=session)
    assert not first.withheld and not second.withheld
    guard.settle(first, result="ran")  # the framework ran both
    guard.settle(second, result="ran")
    assert sorted(each.execution for each in guard.receipts) == ["succeeded", "succeeded"]
    assert "cancelled" not in {each.status for each in client.settles}


def test_a_look_that_nobody_followed_did_not_run() -> None:
    guard, client = enforcing()
    guard.decide_only("refund", {"order": 1}, call_id="c1", session="s", peek=True)
    guard.flush()
    assert [(each.executed, each.execution) for each in guard.receipts] == [(False, "not_run")]
    assert [each.status for each in client.settles] == ["cancelled"]


def test_the_same_call_twice_at_the_same_time_runs_once() -> None:
    both = threading.Barrier(2)

    def slow(args):
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        return "allowed"

    guard, _ = enforcing(slow)
    ran, ended = [], []

    def one():
        try:
            ended.append(guard.evaluate("refund", {"order": 1}, lambda: ran.append(1), call_id="c1", session="s"))
        except Hold as error:
            ended.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert ran == [1]
    assert len({(each.session, each.call_id, each.attempt) for each in guard.receipts}) == len(guard.receipts)


def test_a_stream_that_nobody_begins_is_swept() -> None:
    guard, _ = enforcing()

    def chunks():
        yield 1

    guard.evaluate("tell", {}, chunks)
    gc.collect()
    guard.flush()
    assert guard.pending() == []
    assert [each.execution for each in guard.receipts] in (["not_run"], ["cancelled"], ["unknown"])


def test_streams_that_nobody_begins_do_not_pile_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(attempts, "OPEN_LIMIT", 10)
    guard = Guard()

    def chunks():
        yield 1

    for _ in range(100):
        guard.evaluate("tell", {}, chunks)
    gc.collect()
    assert len(guard.pending()) <= 11


def test_an_interrupt_while_kiff_is_asked_gives_back_what_it_may_have_cleared() -> None:
    class Interrupted(ScriptedClient):
        def decide(self, *a, **k):
            super().decide(*a, **k)
            raise KeyboardInterrupt

    client = Interrupted()
    guard = Guard(client, agent="a", mode="enforce")
    with pytest.raises(KeyboardInterrupt):
        guard.evaluate("refund", {}, lambda: None)
    guard.flush()
    assert [each.status for each in client.settles] == ["cancelled"]


def test_a_task_stays_a_task() -> None:
    async def go():
        guard = Guard()
        loop = asyncio.get_running_loop()

        async def work():
            return 7

        given = loop.create_task(work())
        got = guard.evaluate("t", {}, lambda: given)
        assert await got == 7
        return isinstance(got, asyncio.Future), [each.execution for each in guard.receipts]

    assert asyncio.run(go()) == (True, ["succeeded"])


def test_a_task_that_nobody_awaits_is_settled_when_it_is_done() -> None:
    async def go():
        guard = Guard()

        async def work():
            return 7

        guard_given = guard.evaluate("t", {}, lambda: asyncio.get_running_loop().create_task(work()))
        await asyncio.sleep(0.01)
        r = [each.execution for each in guard.receipts]
        if asyncio.iscoroutine(guard_given):
            guard_given.close()
        return r

    assert asyncio.run(go()) == ["succeeded"]


def test_a_receipt_has_its_arguments_whatever_withheld_or_recorded_the_call() -> None:
    guard, _ = enforcing()
    for _ in range(2):
        guard.decide_only("refund", {"order": 1, "token": "t"}, call_id="c1", session="s")
    guard.observe("look", {"order": 1, "token": "t"})
    guard.flush()
    assert sorted(each.outcome for each in guard.receipts) == ["allowed", "blocked", "observed"]
    assert all(each.args == {"order": 1, "token": "[redacted]"} for each in guard.receipts)


def test_the_receipts_of_one_call_are_counted_without_a_gap() -> None:
    guard, _ = enforcing()
    first = guard.decide_only("refund", {"order": 1}, call_id="c1", session="s")
    guard.decide_only("refund", {"order": 1}, call_id="c1", session="s")
    guard.settle(first, result="ran")
    for _ in range(2):
        guard.decide_only("refund", {"order": 1}, call_id="c1", session="s")
    assert sorted(each.attempt for each in guard.receipts) == [1, 2, 3, 4]


def test_arguments_that_are_refused_do_not_take_the_place_of_a_call_that_runs() -> None:
    guard, client = enforcing()
    guard.decide_only("refund", {"order": 1}, call_id="c1", session="s")
    guard.decide_only("refund", {"order": object()}, call_id="c1", session="s")
    again = guard.decide_only("refund", {"order": 1}, call_id="c1", session="s")
    assert (again.reasons, client.calls) == (("already_running",), 1)


def test_a_call_id_that_two_sessions_have_is_not_guessed() -> None:
    guard, _ = enforcing()
    guard.decide_only("refund", {"order": 1}, call_id="c1", session="one")
    guard.decide_only("refund", {"order": 2}, call_id="c1", session="two")
    assert guard.settle("c1", result="whose?") is None
    assert len(guard.pending()) == 2


def test_receipts_that_cannot_be_written_do_not_pile_up_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "UNWRITTEN_LIMIT", 100)

    class Full(list[Any]):
        full = True

        def append(self, receipt: Any) -> None:
            if self.full:
                raise OSError("no space left")
            super().append(receipt)

    ledger = Full()
    guard = Guard(ledger=ledger)
    for _ in range(300):
        guard.evaluate("t", {}, lambda: 1)
    assert len(guard._core.unwritten) == 100
    ledger.full = False
    guard.flush()
    assert len(ledger) == 100


@pytest.mark.parametrize("odd", [{"trace": 7}, {"tool": object()}, {"call_id": object()}, {"session": 7}])
def test_observe_stops_nothing_whatever_an_adapter_passes(odd: Any) -> None:
    guard = Guard()
    given = {"tool": "t", **odd}
    assert guard.evaluate(given.pop("tool"), {}, lambda: 5, **given) == 5
    assert len(guard.receipts) == 1


def test_wrap_takes_any_callable() -> None:
    guard = Guard()

    def refund(order, amount):
        return order

    assert guard.wrap(functools.partial(refund, amount=1))("o") == "o"


def test_what_the_ledger_or_client_does_to_its_arguments_reaches_no_receipt() -> None:
    class Rude(ScriptedClient):
        def decide(self, tenant, agent, tool, args, *a, **k):
            out = super().decide(tenant, agent, tool, args, *a, **k)
            args["amount"] = 1
            return out

    guard = Guard(Rude(), agent="a", mode="enforce", redact=None)
    guard.evaluate("refund", {"amount": 900}, lambda: None)
    assert guard.receipts[0].args == {"amount": 900}


def test_a_catalog_of_the_users_does_not_change_what_is_decided_on() -> None:
    class Scrubs(Catalog):
        def record(self, agent, tool, args):
            args.clear()

    client = ScriptedClient()
    guard = Guard(client, agent="a", mode="enforce", catalog=Scrubs())
    guard.evaluate("refund", {"amount": 900}, lambda: None)
    assert client.decides[0].args == {"amount": 900}


def test_the_tool_that_taints_is_itself_decided_untainted() -> None:
    client = ScriptedClient()
    guard = Guard(client, agent="a", mode="enforce", untrusted_tools=["fetch"])
    guard.evaluate("fetch", {}, lambda: "text")
    guard.evaluate("refund", {}, lambda: "text")
    assert [each.options["run_context"]["untrusted_input"] for each in client.decides] == [False, True]


def test_fail_open_tells_kiff_how_it_ended_if_kiff_may_have_cleared_it() -> None:
    class Late(ScriptedClient):
        def decide(self, *a, **k):
            super().decide(*a, **k)
            raise DeadlineExceeded("late")

    client = Late()
    guard = Guard(client, agent="a", mode="enforce", fail_closed=False)
    guard.evaluate("refund", {}, lambda: 1)
    guard.flush()
    assert [each.status for each in client.settles] == ["succeeded"]


def test_a_cleared_call_whose_stream_is_dropped_unread_is_given_back() -> None:
    guard, client = enforcing()

    def chunks():
        yield 1

    guard.evaluate("tell", {}, chunks)
    gc.collect()
    guard.flush()
    assert client.settles


def test_a_coroutine_that_nobody_awaits_is_swept() -> None:
    guard, _ = enforcing()

    async def work():
        return 1

    inner = work()
    guard.evaluate("t", {}, lambda: inner).close()
    inner.close()
    gc.collect()
    guard.flush()
    assert guard.pending() == []


def test_the_same_call_twice_at_the_same_time_runs_once_whatever_the_client_knows() -> None:
    both = threading.Barrier(2)

    class Plain:
        def decide(self, tenant, agent, tool, args, run_context=None):
            with suppress(threading.BrokenBarrierError):
                both.wait(0.3)
            return Decision("allowed")

    guard = Guard(Plain(), agent="a", mode="enforce")
    ran = []

    def one():
        with suppress(Hold):
            guard.evaluate("refund", {"order": 1}, lambda: ran.append(1), call_id="c1", session="s")

    threads = [threading.Thread(target=one) for _ in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert ran == [1]


def test_a_withheld_tool_taints_nothing() -> None:
    client = ScriptedClient({"fetch": "blocked", "*": "allowed"})
    guard = Guard(client, agent="a", mode="enforce", untrusted_tools=["fetch"])
    with suppress(Hold):
        guard.evaluate("fetch", {}, lambda: "text")
    guard.evaluate("refund", {}, lambda: "text")
    assert client.decides[-1].options["run_context"]["untrusted_input"] is False


def test_a_changed_call_gives_its_clearance_back_and_says_it_did_not_run() -> None:
    guard, client = enforcing()
    args = {"amount": 1}

    class Client2(ScriptedClient):
        def decide(self, *a, **k):
            out = super().decide(*a, **k)
            args["amount"] = 9000
            return out

    client = Client2()
    guard = Guard(client, agent="a", mode="enforce")
    ran = []
    with pytest.raises(Hold):
        guard.evaluate("refund", args, lambda: ran.append(1))
    assert ran == [] and [e.execution for e in guard.receipts] == ["not_run"] and guard.receipts[0].integrity_violation
    assert [e.status for e in client.settles] == ["cancelled"]


def test_two_held_calls_with_the_same_arguments_each_need_their_own_yes() -> None:
    guard, client = enforcing("approval_required")
    ids = [guard.decide_only("refund", {"o": 1}, call_id=c, session="s").approval_id for c in ("c1", "c2")]
    client.grant(ids[0])
    ran = [not guard.decide_only("refund", {"o": 1}, call_id=c, session="s").withheld for c in ("c1", "c2")]
    assert sum(ran) == 1


def test_an_unawaited_async_stream_is_swept() -> None:
    guard, _ = enforcing()

    async def chunks():
        yield 1

    guard.evaluate("tell", {}, chunks)
    gc.collect()
    guard.flush()
    assert guard.pending() == []


@pytest.mark.parametrize("error", [StopIteration, GeneratorExit, StopAsyncIteration])
@pytest.mark.parametrize("place", ["client", "ledger"])
def test_what_ends_a_generator_is_an_error_like_any_other_and_hangs_no_loop(error: Any, place: str) -> None:
    class Broken(list):  # type: ignore[type-arg]
        blocking = True

        def open(self, receipt: Any) -> None:
            raise error

    more = {"ledger": Broken()} if place == "ledger" else {}
    guard, _ = enforcing(error if place == "client" else "allowed", **more)
    ran: list[int] = []

    async def awaited() -> None:
        with pytest.raises(Hold):
            await asyncio.wait_for(guard.aevaluate("refund", {}, lambda: ran.append(1)), 20)

    asyncio.run(awaited())
    with pytest.raises(Hold):
        guard.evaluate("refund", {}, lambda: ran.append(1))
    assert ran == []
    assert [(each.outcome, each.execution) for each in guard.receipts] == [("error", "not_run")] * 2
