"""A call that its server makes a task was decided before it began. Its receipt says how the task ended, or unknown."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp_rigs import Behind, Listening
from mcp_server import PATIENCE_SECONDS, Server, until
from mcp_wire import MODERN, Wire, ends, enforcing

from kiff_guard import Guard
from kiff_guard.arguments import digest
from kiff_guard.conformance import ScriptedClient
from kiff_guard.mcp import ending, streamable, tasks

pytestmark = pytest.mark.slow

DONE = {"content": [{"type": "text", "text": "did it"}]}
BOOM = {"content": [], "isError": True}
RELATED = {"_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t1"}}}

Said = dict[str, list[Any]]
"""What the server says to each method, one request after the other: one message, or several."""


def made(id: str = "t1", *, modern: bool = False, **more: Any) -> dict[str, Any]:
    """The answer of a server that made a task of a call."""
    task = {"taskId": id, "status": "working", **more}
    return {"result": {"resultType": "task", **task} if modern else {"task": task}}


def state(status: str, id: str = "t1", **more: Any) -> dict[str, Any]:
    return {"result": {"taskId": id, "status": status, **more}}


def told(status: str, method: str = "notifications/tasks/status", **more: Any) -> dict[str, Any]:
    return {"method": method, "params": {"taskId": "t1", "status": status, **more}}


PROCESS = """
import sys, json
said = json.loads(sys.argv[1])
for line in sys.stdin:
    request = json.loads(line)
    if 'id' in request:
        answers = (said.get(request['method']) or [{'result': {}}]).pop(0)
        lines = [{'jsonrpc': '2.0', **each, **({} if 'method' in each else {'id': request['id']})}
                 for each in (answers if isinstance(answers, list) else [answers])]
        print('\\n'.join(map(json.dumps, lines)), flush=True)
"""


class Talk:
    """A client that asks one thing after the other, whatever stands between it and the server."""

    def __init__(self, rig: Any) -> None:
        self.rig = rig
        self._id = 0

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._id += 1
        id = self._id
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        if isinstance(self.rig, Wire):
            self.rig.send(message)
            return self.rig.answer(id)
        _, raw = self.rig.send(message, Mcp_Session_Id="s1")
        answers = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: ")] or [json.loads(raw)]
        return next(each for each in answers if each.get("id") == id)

    def call(self, tool: str = "refund", **params: Any) -> dict[str, Any]:
        return self.ask("tools/call", name=tool, arguments={"amount": 50}, **params)


def behaves(said: Said) -> Callable[[Server.Handler, bytes], None]:
    """The same server behind a URL."""

    def behave(handler: Server.Handler, body: bytes) -> None:
        request = json.loads(body or b"{}")
        if "id" not in request:
            return handler.say(b"", 202)
        answers = (said.get(request["method"]) or [{"result": {}}]).pop(0)
        messages = [
            {"jsonrpc": "2.0", **each, **({} if "method" in each else {"id": request["id"]})}
            for each in (answers if isinstance(answers, list) else [answers])
        ]
        if len(messages) == 1:
            return handler.say(messages[0])
        handler.stream()
        handler.event(b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in messages))
        return None

    return behave


Start = Callable[[Guard, Said], Any]


@pytest.fixture(params=["stdio", "http", "remote"])
def start(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(ending, "EXIT_SECONDS", 1.0)
    monkeypatch.setattr(streamable, "LOOK_SECONDS", 0.02)

    def start(guard: Guard, said: Said) -> Any:
        if request.param == "stdio":
            return Wire(guard, tmp_path, [sys.executable, "-S", "-c", PROCESS, json.dumps(said)])
        return Listening(guard, behaves(said)) if request.param == "http" else Behind(guard, tmp_path, behaves(said))

    return start


def outcomes(guard: Guard) -> list[str]:
    assert isinstance(guard.client, ScriptedClient)
    return [each.status for each in guard.client.settles]


@pytest.mark.parametrize("modern", [False, True])
def test_a_task_that_was_made_is_no_success(start: Start, modern: bool) -> None:
    guard = enforcing()
    with start(guard, {"tools/call": [made(modern=modern)], "tasks/get": [state("working")]}) as rig:
        talk = Talk(rig)
        talk.call()
        talk.ask("tasks/get", taskId="t1")
        assert guard.receipts == [] and outcomes(guard) == []
    assert ends(guard) == [("refund", "allowed", "unknown")]
    assert outcomes(guard) == ["unknown"]


@pytest.mark.parametrize(("result", "execution"), [(DONE, "succeeded"), (BOOM, "failed")])
@pytest.mark.parametrize("asked_before", [True, False])
def test_the_result_that_is_fetched_is_the_end(
    start: Start, asked_before: bool, result: dict[str, Any], execution: str
) -> None:
    """2025-11-25: `completed` may stand for an error of the tool, and the result says which."""
    guard = enforcing()
    said = {
        "tools/call": [made()],
        "tasks/get": [state("completed")],
        "tasks/result": [{"result": result | RELATED}] * 2,
    }
    with start(guard, said) as rig:
        talk = Talk(rig)
        talk.call(task={"ttl": 1000})
        if asked_before:
            talk.ask("tasks/get", taskId="t1")
            assert guard.receipts == []
        talk.ask("tasks/result", taskId="t1")
        assert ends(guard) == [("refund", "allowed", execution)], "before its client learns of it"
        assert guard.receipts[0].result_hash == digest(result | RELATED)
        talk.ask("tasks/result", taskId="t1")
    assert len(guard.receipts) == len(outcomes(guard)) == 1


def test_a_task_whose_result_nobody_fetched_ended_as_it_was_said(start: Start) -> None:
    guard = enforcing()
    with start(guard, {"tools/call": [made()], "tasks/get": [state("completed")]}) as rig:
        talk = Talk(rig)
        talk.call()
        talk.ask("tasks/get", taskId="t1")
    assert ends(guard) == [("refund", "allowed", "succeeded")]


@pytest.mark.parametrize(
    ("answer", "execution", "told_kiff"),
    [
        (state("completed", result=DONE), "succeeded", "succeeded"),
        (state("completed", result=BOOM), "failed", "unknown"),
        (state("completed", result=DONE | {"resultType": "input_required"}), "unknown", "unknown"),
        (state("failed", error={"code": -32603, "message": "no"}), "failed", "unknown"),
        (state("failed", error={"code": -32602, "message": "no"}), "failed", "failed"),
        (state("failed"), "failed", "unknown"),
        (state("cancelled"), "cancelled", "unknown"),
    ],
)
@pytest.mark.parametrize("way", ["tasks/get", "notifications/tasks", "notifications/tasks/status"])
def test_a_state_that_is_an_end_is_the_end(
    start: Start, way: str, answer: dict[str, Any], execution: str, told_kiff: str
) -> None:
    guard = enforcing()
    notice = {"method": way, "params": answer["result"]}
    said = {"tools/call": [made()], "tasks/get": [answer], "ping": [[notice, {"result": {}}]]}
    with start(guard, said) as rig:
        talk = Talk(rig)
        talk.call()
        talk.ask("tasks/get", taskId="t1") if way == "tasks/get" else talk.ask("ping")
        until(lambda: bool(guard.receipts))
        assert ends(guard) == [("refund", "allowed", execution)]
    assert outcomes(guard) == [told_kiff]


def test_a_task_that_its_client_cancels_is_cancelled(start: Start) -> None:
    """Some of it may have run: KIFF is told that nobody knows."""
    guard = enforcing()
    with start(guard, {"tools/call": [made()], "tasks/cancel": [state("cancelled")]}) as rig:
        talk = Talk(rig)
        talk.call()
        talk.ask("tasks/cancel", taskId="t1")
        assert ends(guard) == [("refund", "allowed", "cancelled")]
    assert outcomes(guard) == ["unknown"]


def test_nobody_learns_of_an_end_that_is_not_settled(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not by a second message, while the first one waits for KIFF to be told."""
    go = threading.Event()
    guard = enforcing()
    monkeypatch.setattr(guard.client, "settle", lambda *_, **__: go.wait(PATIENCE_SECONDS))
    said = {"tools/call": [made()], "ping": [[told("failed"), {"result": {}}]], "tasks/get": [state("failed")]}
    with start(guard, said) as rig:
        talk = Talk(rig)
        talk.call()
        if isinstance(rig, Wire):
            talk.ask("ping")
            rig.send({"jsonrpc": "2.0", "id": 7, "method": "tasks/get", "params": {"taskId": "t1"}})
            talk.ask("still-there")
            assert not [each for each in rig.told.messages if "failed" in str(each)]
            go.set()
            assert rig.result(7)["status"] == "failed"
        else:
            about = {"taskId": "t1"}
            asking = [
                threading.Thread(target=talk.ask, args=(method,), kwargs=about) for method in ("ping", "tasks/get")
            ]
            for each in asking:
                each.start()
                until(lambda: guard.receipts != [])
            assert all(each.is_alive() for each in asking)
            go.set()
            for each in asking:
                each.join(PATIENCE_SECONDS)


def test_news_that_come_with_the_task_are_not_missed(start: Start) -> None:
    guard = enforcing()
    with start(guard, {"tools/call": [[made(), told("failed")]], "tasks/get": [state("working")]}) as rig:
        talk = Talk(rig)
        talk.call()
        if not isinstance(rig, Behind):  # there the stream is over with its answer
            until(lambda: bool(guard.receipts))
            assert ends(guard) == [("refund", "allowed", "failed")]


def test_a_task_is_known_before_the_next_line_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the threads are doing that settle."""
    guard, later = enforcing(), list[Callable[[], Any]]()
    said = {"tools/call": [[made(), told("failed")]]}
    with Wire(guard, tmp_path, [sys.executable, "-S", "-c", PROCESS, json.dumps(said)]) as rig:
        monkeypatch.setattr(rig.gateway._settling, "submit", lambda work: later.append(work) or True)
        Talk(rig).call()
        until(lambda: bool(later))
        later[0]()
        assert ends(guard) == [("refund", "allowed", "failed")]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_task_that_was_over_when_it_was_made_is_over(start: Start, status: str) -> None:
    guard = enforcing()
    with start(guard, {"tools/call": [made(status=status)]}) as rig:
        Talk(rig).call()
        assert ends(guard) == [("refund", "allowed", status)]


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("tasks/get", {"error": {"code": -32602, "message": "no such task"}}),
        ("tasks/result", {"error": {"code": -32603, "message": "cannot be fetched"}}),
        ("tasks/get", state("completed", "t2", result=DONE)),
        ("tasks/get", state("someday")),
        ("tasks/get", {"result": {"status": "failed"}}),
        ("tasks/cancel", {"result": {"resultType": "complete"}}),
        ("resources/read", state("failed")),
        (
            "ping",
            [{"method": "notifications/tasks/status", "params": {"taskId": 1, "status": "failed"}}, {"result": {}}],
        ),
        ("ping", [{"method": "notifications/tasks/status", "params": []}, {"result": {}}]),
        ("ping", [{"method": "notifications/progress", "result": RELATED}, {"result": {}}]),
        (
            "ping",
            [{"method": "notifications/progress", "params": {"taskId": "t1", "status": "failed"}}, {"result": {}}],
        ),
    ],
)
def test_nothing_else_ends_a_task(start: Start, method: str, answer: Any) -> None:
    """An error may be about the question, and not about the task."""
    guard = enforcing()
    with start(guard, {"tools/call": [made()], method: [answer]}) as rig:
        talk = Talk(rig)
        talk.call()
        talk.ask(method, taskId="t1")
        talk.ask("still-there")
        assert guard.receipts == []
    assert ends(guard) == [("refund", "allowed", "unknown")]


def test_a_client_ends_no_task_by_its_own_word(start: Start) -> None:
    guard = enforcing()
    with start(guard, {"tools/call": [made()]}) as rig:
        talk = Talk(rig)
        talk.call()
        rig.send({"jsonrpc": "2.0", **told("completed", "notifications/tasks", result=DONE)})
        talk.ask("still-there")
    assert ends(guard) == [("refund", "allowed", "unknown")]


@pytest.mark.parametrize("task", [{}, {"taskId": 7}, {"taskId": ""}, {"taskId": "x" * 2000}])
def test_a_task_that_cannot_be_followed_is_unknown_at_once(start: Start, task: dict[str, Any]) -> None:
    guard = enforcing()
    with start(guard, {"tools/call": [{"result": {"task": task}}, {"result": {"resultType": "task", **task}}]}) as rig:
        talk = Talk(rig)
        talk.call()
        talk.call("pay")
        assert ends(guard) == [("refund", "allowed", "unknown"), ("pay", "allowed", "unknown")]


def test_the_oldest_goes_when_there_are_too_many(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TASKS_LIMIT", 2)
    guard = enforcing()
    said = {"tools/call": [made("t1"), made("t2"), made("t3")], "tasks/get": [state("completed", result=DONE)]}
    with start(guard, said) as rig:
        talk = Talk(rig)
        for tool in ("a", "b", "c"):
            talk.call(tool)
        assert ends(guard) == [("a", "allowed", "unknown")]
        talk.ask("tasks/get", taskId="t1")
        assert len(guard.receipts) == 1


def test_a_server_that_gives_an_id_twice_leaves_the_first_unknown(start: Start) -> None:
    guard = enforcing()
    with start(guard, {"tools/call": [made(), made()], "tasks/get": [state("failed")]}) as rig:
        talk = Talk(rig)
        talk.call("a")
        talk.call("b")
        talk.ask("tasks/get", taskId="t1")
        assert ends(guard) == [("a", "allowed", "unknown"), ("b", "allowed", "failed")]


def test_observe_follows_tasks_too(start: Start) -> None:
    guard = Guard(mode="observe")
    with start(guard, {"tools/call": [made()], "tasks/result": [{"result": BOOM}]}) as rig:
        talk = Talk(rig)
        talk.call()
        talk.ask("tasks/result", taskId="t1")
        assert ends(guard) == [("refund", "observed", "failed")]


# Over HTTP alone


@pytest.fixture
def listening() -> Iterator[Listening]:
    said: Said = {"tools/call": [made(), made("t2")], "tasks/get": [state("completed", result=DONE)]}
    with Listening(enforcing(), behaves(said)) as rig:
        yield rig


def test_the_end_of_a_session_leaves_its_tasks_unknown_and_no_others(listening: Listening) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "a"}}
    listening.send(call, Mcp_Session_Id="s1")
    listening.send(call | {"params": {"name": "b"}}, Mcp_Session_Id="s2")
    listening.send(b"", "DELETE", Mcp_Session_Id="s1")
    assert listening.settled() == [("a", "allowed", "unknown")]


def test_since_2026_a_task_belongs_to_no_session(listening: Listening) -> None:
    params = {"name": "a", "_meta": MODERN}
    listening.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    listening.send({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "t1", "_meta": MODERN}})
    assert listening.settled() == [("a", "allowed", "succeeded")]
