"""What a server, a resolver or a lost answer might do to a client: each of these worked once."""

from __future__ import annotations

import http.client
import io
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from certificates import contexts
from client_cases import REFUND, ask, client, outcome
from hostile import KEY, Answer, Asked, Hostile, allowed, reset, yes
from hostile import http as said

from kiff_guard import Decision, Guard, Hold
from kiff_guard.client import HTTPClient
from kiff_guard.errors import BadAnswer, Unreachable

pytestmark = pytest.mark.slow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ID = "prop_of_a_call_that_two_processes_know"


class Remembering:
    """A KIFF that decides a proposal once, and repeats its answer with the trace of whoever asked first.

    Args:
        lost: how many answers are lost on their way.
    """

    def __init__(self, lost: int = 0) -> None:
        self.lost = lost
        self.first: dict[str, str] = {}

    def __call__(self, line: socket.socket, asked: Asked) -> None:
        if asked.path.endswith("/outcome"):
            line.sendall(said(200, {"operation_id": "clr_1", "status": asked.json["status"]}))
            return
        trace = asked.headers.get("traceparent", f"00-{'f' * 32}").split("-")[1]
        known = asked.json["id"] in self.first
        first = self.first.setdefault(asked.json["id"], trace)
        self.lost -= 1
        if self.lost >= 0:
            reset(line, asked)
        else:
            line.sendall(said(200, yes(asked) | {"trace_id": f"trace_{first}"} | ({"replayed": True} if known else {})))


def repeated(server: Hostile, **more: Any) -> bool:
    return client(server.url).decide("acme", "a", "refund", REFUND, **more).replayed


@pytest.mark.parametrize("trace", [None, TRACE], ids=["no trace", "one trace"])
def test_an_answer_that_another_process_got_is_not_taken_for_a_lost_one_of_its_own(trace: str | None) -> None:
    """The first process ran the tool and died. The second asks again, and its first attempt is lost."""
    kiff = Remembering()
    with Hostile(kiff) as server:
        assert not repeated(server, proposal_id=ID, trace=trace)
        kiff.lost = 1
        assert repeated(server, proposal_id=ID, trace=trace)


def test_a_lost_answer_of_its_own_is_still_its_own() -> None:
    with Hostile(Remembering(lost=2)) as server:
        assert not repeated(server, proposal_id=ID)
    with Hostile(Remembering(lost=2)) as server:
        assert not repeated(server), "nobody else knows an id that was drawn for this question"


def test_whose_answer_it_was_cannot_be_told_by_a_trace_that_others_may_have() -> None:
    with Hostile(Remembering(lost=1)) as server:
        assert repeated(server, proposal_id=ID, trace=TRACE)


def guard(server: Hostile) -> Guard:
    return Guard(client(server.url), "acme", "a", mode="enforce")


def test_a_call_that_a_process_ran_is_not_run_by_another_whose_first_attempt_is_lost() -> None:
    ran: list[int] = []
    kiff = Remembering()
    with Hostile(kiff) as server:
        for process in range(2):
            kiff.lost = process
            try:
                guard(server).evaluate("refund", REFUND, lambda: ran.append(1), call_id="c", session="s", trace=TRACE)
            except Hold as hold:
                assert "already_cleared" in str(hold)
    assert ran == [1]


def test_a_call_that_no_other_process_can_know_runs_though_its_first_answer_was_lost() -> None:
    ran: list[int] = []
    with Hostile(Remembering(lost=1)) as server:
        guard(server).evaluate("refund", REFUND, lambda: ran.append(1), trace=TRACE)
    assert ran == [1]


@pytest.mark.parametrize("status", [101, 103])
def test_what_comes_after_an_interim_answer_is_not_the_answer_to_the_next_request(status: int) -> None:
    """The connection was kept, and the late yes of one request became the answer to another."""
    come = threading.Event()

    def late(line: socket.socket, asked: Asked) -> None:
        line.sendall(f"HTTP/1.1 {status} Wait\r\n\r\n".encode())
        come.wait(10)
        line.sendall(said(200, yes(asked)))

    with Hostile(late, allowed) as server:
        asking = client(server.url, retries=0)
        with pytest.raises(BadAnswer):
            asking.decide("acme", "a", "refund", REFUND)
        asking.decide("acme", "a", "refund", REFUND)
        come.set()
        assert [each.line for each in server.asked] == [1, 2]


def test_a_connection_on_which_a_server_says_more_than_its_answer_is_not_used_again() -> None:
    """The beginning of it was read with the answer and thrown away, and its rest was the next answer."""
    body = said(200, {"outcome": "blocked", "message": "to nobody"})
    asked_again = threading.Event()

    def more(line: socket.socket, asked: Asked) -> None:
        line.sendall(said(200, yes(asked)) + b"X")
        asked_again.wait(10)
        line.sendall(body)

    with Hostile(more, allowed) as server:
        asking = client(server.url, retries=0)
        assert asking.decide("acme", "a", "refund", REFUND).allowed
        assert asking.decide("acme", "a", "refund", REFUND).allowed
        asked_again.set()
        assert [each.line for each in server.asked] == [1, 2]


def test_what_a_server_says_unasked_inside_of_tls_is_the_answer_to_nothing(tmp_path: Path) -> None:
    """It was decrypted with the answer before it, where no look at the socket sees it."""
    serving, trusting = contexts(tmp_path, "127.0.0.1")

    def two_in_one(line: socket.socket, asked: Asked) -> None:
        bare = len(said(200, yes(asked), "X: "))
        first = said(200, yes(asked), f"X: {'y' * (io.DEFAULT_BUFFER_SIZE - bare)}")
        line.sendall(first + said(200, {"outcome": "blocked", "message": "to nobody"}))

    with Hostile(two_in_one, allowed, tls=serving) as server:
        asking = client(server.url, ssl_context=trusting)
        assert [asking.decide("acme", "a", "refund", REFUND).outcome for _ in range(2)] == ["allowed", "allowed"]
        assert [each.line for each in server.asked] == [1, 2]


@pytest.mark.parametrize("body", [{}, {"proposal_id": "prop_2", "operation_id": "clr_2"}, {"outcome": "allowed"}])
def test_an_answer_about_something_else_confirms_no_ending(body: dict[str, Any]) -> None:
    with Hostile(said(200, body)) as server, pytest.raises(BadAnswer, match="no operation of `prop_1`"):
        client(server.url).settle("prop_1", "succeeded")


def test_a_localhost_that_is_another_machine_is_not_shown_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = socket.getaddrinfo

    def rebound(host: str, port: int, **more: Any) -> Any:
        asked.append(host)
        here = real("127.0.0.1", port, **more)
        return [*here, *((*each[:4], ("192.0.2.1", port)) for each in here)]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    with Hostile(allowed) as server:
        name = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(Unreachable, match="another machine"):
            client(name).decide("acme", "a", "refund", REFUND)
        assert (asked, server.asked) == (["localhost"], [])
        monkeypatch.setattr(socket, "getaddrinfo", real)
        assert client(name).decide("acme", "a", "refund", REFUND).allowed


@pytest.mark.parametrize("key", [KEY, "k" * 512, "kiff_live_" + "0123456789abcdef" * 31])
def test_no_part_of_a_key_is_shown_that_a_server_repeats_again_and_again(key: str) -> None:
    with Hostile(said(422, {"outcome": "blocked", "message": key * 60, "code": "blocked"})) as server:
        asking = HTTPClient(key, client(server.url).tool_map, server.url)
        told = asking.decide("acme", "a", "refund", REFUND)
    assert key[: len(key) // 2] not in repr(told)


def test_a_program_that_debugs_its_own_requests_prints_no_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with Hostile(allowed) as server:
        assert ask(server).allowed
    assert KEY not in "".join(capsys.readouterr())


ODD: dict[str, Answer] = {
    "two lengths": lambda line, asked: line.sendall(said(200, yes(asked), "Content-Length: 5")),
    "compressed": lambda line, asked: line.sendall(
        said(200, b"\x1f\x8b\x08\x00" + bytes(40), "Content-Encoding: gzip")
    ),
    "a bomb": lambda line, asked: line.sendall(said(200, b'{"a":' + b"[" * 900_000)),
    "chunks in a coding nobody asked for": lambda line, asked: line.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n\r\n1\r\n{\r\n"
    ),
    "chunks that break off": lambda line, asked: (
        line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + said(200, yes(asked))),
        line.shutdown(socket.SHUT_RDWR),
    )[0],
    "a body that is longer than it says": lambda line, asked: line.sendall(said(200, yes(asked), length=20)),
    "a yes beside a no": lambda line, asked: line.sendall(
        said(200, b'{"outcome":"blocked","outcome":"allowed","proposal_id":"%s"}' % asked.json["id"].encode())
    ),
    "another proposal's": lambda line, asked: line.sendall(said(200, yes(asked) | {"proposal_id": "prop_other"})),
    "nobody's": lambda line, asked: line.sendall(said(200, {"outcome": "allowed"})),
}


@pytest.mark.parametrize("name", ODD)
def test_no_odd_answer_allows(name: str) -> None:
    """These held from the first day."""
    with Hostile(ODD[name]) as server:
        assert outcome(server, retries=0) != "allowed"


def test_decisions_have_no_place_for_a_key(tmp_path: Path) -> None:
    assert KEY not in repr(Decision("blocked")) + repr(client("http://127.0.0.1:1")) + str(vars(client("http://[::1]")))
