"""What the log says of requests: one JSON object a line, and nothing that somebody sent."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from line import Line, head, post
from served import Served
from up import Up

from kiff.cli.server_options import JsonLines, start_logging

pytestmark = pytest.mark.slow

PERSONAL = "ann.example@mail.test"
CARD = "4111111111111111"
FORGED = '{"at":"2020","level":"info","message":"forged"}'
CONTROLS = f"\r\n{FORGED}\r\n\x1b[2J\x1b]0;title\x07\x00\x7f\u2028\u2029\x85\u202e"
SECRET = re.compile(rb"kiff_(live|test|session)_[a-z0-9.:-]+_[0-9A-Za-z]{20,}")
EXECUTORS = f"""
def refund(operation):
    if operation.entity_id == "raises":
        raise RuntimeError("{PERSONAL} paid with {CARD}")
    return {{"status": "succeeded", "message": "{PERSONAL}", "output": "{CARD}"}}

EXECUTORS = {{"refund.issue_refund": refund, "orders.mark_paid": refund}}
"""


def tell_everything(up: Up) -> None:
    """Requests that hold personal data, secrets and control characters wherever something can stand."""
    up.paid("ord_1", "raises")
    parameters = {"amount": 49.0, "reason": f"{PERSONAL} {CONTROLS}"}
    said = {"evidence": {"card": CARD, PERSONAL: CONTROLS}, "reasoning_summary": f"{CONTROLS} {CARD}"}
    assert up.execute("ord_1", parameters=parameters, **said).status == 200
    assert up.execute("raises", parameters=parameters, **said).body["result"]["status"] == "unknown"
    up.decide("ord_1", parameters=parameters | {CARD: PERSONAL}, run_context={PERSONAL: CARD})
    up.decide(f"{PERSONAL}{CONTROLS}", **{f"{CARD}{CONTROLS}": 1})
    up.post("/v1/proposals/decide", f'{{"{CARD}": "{PERSONAL}'.encode())
    up.post("/v1/proposals/decide", CONTROLS.encode() * 100)
    up.get(f"/v1/entities?after={CARD}&{PERSONAL}={CARD}", "owner")
    up.get(f"/v1/entities/{CARD}%0d%0a%1b%5b2J%E2%80%A8{PERSONAL}/state", "owner")
    up.get(f"/{CARD}/{PERSONAL}%0d%0a", "owner")
    up.get("/v1/me", f"kiff_live_kiff-demo_{CARD}{'x' * 37}")
    for name in ("User-Agent", "Referer", "Traceparent", "Tracestate", "Accept", "X-Forwarded-For", "Cookie", "Origin"):
        up.get("/v1/me", headers={name: f"{PERSONAL} {CARD} {FORGED} \xe9"})
    for key in (CARD + PERSONAL, f"{CARD} {PERSONAL}"):
        up.decide("ord_1", headers={"Idempotency-Key": key})
    event = {"type": CARD, "entity_id": "ord_9", "entity_type": "order", "payload": {PERSONAL: CARD}}
    up.post("/v1/events", event, "owner")
    up.post("/v1/keys", {"label": f"{PERSONAL} {CONTROLS}"}, "owner")
    up.post("/v1/adapters/kiff-demo/stripe-webhook", {PERSONAL: CARD}, None, headers={"Stripe-Signature": CARD})
    for raw in (f"{CARD} {PERSONAL} {CONTROLS}".encode(), head(up, "GET", f"/{CARD}", f"X-A: {PERSONAL}\r {CARD}")):
        with Line(up) as line:
            line.send(raw + b"\r\n\r\n").answer()
    with Line(up) as line:
        line.send(post(up, "/v1/proposals/decide", f'"{PERSONAL}'.encode())[:-5]).half_close()
        line.rest()


@pytest.fixture(scope="module", params=["debug", "error"])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """All that a `kiff up` wrote on stderr while it was told everything."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "actions.py").write_text(EXECUTORS)
    with Up(folder, "--log-level", request.param, "--executors", "actions.py", PYTHONWARNINGS="default") as up:
        tell_everything(up)
        assert up.close() == 0
        secrets = [text.encode() for text in up.keys.values()]
        assert not any(secret in up.log for secret in secrets)
        assert up.log.count(b'"request"') > 20 or request.param == "error"
        yield up.log


@pytest.mark.slow
def test_every_line_is_one_object(log: bytes) -> None:
    for line in log.splitlines():
        told = json.loads(line)
        assert {"at", "level", "logger", "message"} <= told.keys()
        assert "forged" not in told["message"]
    assert log.isascii()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", log)


@pytest.mark.slow
def test_nothing_that_was_sent_is_in_the_log(log: bytes) -> None:
    for what in (PERSONAL, CARD, "forged", "customer request", "ord_1", "49.0"):
        assert what.encode() not in log, what
    assert not SECRET.search(log)


@pytest.mark.slow
def test_every_request_has_its_line(tmp_path: Path) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with Up(tmp_path, "--log-level", "info") as up:
        up.paid("ord_1")
        headers = {"Traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        assert up.decide("ord_1", headers=headers).body["outcome"] == "allowed"
        up.close()
        told = [json.loads(line) for line in up.log.splitlines()]
    [line] = [each for each in told if each.get("trace_id") == f"trace_{trace}"]
    shown = {name: line[name] for name in ("level", "message", "method", "route", "status", "tenant", "outcome")}
    assert shown == {
        "level": "info",
        "message": "request",
        "method": "POST",
        "route": "/v1/proposals/decide",
        "status": 200,
        "tenant": "kiff-demo",
        "outcome": "allowed",
    }
    assert line["ms"] > 0


@pytest.fixture
def heard() -> Iterator[io.StringIO]:
    """What our loggers say, as the server would write it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("kiff")
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


def test_an_internal_error_is_told_by_type_and_place_and_not_by_its_text(own_shop: Served, heard: io.StringIO) -> None:
    def row(*_: Any) -> None:
        try:
            raise KeyError(f"{CARD}\n{PERSONAL}")
        except KeyError as error:
            raise RuntimeError(f"{PERSONAL}\n{FORGED}\n{CARD}") from error

    own_shop.tower.store.row = row
    told = own_shop.get("/v1/me")
    assert (told.status, told.body["code"]) == (500, "internal")
    assert PERSONAL not in told.raw.decode()
    [line] = heard.getvalue().splitlines()
    said = json.loads(line)
    assert (said["level"], said["error"], said["trace_id"]) == ("error", "RuntimeError", told.body["trace_id"])
    assert said["where"][-1].startswith("test_logs.py:")
    assert not any(what in line for what in (PERSONAL, CARD, "forged"))


def test_a_store_that_cannot_serve_is_found_by_the_trace_that_the_caller_was_told(
    own_shop: Served, heard: io.StringIO
) -> None:
    def append(batch: object) -> None:
        raise RuntimeError(f"{PERSONAL}\n{FORGED}")

    own_shop.tower.store.append = append
    told = own_shop.decide("ord_1")
    assert told.status == 503
    [said] = [json.loads(line) for line in heard.getvalue().splitlines()]
    assert (said["trace_id"], said["code"]) == (told.body["trace_id"], told.body["code"])
    assert PERSONAL not in heard.getvalue()


def record(message: str, *arguments: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("somebody.else", logging.WARNING, "file.py", 1, message, arguments, None)
    made.__dict__.update(more)
    return made


def test_whatever_a_record_holds_is_one_line_of_ascii() -> None:
    line = JsonLines().format(record("%s", CONTROLS, **{"name": "x\n", CONTROLS: CONTROLS, "set": {1}}))
    assert line.isascii() and line.isprintable()
    assert json.loads(line)[CONTROLS] == CONTROLS


def test_of_a_message_of_many_lines_the_first_is_told() -> None:
    """asyncio describes the task that failed, with what it raised, in the second."""
    line = JsonLines().format(record(f"Task exception was never retrieved\nfuture: <ValueError('{CARD}')>"))
    assert json.loads(line)["message"] == "Task exception was never retrieved"


@pytest.fixture
def logging_restored() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("kiff", "uvicorn", None)]
    before = [(each, each.handlers[:], each.propagate, each.level) for each in loggers]
    hooks = threading.excepthook, sys.unraisablehook
    yield
    logging.captureWarnings(False)
    threading.excepthook, sys.unraisablehook = hooks
    for logger, handlers, propagate, level in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_a_thread_that_dies_says_so_without_its_text(
    logging_restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def dies() -> None:
        raise ValueError(f"{PERSONAL}\n{CARD}")

    start_logging("error")
    thread = threading.Thread(target=dies)
    thread.start()
    thread.join()
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["error"] == "ValueError"
    assert PERSONAL not in line


def test_libraries_say_no_more_than_warnings(logging_restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("debug")
    logging.getLogger("httpcore").debug("headers %s", CARD)
    logging.getLogger("httpcore").warning("slow")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "slow"
