"""Races of callers that go, settle and look at the same call from threads and loops; and loops that are not asyncio."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
import types
from collections import Counter, deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from kiff_guard import Decision, Guard, GuardError, Hold, steps
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import Unreachable

BOUND = 30


class Gate(ScriptedClient):
    """Answers when it is let."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.came, self.let = threading.Event(), threading.Event()

    def decide(self, *given: Any, **more: Any) -> Decision:
        self.came.set()
        assert self.let.wait(BOUND)
        return super().decide(*given, **more)


async def _cancelled(guard: Guard, seen: Callable[[], bool]) -> None:
    task = asyncio.create_task(guard.adecide_only("pay", {}))
    assert await asyncio.to_thread(seen)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _cancelled_before_the_answer(guard: Guard, client: Gate) -> None:
    await _cancelled(guard, partial(client.came.wait, BOUND))
    client.let.set()
    await _idle()
    await guard.aflush()


def test_a_question_that_was_cancelled_under_way_is_given_back_once() -> None:
    client = Gate()
    guard = Guard(client, agent="bot", mode="enforce")

    async def run() -> None:
        await _cancelled(guard, partial(client.came.wait, BOUND))
        await guard.aflush()
        client.let.set()
        await _idle()
        await guard.aflush()

    asyncio.run(run())
    (asked,) = client.decides
    assert [(e.proposal_id, e.status) for e in client.settles] == [(asked.options["proposal_id"], "cancelled")]


@pytest.mark.parametrize("outcome", ["blocked", "approval_required"])
def test_a_cancelled_question_that_kiff_did_not_clear_is_not_given_back(outcome: str) -> None:
    client = Gate(outcome)
    guard = Guard(client, agent="bot", mode="enforce")

    asyncio.run(_cancelled_before_the_answer(guard, client))
    assert (client.calls, client.settles) == (1, [])


def test_a_cancelled_question_whose_answer_is_lost_is_given_back_once() -> None:
    client = Gate(Unreachable("gone"))
    guard = Guard(client, agent="bot", mode="enforce")

    asyncio.run(_cancelled_before_the_answer(guard, client))
    assert [e.status for e in client.settles] == ["cancelled"]


def test_a_question_that_was_never_asked_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    client = ScriptedClient()
    guard = Guard(client, agent="bot", mode="enforce")
    held = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(steps, "_threads", lambda: pool)
        pool.submit(held.wait, BOUND)

        async def run() -> None:
            task = asyncio.create_task(guard.adecide_only("pay", {}))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            held.set()
            await guard.aflush()

        asyncio.run(run())
    assert (client.calls, client.settles) == (0, [])
    assert [each.execution for each in guard.receipts] == ["not_run"]


async def _idle() -> None:
    """Until the guard's threads have nothing to do."""
    pool = steps._threads()
    busy = threading.Barrier(steps.THREADS)
    await asyncio.gather(*(asyncio.wrap_future(pool.submit(busy.wait, BOUND)) for _ in range(steps.THREADS)))


def test_a_look_at_a_call_that_runs_changes_nothing_of_it() -> None:
    client = ScriptedClient()
    guard = Guard(client, agent="bot", mode="enforce", session="s")
    args = {"amount": 1}

    async def tool() -> str:
        return "ran"

    coroutine = guard.evaluate("pay", args, tool, call_id="c")
    guard.decide_only("pay", {"amount": 1}, call_id="c", peek=True)
    guard.flush()
    assert guard.receipts == []  # the guard runs it, and will say how it ended
    args["amount"] = 1000
    with pytest.raises(Hold, match="integrity_violation"):
        asyncio.run(_await(coroutine))
    assert [(each.execution, each.integrity_violation) for each in guard.receipts] == [("not_run", True)]


async def _await(coroutine: Any) -> Any:
    return await coroutine


@pytest.mark.parametrize("settle", ["flush", "settle", "keep"])
def test_a_look_that_was_given_up_meanwhile_lets_nothing_run(settle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread gives the look up after this one has found it, and before it takes it over."""
    client = ScriptedClient()
    guard = Guard(client, agent="bot", mode="enforce", session="s")
    looked = guard.decide_only("pay", {}, call_id="c", peek=True)
    enter = guard._core.attempts.enter
    ends = {
        "flush": guard.flush,
        "settle": partial(guard.settle, looked, status="not_run"),
        "keep": partial(guard.keep, looked),
    }

    def found(attempt: Any) -> Any:
        known = enter(attempt)
        ends[settle]()
        return known

    monkeypatch.setattr(guard._core.attempts, "enter", found)
    assert guard.decide_only("pay", {}, call_id="c").withheld


class Rough(ScriptedClient):
    """Takes its time, and fails now and then."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dice = random.Random(self.seed)
        self.cleared: list[str] = []
        self.lost: list[str] = []

    seed = 0

    def decide(self, *given: Any, **more: Any) -> Decision:
        time.sleep(self.dice.random() / 500)
        chance = self.dice.random()
        if chance < 0.1:
            self.lost.append(more["proposal_id"])
            raise Unreachable("before it was asked")
        answer = super().decide(*given, **more)
        if answer.outcome == "allowed" and not answer.replayed:
            self.cleared.append(answer.proposal_id)
        if chance < 0.2:
            self.lost.append(more["proposal_id"])
            raise Unreachable("after it was asked")
        return answer

    def settle(self, *given: Any, **more: Any) -> None:
        time.sleep(self.dice.random() / 500)
        if self.dice.random() < 0.1:
            raise Unreachable("not told")
        super().settle(*given, **more)


class Storm:
    """Callers that do what they like with the same few calls."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        Rough.seed = seed
        self.client = Rough({"pay": "allowed", "no": "blocked"})
        self.guard = Guard(self.client, agent="bot", mode="enforce", session="s", ledger=[])
        self.lock = threading.Lock()
        self.ran: Counter[str] = Counter()
        self.allowed: Counter[str] = Counter()

    def act(self, dice: random.Random) -> None:
        call, tool = f"c{dice.randrange(8)}-{dice.randrange(self.wave + 1)}", dice.choice(("pay", "pay", "pay", "no"))
        with suppress(Hold, KeyError, GuardError, Unlucky):
            self._do(dice, tool, call)

    wave = 0

    def _do(self, dice: random.Random, tool: str, call: str) -> None:
        guard, what = self.guard, dice.randrange(6)
        if what == 0:
            guard.decide_only(tool, {}, call_id=call, peek=True)
        elif what == 1:
            self._run_outside(dice, guard.decide_only(tool, {}, call_id=call))
        elif what in (2, 3):
            guard.evaluate(tool, {}, partial(self._tool, dice, f"{tool}{call}"), call_id=call)
        elif what == 4:
            guard.settle(call, status=dice.choice(("failed", "succeeded", "unknown")))
        else:
            guard.flush()

    def _run_outside(self, dice: random.Random, decision: Decision) -> None:
        if decision.withheld:
            return
        with self.lock:
            self.allowed[decision.receipt_id] += 1
        time.sleep(dice.random() / 1000)
        if dice.random() < 0.8:
            self.guard.settle(decision, result=1)

    def _tool(self, dice: random.Random, name: str) -> str:
        with self.lock:
            self.ran[name] += 1
        time.sleep(dice.random() / 1000)
        if dice.random() < 0.3:
            raise Unlucky
        return name

    async def aact(self, dice: random.Random) -> None:
        call = f"a{dice.randrange(8)}-{dice.randrange(self.wave + 1)}"
        run = partial(self._atool, dice, f"pay{call}")
        task = asyncio.create_task(self.guard.aevaluate("pay", {}, run, call_id=call))
        await asyncio.sleep(dice.random() / 200)
        if dice.random() < 0.5:
            task.cancel()
        with suppress(Hold, Unlucky, asyncio.CancelledError):
            await task

    async def _atool(self, dice: random.Random, name: str) -> str:
        await asyncio.sleep(dice.random() / 500)
        return self._tool(dice, name)

    def blow(self, seconds: float) -> None:
        end = time.monotonic() + seconds

        def thread(number: int) -> None:
            dice = random.Random(f"{self.seed}-{number}")
            while time.monotonic() < end:
                self.act(dice)
                self.wave += 1

        async def loop() -> None:
            async def task(number: int) -> None:
                dice = random.Random(f"{self.seed}-task-{number}")
                while time.monotonic() < end:
                    await self.aact(dice)

            await asyncio.wait_for(asyncio.gather(*map(task, range(8))), BOUND + seconds)
            await asyncio.wait_for(_idle(), BOUND)

        threads = [threading.Thread(target=thread, args=(number,), daemon=True) for number in range(8)]
        for each in threads:
            each.start()
        asyncio.run(loop())
        for each in threads:
            each.join(BOUND)
            assert not each.is_alive()

    def check(self) -> None:
        for _ in range(50):
            self.guard.flush()
        receipts, told = self.guard.receipts, Counter(each.proposal_id for each in self.client.settles)
        assert self.guard.pending() == []
        assert max(Counter(each.receipt_id for each in receipts).values()) == 1
        assert max(self.allowed.values()) == 1
        of = Counter(f"{each.tool}{each.call_id}" for each in receipts if each.executed)
        assert not {name: (ran, of[name]) for name, ran in self.ran.items() if ran > of[name]}
        assert not [each for each in receipts if each.executed and each.tool == "no"]
        not_run = {each.receipt_id for each in receipts if each.execution == "not_run"}
        assert not not_run & self.allowed.keys()
        assert set(self.client.cleared) <= told.keys()
        assert not {name: n for name, n in told.items() if n > 1 and name not in self.client.lost}
        assert told.keys() <= {*self.client.cleared, *self.client.lost}


class Unlucky(Exception):
    """A tool's own error."""


class TinyTrio(types.ModuleType):
    """As much of trio as the guard uses, and a loop that runs one coroutine beside a count of its own turns."""

    RunFinishedError, Cancelled = RuntimeError, Unlucky

    def __init__(self) -> None:
        super().__init__("trio")
        self.turns, self.lowlevel, self.Event = 0, self, TinyEvent
        self.soon: deque[Callable[[], None]] = deque()
        self.run_sync_soon = self.soon.append

    def current_trio_token(self) -> TinyTrio:
        return self

    def run(self, coroutine: Any, *, cancel: Callable[[], bool] = bool) -> Any:
        try:
            coroutine.send(None)
            end = time.monotonic() + BOUND
            while time.monotonic() < end:
                self.turns += 1
                if cancel():
                    coroutine.throw(self.Cancelled())
                if self.soon:
                    self.soon.popleft()()
                    coroutine.send(None)
        except StopIteration as done:
            return done.value
        raise TimeoutError


class TinyEvent:
    """Wakes the one that waits."""

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        self.is_set = True

    @types.coroutine
    def wait(self) -> Generator[None, None, None]:
        while not self.is_set:
            yield


@pytest.fixture
def trio(monkeypatch: pytest.MonkeyPatch) -> TinyTrio:
    tiny = TinyTrio()
    monkeypatch.setitem(sys.modules, "trio", tiny)
    return tiny


def test_a_loop_of_trio_goes_on_while_kiff_is_asked(trio: TinyTrio) -> None:
    client = Gate()
    guard = Guard(client, agent="bot", mode="enforce")

    def let() -> bool:
        if trio.turns > 100:
            client.let.set()
        return False

    assert trio.run(guard.aevaluate("pay", {}, lambda: "ran"), cancel=let) == "ran"
    assert trio.turns > 100
    assert [each.execution for each in guard.receipts] == ["succeeded"]


def test_a_caller_that_trio_cancels_gives_its_question_back(trio: TinyTrio) -> None:
    client = Gate()
    guard = Guard(client, agent="bot", mode="enforce")
    with pytest.raises(trio.Cancelled):
        trio.run(guard.aevaluate("pay", {}, lambda: "ran"), cancel=client.came.is_set)
    client.let.set()
    asyncio.run(_idle())
    guard.flush()
    assert [each.execution for each in guard.receipts] == ["not_run"]
    assert [each.status for each in client.settles] == ["cancelled"]


def test_a_loop_that_nobody_knows_stands_still_and_is_told_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(steps, "_has_warned", False)
    guard = Guard(ScriptedClient(), agent="bot", mode="enforce")
    for _ in range(2):
        with pytest.raises(StopIteration):
            guard.aevaluate("pay", {}, lambda: "ran").send(None)
    assert [each.execution for each in guard.receipts] == ["succeeded"] * 2
    assert [each.message.partition(":")[0] for each in caplog.records] == ["no loop of asyncio or trio runs here"]


@pytest.mark.slow
def test_a_storm_of_callers_leaves_one_end_of_each_call() -> None:
    seed = int(os.environ.get("KIFF_STORM_SEED") or random.SystemRandom().randrange(10**6))
    print(f"KIFF_STORM_SEED={seed}")
    storm = Storm(seed)
    storm.blow(float(os.environ.get("KIFF_STORM_SECONDS") or 2))
    storm.check()
    assert len(storm.client.cleared) > 20
