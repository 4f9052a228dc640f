"""What a proxy, a wrong address or a bad line may answer: never one of it is taken for a yes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from misbehaving import Behaviour, Misbehaving, answer, cut

from kiff.client import Client, connection
from kiff.errors import InvalidInput, KiffError, Overloaded, RateLimited, StoreUnavailable, Unanswered

pytestmark = pytest.mark.slow

KEY = "kiff_live_acme_hunter2"
CALL: dict[str, Any] = {"entity": "order:o1", "action": "AUTO_REFUND", "parameters": {"amount": 49.0}}
ALLOWED = {
    "proposal_id": "prop_1",
    "outcome": "allowed",
    "reasons": [],
    "message": "cleared",
    "receipt_id": "rcpt_1",
    "clearance_id": "clr_1",
    "trace_id": "trace_1",
}
BLOCKED = ALLOWED | {"outcome": "blocked", "reasons": ["state_not_allowed"], "clearance_id": None}
RAN = {
    "result": {
        "action_name": "AUTO_REFUND",
        "entity_id": "o1",
        "entity": "order:o1",
        "proposal_id": "prop_1",
        "status": "succeeded",
        "executed": True,
        "message": "done",
        "operation_id": "clr_1",
        "receipt_id": "rcpt_1",
        "trace_id": "trace_1",
    }
}
TWICE = b'{"outcome":"blocked",' + json.dumps(ALLOWED).encode()[1:]
UNTRUSTED: dict[str, Behaviour] = {
    "a 500 that says allowed": answer(500, ALLOWED),
    "a 502 that says it ran": answer(502, RAN),
    "a 403 that says allowed": answer(403, ALLOWED),
    "a 429 that says allowed": answer(429, ALLOWED),
    "a 302 that says allowed": answer(302, ALLOWED, more="Location: /elsewhere\r\n"),
    "another 2xx that says allowed": answer(202, ALLOWED),
    "a page": answer(200, b"<html>allowed</html>", "text/html"),
    "json that says it is a page": answer(200, ALLOWED, "text/html"),
    "json that says nothing of itself": answer(200, ALLOWED, None),
    "half a body": answer(200, ALLOWED, length=10),
    "half a text": answer(200, b'{"outcome":"allowed","clearance_id":"c"', "application/json"),
    "a key given twice": answer(200, TWICE),
    "allowed without a clearance": answer(200, ALLOWED | {"clearance_id": None}),
    "allowed with a reason against it": answer(200, ALLOWED | {"reasons": ["state_not_allowed"]}),
    "an outcome that there is not": answer(200, ALLOWED | {"outcome": "sure"}),
    "members of other types": answer(200, ALLOWED | {"outcome": ["allowed"]}),
    "a no that gives no reason and a clearance": answer(200, BLOCKED | {"reasons": [], "clearance_id": "clr_1"}),
    "a list": answer(200, [ALLOWED]),
    "nothing": answer(200, b""),
    "no HTTP": b"allowed\r\n\r\n",
}


def client_of(server: Misbehaving, **options: Any) -> Client:
    return Client(server.url, KEY, **options)


@pytest.mark.parametrize("name", UNTRUSTED)
@pytest.mark.parametrize("verb", ["propose", "execute", "validate", "ask"])
def test_what_cannot_be_trusted_is_raised(server: Misbehaving, verb: str, name: str) -> None:
    server.answers(UNTRUSTED[name])
    with client_of(server) as client, pytest.raises(KiffError) as raised:
        getattr(client, verb)(**CALL)
    assert KEY not in str(raised.value) + repr(raised.value.detail)


def test_control_the_same_answers_are_taken_when_they_are_whole(server: Misbehaving) -> None:
    server.answers(answer(200, ALLOWED), answer(200, BLOCKED), answer(200, RAN))
    with client_of(server) as client:
        assert client.propose(**CALL).outcome == "allowed"
        assert client.propose(**CALL).outcome == "blocked"
        assert client.execute(**CALL).executed


def test_an_answer_with_members_of_a_later_version_is_taken(server: Misbehaving) -> None:
    server.answers(answer(200, ALLOWED | {"weather": "fine"}))
    with client_of(server) as client:
        assert client.propose(**CALL).clearance_id == "clr_1"


@pytest.mark.parametrize("verb", ["propose", "execute"])
def test_silence_is_raised_with_the_id_that_asks_again(server: Misbehaving, verb: str) -> None:
    server.answers(server.hang)
    with client_of(server, timeout=0.2) as client, pytest.raises(Unanswered, match=r"within 0\.2 s") as raised:
        getattr(client, verb)(**CALL)
    [asked] = server.asked
    assert raised.value.may_have_acted
    assert raised.value.detail["id"] == asked.headers["idempotency-key"]


def test_an_answer_that_never_ends_is_given_up_on(server: Misbehaving) -> None:
    server.answers(server.dribble(answer(200, ALLOWED | {"message": "x" * 5000}), 0.01))
    with client_of(server, timeout=0.5) as client, pytest.raises(Unanswered, match="within"):
        client.propose(**CALL)


def test_an_answer_without_end_is_not_read_to_the_end(server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_BYTES", 1000)
    server.answers(answer(200, ALLOWED | {"message": "x" * 5000}))
    with client_of(server) as client, pytest.raises(Unanswered, match="more than 1000 bytes"):
        client.propose(**CALL)


def test_a_write_is_sent_again_under_the_same_id_when_the_line_breaks(server: Misbehaving) -> None:
    server.answers(cut, answer(200, ALLOWED, length=5), answer(200, ALLOWED))
    with client_of(server) as client:
        assert client.propose(**CALL).outcome == "allowed"
    assert len(server.asked) == 3
    assert len({(asked.headers["idempotency-key"], asked.body) for asked in server.asked}) == 1


def test_the_id_that_was_given_is_the_one_that_is_sent(server: Misbehaving) -> None:
    server.answers(answer(200, ALLOWED))
    with client_of(server) as client:
        client.propose(**CALL, id="refund-7")
    assert server.asked[0].headers["idempotency-key"] == "refund-7"


def test_a_request_is_not_sent_for_ever(server: Misbehaving) -> None:
    server.answers(cut)
    with client_of(server, attempts=3) as client, pytest.raises(Unanswered) as raised:
        client.propose(**CALL)
    assert (len(server.asked), raised.value.may_have_acted) == (3, True)


def test_what_has_no_id_and_writes_is_sent_once(server: Misbehaving) -> None:
    server.answers(cut)
    with Client(server.url) as client, pytest.raises(Unanswered):
        client.login.by_token("acme.token")
    assert len(server.asked) == 1


def test_reading_is_sent_again_and_never_said_to_have_acted(server: Misbehaving) -> None:
    server.answers(cut)
    with client_of(server) as client, pytest.raises(Unanswered) as raised:
        client.state("order:o1")
    assert (len(server.asked), raised.value.may_have_acted) == (4, False)


def test_nobody_listening_is_no_act(server: Misbehaving) -> None:
    with Client("http://127.0.0.1:1", KEY) as client, pytest.raises(Unanswered, match="cannot be reached") as raised:
        client.propose(**CALL)
    assert not raised.value.may_have_acted


def refusal(code: str) -> dict[str, str]:
    return {"error": "no", "code": code, "message": "no", "trace_id": "trace_1"}


def test_a_server_that_says_when_to_come_back_is_asked_again(server: Misbehaving) -> None:
    busy = answer(503, refusal("overloaded"), more="Retry-After: 0\r\n")
    server.answers(busy, busy, answer(200, ALLOWED))
    with client_of(server) as client:
        assert client.propose(**CALL).outcome == "allowed"
    assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 1


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (answer(503, refusal("overloaded")), Overloaded),
        (answer(503, refusal("store_unavailable"), more="Retry-After: 3600\r\n"), StoreUnavailable),
        (answer(429, refusal("rate_limited"), more="Retry-After: 1\r\n"), RateLimited),
    ],
)
def test_a_server_that_does_not_is_not(server: Misbehaving, behaviour: bytes, error: type[KiffError]) -> None:
    server.answers(behaviour)
    with client_of(server) as client, pytest.raises(error):
        client.propose(**CALL)
    assert len(server.asked) == 1


def test_a_busy_server_is_the_error_it_says_in_the_end(server: Misbehaving) -> None:
    server.answers(answer(503, refusal("overloaded"), more="Retry-After: 0\r\n"))
    with client_of(server) as client, pytest.raises(Overloaded):
        client.propose(**CALL)
    assert len(server.asked) == 4


def test_how_long_to_wait_comes_with_the_error(server: Misbehaving) -> None:
    server.answers(answer(429, refusal("rate_limited"), more="Retry-After: 7\r\n"))
    with client_of(server) as client, pytest.raises(RateLimited) as raised:
        client.propose(**CALL)
    assert raised.value.detail["retry_after_seconds"] == 7


def test_a_redirect_does_not_carry_the_key_away(server: Misbehaving) -> None:
    with Misbehaving() as elsewhere:
        elsewhere.answers(answer(200, ALLOWED))
        server.answers(answer(307, refusal("moved"), more=f"Location: {elsewhere.url}/v1/proposals/decide\r\n"))
        with client_of(server) as client, pytest.raises(KiffError):
            client.propose(**CALL)
        assert elsewhere.asked == []


def test_a_proxy_of_the_environment_is_not_shown_a_key(server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    with Misbehaving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        server.answers(answer(200, ALLOWED))
        with client_of(server) as client:
            client.propose(**CALL)
        assert proxy.asked == []


@pytest.mark.parametrize("name", [".", "..", "", "a/b", "a?b", "a b", "é"])
def test_an_id_that_is_none_leads_nowhere(server: Misbehaving, name: str) -> None:
    with client_of(server) as client:
        for ask in (client.approval, client.receipt, client.operation, client.keys.revoke, client.members.get):
            with pytest.raises(InvalidInput):
                ask(name)
        with pytest.raises(InvalidInput):
            client.execute(entity="order:o1", action=name)
        with pytest.raises(InvalidInput):
            client.state(name)
    assert server.asked == []


@pytest.mark.parametrize("parameters", [{"amount": float("nan")}, {"amount": 2**60}, {1: 2}, {"when": object()}])
def test_parameters_that_no_digest_can_be_made_of_are_not_sent(server: Misbehaving, parameters: Any) -> None:
    with client_of(server) as client, pytest.raises(InvalidInput):
        client.execute(entity="order:o1", action="AUTO_REFUND", parameters=parameters)
    assert server.asked == []
