"""The HTTP gateway: what gets through to the server, and what becomes of calls when lines break."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.client import HTTPConnection
from typing import Any

import pytest
from mcp_rigs import Listening as Rig
from mcp_server import PATIENCE_SECONDS, TELL, Behave, Server, does, until
from mcp_wire import MODERN, ends, enforcing

from kiff_guard import Guard
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import ConfigurationError
from kiff_guard.mcp import streamable
from kiff_guard.mcp.upstream import Upstream


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamable, "LOOK_SECONDS", 0.02)


pytestmark = pytest.mark.usefixtures("hurried")


def call(id: Any = 1, tool: str = "refund", **params: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": {"amount": 50}} | params
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def scripted(guard: Guard) -> ScriptedClient:
    assert isinstance(guard.client, ScriptedClient)
    return guard.client


# Past the gate

UTF_7 = (
    b'{"jsonrpc":"2.0","id":1,"method":"ping","x":"+ACI-,+ACI-method+ACI-:+ACI-tools/call+ACI-,'
    b'+ACI-params+ACI-:{+ACI-name+ACI-:+ACI-refund+ACI-},+ACI-y+ACI-:+ACI-"}'
)


def test_a_text_in_another_charset_can_hold_a_call() -> None:
    """The control: what is a ping here is a tool call for a server that believes the header."""
    assert json.loads(UTF_7)["method"] == "ping"
    assert json.loads(UTF_7.decode("utf-7"))["method"] == "tools/call"


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, call(), {}),
        (400, [call()], {}),
        (400, b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"refund"}}', {}),
        (400, b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"refund"}}', {}),
        (400, b"not json", {}),
        (400, call(), {"Mcp_Method": "ping"}),
        (400, call(), {"Mcp_Name": "look"}),
        (400, call(), {"Mcp_Name": "=?base64?bG9vaw==?="}),
        (400, call(), {"Mcp_Name": "=?base64?x?="}),
        (400, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"Mcp_Method": "tools/call", "Mcp_Name": "refund"}),
        (400, UTF_7, {"Content_Type": "application/json; charset=utf-7"}),
        (400, call(), {"Content_Type": "application/x-www-form-urlencoded"}),
        (400, call(), {"Content_Type": "text/plain"}),
        (411, call(), {"Transfer_Encoding": "chunked"}),
        (415, call(), {"Content_Encoding": "gzip"}),
        (403, call(), {"Host": "evil.example"}),
        (403, call(), {"Host": "evil.example", "Origin": "http://evil.example"}),
        (403, call(), {"Origin": "https://evil.example"}),
        (403, call(), {"Origin": "null"}),
        (404, call(), {"path": "/mcp/"}),
        (404, call(), {"path": "/mcp?x=1"}),
        (404, call(), {"path": "http://evil.example/mcp"}),
        (501, call(), {"method": "PUT"}),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, (dict, bytes, list)) else None,
)
def test_nothing_of_it_reaches_the_server(status: int, body: Any, headers: dict[str, str]) -> None:
    with Rig(enforcing("blocked")) as rig:
        response, _ = rig.send(body, **headers)
        assert response.status == status
        assert rig.server.got == []


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nContent-Length: 300\r\n",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: 99999999999\r\n",
        b"Content-Length: 2\r\nMcp-Method: ping\r\nMcp-Method: tools/call\r\n",
        b"Content-Length: 2\r\nHost: 127.0.0.1\r\n",
        b"Content-Length: 2\r\nContent-Type: application/json\r\nContent-Type: text/plain; charset=utf-7\r\n",
        b"Content-Length: 2\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\n",
        b"",
    ],
)
def test_no_request_is_read_in_two_ways(head: bytes) -> None:
    with Rig(enforcing("blocked")) as rig:
        answer = rig.raw(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n{}" + json.dumps(call()).encode())
        assert answer.split()[1].startswith(b"4")
        assert rig.server.got == []


def test_a_server_that_sends_clients_elsewhere_is_not_followed() -> None:
    """Neither by the gateway nor by the client, who would go there without it."""
    with Rig(enforcing(), lambda handler, _: handler.say(b"", 307, Location="http://evil.example/mcp")) as rig:
        response, _ = rig.send(call())
        assert response.status == 502 and response.getheader("Location") is None
        assert rig.settled() == [("refund", "allowed", "unknown")]


def test_a_plain_line_to_another_machine_is_refused() -> None:
    for url in ("http://mcp.example/mcp", "ftp://127.0.0.1/mcp", "https://", "https://user@mcp.example/"):
        with pytest.raises(ConfigurationError, match="--upstream"):
            Upstream(url)


def test_a_page_of_a_named_origin_may_use_it() -> None:
    page = "https://console.example"
    with Rig(enforcing(), lambda handler, _: handler.say(b"{}", Access_Control_Allow_Origin="*")) as rig:
        rig.gateway.entrance.origins = frozenset([page])
        asked, _ = rig.send(b"", "OPTIONS", Origin=page, Access_Control_Request_Headers="content-type")
        assert (asked.status, asked.getheader("Access-Control-Allow-Headers")) == (204, "content-type")
        response, _ = rig.send(call(), Origin=page)
        assert (response.status, response.headers.get_all("Access-Control-Allow-Origin")) == (200, [page])
        assert "Origin" not in rig.server.got[0][1]


def test_no_other_page_is_let_in_and_no_answer_is_for_pages() -> None:
    with Rig(enforcing(), lambda handler, _: handler.say(b"{}", Access_Control_Allow_Origin="*")) as rig:
        assert rig.send(b"", "OPTIONS", Origin="https://evil.example")[0].status == 403
        assert rig.send(b"", "OPTIONS")[0].status == 405
        assert rig.send(call())[0].getheader("Access-Control-Allow-Origin") is None


# Through it


def test_a_withheld_call_is_answered_here() -> None:
    guard = enforcing("blocked")
    with Rig(guard) as rig:
        assert rig.result(call())["isError"]
        assert rig.result(call(_meta=MODERN))["resultType"] == "complete"
        assert rig.server.got == []
    assert ends(guard) == [("refund", "blocked", "not_run")] * 2


def test_utf_8_may_be_named() -> None:
    with Rig(enforcing()) as rig:
        for named in ("application/json; charset=utf-8", 'application/json;charset="UTF-8"', "Application/JSON"):
            assert rig.send(call(_meta=MODERN), Content_Type=named)[0].status == 200


def test_an_allowed_call_goes_through_as_it_came() -> None:
    raw = b'{ "method":"tools\\/call", "id":1,"jsonrpc":"2.0","params":{"arguments":{"b":1.0},"name":"refund"}}'
    guard = enforcing()
    with Rig(guard) as rig:
        response, told = rig.send(raw, Authorization="Bearer theirs", Mcp_Method="tools/call", X_Own="kept")
        method, headers, body = rig.server.got[0]
    assert (method, body, response.status) == ("POST", raw, 200)
    assert headers["Authorization"] == "Bearer theirs" and headers["X-Own"] == "kept"
    assert headers["Accept-Encoding"] == "identity"
    assert json.loads(told)["result"] == TELL
    assert ends(guard) == [("refund", "allowed", "succeeded")]


def test_clients_without_a_session_may_use_the_same_ids() -> None:
    """2026-07-28 has no sessions, and every client begins to count at one."""
    guard = enforcing()
    with Rig(guard) as rig:
        for _ in range(3):
            assert rig.result(call(_meta=MODERN)) == TELL
        assert len(rig.server.got) == 3
    assert ends(guard) == [("refund", "allowed", "succeeded")] * 3


def test_within_a_session_a_call_runs_once() -> None:
    guard = enforcing()
    with Rig(guard) as rig:
        rig.result(call(), Mcp_Session_Id="s1")
        assert "already_executed" in str(rig.result(call(), Mcp_Session_Id="s1"))
        rig.result(call(), Mcp_Session_Id="s2")
        assert len(rig.server.got) == 2
    assert not any("s1" in str(each) or "s2" in each.session for each in guard.receipts), "the id is a secret"


def test_the_user_of_one_session_does_not_answer_for_another() -> None:
    """Until 2025-11-25 the client is asked in the stream of its call, and answers by a request of its own."""
    guard = enforcing({"refund": "approval_required"})
    params = {"capabilities": {"elicitation": {}}}
    begins = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}

    def behave(handler: Server.Handler, body: bytes) -> None:
        message = json.loads(body)
        handler.say({"jsonrpc": "2.0", "id": message.get("id"), "result": TELL}, Mcp_Session_Id="s1")

    with Rig(guard, behave) as rig:
        rig.send(begins)
        connection = HTTPConnection("127.0.0.1", rig.port, timeout=PATIENCE_SECONDS)
        raw = json.dumps(call())
        connection.request("POST", "/mcp", raw, {"Content-Type": "application/json", "Mcp-Session-Id": "s1"})
        response = connection.getresponse()
        question = json.loads(response.read1().partition(b"data: ")[2])
        scripted(guard).grant(scripted(guard).waiting()[0])
        answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}}
        rig.send(answer, Mcp_Session_Id="s2")
        assert scripted(guard).calls == 1
        assert rig.send(answer, Mcp_Session_Id="s1")[0].status == 202
        assert b"did it" in response.read()
        connection.close()
        assert [json.loads(body).get("method") for _, _, body in rig.server.got] == ["initialize", None, "tools/call"]
    assert ends(guard) == [("refund", "approval_required", "not_run"), ("refund", "allowed", "succeeded")]


def events(*raw: bytes) -> Behave:
    def behave(handler: Server.Handler, body: bytes) -> None:
        handler.stream()
        for each in raw:
            handler.event(each)

    return behave


ANSWER = json.dumps({"jsonrpc": "2.0", "id": 1, "result": TELL}).encode()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_pass_byte_for_byte_and_are_read(end: bytes) -> None:
    first = b": ping" + end * 2
    second = b"event: message" + end + b"id: 7" + end + b"data: " + ANSWER + end * 2
    guard = enforcing()
    with Rig(guard, events(first, second[:30], second[30:])) as rig:
        response, told = rig.send(call())
    assert told == first + second
    assert response.getheader("Content-Type") == "text/event-stream"
    assert ends(guard) == [("refund", "allowed", "succeeded")]


def test_events_come_one_by_one() -> None:
    """The client has the first before the server has sent the second."""
    go = threading.Event()

    def behave(handler: Server.Handler, body: bytes) -> None:
        handler.stream()
        handler.event(b"data: {}\n\n")
        go.wait(PATIENCE_SECONDS)
        handler.event(b"data: " + ANSWER + b"\n\n")

    with Rig(enforcing(), behave) as rig:
        connection = HTTPConnection("127.0.0.1", rig.port, timeout=PATIENCE_SECONDS)
        connection.request("POST", "/mcp", json.dumps(call()), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.read1() == b"data: {}\n\n"
        go.set()
        assert ANSWER in response.read()
        connection.close()


def test_an_answer_that_comes_by_another_stream_of_the_session_ends_the_call() -> None:
    def behave(handler: Server.Handler, body: bytes) -> None:
        handler.stream()
        handler.event(b"data: " + ANSWER + b"\n\n" if handler.command == "GET" else b": later\n\n")

    guard = enforcing()
    with Rig(guard, behave) as rig:
        rig.send(call(), Mcp_Session_Id="s1")
        assert guard.receipts == []
        rig.send(b"", "GET", Mcp_Session_Id="other")
        assert guard.receipts == []
        rig.send(b"", "GET", Mcp_Session_Id="s1")
        assert ends(guard) == [("refund", "allowed", "succeeded")]


def test_the_end_of_a_session_leaves_nothing_open() -> None:
    def behave(handler: Server.Handler, body: bytes) -> None:
        if handler.command == "DELETE":
            return handler.say(b"")
        handler.stream()
        handler.event(b": later\n\n")
        return None

    guard = enforcing()
    with Rig(guard, behave) as rig:
        rig.send(call(), Mcp_Session_Id="s1")
        rig.send(b"", "DELETE", Mcp_Session_Id="s1")
        assert rig.settled() == [("refund", "allowed", "unknown")]


@pytest.mark.parametrize(
    ("status", "execution"), [(400, "failed"), (401, "failed"), (500, "unknown"), (503, "unknown")]
)
def test_an_http_error_is_no_success(status: int, execution: str) -> None:
    guard = enforcing()
    with Rig(guard, lambda handler, _: handler.say(b"no", status, WWW_Authenticate="Bearer")) as rig:
        response, told = rig.send(call())
    assert (response.status, told) == (status, b"no") and response.getheader("WWW-Authenticate") == "Bearer"
    assert ends(guard) == [("refund", "allowed", execution)]


# Lines that break


def test_a_server_that_is_not_there_has_run_nothing() -> None:
    guard = enforcing()
    with Rig(guard) as rig:
        rig.server.shutdown()
        rig.server.server_close()
        response, told = rig.send(call())
    assert response.status == 502 and json.loads(told)["id"] == 1
    assert ends(guard) == [("refund", "allowed", "not_run")]


@pytest.mark.parametrize("when", ["before the head", "in the body", "in the events"])
def test_a_server_that_breaks_off_leaves_an_unknown_end(when: str) -> None:
    def behave(handler: Server.Handler, body: bytes) -> None:
        if when == "in the body":
            handler.say(ANSWER, Content_Length="99999")
        elif when == "in the events":
            handler.stream()
            handler.event(b"data: {")
        handler.close_connection = True

    guard = enforcing()
    with Rig(guard, behave) as rig:
        rig.raw(
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(json.dumps(call()))
            + json.dumps(call()).encode()
        )
        assert rig.settled() == [("refund", "allowed", "unknown")]


def waits(go: threading.Event, seen: list[str]) -> Behave:
    """Runs until it is told to end, or its line is cut."""

    def behave(handler: Server.Handler, body: bytes) -> None:
        seen.append("began")
        while not go.wait(0.02):
            handler.connection.setblocking(False)
            try:
                if not handler.connection.recv(1, socket.MSG_PEEK):
                    seen.append("cut")
                    handler.close_connection = True
                    return
            except BlockingIOError:
                pass
            finally:
                handler.connection.setblocking(True)
        does(handler, body)

    return behave


def leave(rig: Rig, message: dict[str, Any], seen: list[str]) -> None:
    """A client that sends a call and goes."""
    raw = json.dumps(message).encode()
    with socket.create_connection(("127.0.0.1", rig.port), PATIENCE_SECONDS) as line:
        line.sendall(
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: s1\r\nContent-Length: %d\r\n\r\n" % len(raw)
            + raw
        )
        until(lambda: bool(seen))


def test_a_client_that_goes_cancels_its_call_since_2026() -> None:
    guard, seen = enforcing(), list[str]()
    with Rig(guard, waits(threading.Event(), seen)) as rig:
        leave(rig, call(_meta=MODERN), seen)
        assert rig.settled() == [("refund", "allowed", "unknown")]
        until(lambda: seen == ["began", "cut"])


def test_a_client_that_goes_did_not_cancel_its_call_before() -> None:
    guard, seen, go = enforcing(), list[str](), threading.Event()
    with Rig(guard, waits(go, seen)) as rig:
        leave(rig, call(), seen)
        go.set()
        assert rig.settled() == [("refund", "allowed", "succeeded")]


def test_a_call_cancelled_while_it_is_decided_never_runs() -> None:
    go = threading.Event()
    guard = enforcing(lambda _: "allowed" if go.wait(PATIENCE_SECONDS) else "")
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    with Rig(guard) as rig:
        caller = threading.Thread(target=lambda: rig.send(call(), Mcp_Session_Id="s1"), daemon=True)
        caller.start()
        until(lambda: bool(scripted(guard).decides))
        rig.send(cancel, Mcp_Session_Id="s1")
        go.set()
        caller.join(PATIENCE_SECONDS)
        assert [json.loads(body)["method"] for _, _, body in rig.server.got] == ["notifications/cancelled"]
    assert ends(guard) == [("refund", "allowed", "not_run")]


def test_more_clients_than_there_is_room_for_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamable, "CONNECTIONS", 1)
    with Rig(enforcing()) as rig, socket.create_connection(("127.0.0.1", rig.port)) as first:
        first.sendall(b"POST /mcp HTTP/1.1\r\n")
        time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", rig.port), PATIENCE_SECONDS) as second:
            assert second.recv(1) == b""


def test_observe_forwards_what_it_cannot_read() -> None:
    guard = Guard(mode="observe")
    with Rig(guard, lambda handler, _: handler.say(b"{}")) as rig:
        for body in ([call()], b"not json", b'{"method":"ping","method":"tools/call"}'):
            assert rig.send(body)[0].status == 200
        assert len(rig.server.got) == 3


def test_observe_asks_nobody() -> None:
    guard = Guard(ScriptedClient(AssertionError), mode="observe")
    with Rig(guard) as rig:
        assert rig.result(call()) == TELL
    assert ends(guard) == [("refund", "observed", "succeeded")]
