"""Attacks on the core: arguments and results that are not what they seem, decisions that are used late or elsewhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kiff_guard import Guard, Hold, attempts, steps
from kiff_guard.conformance import ScriptedClient
from kiff_guard.ledgers import JSONLLedger

RAN: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> Iterator[None]:
    RAN.clear()
    yield


def enforcing(outcomes: Any = "allowed", **more: Any) -> tuple[Guard, ScriptedClient]:
    client = ScriptedClient(outcomes)
    return Guard(client, agent="a", mode="enforce", **more), client


class ReadOnce(Mapping[str, Any]):
    """Arguments that can be read once."""

    def __init__(self, **args: Any) -> None:
        self._args = args
        self._was_read = False

    def __iter__(self) -> Iterator[str]:
        return iter(self._args)

    def __len__(self) -> int:
        return len(self._args)

    def __getitem__(self, name: str) -> Any:
        if self._was_read:
            raise RuntimeError("gone")
        self._was_read = True
        return self._args[name]


class Obliging:
    """A proxy, as of a remote object: whatever it is asked for, it has."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **named: None


class Rude:
    """What cannot even be asked for its name."""

    def __bool__(self) -> bool:
        raise ValueError("no")


# Arguments


def test_arguments_that_cannot_be_read_again_do_not_run_and_leave_nothing_open() -> None:
    guard, client = enforcing()
    with pytest.raises(Hold, match="integrity_violation"):
        guard.evaluate("refund", ReadOnce(order=1), lambda: RAN.append(1))
    assert (RAN, guard.pending()) == ([], [])
    assert [(each.execution, each.integrity_violation) for each in guard.receipts] == [("not_run", True)]
    assert [each.status for each in client.settles] == ["cancelled"]


def test_arguments_that_cannot_be_read_after_the_run_raise_nothing() -> None:
    guard, _ = enforcing()
    decision = guard.decide_only("refund", {"order": 1})
    gone = ReadOnce(order=1)
    gone["order"]
    receipt = guard.settle(decision, result="done", args=gone)
    assert receipt is not None
    assert (receipt.execution, receipt.integrity_violation) == ("succeeded", True)


def test_an_argument_by_place_and_once_more_by_its_name_does_not_run() -> None:
    guard, client = enforcing()

    @guard.wrap
    def pay(amount: float, /, **more: Any) -> None:
        RAN.append(amount)

    with pytest.raises(TypeError, match="`amount` by its place and by its name"):
        pay(1_000_000.0, amount=5.0)
    assert (RAN, client.calls) == ([], 0)


def test_in_observe_such_a_call_runs_as_it_is() -> None:
    guard = Guard(mode="observe")
    pay = guard.wrap(lambda amount, /, **more: (amount, more), tool="pay")
    assert pay(9.0, amount=5.0) == (9.0, {"amount": 5.0})


@pytest.mark.parametrize("odd", [{"call_id": Rude()}, {"session": Rude()}, {"trace": Rude()}])
@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_a_name_that_cannot_be_read_stops_no_call(mode: str, odd: dict[str, Any]) -> None:
    guard = enforcing()[0] if mode == "enforce" else Guard(mode="observe")
    assert guard.evaluate("refund", {}, lambda: "ran", **odd) == "ran"


def test_half_a_character_in_a_name_does_not_spoil_the_receipts(tmp_path: Path) -> None:
    """A receipt that no ledger takes would stand before all others that wait."""
    ledger = JSONLLedger(tmp_path / "receipts.jsonl")
    guard = Guard(mode="observe", ledger=ledger)
    guard.evaluate("re\ud800fund", {}, lambda: 1, call_id="c\udc00", session="s\ud800")
    guard.close()
    assert r"re\\ud800fund" in (tmp_path / "receipts.jsonl").read_text("utf-8")


# Results


def test_a_result_that_answers_to_any_name_is_handed_on_as_it_is() -> None:
    given = Obliging()
    guard = Guard(mode="observe")
    assert guard.evaluate("look", {}, lambda: given) is given
    assert asyncio.run(guard.aevaluate("look", {}, _returns(given))) is given
    assert [each.execution for each in guard.receipts] == ["succeeded", "succeeded"]


def _returns(value: Any) -> Any:
    return lambda: value


# Decisions that are used late


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Has the clearances of KIFF end at once, when it is called."""
    yield lambda: monkeypatch.setattr(attempts, "FRESH_SECONDS", -1.0)


def test_a_look_is_not_followed_when_its_clearance_has_ended(late: Any) -> None:
    said = ["allowed", "blocked"]
    guard, client = enforcing(lambda args: said.pop(0))
    guard.decide_only("refund", {"order": 1}, call_id="c1", session="s", peek=True)
    late()  # somebody is asked, and goes to lunch; KIFF is frozen meanwhile
    with pytest.raises(Hold, match="blocked"):
        guard.evaluate("refund", {"order": 1}, lambda: RAN.append(1), call_id="c1", session="s")
    assert RAN == []
    assert [(each.outcome, each.execution) for each in guard.receipts] == [
        ("allowed", "not_run"),
        ("blocked", "not_run"),
    ]
    assert [each.status for each in client.settles] == ["cancelled"]


def test_a_call_that_was_given_back_is_a_new_question() -> None:
    guard, client = enforcing()
    first = guard.decide_only("refund", {"order": 1}, call_id="c1", session="s")
    guard.settle(first, status="not_run")
    guard.evaluate("refund", {"order": 1}, lambda: RAN.append(1), call_id="c1", session="s")
    assert RAN == [1]
    assert len({each.proposal_id for each in client.decides}) == 2


@pytest.mark.parametrize("kind", ["coroutine", "generator", "async generator"])
def test_what_begins_after_its_clearance_has_ended_does_not_run(late: Any, kind: str) -> None:
    guard, _ = enforcing()
    given = guard.evaluate("refund", {"order": 1}, BODIES[kind])
    late()
    with pytest.raises(Hold, match="decision_expired"):
        READ[kind](given)
    assert RAN == []
    assert [(each.executed, each.execution) for each in guard.receipts] == [(False, "not_run")]


@pytest.mark.parametrize("kind", ["coroutine", "generator", "async generator"])
def test_what_begins_with_other_arguments_than_decided_does_not_run(kind: str) -> None:
    guard, _ = enforcing()
    args = {"order": 1}
    given = guard.evaluate("refund", args, BODIES[kind])
    args["order"] = 2
    with pytest.raises(Hold, match="integrity_violation"):
        READ[kind](given)
    assert RAN == []
    assert [(each.execution, each.integrity_violation) for each in guard.receipts] == [("not_run", True)]


async def _coroutine() -> None:
    RAN.append(1)


def _generator() -> Iterator[int]:
    RAN.append(1)
    yield 1


async def _agenerator() -> Any:
    RAN.append(1)
    yield 1


async def _awaited(given: Any) -> Any:
    return await given


async def _anext(given: Any) -> Any:
    return await given.__anext__()


BODIES = {"coroutine": _coroutine, "generator": _generator, "async generator": _agenerator}
READ = {
    "coroutine": lambda given: asyncio.run(_awaited(given)),
    "generator": next,
    "async generator": lambda given: asyncio.run(_anext(given)),
}


# Words of others


def test_what_a_client_quotes_of_the_arguments_is_in_no_receipt_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    def quotes(args: dict[str, Any]) -> str:
        raise KeyError(f"no such thing: {args}")

    guard, _ = enforcing(quotes)
    with pytest.raises(Hold) as held:
        guard.evaluate("login", {"password": "hunter2"}, lambda: RAN.append(1))
    [receipt] = guard.receipts
    assert (receipt.outcome, receipt.reason) == ("error", "KeyError")
    assert "hunter2" not in f"{receipt}{held.value}{caplog.text}"


# The end of a process, and its children


class NoMoreThreads:
    """The pool of threads of an interpreter that ends."""

    def submit(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("cannot schedule new futures after shutdown")


def test_a_tool_that_ends_after_the_main_thread_did_is_settled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    guard, client = enforcing(ledger=JSONLLedger(tmp_path / "receipts.jsonl"))

    async def outlives() -> str:
        monkeypatch.setattr(steps, "_threads", NoMoreThreads)
        RAN.append(1)
        return "done"

    assert asyncio.run(guard.aevaluate("refund", {"order": 1}, outlives)) == "done"
    assert (RAN, [each.status for each in client.settles]) == ([1], ["succeeded"])


def test_a_call_that_is_cut_off_as_the_process_ends_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    guard, client = enforcing()

    async def cut_off() -> None:
        monkeypatch.setattr(steps, "_threads", NoMoreThreads)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(guard.aevaluate("refund", {"order": 1}, cut_off))
    assert [each.status for each in client.settles] == ["unknown"]
    assert [each.execution for each in guard.receipts] == ["cancelled"]


def test_a_child_says_nothing_of_the_calls_of_its_parent(tmp_path: Path) -> None:
    """Neither of those that are open when it is forked, nor of the one within which it is."""
    script = textwrap.dedent(
        """
        import os, sys
        from kiff_guard import Guard
        from kiff_guard.conformance import ScriptedClient

        class Told(ScriptedClient):
            def settle(self, proposal_id, status, **more):
                print(who, status, flush=True)

        class Ledger:
            def append(self, receipt):
                print(who, "receipt", receipt.tool, receipt.execution, flush=True)

        who = "parent"
        guard = Guard(Told("allowed"), agent="a", mode="enforce", ledger=Ledger())
        guard.decide_only("vote", {"order": 1})

        def forks():
            global who
            child = os.fork()
            if not child:
                who = "child"
                sys.exit(3)
            os.waitpid(child, 0)

        guard.evaluate("refund", {"order": 2}, forks)
        """
    )
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.splitlines() == [
        "parent receipt refund succeeded",
        "parent succeeded",
        "parent receipt vote unknown",
        "parent unknown",
    ]
