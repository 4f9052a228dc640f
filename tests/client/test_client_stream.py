"""A stream that breaks off is taken up again behind the last event that was seen."""

from __future__ import annotations

import json
import socket
from itertools import islice

import pytest
from misbehaving import Behaviour, Misbehaving, answer

from kiff.client import Client, stream
from kiff.errors import Unanswered, Unauthorized

pytestmark = pytest.mark.slow

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(seq: int) -> bytes:
    record = json.dumps({"seq": seq, "kind": "state_changed"}).encode()
    return b"id: %d\nevent: state_changed\ndata: %b\n\n" % (seq, record)


def streaming(*parts: bytes) -> Behaviour:
    """A stream that sends these bytes and breaks off."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        for part in parts:
            connection.sendall(part)

    return behave


def followed(server: Misbehaving, count: int, after: str | None = None) -> list[str]:
    with Client(server.url, "kiff_live_acme_x") as client:
        return [each.id for each in islice(client.stream(after=after), count)]


def test_it_goes_on_behind_the_last_whole_event(server: Misbehaving) -> None:
    server.answers(streaming(b"id: 4\n\n", event(5), event(6)[:20]), streaming(event(6), event(7)))
    assert followed(server, 3) == ["5", "6", "7"]
    assert [asked.headers.get("last-event-id") for asked in server.asked[:2]] == [None, "5"]


def test_it_goes_on_from_an_id_that_came_without_an_event(server: Misbehaving) -> None:
    server.answers(streaming(b"id: 41\n\n", b": still here\nid: 44\n\n"), streaming(event(45)))
    assert followed(server, 1) == ["45"]
    assert server.asked[1].headers["last-event-id"] == "44"


def test_it_begins_where_it_is_told_to(server: Misbehaving) -> None:
    server.answers(streaming(event(8)))
    followed(server, 1, after="7")
    assert server.asked[0].headers["last-event-id"] == "7"


def test_bytes_may_come_in_any_pieces(server: Misbehaving) -> None:
    whole = (event(5) + event(6)).replace(b"\n", b"\r\n")
    server.answers(streaming(*(whole[at : at + 1] for at in range(len(whole)))))
    assert followed(server, 2) == ["5", "6"]


def test_a_server_that_is_busy_is_waited_for_once_the_stream_stood(server: Misbehaving) -> None:
    busy = answer(503, {"code": "overloaded", "message": "busy"})
    server.answers(streaming(event(5)), busy, answer(502, b"<html>", "text/html"), streaming(event(6)))
    assert followed(server, 2) == ["5", "6"]


def test_a_revoked_key_ends_it(server: Misbehaving) -> None:
    server.answers(streaming(event(5)), answer(401, {"code": "unauthorized", "message": "no"}))
    with pytest.raises(Unauthorized):
        followed(server, 2)


@pytest.mark.parametrize(
    "behaviour", [answer(200, {"seq": 1}), answer(200, b"<html>", "text/html"), answer(502, b"<html>", "text/html")]
)
def test_what_is_no_stream_is_raised(server: Misbehaving, behaviour: bytes) -> None:
    server.answers(behaviour)
    with pytest.raises(Unanswered):
        followed(server, 1)


@pytest.mark.parametrize("data", [b"data: no json\n\n", b"data: [1]\n\n", b'data: {"seq":1,"seq":2}\n\n'])
def test_an_event_that_is_no_record_is_none(server: Misbehaving, data: bytes) -> None:
    server.answers(streaming(data), answer(401, {"code": "unauthorized", "message": "no"}))
    with pytest.raises(Unauthorized):
        followed(server, 1)


def test_a_line_without_end_is_not_kept(server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_LINE_BYTES", 1000)
    server.answers(streaming(b"data: " + b"x" * 5000), answer(401, {"code": "unauthorized", "message": "no"}))
    with pytest.raises(Unauthorized):
        followed(server, 1)
