"""Executors that are tools of real MCP servers, as a program here and over HTTP: what each way of ending proves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from elsewhere_cases import PATIENCE_SECONDS, Desk, desk, operation

from kiff.server.remote_settings import McpServer

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("mcp_program.py")


class Ledger:
    """What the outside program wrote down."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def effects(self) -> list[dict[str, Any]]:
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def of(self, answer: Any) -> list[dict[str, Any]]:
        """The effects of one operation."""
        return [each for each in self.effects() if each["id"] == answer.operation_id]


class OverHttp:
    """The program behind HTTP. It can be killed, and started again at the same port."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "effects.jsonl")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        arguments = [sys.executable, str(PROGRAM), str(self.ledger.file), str(self.port)]
        self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < end, "the program did not start"
                time.sleep(0.02)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def settings(self, **more: Any) -> McpServer:
        return McpServer(("default",), url=f"http://127.0.0.1:{self.port}/mcp", **more)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Of a program that the test starts."""
    return Ledger(tmp_path / "effects.jsonl")


@pytest.fixture(scope="module")
def over_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OverHttp]:
    """One program for the tests that leave it as it is."""
    program = OverHttp(tmp_path_factory.mktemp("outside"))
    yield program
    program.kill()


@pytest.fixture
def own_over_http(tmp_path: Path) -> Iterator[OverHttp]:
    program = OverHttp(tmp_path)
    yield program
    program.kill()


def as_program(ledger: Ledger) -> McpServer:
    return McpServer(("default",), command=sys.executable, args=(str(PROGRAM), str(ledger.file)))


@contextmanager
def at(tool: str, how: McpServer, **more: Any) -> Iterator[Desk]:
    with desk(f"mcp://payments/{tool}", mcp=how, **more) as shop:
        yield shop


@pytest.mark.parametrize("tool", ["act_and_raise", "act_and_flood", "act_and_overflow", "say_failed"])
def test_a_tool_that_acted_and_does_not_plainly_say_so_is_unknown_and_called_once(
    tool: str, over_http: OverHttp
) -> None:
    with at(tool, over_http.settings()) as shop:
        told = shop.refund()
        assert (told.status, shop.state()) == ("unknown", "OPEN")
        assert shop.operation(told).holds_runway
    assert len(over_http.ledger.of(told)) == 1


def test_a_tool_that_does_not_answer_by_the_deadline_is_unknown(over_http: OverHttp) -> None:
    with at("act_and_wait", over_http.settings(), timeout="2s") as shop:
        told = shop.refund()
        assert told.status == "unknown"
    assert len(over_http.ledger.of(told)) == 1


def test_a_program_that_hangs_in_a_tool_is_unknown_and_is_ended(ledger: Ledger) -> None:
    with at("act_and_hang", as_program(ledger), timeout="2s") as shop:
        shop.remote.run("mcp://payments/tell", operation("warm_up"), PATIENCE_SECONDS)
        assert shop.refund().status == "unknown"
    assert [each["tool"] for each in ledger.effects()] == ["tell", "act_and_hang"]
    assert not lives(ledger.effects()[0]["pid"])


def test_a_program_that_dies_in_a_tool_is_unknown(ledger: Ledger) -> None:
    with at("act_and_exit", as_program(ledger)) as shop:
        told = shop.refund()
        assert told.status == "unknown"
    assert len(ledger.of(told)) == 1


def test_over_http_a_server_that_dies_in_a_tool_is_unknown(own_over_http: OverHttp) -> None:
    with at("act_and_exit", own_over_http.settings()) as shop:
        told = shop.refund()
        assert told.status == "unknown"
    assert len(own_over_http.ledger.of(told)) == 1


@pytest.mark.parametrize(
    "how",
    [
        McpServer(("default",), command="/no/such/program"),
        McpServer(("default",), command="true"),
        McpServer(("default",), command="echo", args=("not json",)),
        McpServer(("default",), url="http://127.0.0.1:9/mcp"),
    ],
    ids=["missing", "exits", "babbles", "nobody"],
)
def test_a_server_that_cannot_be_reached_did_nothing(how: McpServer) -> None:
    with at("refund", how) as shop:
        told = shop.refund()
        assert (told.status, shop.state()) == ("failed", "OPEN")
        assert "nothing was sent" in told.message


def test_a_tool_that_the_server_does_not_have_did_nothing(over_http: OverHttp) -> None:
    with at("no_such_tool", over_http.settings()) as shop:
        told = shop.refund()
        assert (told.status, "no tool" in told.message) == ("failed", True)
    assert over_http.ledger.of(told) == []


def test_arguments_that_the_tool_does_not_take_do_nothing(over_http: OverHttp) -> None:
    with at("refund", over_http.settings()) as shop:
        told = shop.refund(parameters={"amount": "much"})
        assert told.status in ("failed", "unknown")
    assert over_http.ledger.of(told) == []


def test_a_server_of_another_tenant_is_missing(over_http: OverHttp) -> None:
    how = McpServer(("other",), url=f"http://127.0.0.1:{over_http.port}/mcp")
    with at("refund", how) as shop:
        assert shop.refund().reason == "executor_missing"


def test_where_the_operator_knows_what_errors_mean_they_are_failures(over_http: OverHttp) -> None:
    with at("act_and_raise", over_http.settings(errors="failed")) as shop:
        told = shop.refund()
        assert (told.status, "act_and_raise" in told.message) == ("failed", True)


def test_a_tool_written_for_kiff_says_how_it_ended(over_http: OverHttp) -> None:
    with at("report_failure", over_http.settings()) as shop:
        told = shop.refund()
        assert (told.status, told.message) == ("failed", "the card is closed")


def test_control_a_tool_that_succeeds_moves_the_state_and_is_told_the_operation(over_http: OverHttp) -> None:
    with at("refund", over_http.settings()) as shop:
        told = shop.refund(parameters={"amount": 4.5}, trace=f"trace_{'a' * 32}")
        assert (told.status, shop.state()) == ("succeeded", "REFUNDED")
        assert told.output == {"refund_id": told.operation_id, "amount": 4.5}
    (effect,) = over_http.ledger.of(told)
    assert effect["meta"]["kiff/entity"] == "order:ord_1"
    assert effect["meta"]["kiff/tenant"] == "default"
    assert effect["meta"]["traceparent"].startswith("00-")


@pytest.mark.parametrize(("tool", "output"), [("tell", "it is done"), ("report_success", None)])
def test_control_what_a_tool_says_is_the_output(tool: str, output: str | None, over_http: OverHttp) -> None:
    with at(tool, over_http.settings()) as shop:
        told = shop.refund()
        assert (told.status, told.output) == ("succeeded", output or {"id": told.operation_id})


def test_one_program_serves_many_calls_and_one_that_died_is_started_again(ledger: Ledger) -> None:
    with at("refund", as_program(ledger)) as shop:
        orders = [f"ord_{number}" for number in range(4)]
        shop.place(*orders, "after")
        asked = [shop.ask(order, parameters={"amount": 1}) for order in orders]
        assert {each.result(PATIENCE_SECONDS).status for each in asked} == {"succeeded"}
        (first,) = {each["pid"] for each in ledger.effects()}
        os.kill(first, signal.SIGKILL)
        assert shop.ask("after", parameters={"amount": 1}).result(PATIENCE_SECONDS).status == "succeeded"
    second = ledger.effects()[-1]["pid"]
    assert (second != first, lives(second), len(ledger.effects())) == (True, False, 5)


def test_over_http_a_server_that_was_started_again_is_found(own_over_http: OverHttp) -> None:
    with at("refund", own_over_http.settings()) as shop:
        shop.place("ord_1", "ord_2", "ord_3")
        asked = {"parameters": {"amount": 1}}
        assert shop.ask("ord_1", **asked).result(PATIENCE_SECONDS).status == "succeeded"
        own_over_http.kill()
        assert shop.ask("ord_2", **asked).result(PATIENCE_SECONDS).status == "failed"
        own_over_http.start()
        assert shop.ask("ord_3", **asked).result(PATIENCE_SECONDS).status == "succeeded"
    assert len(own_over_http.ledger.effects()) == 2


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
