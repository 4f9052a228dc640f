"""Executors behind a signed HTTPS request: what each way of ending proves, and that nothing is ever sent twice."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from certificates import contexts
from elsewhere_cases import OLD_SECRET, PATIENCE_SECONDS, SECRET, desk
from outside_line import OutsideLine, Script, answer, drip, flood, hang, reset, say
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from kiff.server.remote_settings import HttpsExecutor

pytestmark = pytest.mark.slow

DONE = answer(body=b'{"status": "succeeded", "message": "refunded", "output": {"id": "re_1"}}')
SAID_NO = answer(body=b'{"status": "failed", "message": "the card is closed"}')
AGAIN = HttpsExecutor((SECRET,), idempotent=True)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return contexts(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture
def line(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[Any]:
    """Opens an executor that answers by scripts: the last one stays."""
    opened: list[OutsideLine] = []

    def listen(*scripts: Script) -> OutsideLine:
        left = list(scripts)
        opened.append(OutsideLine(lambda one: (left.pop(0) if len(left) > 1 else left[0])(one), tls[0]))
        return opened[-1]

    yield listen
    for each in opened:
        each.close()


def sent(request: bytes) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a request."""
    head, _, body = request.partition(b"\r\n\r\n")
    rows = (row.decode().partition(": ") for row in head.split(b"\r\n")[1:])
    return {name.lower(): value for name, _, value in rows}, body


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 415, 422])
def test_a_request_that_the_executor_declined_did_not_happen(status: int, line: Any, tls: Any) -> None:
    executor = line(answer(f"{status} No"))
    with desk(executor.url, context=tls[1]) as shop:
        told = shop.refund()
        assert (told.status, shop.state()) == ("failed", "OPEN")
        assert str(status) in told.message
    assert len(executor.requests) == 1


@pytest.mark.parametrize(
    "script",
    [
        reset,
        say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        answer("500 Oops"),
        answer("502 Bad Gateway"),
        answer("503 Busy", headers="Retry-After: 1\r\n"),
        answer("408 Timeout"),
        answer("409 Conflict"),
        answer("425 Too Early"),
        answer("429 Slow Down"),
        answer("301 Moved", headers="Location: https://169.254.169.254/latest/meta-data/\r\n"),
        answer("307 Temporary", headers="Location: https://127.0.0.1/\r\n"),
        answer("202 Accepted", b'{"status": "succeeded"}'),
        answer("204 No Content", b""),
        answer(body=b"<html>fine</html>"),
        answer(body=b"[]"),
        answer(body=b'{"status": "done"}'),
        answer(body=b'{"status": "succeeded", "status": "failed"}'),
        answer(body=b'{"status": "succeeded", "authority": "allowed"}'),
        answer(body=b'{"status": "succeeded", "events": ["NO_SUCH"]}'),
        answer(body=b'{"status": "succeeded", "output": "' + b"x" * 70_000 + b'"}'),
        flood,
    ],
)
def test_what_was_sent_and_is_not_plainly_answered_is_unknown_and_not_sent_again(
    script: Script, line: Any, tls: Any
) -> None:
    executor = line(script)
    with desk(executor.url, context=tls[1]) as shop:
        told = shop.refund()
        assert (told.status, shop.state()) == ("unknown", "OPEN")
        assert shop.operation(told).holds_runway
        held = shop.ask("ord_1").result(PATIENCE_SECONDS)
        assert held.reason == "entity_busy"
    assert len(executor.requests) == 1


@pytest.mark.parametrize("script", [hang, drip])
def test_an_executor_that_does_not_answer_by_the_deadline_is_unknown(script: Script, line: Any, tls: Any) -> None:
    executor = line(script)
    with desk(executor.url, context=tls[1], timeout="1s") as shop:
        assert shop.refund().status == "unknown"
    assert len(executor.requests) == 1


def test_where_nobody_listens_nothing_happened(line: Any, tls: Any) -> None:
    executor = line(DONE)
    executor.close()
    with desk(executor.url, context=tls[1]) as shop:
        told = shop.refund()
        assert (told.status, shop.state()) == ("failed", "OPEN")
        assert "nothing was sent" in told.message


def test_an_executor_whose_certificate_is_for_another_name_gets_nothing(line: Any, tls: Any) -> None:
    executor = line(DONE)
    address = f"https://refunds.test:{executor.port}/"
    allow = (f"refunds.test:{executor.port}", "127.0.0.1/32")
    with desk(address, context=tls[1], allow=allow, resolve=lambda name, port: ["127.0.0.1"]) as shop:
        assert shop.refund().status == "failed"
    assert executor.requests == []


def test_a_name_that_leads_inside_gets_nothing(line: Any, tls: Any) -> None:
    executor = line(DONE)
    address = f"https://refunds.test:{executor.port}/"
    allow = (f"refunds.test:{executor.port}",)
    with desk(address, context=tls[1], allow=allow, resolve=lambda name, port: ["127.0.0.1"]) as shop:
        told = shop.refund()
        assert (told.status, "no public address" in told.message) == ("failed", True)
    assert executor.connections == 0


def test_an_executor_that_the_policy_forbids_is_missing(line: Any, tls: Any) -> None:
    executor = line(DONE)
    with desk(executor.url, context=tls[1], allow=()) as shop:
        told = shop.refund()
        assert (told.outcome, told.reason) == ("blocked", "executor_missing")
    assert executor.connections == 0


def test_an_executor_that_the_operator_did_not_name_is_missing(line: Any, tls: Any) -> None:
    executor = line(DONE)
    with desk("https://127.0.0.1:1/", context=tls[1]) as shop:
        other = shop.remote.usable("default", executor.url), shop.remote.usable("other", "https://127.0.0.1:1/")
        assert (other, shop.remote.usable("default", "https://127.0.0.1:1/")) == ((False, False), True)


def test_an_executor_says_that_it_did_nothing(line: Any, tls: Any) -> None:
    with desk(line(SAID_NO).url, context=tls[1]) as shop:
        told = shop.refund()
        assert (told.status, told.message, shop.state()) == ("failed", "the card is closed", "OPEN")


def test_control_an_executor_that_succeeds_moves_the_state(line: Any, tls: Any) -> None:
    executor = line(DONE)
    with desk(executor.url, context=tls[1]) as shop:
        told = shop.refund()
        assert (told.status, told.message, told.output) == ("succeeded", "refunded", {"id": "re_1"})
        assert shop.state() == "REFUNDED"
    assert len(executor.requests) == 1


def test_a_request_is_signed_and_says_what_an_executor_is_told(line: Any, tls: Any) -> None:
    executor = line(DONE)
    https = HttpsExecutor((SECRET, OLD_SECRET))
    with desk(executor.url, context=tls[1], https=https) as shop:
        told = shop.refund(parameters={"amount": 4.5}, trace=f"trace_{'a' * 32}")
    headers, body = sent(executor.requests[0])
    for secret in https.secrets:
        Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"4.5", b"9.5"), headers)
    said = json.loads(body)
    assert headers["webhook-id"] == headers["idempotency-key"] == said["operation_id"] == told.operation_id
    assert headers["kiff-deadline"] == said["deadline"]
    assert headers["traceparent"].startswith(f"00-{'a' * 32}-")
    assert {
        name: said[name] for name in ("tenant", "entity_type", "entity_id", "action", "parameters", "principal")
    } == {
        "tenant": "default",
        "entity_type": "order",
        "entity_id": "ord_1",
        "action": "REFUND",
        "parameters": {"amount": 4.5},
        "principal": "ops-agent",
    }
    assert set(said) >= {"fencing", "approval_id", "receipt_id", "trace_id"}


def test_an_idempotent_executor_is_sent_the_same_id_again_after_a_lost_answer(line: Any, tls: Any) -> None:
    executor = line(reset, answer("503 Busy"), DONE)
    with desk(executor.url, context=tls[1], https=AGAIN) as shop:
        told = shop.refund()
        assert (told.status, shop.state()) == ("succeeded", "REFUNDED")
    ids = [json.loads(sent(request)[1])["operation_id"] for request in executor.requests]
    assert ids == [told.operation_id] * 3


def test_what_a_lost_attempt_may_have_done_is_not_forgotten(line: Any, tls: Any) -> None:
    """The second answer proves that the second request did nothing; the first may have."""
    executor = line(reset, answer("404 Not Found"))
    with desk(executor.url, context=tls[1], https=AGAIN) as shop:
        told = shop.refund()
        assert (told.status, len(executor.requests)) == ("unknown", 2)


def test_an_idempotent_executor_may_say_that_its_id_did_nothing(line: Any, tls: Any) -> None:
    executor = line(reset, SAID_NO)
    with desk(executor.url, context=tls[1], https=AGAIN) as shop:
        assert shop.refund().status == "failed"


def test_an_answer_that_would_come_again_ends_an_idempotent_operation(line: Any, tls: Any) -> None:
    executor = line(answer(body=b"nonsense"), DONE)
    with desk(executor.url, context=tls[1], https=AGAIN) as shop:
        assert shop.refund().status == "unknown"
    assert len(executor.requests) == 1


def test_nothing_is_sent_again_once_the_time_does_not_suffice(line: Any, tls: Any) -> None:
    executor = line(answer("503 Busy", headers="Retry-After: 5\r\n"), DONE)
    with desk(executor.url, context=tls[1], https=AGAIN, timeout="2s") as shop:
        assert shop.refund().status == "unknown"
    assert len(executor.requests) == 1


def test_the_same_call_again_brings_its_answer_and_reaches_nobody(line: Any, tls: Any) -> None:
    executor = line(DONE)
    with desk(executor.url, context=tls[1]) as shop:
        first = shop.refund(id="prop_1")
        assert shop.ask("ord_1", id="prop_1").result(PATIENCE_SECONDS).operation_id == first.operation_id
    assert len(executor.requests) == 1
