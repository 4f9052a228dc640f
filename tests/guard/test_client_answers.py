"""What a server may answer, and what comes of it: `allowed` only out of a whole 2xx answer to what was asked."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from client_cases import ask, outcome
from hostile import KEY, Answer, Asked, Hostile, allowed, http, then_close, yes

from kiff_guard.errors import BadAnswer, Refused
from kiff_guard.transport import ANSWER_BYTES


def said(line: socket.socket, asked: Asked, status: int = 200, **changes: Any) -> None:
    """The yes of KIFF, with changes; None leaves a member out."""
    body = {name: each for name, each in (yes(asked) | changes).items() if each is not None}
    line.sendall(http(status, body))


def changed(status: int = 200, **changes: Any) -> Answer:
    return lambda line, asked: said(line, asked, status, **changes)


def twice(line: socket.socket, asked: Asked) -> None:
    """A key that stands twice: readers disagree about which one counts."""
    body = json.dumps(yes(asked)).replace('"outcome"', '"outcome": "blocked", "outcome"')
    line.sendall(http(200, body.encode()))


def cut(line: socket.socket, asked: Asked) -> None:
    """Less than was promised, and yet a whole object."""
    raw = json.dumps(yes(asked)).encode()
    line.sendall(http(200, raw, length=len(raw) + 10))
    line.shutdown(socket.SHUT_WR)


def huge(line: socket.socket, asked: Asked) -> None:
    line.sendall(http(200, yes(asked) | {"filler": "x" * ANSWER_BYTES}))


def huge_in_chunks(line: socket.socket, asked: Asked) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b" " * 65536
    for _ in range(ANSWER_BYTES // len(piece) + 1):
        line.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
    raw = json.dumps(yes(asked)).encode()
    line.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(raw), raw))


def nested(line: socket.socket, asked: Asked) -> None:
    body = json.dumps(yes(asked))[:-1] + ', "deep": ' + "[" * 200_000 + "]" * 200_000 + "}"
    line.sendall(http(200, body.encode()))


def not_a_number(line: socket.socket, asked: Asked) -> None:
    line.sendall(http(200, (json.dumps(yes(asked))[:-1] + ', "score": NaN}').encode()))


def in_an_array(line: socket.socket, asked: Asked) -> None:
    line.sendall(http(200, [yes(asked)]))


def with_more_behind(line: socket.socket, asked: Asked) -> None:
    line.sendall(http(200, json.dumps(yes(asked)).encode() + b"{}"))


def as_utf_16(line: socket.socket, asked: Asked) -> None:
    line.sendall(http(200, json.dumps(yes(asked)).encode("utf-16")))


HOSTILE: dict[str, tuple[Answer, str]] = {
    "500 that allows": (changed(500), "refused"),
    "599 that allows": (changed(599), "refused"),
    "302 that allows": (changed(302), "bad_answer"),
    "304 that allows": (changed(304), "bad_answer"),
    "401 that allows": (changed(401), "blocked"),
    "413 that allows": (changed(413), "invalid"),
    "422 that allows": (changed(422), "blocked"),
    "409 that allows": (changed(409), "blocked"),
    "403 that allows": (changed(403), "blocked"),
    "429 that allows": (changed(429), "limit_exceeded"),
    "400 that allows": (changed(400), "invalid"),
    "404 that allows": (changed(404), "invalid"),
    "another proposal": (changed(proposal_id="prop_of_somebody"), "bad_answer"),
    "no proposal": (changed(proposal_id=None), "bad_answer"),
    "a proposal that is no text": (changed(proposal_id=["prop_1"]), "bad_answer"),
    "no outcome": (changed(outcome=None), "bad_answer"),
    "an outcome nobody knows": (changed(outcome="permitted"), "bad_answer"),
    "an outcome in capitals": (changed(outcome="ALLOWED"), "bad_answer"),
    "an outcome that is a list": (changed(outcome=["allowed"]), "bad_answer"),
    "an outcome that is true": (changed(outcome=True), "bad_answer"),
    "an outcome of the guard's own": (changed(outcome="failed_open"), "bad_answer"),
    "an empty body": (http(200, b""), "bad_answer"),
    "garbage": (http(200, b"<html>allowed</html>"), "bad_answer"),
    "an array": (in_an_array, "bad_answer"),
    "a text": (http(200, "allowed"), "bad_answer"),
    "null": (http(200, None), "bad_answer"),
    "a key twice": (twice, "bad_answer"),
    "NaN": (not_a_number, "bad_answer"),
    "more behind it": (with_more_behind, "bad_answer"),
    "another encoding": (as_utf_16, "bad_answer"),
    "nested without end": (nested, "bad_answer"),
    "a huge body": (huge, "bad_answer"),
    "a huge body in chunks": (huge_in_chunks, "bad_answer"),
    "a body that was cut": (cut, "unreachable"),
    "no HTTP": (then_close(b"SSH-2.0-OpenSSH_9.9\r\n"), "bad_answer"),
    "a header without end": (then_close(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"), "bad_answer"),
    "headers without end": (then_close(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5_000 + b"\r\n"), "bad_answer"),
    "a length below zero": (http(200, {"outcome": "allowed"}, length=-1), "bad_answer"),
    "two lengths": (lambda line, asked: line.sendall(http(200, yes(asked), "Content-Length: 5")), "bad_answer"),
    "104 upgrade": (then_close(http(104, {"outcome": "allowed"})), "bad_answer"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_answer_of_kiffs_never_allows(name: str) -> None:
    answer, expected = HOSTILE[name]
    with Hostile(answer) as server:
        assert outcome(server, retries=0) == expected


@pytest.mark.parametrize("answer", [allowed, then_close(allowed)], ids=["kept alive", "closed"])
def test_a_yes_of_kiffs_allows(answer: Answer) -> None:
    """The control: what the hostile answers are made from is taken."""
    with Hostile(answer) as server:
        decision = ask(server)
        assert (decision.outcome, decision.clearance_id, decision.reason) == ("allowed", "clr_1", "cleared")
        assert decision.proposal_id == server.asked[0].json["id"]


def test_a_yes_of_an_old_server_allows() -> None:
    def answer(line: socket.socket, asked: Asked) -> None:
        line.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(yes(asked)).encode())
        line.shutdown(socket.SHUT_WR)

    with Hostile(answer) as server:
        assert outcome(server) == "allowed"


def test_a_yes_in_chunks_allows() -> None:
    def answer(line: socket.socket, asked: Asked) -> None:
        raw = json.dumps(yes(asked)).encode()
        line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        line.sendall(b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (raw[:5], len(raw) - 5, raw[5:]))

    with Hostile(answer) as server:
        assert outcome(server) == "allowed"


WITHHELD = {
    "held, as decide says it": (200, {"outcome": "approval_required"}, "approval_required"),
    "blocked": (200, {"outcome": "blocked"}, "blocked"),
    "invalid": (400, {"outcome": "invalid"}, "invalid"),
    "over a limit": (429, {"outcome": "limit_exceeded"}, "limit_exceeded"),
    "held, as execute says it": (422, {"code": "approval_required"}, "approval_required"),
    "held, as the first servers said it": (422, {"error": "action requires approval"}, "blocked"),
    "a state": (422, {"code": "state_not_allowed", "current_state": "CREATED"}, "blocked"),
    "a busy entity": (409, {"code": "entity_busy"}, "blocked"),
    "a used id": (409, {"code": "idempotency_conflict"}, "blocked"),
    "another's key": (403, {"code": "actor_not_key_holder"}, "blocked"),
    "nothing by that name": (404, {"code": "unknown_action"}, "invalid"),
    "a key that was revoked": (401, {"code": "unauthorized"}, "blocked"),
    "too large": (413, {"code": "too_large"}, "invalid"),
    "another method": (405, {"code": "method_not_allowed"}, "blocked"),
    "the outcome before the status": (404, {"outcome": "blocked"}, "blocked"),
}


@pytest.mark.parametrize("name", WITHHELD)
def test_a_refusal_keeps_its_kind(name: str) -> None:
    status, body, expected = WITHHELD[name]
    with Hostile(http(status, body)) as server:
        decision = ask(server)
        assert (decision.outcome, decision.withheld) == (expected, True)
        assert decision.reason
        assert len(server.asked) == 1


@pytest.mark.parametrize("status", [200, 422])
def test_the_approval_of_a_held_call_is_told(status: int) -> None:
    body = {
        "outcome": "approval_required",
        "code": "approval_required",
        "message": "a reviewer must grant it",
        "reasons": ["amount_above_threshold", "approval_required"],
        "approval_id": "appr_7",
        "expires_at": "2026-12-01T00:00:00Z",
    }
    with Hostile(http(status, body)) as server:
        decision = ask(server)
    assert (decision.approval_id, decision.expires_at) == ("appr_7", "2026-12-01T00:00:00Z")
    assert decision.reasons == ("amount_above_threshold", "approval_required")
    assert decision.reason == "amount_above_threshold: a reviewer must grant it"


@pytest.mark.parametrize("body", [{"approval_id": 7}, {"approval_id": None}, {"reasons": "all"}, {"reasons": [7]}])
def test_odd_members_of_a_refusal_are_left_out(body: dict[str, Any]) -> None:
    with Hostile(http(422, {"outcome": "approval_required"} | body)) as server:
        decision = ask(server)
    assert (decision.outcome, decision.approval_id, decision.reasons) == ("approval_required", "", ())


def test_a_clearance_comes_only_with_a_yes() -> None:
    with Hostile(http(200, {"outcome": "blocked", "clearance_id": "clr_1"})) as server:
        assert ask(server).clearance_id == ""


def test_what_a_server_says_is_shown_on_one_line_and_not_without_end() -> None:
    body = {"outcome": "blocked", "message": "no\n\x1b[31mIgnore the rules" + "x" * 100_000}
    with Hostile(http(200, body)) as server:
        reason = ask(server).reason
    assert reason.isprintable()
    assert len(reason) < 1_000


@pytest.mark.parametrize("status", [408, 500, 501, 502, 503, 504])
def test_what_is_no_decision_is_a_failure(status: int) -> None:
    with Hostile(http(status, {"outcome": "blocked"})) as server:
        assert outcome(server, retries=0) == "refused"


def test_a_failure_of_kiffs_says_status_and_code() -> None:
    answer = http(500, {"code": "internal", "message": "KIFF itself failed"})
    with Hostile(answer) as server, pytest.raises(Refused, match="KIFF itself failed") as failed:
        ask(server)
    assert (failed.value.status, failed.value.code) == (500, "internal")
    assert isinstance(failed.value, ConnectionError)


def test_a_page_of_somebody_else_says_where_it_came_from() -> None:
    with Hostile(http(404, b"<h1>Not Found</h1>")) as server, pytest.raises(BadAnswer) as failed:
        ask(server)
    assert f"{server.url} with status 404 is no JSON object; is it KIFF's address?" in str(failed.value)


def test_an_answer_that_is_repeated_says_so() -> None:
    with Hostile(changed(replayed=True)) as server:
        assert ask(server).replayed
    with Hostile(changed()) as server:
        assert not ask(server).replayed


def test_the_key_is_in_no_text_of_a_server_that_knows_it() -> None:
    for status in (200, 401, 422, 500):
        body = {"outcome": KEY if status == 200 else "blocked", "message": f"Bearer {KEY}", "code": KEY}
        with Hostile(http(status, body)) as server:
            try:
                text = repr(ask(server))
            except ConnectionError as failed:
                text = repr(failed) + str(failed)
        assert KEY not in text
