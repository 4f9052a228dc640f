"""Connections: one deadline over everything, retries that are one request, keep-alive, threads, processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from certificates import contexts
from client_cases import REFUND, ask, client, outcome
from hostile import Answer, Asked, Hostile, after, allowed, dripping, http, reset, then_close, yes

from kiff_guard import transport
from kiff_guard.errors import DeadlineExceeded, Unreachable

pytestmark = pytest.mark.slow

SHORT_SECONDS = 0.4
LONGER_SECONDS = 1.2


def dripping_head(line: socket.socket, asked: Asked) -> None:
    """A yes, after headers that come one by one."""
    line.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(60):
        line.sendall(b"X: y\r\n")
        threading.Event().wait(LONGER_SECONDS / 60)
    line.sendall(http(200, yes(asked)).partition(b"\r\n")[2])


SLOW: dict[str, Answer] = {
    "nothing": after(LONGER_SECONDS, allowed),
    "byte after byte": dripping(),
    "header after header": dripping_head,
    "a body that stays away": lambda line, asked: after(LONGER_SECONDS, b"")(line, asked),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_no_server_takes_longer_than_the_deadline(name: str) -> None:
    with Hostile(SLOW[name]) as server:
        assert outcome(server, timeout=SHORT_SECONDS) == "deadline_exceeded"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SLOW if name != "a body that stays away"])
def test_the_same_servers_are_waited_for_by_those_who_have_time(name: str) -> None:
    """The control: what they say in the end is a yes."""
    with Hostile(SLOW[name]) as server:
        assert outcome(server) == "allowed"


def test_a_call_can_have_a_deadline_of_its_own() -> None:
    with Hostile(after(LONGER_SECONDS, allowed)) as server, pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
        client(server.url).decide("acme", "a", "refund", REFUND, deadline=0.3)


def test_a_handshake_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    _, trusts = contexts(tmp_path, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asking = client(f"https://127.0.0.1:{silent.getsockname()[1]}", ssl_context=trusts, timeout=SHORT_SECONDS)
        with pytest.raises(DeadlineExceeded):
            asking.decide("acme", "a", "refund", REFUND)


def test_a_proxy_that_says_nothing_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DeadlineExceeded):
            client("https://kiff.example.com", proxy=proxy, timeout=SHORT_SECONDS).decide("t", "a", "refund", REFUND)


def test_a_resolver_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: done.wait(20))
    try:
        with pytest.raises(DeadlineExceeded):
            client("https://kiff.example.com", proxy="", timeout=SHORT_SECONDS).decide("t", "a", "refund", REFUND)
    finally:
        done.set()


def test_a_server_that_reads_nothing_is_not_written_to_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        asking = client(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=SHORT_SECONDS)
        with pytest.raises(DeadlineExceeded):
            asking.decide("acme", "a", "refund", REFUND | {"note": "x" * 200_000})


LOST: dict[str, Answer] = {
    "reset": reset,
    "closed": lambda line, asked: line.shutdown(socket.SHUT_RDWR),
    "502": http(502, {}),
    "503": http(503, {"code": "overloaded"}, "Retry-After: 0"),
    "504": http(504, {}),
    "cut": then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"),
}


@pytest.mark.parametrize("name", LOST)
def test_a_request_that_was_lost_is_sent_again_as_the_same_one(name: str) -> None:
    with Hostile(LOST[name], LOST[name], allowed) as server:
        assert outcome(server) == "allowed"
        first, *others = server.asked
        assert len(others) == 2
    for again in others:
        assert again.body == first.body
        assert again.headers["idempotency-key"] == first.headers["idempotency-key"] == first.json["id"]


@pytest.mark.parametrize("name", LOST)
def test_nothing_is_sent_again_without_end(name: str) -> None:
    with Hostile(LOST[name]) as server:
        assert outcome(server, retries=3) in ("unreachable", "refused", "overloaded")
        assert len(server.asked) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500])
def test_an_answer_is_not_asked_for_again(status: int) -> None:
    with Hostile(http(status, {"code": "some"})) as server:
        outcome(server)
        assert len(server.asked) == 1


def test_two_questions_are_two_requests() -> None:
    with Hostile(allowed) as server:
        asking = client(server.url)
        for _ in range(2):
            asking.decide("acme", "a", "refund", REFUND)
        first, second = server.asked
    assert first.json["id"] != second.json["id"]


def test_a_server_that_asks_for_more_time_than_there_is_is_not_waited_for() -> None:
    with Hostile(http(503, {"code": "overloaded"}, "Retry-After: 3600")) as server:
        assert outcome(server, timeout=5.0) == "overloaded"
        assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_told_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(Unreachable, match=rf"KIFF cannot be reached at http://127\.0\.0\.1:{port}: no connection"):
        client(f"http://127.0.0.1:{port}").decide("acme", "a", "refund", REFUND)


def test_whoever_was_not_answered_is_told_that_it_may_have_been_read() -> None:
    with Hostile(reset) as server, pytest.raises(Unreachable, match="it may have read the request all the same"):
        ask(server)


def test_an_answer_that_an_own_attempt_may_have_got_is_no_earlier_one() -> None:
    def repeated(line: socket.socket, asked: Asked) -> None:
        line.sendall(http(200, yes(asked) | {"replayed": True}))

    with Hostile(reset, repeated) as server:
        assert not ask(server).replayed
    with Hostile(repeated) as server:
        assert ask(server).replayed


def test_connections_are_used_again() -> None:
    with Hostile(allowed) as server:
        asking = client(server.url)
        for _ in range(5):
            asking.decide("acme", "a", "refund", REFUND)
        assert (len(server.asked), server.lines) == (5, 1)
        asking.close()
        asking.decide("acme", "a", "refund", REFUND)
        assert server.lines == 2


def test_a_connection_that_the_server_closed_meanwhile_costs_no_attempt() -> None:
    with Hostile(then_close(allowed)) as server:
        asking = client(server.url, retries=0)
        for _ in range(5):
            assert asking.decide("acme", "a", "refund", REFUND).outcome == "allowed"
        assert server.lines == 5


def test_a_connection_that_breaks_as_it_is_used_again_costs_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server lets the second request in and closes then: what it looks like when both come at once."""
    monkeypatch.setattr(transport, "_is_readable", lambda wire: False)
    with Hostile(allowed, reset, allowed) as server:
        asking = client(server.url, retries=0)
        assert [asking.decide("acme", "a", "refund", REFUND).outcome for _ in range(2)] == ["allowed"] * 2
        assert server.asked[1].body == server.asked[2].body


def test_what_a_server_says_unasked_is_the_answer_to_nothing() -> None:
    def twice(line: socket.socket, asked: Asked) -> None:
        line.sendall(http(200, yes(asked)))
        threading.Event().wait(0.05)
        line.sendall(http(200, {"outcome": "blocked"}))

    with Hostile(twice) as server:
        asking = client(server.url)
        for _ in range(3):
            assert asking.decide("acme", "a", "refund", REFUND).outcome == "allowed"
            threading.Event().wait(0.2)
        assert server.lines == 3


def test_a_connection_with_an_answer_half_read_is_not_used_again() -> None:
    with Hostile(http(200, {"filler": "x" * transport.ANSWER_BYTES}), allowed) as server:
        asking = client(server.url)
        with pytest.raises(ConnectionError):
            asking.decide("acme", "a", "refund", REFUND)
        assert asking.decide("acme", "a", "refund", REFUND).outcome == "allowed"
        assert server.lines == 2


def test_threads_share_a_client_and_each_gets_its_own_answer() -> None:
    def answer(line: socket.socket, asked: Asked) -> None:
        line.sendall(http(200, yes(asked) | {"approval_id": asked.json["entity_id"]}))

    with Hostile(answer) as server, ThreadPoolExecutor(12) as threads:
        asking = client(server.url)
        orders = [f"ord_{n}" for n in range(300)]
        decisions = [*threads.map(lambda order: asking.decide("t", "a", "refund", {"order_id": order}), orders)]
        assert [each.approval_id for each in decisions] == orders
        assert len({each.proposal_id for each in decisions}) == len(orders)
        assert server.lines <= 12 + transport.IDLE_CONNECTIONS
        asking.close()


def test_no_more_connections_are_kept_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "IDLE_CONNECTIONS", 3)
    together = threading.Barrier(8)

    def answer(line: socket.socket, asked: Asked) -> None:
        together.wait(10)
        allowed(line, asked)

    with Hostile(answer) as server, ThreadPoolExecutor(8) as threads:
        asking = client(server.url)
        list(threads.map(lambda _: asking.decide("t", "a", "refund", REFUND), range(8)))
        assert server.lines == 8
        assert len(asking._transport._pool._lines) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork; run it on Linux or macOS")
def test_a_process_that_was_forked_has_connections_of_its_own() -> None:
    program = """
import os, sys
from client_cases import REFUND, client
asking = client(sys.argv[1])
asking.decide("acme", "a", "refund", REFUND)
child = os.fork()
if child == 0:
    fine = all(asking.decide("acme", "a", "refund", REFUND).allowed for _ in range(3))
    os._exit(0 if fine else 1)
fine = all(asking.decide("acme", "a", "refund", REFUND).allowed for _ in range(3))
assert fine and os.waitpid(child, 0)[1] == 0
"""
    with Hostile(allowed) as server:
        environment = {"PYTHONPATH": str(Path(__file__).parent)}
        command = [sys.executable, "-c", program, server.url]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        lines = [asked.line for asked in server.asked]
        assert (len(lines), lines.count(1), lines.count(2)) == (7, 4, 3)


def test_the_library_is_imported_when_it_is_used() -> None:
    program = """
import sys
from kiff_guard.client import HTTPClient
from kiff_guard.tool_map import ToolMap
HTTPClient("key", ToolMap(), "http://127.0.0.1:1")
late = {"ssl", "http.client", "socket", "select", "urllib.request", "asyncio", "email", "subprocess"}
assert not late & set(sys.modules), late & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


REQUESTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as little as can be": ({}, {"actor_id": "ops-agent", "settles": True}),
    "nobody named": ({"agent": None}, {"settles": True}),
    "the agent is empty": ({"agent": ""}, {"settles": True}),
    "an approval": ({"approval_id": "appr_1"}, {"actor_id": "ops-agent", "settles": True, "approval_id": "appr_1"}),
    "no promise": ({"settles": False}, {"actor_id": "ops-agent", "settles": False}),
    "a run": (
        {"run_context": {"run_id": "r"}},
        {"actor_id": "ops-agent", "settles": True, "run_context": {"run_id": "r"}},
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_question_says_what_was_given_and_nothing_else(name: str) -> None:
    given, expected = REQUESTS[name]
    given = {"agent": "ops-agent"} | given
    with Hostile(allowed) as server:
        client(server.url).decide("acme", given.pop("agent"), "refund", REFUND, proposal_id="prop_1", **given)
        [asked] = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/proposals/decide")
    assert asked.json == {
        "entity_id": "ord_1",
        "entity_type": "Order",
        "action_name": "AUTO_REFUND",
        "parameters": {"amount": 49.0, "reason": "customer request"},
        "id": "prop_1",
        **expected,
    }


def test_roles_of_a_call_stay_among_its_parameters() -> None:
    args = REFUND | {"roles": ["admin"], "actor_id": "root", "approval_id": "appr_1", "domain": "other"}
    with Hostile(allowed) as server:
        client(server.url).decide("acme", "ops-agent", "refund", args)
        [asked] = server.asked
    assert not {"roles", "approval_id", "domain"} & asked.json.keys()
    assert asked.json["actor_id"] == "ops-agent"
    assert asked.json["parameters"] == {name: value for name, value in args.items() if name != "order_id"}


def test_a_domain_that_is_meant_is_named() -> None:
    with Hostile(allowed) as server:
        client(server.url, domain="refund-ops").decide("acme", "a", "refund", REFUND)
        assert server.asked[0].json["domain"] == "refund-ops"


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("trace", [TRACE, f"trace_{TRACE}", f"00-{TRACE}-00f067aa0ba902b7-01"])
def test_the_trace_goes_with_the_question(trace: str) -> None:
    with Hostile(allowed) as server:
        client(server.url).decide("acme", "a", "refund", REFUND, trace=trace)
        version, told, span, flags = server.asked[0].headers["traceparent"].split("-")
    assert (version, told, len(span), flags) == ("00", TRACE, 16, "01")


@pytest.mark.parametrize("trace", [None, "", "0" * 32, f"00-{'0' * 32}-{'0' * 16}-00"])
def test_who_is_in_no_trace_names_none(trace: str | None) -> None:
    with Hostile(allowed) as server:
        client(server.url).decide("acme", "a", "refund", REFUND, trace=trace)
        assert "traceparent" not in server.asked[0].headers


ODD = {
    "a trace": {"trace": "here"},
    "a trace with a line break": {"trace": f"{TRACE}\r\nX: y"},
    "a proposal id": {"proposal_id": "prop 1"},
    "a proposal id with a line break": {"proposal_id": "prop_1\r\nX: y"},
    "a proposal id of dots": {"proposal_id": ".."},
    "a run context": {"run_context": {"when": object()}},
}


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_written_is_withheld_before_it_is_sent(name: str) -> None:
    with Hostile(allowed) as server:
        told = client(server.url).decide("acme", "a", "refund", REFUND, **ODD[name])
    assert server.lines == 0
    assert (told.outcome, told.reasons) == ("invalid", ("arguments_refused",))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"raw", "\ud800", object()])
def test_arguments_that_are_no_json_are_withheld_before_they_are_sent(value: Any) -> None:
    with Hostile(allowed) as server:
        told = client(server.url).decide("acme", "a", "refund", REFUND | {"note": value})
    assert (server.lines, told.outcome) == (0, "invalid")
    assert "cannot be written as JSON" in told.reason


def test_arguments_that_kiff_would_not_take_are_withheld_before_they_are_sent() -> None:
    with Hostile(allowed) as server:
        told = client(server.url).decide("acme", "a", "refund", REFUND | {"note": "x" * 300_000})
    assert (server.lines, told.outcome) == (0, "invalid")
    assert "KIFF takes 262144" in told.reason


def test_how_a_call_ended_is_told() -> None:
    with Hostile(http(200, {"operation_id": "clr_1", "status": "failed"})) as server:
        told = client(server.url).settle("prop_1", "failed", result_hash="sha256:00", error="no" * 1_000, trace=TRACE)
        [asked] = server.asked
    assert told["operation_id"] == "clr_1"
    assert (asked.method, asked.path) == ("POST", "/v1/proposals/prop_1/outcome")
    assert asked.json == {"status": "failed", "result_hash": "sha256:00", "error": ("no" * 1_000)[:500]}
    assert TRACE in asked.headers["traceparent"]


@pytest.mark.parametrize("id", ["", "..", "prop_1/../x", "prop_1?x"])
def test_an_ending_is_told_of_a_proposal_only(id: str) -> None:
    with Hostile(http(200, {})) as server, pytest.raises(ValueError, match="`proposal_id`"):
        client(server.url).settle(id, "failed")
    assert server.lines == 0


def test_an_ending_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="`status` is 'done'"):
        client("http://127.0.0.1:1").settle("prop_1", "done")


SHAPES = {
    "no members": {},
    "a list": {"runtime_id": [], "heartbeat_interval": "60s"},
    "a number of another type": {"seen_count": "many"},
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_connection_that_kiff_did_not_describe_is_none(name: str) -> None:
    names = ("runtime_id", "heartbeat_interval", "tenant_id", "project", "environment", "agent_id", "workflow")
    good = dict.fromkeys([*names, "adapter", "mode"], "x")
    answer = http(200, SHAPES[name] and good | SHAPES[name])
    with Hostile(answer) as server, pytest.raises(ConnectionError, match="GuardConnection"):
        client(server.url).connect_guard("a", "agno", "observe")
    with Hostile(http(200, good | {"more": 1})) as server:
        assert client(server.url).connect_guard("a", "agno", "observe").runtime_id == "x"


@pytest.mark.parametrize("body", [{}, {"observation": []}, {"observation": {"tools": [7]}}])
def test_an_observation_that_kiff_did_not_describe_is_none(body: Any) -> None:
    with Hostile(http(200, body)) as server, pytest.raises(ConnectionError, match="answer"):
        client(server.url).observe_guard("a", "agno", "observe", [])


def test_any_other_verb_has_an_id_that_stays_the_same() -> None:
    with Hostile(reset, http(200, {"ok": True})) as server:
        assert client(server.url).request("POST", "/v1/events", {"type": "X"}) == {"ok": True}
        first, second = server.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
