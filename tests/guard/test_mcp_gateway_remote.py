"""A client on stdin and stdout, and a server behind a URL: what is sent, and what becomes of calls when lines break."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp_rigs import INITIALIZED
from mcp_rigs import Behind as Rig
from mcp_server import PATIENCE_SECONDS, TELL, Behave, Server, does, until
from mcp_wire import ELICITS, MODERN, ends, enforcing

from kiff_guard import Guard
from kiff_guard.conformance import ScriptedClient
from kiff_guard.mcp import ending, remote, sse
from kiff_guard.mcp.upstream import Upstream

pytestmark = pytest.mark.slow

AGREED = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
REFUND = {"amount": 50}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(remote, "SHORTEST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(ending, "EXIT_SECONDS", 1.0)


def legacy(then: Behave, *, get: Behave | None = None) -> Behave:
    """A server with sessions, that does to requests in one what `then` does."""
    sessions: list[str] = []

    def behave(handler: Server.Handler, body: bytes) -> None:
        message = json.loads(body or b"{}")
        if message.get("method") == "initialize":
            sessions.append(f"s{len(sessions) + 1}")
            handler.say({"jsonrpc": "2.0", "id": message["id"], "result": AGREED}, Mcp_Session_Id=sessions[-1])
        elif handler.command == "DELETE":
            handler.say(b"")
        elif handler.command == "GET":
            (get or (lambda handler, _: handler.say(b"", 405)))(handler, body)
        elif "method" not in message or "id" not in message:
            handler.say(b"", 202)
        else:
            then(handler, body)

    return behave


def result_of(body: bytes, result: Any = TELL) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": result}).encode()


def scripted(guard: Guard) -> ScriptedClient:
    assert isinstance(guard.client, ScriptedClient)
    return guard.client


def once(go: threading.Event) -> Behave:
    """A server that answers when it is let."""

    def behave(handler: Server.Handler, body: bytes) -> None:
        go.wait(PATIENCE_SECONDS)
        does(handler, body)

    return behave


# Decided


@pytest.mark.parametrize("meta", [{}, MODERN], ids=["2025", "2026"])
def test_a_withheld_call_is_answered_here(meta: dict[str, Any], tmp_path: Path) -> None:
    guard = enforcing("blocked")
    with Rig(guard, tmp_path) as rig:
        assert rig.ask(1, "refund", REFUND, _meta=meta)["isError"]
        assert rig.got == []
    assert ends(guard) == [("refund", "blocked", "not_run")]


def test_kiff_that_cannot_be_asked_withholds(tmp_path: Path) -> None:
    with Rig(enforcing(ConnectionError), tmp_path) as rig:
        assert rig.ask(1, "refund", REFUND)["isError"]
        assert rig.got == []


def test_an_allowed_call_goes_as_it_came(tmp_path: Path) -> None:
    guard = enforcing()
    raw = b'{ "method":"tools\\/call", "id":1,"jsonrpc":"2.0","params":{"arguments":{"b":1.0},"name":"refund"}}'
    with Rig(guard, tmp_path) as rig:
        rig.raw(raw + b"\n")
        assert rig.result(1) == TELL
        assert [(method, body) for method, _, body in rig.server.got] == [("POST", raw)]
    assert ends(guard) == [("refund", "allowed", "succeeded")]
    assert [each.status for each in scripted(guard).settles] == ["succeeded"]


def test_a_held_call_pauses_and_runs_once_granted(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Rig(guard, tmp_path) as rig:
        held = rig.ask(1, "refund", REFUND, _meta=ELICITS)
        assert held["resultType"] == "input_required" and rig.got == []
        scripted(guard).grant(scripted(guard).waiting()[0])
        answers = {"kiff": {"action": "accept"}}
        more = {"_meta": ELICITS, "requestState": held["requestState"], "inputResponses": answers}
        assert rig.ask(2, "refund", REFUND, **more) == TELL
        assert b"requestState" not in rig.server.got[0][2]
    assert ends(guard) == [("refund", "approval_required", "not_run"), ("refund", "allowed", "succeeded")]


def test_the_user_of_an_older_client_is_asked(tmp_path: Path) -> None:
    guard = enforcing({"refund": "approval_required"})
    with Rig(guard, tmp_path, legacy(does)) as rig:
        rig.begin()
        rig.call(1, "refund", REFUND)
        question = rig.told.wait(lambda each: each.get("method") == "elicitation/create")
        scripted(guard).grant(scripted(guard).waiting()[0])
        rig.send({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}})
        assert rig.result(1) == TELL
        assert "an answer" not in rig.got, "what the gateway asked is the gateway's"
    assert ends(guard)[-1] == ("refund", "allowed", "succeeded")


def test_a_server_that_asks_by_itself_goes_on_under_one_decision(tmp_path: Path) -> None:
    def behave(handler: Server.Handler, body: bytes) -> None:
        done = "requestState" in json.loads(body)["params"]
        asks = {"resultType": "input_required", "requestState": "s1", "inputRequests": {}}
        handler.say(result_of(body, {"content": [], "resultType": "complete"} if done else asks))

    guard = enforcing()
    with Rig(guard, tmp_path, behave) as rig:
        assert rig.ask(1, "book", REFUND, _meta=MODERN)["resultType"] == "input_required"
        rig.ask(2, "book", REFUND, _meta=MODERN, requestState="s1", inputResponses={})
    assert scripted(guard).calls == 1 and ends(guard) == [("book", "allowed", "succeeded")]


def test_observe_forwards_what_it_cannot_read(tmp_path: Path) -> None:
    with Rig(Guard(mode="observe"), tmp_path) as rig:
        rig.raw(b'{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call","params":{"name":"x"}}\n')
        assert rig.result(7) == TELL
        rig.raw(b'[{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"x"}}]\n')
        until(lambda: len(rig.server.got) == 2)


# What the server is told


def test_a_request_of_2026_says_in_headers_what_it_says_in_its_body(tmp_path: Path) -> None:
    """Servers must refuse it otherwise. The names of arguments stand in the list of the tools."""
    properties = {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "where": {"properties": {"floor": {"type": "integer", "x-mcp-header": "Floor"}}},
        "gone": {"type": "string", "x-mcp-header": "Gone"},
        "evil": {"type": "string", "x-mcp-header": "A: b\r\nEvil"},
        "twice": {"type": "string", "x-mcp-header": "Same"},
        "again": {"type": "string", "x-mcp-header": "same"},
    }
    tools = [{"name": "réfund", "inputSchema": {"properties": properties}}]

    def behave(handler: Server.Handler, body: bytes) -> None:
        lists = json.loads(body)["method"] == "tools/list"
        handler.say(result_of(body, {"tools": tools} if lists else TELL))

    with Rig(enforcing(), tmp_path, behave) as rig:
        rig.send({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MODERN}})
        rig.answer(1)
        arguments = {"region": "Łódź", "where": {"floor": 3}, "evil": "x", "twice": "x", "again": "x"}
        rig.ask(2, "réfund", arguments, _meta=MODERN)
        told = rig.headers("tools/call")
    assert {name: value for name, value in told.items() if name.startswith("mcp-")} == {
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "=?base64?csOpZnVuZA==?=",
        "mcp-param-region": "=?base64?xYHDs2TFug==?=",
        "mcp-param-floor": "3",
    }
    assert told["accept"] == "application/json, text/event-stream" and told["content-type"] == "application/json"


def test_an_older_session_is_carried_and_ended(tmp_path: Path) -> None:
    with Rig(enforcing(), tmp_path, legacy(does)) as rig:
        rig.begin()
        assert rig.ask(1, "refund", REFUND) == TELL
        until(lambda: "GET" in rig.got)
        assert rig.end() == 0
        assert [each for each in rig.got if each != "GET"] == [
            "initialize", "notifications/initialized", "tools/call", "DELETE",
        ]  # fmt: skip
        assert "mcp-session-id" not in rig.headers("initialize")
        for each in ("notifications/initialized", "tools/call", "GET", "DELETE"):
            told = rig.headers(each)
            assert (told["mcp-session-id"], told["mcp-protocol-version"]) == ("s1", "2025-11-25")


def test_a_client_of_2026_has_no_session_to_end(tmp_path: Path) -> None:
    with Rig(enforcing(), tmp_path) as rig:
        rig.ask(1, "refund", REFUND, _meta=MODERN)
        rig.end()
        assert rig.got == ["tools/call"]


def test_a_request_does_not_overtake_the_notification_before_it(tmp_path: Path) -> None:
    go = threading.Event()

    def behave(handler: Server.Handler, body: bytes) -> None:
        if json.loads(body).get("method") == "notifications/initialized":
            go.wait(PATIENCE_SECONDS)
        does(handler, body)

    with Rig(enforcing(), tmp_path, behave) as rig:
        rig.send(INITIALIZED)
        rig.call(1, "refund", REFUND)
        until(lambda: bool(scripted(rig.guard).decides and rig.got))
        assert rig.got == ["notifications/initialized"]
        go.set()
        assert rig.result(1) == TELL


def test_the_server_is_told_what_it_is_to_be_told_and_not_kiff_s_key(tmp_path: Path) -> None:
    with Rig(enforcing(), tmp_path, legacy(does), [("Authorization", "Bearer theirs"), ("X-Team", "a")]) as rig:
        rig.begin()
        rig.ask(1, "refund", REFUND)
        rig.end()
        assert len(rig.server.got) >= 4
        for _, told, _ in rig.server.got:
            assert told["Authorization"] == "Bearer theirs" and told["X-Team"] == "a"


# What the server says


def test_what_comes_in_events_becomes_lines(tmp_path: Path) -> None:
    """However the JSON in it is broken into lines."""
    progress = b'data: {"jsonrpc":"2.0",\ndata: "method":"notifications/progress",\rdata: "params":{"x":"a\\nb"}}\n\n'

    def behave(handler: Server.Handler, body: bytes) -> None:
        handler.stream()
        handler.event(b": hello\n\nid: 1\ndata:\n\n" + progress)
        handler.event(b"event: message\r\ndata: " + result_of(body) + b"\r\n\r\n")

    with Rig(enforcing(), tmp_path, behave) as rig:
        assert rig.ask(1, "refund", REFUND) == TELL
        assert rig.told.messages[0]["params"] == {"x": "a\nb"}
        assert len(rig.told.raw) == 2 and all(each.count(b"\n") == 1 for each in rig.told.raw)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_events_are_the_same_however_their_bytes_come(end: bytes) -> None:
    raw = b"id: 1" + end[: len(end) // 2] + b"data: a" + end + b": ping" + end + b"retry: 20" + end + b"data: b" + end
    for size in range(1, len(raw) + 1):
        pieces = list(sse.events(raw[at : at + size] for at in range(0, len(raw), size)))
        told = [each for each in map(sse.read, pieces) if each != sse.Event()]
        assert b"".join(pieces) == raw
        assert told == [sse.Event(b"a", "1"), sse.Event(retry_seconds=0.02), sse.Event(b"b")], size


def test_what_the_server_asks_while_it_works_is_answered(tmp_path: Path) -> None:
    """Until 2025-11-25: sampling, elicitation and roots are requests in the stream of the call."""
    answers: list[Any] = []
    there = threading.Event()
    asks = {"jsonrpc": "2.0", "id": "q1", "method": "sampling/createMessage", "params": {}}

    def then(handler: Server.Handler, body: bytes) -> None:
        handler.stream()
        handler.event(b"data: " + json.dumps(asks).encode() + b"\n\n")
        there.wait(PATIENCE_SECONDS)
        handler.event(b"data: " + result_of(body) + b"\n\n")

    def behave(handler: Server.Handler, body: bytes) -> None:
        message = json.loads(body or b"{}")
        if "result" in message:
            answers.append((message, handler.headers["Mcp-Session-Id"]))
            there.set()
        legacy_(handler, body)

    legacy_ = legacy(then)
    guard = enforcing()
    with Rig(guard, tmp_path, behave) as rig:
        rig.begin()
        rig.call(1, "refund", REFUND)
        rig.told.wait(lambda each: each.get("id") == "q1")
        rig.send({"jsonrpc": "2.0", "id": "q1", "result": {"said": "hello"}})
        assert rig.result(1) == TELL
    assert answers == [({"jsonrpc": "2.0", "id": "q1", "result": {"said": "hello"}}, "s1")]
    assert ends(guard) == [("refund", "allowed", "succeeded")]


def test_what_belongs_to_no_request_comes_by_a_stream_of_its_own(tmp_path: Path) -> None:
    """One that breaks is taken up where it broke."""
    seen: list[str | None] = []

    def get(handler: Server.Handler, body: bytes) -> None:
        seen.append(handler.headers["Last-Event-ID"])
        handler.stream()
        number = len(seen)
        if number < 3:
            changed = {"jsonrpc": "2.0", "method": "notifications/changed", "params": {"n": number}}
            handler.event(b"id: e%d\ndata: %b\n\n" % (number, json.dumps(changed).encode()))
        else:
            done.wait(PATIENCE_SECONDS)

    done = threading.Event()
    with Rig(enforcing(), tmp_path, legacy(does, get=get)) as rig:
        rig.begin()
        for number in (1, 2):
            rig.told.wait(lambda each, number=number: each.get("params") == {"n": number})  # type: ignore[misc]
        until(lambda: len(seen) == 3)
        done.set()
    assert seen[:3] == [None, "e1", "e2"]


def test_what_a_client_of_2026_listens_to_comes_while_it_calls(tmp_path: Path) -> None:
    """And is no reason to stay when the client goes."""
    ended = threading.Event()
    changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}

    def behave(handler: Server.Handler, body: bytes) -> None:
        if json.loads(body)["method"] == "tools/call":
            return does(handler, body)
        handler.stream()
        handler.event(b"data: " + json.dumps(changed).encode() + b"\n\n")
        return cut(handler, ended.set, begun=True)

    with Rig(enforcing(), tmp_path, behave) as rig:
        rig.send({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {"_meta": MODERN}})
        rig.told.wait(lambda each: each.get("method") == changed["method"])
        assert rig.ask(2, "refund", REFUND, _meta=MODERN) == TELL
        assert rig.end() == 0
        assert ended.wait(PATIENCE_SECONDS)


def test_an_answer_whose_stream_breaks_is_fetched(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    def then(handler: Server.Handler, body: bytes) -> None:
        bodies.append(body)
        handler.stream()
        handler.event(b"retry: 5\nid: e1\ndata:\n\n")

    def get(handler: Server.Handler, body: bytes) -> None:
        if handler.headers["Last-Event-ID"] != "e1":
            return handler.say(b"", 405)
        handler.stream()
        handler.event(b"id: e2\ndata: " + result_of(bodies[0]) + b"\n\n")
        return None

    guard = enforcing()
    with Rig(guard, tmp_path, legacy(then, get=get)) as rig:
        rig.begin()
        assert rig.ask(1, "refund", REFUND) == TELL
    assert len(bodies) == 1 and ends(guard) == [("refund", "allowed", "succeeded")]


def test_a_server_may_end_a_stream_as_often_as_it_likes_while_it_works(tmp_path: Path) -> None:
    bodies: list[bytes] = []
    asked: list[str] = []

    def then(handler: Server.Handler, body: bytes) -> None:
        bodies.append(body)
        handler.stream()
        handler.event(b"retry: 1\nid: e1\ndata:\n\n")

    def get(handler: Server.Handler, body: bytes) -> None:
        if not handler.headers["Last-Event-ID"]:
            return handler.say(b"", 405)
        asked.append(handler.headers["Last-Event-ID"])
        handler.stream()
        if len(asked) > 2 * remote.RESUMPTIONS:
            handler.event(b"data: " + result_of(bodies[0]) + b"\n\n")
        return None

    guard = enforcing()
    with Rig(guard, tmp_path, legacy(then, get=get)) as rig:
        rig.begin()
        assert rig.ask(1, "refund", REFUND) == TELL
    assert set(asked) == {"e1"} and ends(guard) == [("refund", "allowed", "succeeded")]


def test_an_answer_that_is_never_fetched_is_unknown(tmp_path: Path) -> None:
    tries: list[str] = []

    def then(handler: Server.Handler, body: bytes) -> None:
        handler.stream()
        handler.event(b"retry: 1\nid: e1\ndata:\n\n")

    def get(handler: Server.Handler, body: bytes) -> None:
        if handler.headers["Last-Event-ID"]:
            tries.append("again")
        handler.say(b"", 500)

    guard = enforcing()
    with Rig(guard, tmp_path, legacy(then, get=get)) as rig:
        rig.begin()
        rig.call(1, "refund", REFUND)
        assert "unknown" in rig.answer(1)["error"]["message"]
    assert len(tries) == remote.RESUMPTIONS and ends(guard) == [("refund", "allowed", "unknown")]


# Lines that break, and servers that refuse


def test_a_server_that_is_not_there_has_run_nothing(tmp_path: Path) -> None:
    guard = enforcing()
    with Rig(guard, tmp_path) as rig:
        rig.server.shutdown()
        rig.server.server_close()
        rig.call(1, "refund", REFUND)
        assert "cannot be reached" in rig.answer(1)["error"]["message"]
    assert ends(guard) == [("refund", "allowed", "not_run")]
    assert [each.status for each in scripted(guard).settles] == ["cancelled"]


def breaks_off(handler: Server.Handler, body: bytes) -> None:
    handler.close_connection = True


def breaks_in_the_body(handler: Server.Handler, body: bytes) -> None:
    handler.say(result_of(body), Content_Length="99999")
    handler.close_connection = True


def breaks_in_the_events(handler: Server.Handler, body: bytes) -> None:
    handler.stream()
    handler.event(b"id: 7\ndata: {}\n\ndata: " + result_of(body))


@pytest.mark.parametrize(
    "behave",
    [
        breaks_off,
        breaks_in_the_body,
        breaks_in_the_events,
        lambda handler, body: handler.say(b"", 202),
        lambda handler, body: handler.say(b"<html>", 200, Content_Type="text/html"),
        lambda handler, body: handler.say(b"oh", 503, Content_Type="text/plain"),
        lambda handler, body: handler.say(result_of(body), 307, Location="http://evil.example/mcp"),
        lambda handler, body: handler.say({"jsonrpc": "2.0", "id": 99, "result": TELL}),
    ],
    ids=["at once", "in the body", "in the events", "202", "html", "503", "redirect", "another's answer"],
)
def test_a_server_that_does_not_say_how_it_ended_leaves_an_unknown_end(behave: Behave, tmp_path: Path) -> None:
    guard = enforcing()
    with Rig(guard, tmp_path, behave) as rig:
        rig.call(1, "refund", REFUND, _meta=MODERN)
        assert "unknown" in rig.answer(1)["error"]["message"]
        assert len(rig.server.got) == 1
    assert ends(guard) == [("refund", "allowed", "unknown")]


@pytest.mark.parametrize(("status", "says"), [(401, "--header"), (403, "403"), (404, "404"), (405, "streamable")])
def test_a_server_that_refuses_is_told_of(status: int, says: str, tmp_path: Path) -> None:
    guard = enforcing()
    with Rig(guard, tmp_path, lambda handler, _: handler.say(b"no", status, Content_Type="text/plain")) as rig:
        rig.call(1, "refund", REFUND)
        assert says in rig.answer(1)["error"]["message"]
    assert ends(guard) == [("refund", "allowed", "failed")]


def test_an_era_that_the_server_does_not_know_is_a_method_it_does_not_know(tmp_path: Path) -> None:
    """So that a client which asks for the newer one first goes on with the older."""
    with Rig(enforcing(), tmp_path, lambda handler, _: handler.say(b"", 404)) as rig:
        rig.send({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": MODERN}})
        assert rig.answer(1)["error"]["code"] == -32601


@pytest.mark.parametrize("id", [None, "server-error"])
def test_an_error_that_names_no_request_is_that_of_the_request(id: Any, tmp_path: Path) -> None:
    error = {"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": "no such tool"}}
    guard = enforcing()
    with Rig(guard, tmp_path, lambda handler, _: handler.say(error, 400)) as rig:
        rig.call(1, "refund", REFUND)
        assert rig.answer(1)["error"] == error["error"]
    assert ends(guard) == [("refund", "allowed", "failed")]
    assert [each.status for each in scripted(guard).settles] == ["failed"]


@pytest.mark.parametrize("kind", ["json", "events"])
def test_an_answer_that_is_too_long_is_unknown(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_LIMIT", 1000)
    monkeypatch.setattr(sse, "EVENT_LIMIT", 1000)

    def behave(handler: Server.Handler, body: bytes) -> None:
        told = result_of(body, {"content": [], "x": "x" * 100_000})
        if kind == "json":
            return handler.say(told)
        handler.stream()
        return handler.event(b"data: " + told + b"\n\n")

    guard = enforcing()
    with Rig(guard, tmp_path, behave) as rig:
        rig.call(1, "refund", REFUND)
        assert "longer than 1000" in rig.answer(1)["error"]["message"]
    assert ends(guard) == [("refund", "allowed", "unknown")]


def test_a_stream_that_is_too_long_is_not_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "EVENT_LIMIT", 1000)
    asked: list[str] = []

    def then(handler: Server.Handler, body: bytes) -> None:
        handler.stream()
        handler.event(b"retry: 1\nid: e1\ndata:\n\n")

    def get(handler: Server.Handler, body: bytes) -> None:
        asked.append("an answer" if handler.headers["Last-Event-ID"] else "news")
        handler.stream()
        handler.event(b"id: e2\ndata: " + b"x" * 100_000 + b"\n\n")

    guard = enforcing()
    with Rig(guard, tmp_path, legacy(then, get=get)) as rig:
        rig.begin()
        rig.call(1, "refund", REFUND)
        assert "longer than 1000" in rig.answer(1)["error"]["message"]
        until(lambda: sorted(asked) == ["an answer", "news"])
        rig.end()
    assert sorted(asked) == ["an answer", "news"]
    assert ends(guard) == [("refund", "allowed", "unknown")]


def test_more_requests_than_there_is_room_for_are_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TRIPS_LIMIT", 1)
    go = threading.Event()
    guard = enforcing()
    with Rig(guard, tmp_path, once(go)) as rig:
        rig.call(1, "refund", REFUND)
        until(lambda: len(rig.server.got) == 1)
        rig.call(2, "pay", REFUND)
        assert "too many" in rig.answer(2)["error"]["message"]
        go.set()
        rig.answer(1)
    assert ends(guard) == [("pay", "allowed", "not_run"), ("refund", "allowed", "succeeded")]


def test_a_session_that_the_server_forgot_is_begun_again(tmp_path: Path) -> None:
    """What met the end of the old one has not run, and is not sent twice: its client is told, and may."""

    def then(handler: Server.Handler, body: bytes) -> None:
        if handler.headers["Mcp-Session-Id"] == "s1":
            handler.say({"jsonrpc": "2.0", "id": "x", "error": {"code": -32600, "message": "no such session"}}, 404)
        else:
            does(handler, body)

    guard = enforcing()
    with Rig(guard, tmp_path, legacy(then)) as rig:
        rig.begin()
        rig.call(1, "refund", REFUND)
        assert "ask again" in rig.answer(1)["error"]["message"]
        assert rig.ask(2, "refund", REFUND) == TELL
        sent = [each for each in rig.got if each != "GET"]
        assert sent == ["initialize", "notifications/initialized", "tools/call"] * 2
        assert len([each for each in rig.told.messages if each.get("id") == 0]) == 1, "its beginning is ours"
    assert ends(guard) == [("refund", "allowed", "not_run"), ("refund", "allowed", "succeeded")]
    assert [each.status for each in scripted(guard).settles] == ["cancelled", "succeeded"]


def test_a_session_that_cannot_be_begun_again_says_nothing_of_the_call(tmp_path: Path) -> None:
    def behave(handler: Server.Handler, body: bytes) -> None:
        begins = json.loads(body or b"{}").get("method") == "initialize"
        if begins and rig.got.count("initialize") > 1:
            handler.say(b"", 503)
        else:
            legacy_(handler, body)

    legacy_ = legacy(lambda handler, _: handler.say(b"", 404))
    guard = enforcing()
    with Rig(guard, tmp_path, behave) as rig:
        rig.begin()
        rig.call(1, "refund", REFUND)
        assert "session is over" in rig.answer(1)["error"]["message"]
    assert ends(guard) == [("refund", "allowed", "failed")]
    assert [each.status for each in scripted(guard).settles] == ["unknown"]


def test_a_call_whose_stream_met_the_end_of_its_session_is_unknown(tmp_path: Path) -> None:
    """It was sent, and may have run."""

    def then(handler: Server.Handler, body: bytes) -> None:
        handler.stream()
        handler.event(b"retry: 1\nid: e1\ndata:\n\n")

    def get(handler: Server.Handler, body: bytes) -> None:
        handler.say(b"", 404 if handler.headers["Last-Event-ID"] else 405)

    guard = enforcing()
    with Rig(guard, tmp_path, legacy(then, get=get)) as rig:
        rig.begin()
        rig.call(1, "refund", REFUND)
        assert "unknown" in rig.answer(1)["error"]["message"]
        assert rig.got.count("tools/call") == 1
    assert ends(guard) == [("refund", "allowed", "unknown")]


def test_requests_that_meet_the_end_of_a_session_begin_one_new_one(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def then(handler: Server.Handler, body: bytes) -> None:
        if handler.headers["Mcp-Session-Id"] != "s1":
            return does(handler, body)
        both.wait(PATIENCE_SECONDS)
        return handler.say(b"", 404)

    with Rig(enforcing(), tmp_path, legacy(then)) as rig:
        rig.begin()
        rig.call(1, "refund", REFUND)
        rig.call(2, "refund", REFUND)
        assert all("ask again" in rig.answer(id)["error"]["message"] for id in (1, 2))
        assert rig.ask(3, "refund", REFUND) == TELL
        assert rig.got.count("initialize") == 2


# Cancelled


def cancel(rig: Rig, id: object) -> None:
    rig.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})


def cut(handler: Server.Handler, then: Callable[[], None], *, begun: bool = False) -> None:
    """Waits until the line is cut."""
    handler.connection.settimeout(PATIENCE_SECONDS)
    try:
        if not begun:
            handler.stream()
        handler.event(b": working\n\n")
        is_cut = not handler.connection.recv(1)
    except ConnectionError:
        is_cut = True
    if is_cut:
        then()


def test_a_call_of_2026_is_cancelled_by_the_end_of_its_line(tmp_path: Path) -> None:
    ended = threading.Event()
    guard = enforcing()
    with Rig(guard, tmp_path, lambda handler, _: cut(handler, ended.set)) as rig:
        rig.call(1, "refund", REFUND, _meta=MODERN)
        until(lambda: bool(rig.server.got))
        cancel(rig, 1)
        assert ended.wait(PATIENCE_SECONDS)
        until(lambda: bool(guard.receipts))
        assert rig.got == ["tools/call"]
        assert rig.told.messages == [], "nobody waits for an answer"
    assert ends(guard) == [("refund", "allowed", "unknown")]


def test_a_call_of_2026_may_be_cancelled_while_its_line_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, go, ended = threading.Event(), threading.Event(), threading.Event()
    send = Upstream.send

    def slowly(*about: Any, **more: Any) -> Any:
        sending.set()
        go.wait(PATIENCE_SECONDS)
        return send(*about, **more)

    def behave(handler: Server.Handler, body: bytes) -> None:
        handler.say(b"", 202) if b"seen" in body else cut(handler, ended.set)

    monkeypatch.setattr(Upstream, "send", slowly)
    guard = enforcing()
    with Rig(guard, tmp_path, behave) as rig:
        rig.call(1, "refund", REFUND, _meta=MODERN)
        assert sending.wait(PATIENCE_SECONDS)
        cancel(rig, 1)
        rig.send({"jsonrpc": "2.0", "method": "notifications/seen"})  # is sent after the cancellation was heard
        until(lambda: rig.gateway._server._waiting.unfinished_tasks == 1)  # type: ignore[attr-defined]
        go.set()
        assert ended.wait(PATIENCE_SECONDS)
        until(lambda: bool(guard.receipts))
    assert ends(guard) == [("refund", "allowed", "unknown")]


def test_an_older_call_is_cancelled_by_a_notification_and_may_still_end(tmp_path: Path) -> None:
    told = threading.Event()

    def then(handler: Server.Handler, body: bytes) -> None:
        told.wait(PATIENCE_SECONDS)
        does(handler, body)

    def behave(handler: Server.Handler, body: bytes) -> None:
        if b"notifications/cancelled" in body:
            told.set()
        legacy_(handler, body)

    legacy_ = legacy(then)
    guard = enforcing()
    with Rig(guard, tmp_path, behave) as rig:
        rig.begin()
        rig.call(1, "refund", REFUND)
        until(lambda: "tools/call" in rig.got)
        cancel(rig, 1)
        assert rig.result(1) == TELL
        assert rig.got.index("notifications/cancelled") > rig.got.index("tools/call")
    assert ends(guard) == [("refund", "allowed", "succeeded")]


def test_an_older_call_that_is_cancelled_and_never_ends_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "CANCEL_GRACE_SECONDS", 0.05)
    ended = threading.Event()
    guard = enforcing()
    with Rig(guard, tmp_path, legacy(lambda handler, _: cut(handler, ended.set))) as rig:
        rig.begin()
        rig.call(1, "refund", REFUND)
        until(lambda: "tools/call" in rig.got)
        cancel(rig, 1)
        assert ended.wait(PATIENCE_SECONDS)
        until(lambda: bool(guard.receipts))
    assert ends(guard) == [("refund", "allowed", "unknown")]


def test_a_call_cancelled_while_it_is_decided_never_runs(tmp_path: Path) -> None:
    go = threading.Event()
    guard = enforcing(lambda _: "allowed" if go.wait(PATIENCE_SECONDS) else "")
    with Rig(guard, tmp_path) as rig:
        rig.call(1, "refund", REFUND, _meta=MODERN)
        cancel(rig, 1)
        rig.send({"jsonrpc": "2.0", "id": 2, "method": "ping", "params": {"_meta": MODERN}})
        rig.answer(2)
        go.set()
        until(lambda: bool(guard.receipts))
        assert rig.got == ["ping"]
    assert ends(guard) == [("refund", "allowed", "not_run")]


# The end


def test_a_call_in_the_server_when_the_client_goes_is_finished(tmp_path: Path) -> None:
    go = threading.Event()
    guard = enforcing()
    with Rig(guard, tmp_path, once(go)) as rig:
        rig.call(1, "refund", REFUND)
        until(lambda: bool(rig.server.got))
        threading.Timer(0.1, go.set).start()
        assert rig.end() == 0
    assert ends(guard) == [("refund", "allowed", "succeeded")]


def test_a_server_that_never_finishes_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "FINISH_SECONDS", 0.1)
    ended = threading.Event()
    guard = enforcing()
    with Rig(guard, tmp_path, lambda handler, _: cut(handler, ended.set)) as rig:
        rig.call(1, "refund", REFUND)
        until(lambda: bool(rig.server.got))
        assert rig.end() == 0
        assert ended.wait(PATIENCE_SECONDS)
    assert ends(guard) == [("refund", "allowed", "unknown")]
