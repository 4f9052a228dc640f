"""The device flow, seen from the program that waits (RFC 8628 section 3.5)."""

from __future__ import annotations

import pytest
from misbehaving import Misbehaving, answer, cut

from kiff.client import Client
from kiff.client.login import Session, Started
from kiff.errors import KiffError, Unanswered

STARTED = Started("device-secret", "BCDF-GHJK", "https://kiff.example.com/device", 60, 5)
SESSION = {"session": "kiff_session_x", "tenant": "acme", "member": "ada", "expires_at": "2026-05-24T22:03:55.011Z"}


def saying(code: str, **more: int) -> bytes:
    return answer(400, {"error": code, "code": code, "message": "not yet", **more})


def waited_by(server: Misbehaving) -> tuple[list[float], Session]:
    waited: list[float] = []
    with Client(server.url) as client:
        return waited, client.login.wait(STARTED, wait=waited.append)


def test_it_asks_at_the_pace_it_is_given(server: Misbehaving) -> None:
    server.answers(saying("authorization_pending"), saying("authorization_pending"), answer(200, SESSION))
    assert waited_by(server) == ([5, 5, 5], Session(**SESSION))


def test_it_asks_less_often_from_then_on_when_it_is_told_to_slow_down(server: Misbehaving) -> None:
    server.answers(saying("slow_down"), saying("authorization_pending"), saying("slow_down"), answer(200, SESSION))
    assert waited_by(server)[0] == [5, 10, 10, 15]


def test_it_waits_as_long_as_the_server_says(server: Misbehaving) -> None:
    server.answers(saying("authorization_pending", interval=20), answer(200, SESSION))
    assert waited_by(server)[0] == [5, 20]


def test_it_asks_less_often_when_the_line_breaks(server: Misbehaving) -> None:
    server.answers(cut, answer(200, SESSION))
    assert waited_by(server)[0] == [5, 10]


@pytest.mark.parametrize("code", ["access_denied", "expired_token"])
def test_an_end_is_raised_with_its_code(server: Misbehaving, code: str) -> None:
    server.answers(saying("authorization_pending"), saying(code))
    with pytest.raises(KiffError) as raised:
        waited_by(server)
    assert raised.value.code == code
    assert "device-secret" not in str(raised.value) + repr(raised.value.detail)


def test_it_does_not_ask_for_ever(server: Misbehaving) -> None:
    server.answers(saying("authorization_pending"))
    with pytest.raises(KiffError) as raised:
        waited_by(server)
    assert (raised.value.code, len(server.asked)) == ("authorization_pending", 13)


def test_a_session_of_another_shape_is_none(server: Misbehaving) -> None:
    server.answers(answer(200, {"session": "kiff_session_x"}))
    with Client(server.url) as client, pytest.raises(Unanswered):
        client.login.by_token("token")


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(STARTED)
    assert "kiff_session_x" not in repr(Session(**SESSION))
