"""What becomes of tool calls that go through the gateway: to the server, to the client, and in the receipts."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from mcp_wire import ELICITS, MODERN, Wire, ends, enforcing

from kiff_guard import Decision, Guard
from kiff_guard.arguments import digest
from kiff_guard.conformance import Garbage, ScriptedClient
from kiff_guard.mcp import ending, stdio
from kiff_guard.mcp.desk import Desk
from kiff_guard.mcp.message import Call, call_of

pytestmark = pytest.mark.slow

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}},
}
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def scripted(guard: Guard) -> ScriptedClient:
    assert isinstance(guard.client, ScriptedClient)
    return guard.client


# Withheld


@pytest.mark.parametrize("outcome", ["blocked", "invalid", "limit_exceeded", "approval_required"])
def test_a_withheld_call_never_reaches_the_server(outcome: str, tmp_path: Path) -> None:
    guard = enforcing({"refund": outcome})
    with Wire(guard, tmp_path) as wire:
        result = wire.ask(1, "refund", {"amount": 50})
    assert wire.effects() == []
    assert result["isError"] and outcome in result["content"][0]["text"]
    assert result["structuredContent"]["outcome"] == outcome
    assert ends(guard) == [("refund", outcome, "not_run")]


@pytest.mark.parametrize(
    "failing", [ConnectionError, TimeoutError, KeyError, Garbage(None), Garbage({"outcome": "allowed"}), "yes", ""]
)
def test_what_is_no_answer_withholds(failing: object, tmp_path: Path) -> None:
    guard = enforcing(failing)
    with Wire(guard, tmp_path) as wire:
        assert wire.ask(1, "refund")["isError"]
    assert wire.effects() == []
    assert ends(guard) == [("refund", "error", "not_run")]


def test_a_fault_of_the_gateway_itself_withholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = enforcing()
    monkeypatch.setattr(guard, "decide_only", lambda *_, **__: 1 / 0)
    with Wire(guard, tmp_path) as wire:
        assert "guard_failed" in wire.ask(1, "refund")["content"][0]["text"]
    assert wire.effects() == []


def test_a_ledger_that_cannot_be_written_withholds(tmp_path: Path) -> None:
    class Full(list[object]):
        full = True

        def append(self, receipt: object) -> None:
            if self.full:
                raise OSError("no space left")
            super().append(receipt)

        open = append

    ledger = Full()
    guard = enforcing(ledger=ledger)
    with Wire(guard, tmp_path) as wire:
        assert wire.ask(1, "refund")["isError"]
    assert wire.effects() == []
    ledger.full = False
    guard.flush()
    assert [each.outcome for each in ledger] == ["error"]


def test_a_tool_without_a_binding_is_withheld(tmp_path: Path) -> None:
    """So is a known one under another name."""
    guard = enforcing(maps=frozenset({"refund"}))
    with Wire(guard, tmp_path) as wire:
        assert not wire.ask(1, "refund")["isError"]
        for id, name in enumerate(("Refund", "refund ", "re\u0301fund", "admin"), 2):
            assert wire.ask(id, name)["isError"]
    assert wire.effects() == [("refund", {})]


def test_failing_open_is_asked_for_and_is_written_down(tmp_path: Path) -> None:
    guard = enforcing(ConnectionError, fail_closed=False)
    with Wire(guard, tmp_path) as wire:
        assert not wire.ask(1, "refund")["isError"]
    assert wire.effects() == [("refund", {})]
    assert [each.state for each in guard.receipts] == ["ungoverned"]


def test_only_results_of_2026_have_a_type(tmp_path: Path) -> None:
    with Wire(enforcing("blocked"), tmp_path) as wire:
        assert "resultType" not in wire.ask(1, "refund")
        assert wire.ask(2, "refund", _meta=MODERN)["resultType"] == "complete"


def test_a_tool_with_an_output_schema_gets_text_alone(tmp_path: Path) -> None:
    """What does not fit the schema would break the client."""
    lists = (
        "import sys, json\n"
        "for line in sys.stdin:\n"
        "    m = json.loads(line)\n"
        "    tools = [{'name': 'refund', 'inputSchema': {}, 'outputSchema': {'type': 'object'}}]\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': {'tools': tools}}), flush=True)\n"
    )
    with Wire(enforcing("blocked"), tmp_path, [sys.executable, "-c", lists]) as wire:
        wire.send({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        wire.answer(1)
        assert "structuredContent" not in wire.ask(2, "refund")
        assert "structuredContent" in wire.ask(3, "other")


# Allowed


def test_an_allowed_call_runs_once(tmp_path: Path) -> None:
    guard = enforcing(adapter="")
    with Wire(guard, tmp_path) as wire:
        result = wire.ask(1, "refund", {"amount": 50}, _meta={"traceparent": TRACE})
    assert wire.effects() == [("refund", {"amount": 50})]
    assert result["content"][0]["text"] == "did refund"
    receipt = guard.receipts[0]
    assert (receipt.outcome, receipt.execution, receipt.call_id) == ("allowed", "succeeded", "1")
    assert receipt.trace_id == "a" * 32 and receipt.result_hash and receipt.adapter == "kiff-mcp"
    assert [each.status for each in scripted(guard).settles] == ["succeeded"]


def test_an_error_told_as_a_result_is_a_failure(tmp_path: Path) -> None:
    guard = enforcing()
    with Wire(guard, tmp_path) as wire:
        assert wire.ask(1, "boom")["isError"]
    assert ends(guard) == [("boom", "allowed", "failed")]
    assert [each.status for each in scripted(guard).settles] == ["unknown"], "it may have happened all the same"


@pytest.mark.parametrize(
    ("code", "told"), [(-32602, "failed"), (-32601, "failed"), (-32020, "failed"), (-32603, "unknown"), (0, "unknown")]
)
def test_an_error_of_the_protocol_is_a_failure(code: int, told: str, tmp_path: Path) -> None:
    """One that says that the request could not be read frees the entity; any other may have come too late."""
    refuses = (
        "import sys, json\n"
        "m = json.loads(sys.stdin.readline())\n"
        f"e = {{'code': {code}, 'message': 'no'}}\n"
        "print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'error': e}), flush=True)\n"
        "sys.stdin.read()"
    )
    guard = enforcing()
    with Wire(guard, tmp_path, [sys.executable, "-c", refuses]) as wire:
        wire.call(1, "nope")
        assert wire.answer(1)["error"]["code"] == code
    assert ends(guard) == [("nope", "allowed", "failed")]
    assert [each.status for each in scripted(guard).settles] == [told]


def test_a_call_that_becomes_a_task_has_no_end_yet(tmp_path: Path) -> None:
    tasks = (
        "import sys, json\n"
        "m = json.loads(sys.stdin.readline())\n"
        "print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': {'task': {'taskId': 't'}}}), flush=True)\n"
        "sys.stdin.read()"
    )
    guard = enforcing()
    with Wire(guard, tmp_path, [sys.executable, "-c", tasks]) as wire:
        wire.call(1, "long", task={"ttl": 1000})
        wire.answer(1)
    assert ends(guard) == [("long", "allowed", "unknown")]


def test_an_answer_before_the_question_ends_nothing(tmp_path: Path) -> None:
    """A server cannot make a receipt about a call that it has not seen."""
    hasty = (
        "import sys, json\n"
        "for line in sys.stdin:\n"
        "    m = json.loads(line)\n"
        "    id = 1 if m['method'] == 'ping' else m['id']\n"
        "    said = 'early' if m['method'] == 'ping' else 'late'\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': id, 'result': {'said': said}}), flush=True)\n"
    )
    go = threading.Event()
    guard = enforcing(lambda _: "allowed" if go.wait(20) else "")
    with Wire(guard, tmp_path, [sys.executable, "-c", hasty]) as wire:
        wire.call(1, "refund")
        wire.send({"jsonrpc": "2.0", "id": 2, "method": "ping"})
        wire.told.wait(lambda each: each.get("result") == {"said": "early"})
        go.set()
        wire.told.wait(lambda each: each.get("result") == {"said": "late"})
    assert ends(guard) == [("refund", "allowed", "succeeded")]
    assert guard.receipts[0].result_hash == digest({"said": "late"})


def test_a_malformed_trace_is_nobody_s(tmp_path: Path) -> None:
    guard = enforcing()
    with Wire(guard, tmp_path) as wire:
        wire.ask(1, "refund", _meta={"traceparent": "x\r\nEvil: 1"})
    assert guard.receipts[0].trace_id == ""


def test_calls_are_decided_side_by_side(tmp_path: Path) -> None:
    """Neither another call nor another message waits for a decision."""
    all_there = threading.Barrier(8, timeout=20)

    def outcome(args: dict[str, int]) -> str:
        all_there.wait()
        return "blocked"

    guard = enforcing(outcome)
    with Wire(guard, tmp_path) as wire:
        for id in range(7):
            wire.call(id, "refund", {"amount": id})
        wire.alive()
        assert not [each for each in wire.told.messages if "error" in str(each)]
        all_there.wait()
        for id in range(7):
            assert wire.result(id)["isError"]
    assert len(guard.receipts) == 7


def test_identical_calls_side_by_side_stay_two(tmp_path: Path) -> None:
    guard = enforcing()
    with Wire(guard, tmp_path) as wire:
        wire.call(1, "refund", {"amount": 50})
        wire.call(2, "refund", {"amount": 50})
        wire.answer(1), wire.answer(2)
    assert wire.effects() == [("refund", {"amount": 50})] * 2
    assert sorted(each.call_id for each in guard.receipts) == ["1", "2"]


def test_kiff_knows_how_a_call_ended_before_the_client_does(tmp_path: Path) -> None:
    """So the next call is decided on what happened."""
    guard = enforcing()
    with Wire(guard, tmp_path) as wire:
        wire.ask(1, "refund")
        assert [each.status for each in scripted(guard).settles] == ["succeeded"]


def test_too_many_calls_are_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "UNANSWERED_LIMIT", 3)
    go = threading.Event()
    with Wire(enforcing(lambda _: "blocked" if go.wait(20) else ""), tmp_path) as wire:
        for id in range(4):
            wire.call(id, "refund")
        assert "too many" in wire.told.wait(lambda each: "error" in each)["error"]["message"]
        go.set()
    assert wire.effects() == []


def test_requests_that_nobody_answers_leave_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "UNANSWERED_LIMIT", 3)
    deaf = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with Wire(enforcing("blocked"), tmp_path, deaf) as wire:
        for id in range(9):
            wire.send({"jsonrpc": "2.0", "id": id, "method": "ping"})
        assert wire.ask("call", "refund")["isError"]


# Held: 2026-07-28


def pause(wire: Wire, id: int, amount: int = 50) -> dict[str, object]:
    result = wire.ask(id, "refund", {"amount": amount}, _meta=ELICITS)
    assert result["resultType"] == "input_required", result
    return result


def again(wire: Wire, id: int, state: object, action: str = "accept", amount: int = 50) -> dict[str, object]:
    answers = {"kiff": {"action": action, "content": {"granted": True}}}
    return wire.ask(id, "refund", {"amount": amount}, _meta=ELICITS, requestState=state, inputResponses=answers)


def test_a_held_call_pauses_and_runs_once_granted(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path) as wire:
        held = pause(wire, 1)
        approval = scripted(guard).waiting()[0]
        assert approval in held["inputRequests"]["kiff"]["params"]["message"]
        scripted(guard).grant(approval)
        assert again(wire, 2, held["requestState"])["isError"] is False
    assert wire.effects() == [("refund", {"amount": 50})]
    assert ends(guard) == [("refund", "approval_required", "not_run"), ("refund", "allowed", "succeeded")]
    assert [each.approval_id for each in guard.receipts] == [approval, approval]
    assert scripted(guard).decides[-1].approval_id == approval


def test_what_the_server_gets_names_no_state_of_ours(tmp_path: Path) -> None:
    log = tmp_path / "got"
    save = [sys.executable, "-c", f"import sys; open({str(log)!r}, 'wb').write(sys.stdin.buffer.readline())"]
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path, save) as wire:
        held = pause(wire, 1)
        scripted(guard).grant(scripted(guard).waiting()[0])
        answers = {"kiff": {"action": "accept"}}
        wire.call(2, "refund", {"amount": 50}, _meta=ELICITS, requestState=held["requestState"], inputResponses=answers)
        wire.answer(2)
    assert b"requestState" not in log.read_bytes() and b"inputResponses" not in log.read_bytes()


def test_the_client_s_yes_is_no_grant(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path) as wire:
        result = again(wire, 2, pause(wire, 1)["requestState"])
        assert result["isError"] and "approval_required" in result["content"][0]["text"]
    assert wire.effects() == []


def test_a_denied_call_stays_denied(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path) as wire:
        held = pause(wire, 1)
        scripted(guard).deny(scripted(guard).waiting()[0])
        assert again(wire, 2, held["requestState"])["isError"]
        assert wire.ask(3, "refund", {"amount": 50})["isError"]
    assert wire.effects() == []


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_the_user_may_say_no_to_what_was_granted(action: str, tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path) as wire:
        held = pause(wire, 1)
        scripted(guard).grant(scripted(guard).waiting()[0])
        assert "declined" in again(wire, 2, held["requestState"], action)["content"][0]["text"]
    assert wire.effects() == []
    assert ends(guard) == [("refund", "approval_required", "not_run"), ("refund", "blocked", "not_run")]
    assert [each.call_id for each in guard.receipts] == ["1", "2"]


def test_other_arguments_than_approved_are_decided_anew(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path) as wire:
        held = pause(wire, 1)
        scripted(guard).grant(scripted(guard).waiting()[0])
        assert again(wire, 2, held["requestState"], amount=9999)["isError"]
    assert wire.effects() == []
    assert scripted(guard).decides[-1].approval_id is None


def test_a_state_is_good_in_its_own_gateway_alone(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path) as wire:
        state = str(pause(wire, 1)["requestState"])
    (tmp_path / "other").mkdir()
    other = enforcing({"refund": "approval_required"})
    with Wire(other, tmp_path / "other") as wire:
        assert again(wire, 1, state)["isError"]
        assert again(wire, 2, state[:-1] + "0")["isError"]
    assert {each.approval_id for each in scripted(other).decides} <= {None, *scripted(other).approvals}
    assert wire.effects() == []


@pytest.mark.parametrize(
    ("change", "known"), [({}, True), ({"session": "b"}, False), ({"tool": "pay"}, False), ({"amount": 2}, False)]
)
def test_a_state_names_the_approval_of_its_own_call_alone(
    change: dict[str, Any], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of one session, one tool and one set of arguments."""

    def call(session: str = "a", tool: str = "refund", amount: int = 1, **more: Any) -> Call:
        params = {"name": tool, "arguments": {"amount": amount}, "_meta": ELICITS, **more}
        return call_of({"id": 1, "params": params}, b"", session=session)

    seen: list[Any] = []

    def decide(*_: Any, approval_id: str | None = None, **__: Any) -> Decision:
        seen.append(approval_id)
        return Decision("approval_required", approval_id="appr_1")

    guard = enforcing()
    monkeypatch.setattr(guard, "decide_only", decide)
    desk = Desk(guard)
    state = desk.paused(desk.rule(call()))["result"]["requestState"]
    desk.rule(call(**change, requestState=state, inputResponses={"kiff": {"action": "accept"}}))
    assert seen == [None, "appr_1" if known else None]


def test_a_grant_is_good_for_one_run(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path) as wire:
        held = pause(wire, 1)
        scripted(guard).grant(scripted(guard).waiting()[0])
        again(wire, 2, held["requestState"])
        assert again(wire, 3, held["requestState"])["isError"]
    assert len(wire.effects()) == 1


def test_a_client_that_cannot_ask_is_told_in_text(tmp_path: Path) -> None:
    with Wire(enforcing("approval_required"), tmp_path) as wire:
        assert wire.ask(1, "refund", _meta=MODERN)["resultType"] == "complete"


def test_what_the_server_itself_asks_goes_on_under_one_decision(tmp_path: Path) -> None:
    """And once: the same answer sent again is a call of its own."""
    asks = (
        "import sys, json\n"
        "for line in sys.stdin:\n"
        "    m = json.loads(line)\n"
        "    done = 'requestState' in m['params']\n"
        "    ask = {'resultType': 'input_required', 'requestState': 's1', 'inputRequests': {}}\n"
        "    result = {'content': [], 'resultType': 'complete'} if done else ask\n"
        "    print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': result}), flush=True)\n"
    )
    guard = enforcing()
    with Wire(guard, tmp_path, [sys.executable, "-c", asks]) as wire:
        assert wire.ask(1, "book", {"seat": 1}, _meta=MODERN)["resultType"] == "input_required"
        assert guard.receipts == []
        wire.ask(2, "book", {"seat": 1}, _meta=MODERN, requestState="s1", inputResponses={})
        assert ends(guard) == [("book", "allowed", "succeeded")]
        assert scripted(guard).calls == 1
        wire.ask(3, "book", {"seat": 1}, _meta=MODERN, requestState="s1", inputResponses={})
        wire.ask(4, "book", {"seat": 2}, _meta=MODERN, requestState="s1", inputResponses={})
    assert scripted(guard).calls == 3


# Held: until 2025-11-25


def test_an_older_client_is_asked_by_a_request(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path) as wire:
        wire.send(INITIALIZE)
        wire.call(1, "refund", {"amount": 50})
        question = wire.told.wait(lambda each: each.get("method") == "elicitation/create")
        approval = scripted(guard).waiting()[0]
        assert approval in question["params"]["message"]
        scripted(guard).grant(approval)
        wire.send({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {}}})
        assert wire.result(1)["isError"] is False
    assert wire.effects() == [("refund", {"amount": 50})]
    assert ends(guard) == [("refund", "approval_required", "not_run"), ("refund", "allowed", "succeeded")]


@pytest.mark.parametrize(
    "said",
    [
        {"result": {"action": "accept"}},
        {"result": {"action": "decline"}},
        {"error": {"code": -1, "message": "no"}},
        {"result": []},
    ],
    ids=["accept", "decline", "error", "nonsense"],
)
def test_no_answer_of_the_client_is_a_grant(said: dict[str, object], tmp_path: Path) -> None:
    with Wire(enforcing({"refund": "approval_required"}), tmp_path) as wire:
        wire.send(INITIALIZE)
        wire.call(1, "refund")
        question = wire.told.wait(lambda each: each.get("method") == "elicitation/create")
        wire.send({"jsonrpc": "2.0", "id": question["id"], **said})
        assert wire.result(1)["isError"]
        wire.alive()
    assert wire.effects() == []
    assert len([each for each in wire.told.messages if "method" in each]) == 1, "asked once"


def test_the_user_of_an_older_client_may_say_no_to_what_was_granted(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path) as wire:
        wire.send(INITIALIZE)
        wire.call(1, "refund")
        question = wire.told.wait(lambda each: each.get("method") == "elicitation/create")
        scripted(guard).grant(scripted(guard).waiting()[0])
        wire.send({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}})
        assert wire.result(1)["isError"]
    assert wire.effects() == [] and scripted(guard).calls == 1


def test_a_client_without_elicitation_is_told_in_text(tmp_path: Path) -> None:
    with Wire(enforcing("approval_required"), tmp_path) as wire:
        wire.send(INITIALIZE | {"params": {"capabilities": {"elicitation": {"url": {}}}}})
        assert wire.ask(1, "refund")["isError"]


# Cancelled


def cancel(wire: Wire, id: object) -> None:
    wire.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})


def test_a_call_cancelled_while_it_is_decided_never_runs(tmp_path: Path) -> None:
    go = threading.Event()
    guard = enforcing(lambda _: "allowed" if go.wait(20) else "")
    with Wire(guard, tmp_path) as wire:
        wire.call(1, "refund")
        cancel(wire, 1)
        wire.alive()
        go.set()
    assert wire.effects() == []
    assert ends(guard) == [("refund", "allowed", "not_run")]
    assert [each.status for each in scripted(guard).settles] == ["cancelled"]


def test_a_call_cancelled_while_its_user_is_asked_never_runs(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Wire(guard, tmp_path) as wire:
        wire.send(INITIALIZE)
        wire.call(1, "refund")
        question = wire.told.wait(lambda each: each.get("method") == "elicitation/create")
        scripted(guard).grant(scripted(guard).waiting()[0])
        cancel(wire, 1)
        wire.told.wait(lambda each: each.get("method") == "notifications/cancelled")
        wire.send({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}})
        wire.alive()
    assert wire.effects() == []


def test_a_cancelled_call_that_ends_all_the_same_is_known_to(tmp_path: Path) -> None:
    guard = enforcing()
    with Wire(guard, tmp_path) as wire:
        wire.call(1, "slow", {"seconds": 0.3})
        wire.started()
        cancel(wire, 1)
        wire.answer(1)
    assert ends(guard) == [("slow", "allowed", "succeeded")]


def test_a_cancelled_call_that_is_never_answered_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "CANCEL_GRACE_SECONDS", 0.05)
    monkeypatch.setattr(ending, "EXIT_SECONDS", 0.1)
    settled = threading.Event()
    guard = enforcing()
    scripted(guard).settle = lambda *_, **__: settled.set()  # type: ignore[method-assign]
    with Wire(guard, tmp_path) as wire:
        wire.call(1, "slow", {"seconds": 600})
        wire.started()
        cancel(wire, 1)
        assert settled.wait(20)
        assert ends(guard) == [("slow", "allowed", "unknown")]


# The end


def test_the_end_of_the_client_ends_the_server(tmp_path: Path) -> None:
    with Wire(enforcing(), tmp_path) as wire:
        wire.ask(1, "refund")
        assert wire.end() == 0


def test_a_call_in_the_server_when_the_client_goes_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "EXIT_SECONDS", 0.1)
    guard = enforcing()
    with Wire(guard, tmp_path) as wire:
        wire.call(1, "slow", {"seconds": 0.3})
        wire.end()
    assert ends(guard) == [("slow", "allowed", "succeeded")]


def test_a_server_that_never_finishes_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "EXIT_SECONDS", 0.1)
    monkeypatch.setattr(ending, "FINISH_SECONDS", 0.1)
    guard = enforcing()
    with Wire(guard, tmp_path) as wire:
        wire.call(1, "slow", {"seconds": 600})
        wire.started()
        assert wire.end() == 128 + signal.SIGTERM
    assert ends(guard) == [("slow", "allowed", "unknown")]


def test_a_fault_of_the_gateway_s_own_lets_nothing_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio.protocol, "call_of", lambda *_, **__: 1 / 0)
    with Wire(enforcing(), tmp_path) as wire:
        wire.call(1, "refund")
        assert wire.answer(None)["error"]["code"] == -32603
        wire.alive()
    assert wire.effects() == []


def test_a_server_that_dies_leaves_nothing_open(tmp_path: Path) -> None:
    guard = enforcing()
    with Wire(guard, tmp_path) as wire:
        wire.call(1, "die", {"code": 7})
        assert "unknown" in wire.answer(1)["error"]["message"]
        wire._thread.join(20)
        assert wire.code == 7
    assert ends(guard) == [("die", "allowed", "unknown")]


def test_a_server_that_is_killed_gives_the_code_of_a_shell(tmp_path: Path) -> None:
    kills = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    with Wire(enforcing(), tmp_path, kills) as wire:
        wire._thread.join(20)
        assert wire.code == 128 + signal.SIGKILL


def test_a_call_that_comes_when_the_server_is_gone_did_not_run(tmp_path: Path) -> None:
    go = threading.Event()
    guard = enforcing(lambda _: "allowed" if go.wait(20) else "")
    ends_at_once = [sys.executable, "-c", "import sys; sys.stdin.buffer.raw.read(10)"]
    with Wire(guard, tmp_path, ends_at_once) as wire:
        wire.call(1, "refund")
        wire.send({"jsonrpc": "2.0", "id": 2, "method": "ping"})
        wire.answer(2)
        go.set()
        wire._thread.join(20)
    assert ends(guard) == [("refund", "allowed", "not_run")]


# Observe


def test_observe_asks_nobody_and_stops_nothing(tmp_path: Path) -> None:
    guard = Guard(ScriptedClient(AssertionError), mode="observe")
    with Wire(guard, tmp_path) as wire:
        wire.ask(1, "refund", {"amount": 50})
        assert wire.ask(2, "boom")["isError"]
    assert wire.effects() == [("refund", {"amount": 50}), ("boom", {})]
    assert ends(guard) == [("refund", "observed", "succeeded"), ("boom", "observed", "failed")]
    assert guard.catalog.counts == {"refund": 1, "boom": 1}


@pytest.mark.parametrize("broken", ["decide_only", "settle"])
def test_a_guard_that_breaks_stops_nothing_in_observe(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guard(mode="observe")
    monkeypatch.setattr(guard, broken, lambda *_, **__: 1 / 0)
    with Wire(guard, tmp_path) as wire:
        assert not wire.ask(1, "refund")["isError"]
    assert wire.effects() == [("refund", {})]


def test_arguments_of_any_kind_pass_in_observe(tmp_path: Path) -> None:
    with Wire(Guard(mode="observe"), tmp_path) as wire:
        wire.raw(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":[1e999]}}\n')
        wire.raw(b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"y","arguments":{"a":"\\ud800"}}}\n')
        wire.answer(2)
    assert [tool for tool, _ in wire.effects()] == ["x", "y"]
    assert os.path.exists(wire.effects_file)
