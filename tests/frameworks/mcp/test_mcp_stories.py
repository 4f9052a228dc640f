"""The two stories through `kiff-mcp`: an invoice is paid once, an order has a ceiling. The money is counted outside.

The bank is an MCP server that knows of nothing, and the agent's program holds no key: only the gateway does.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from stories.outside import Bank, approved_invoice, paid_order
from towers import Tower, kiff_program

SERVER = Path(__file__).with_name("bank_server.py")
GATEWAY = Path(sys.executable).with_name("kiff-mcp")
PATIENCE_SECONDS = 30.0
BINDINGS = ["--bind=pay_invoice=PAY_INVOICE,Invoice,invoice_id", "--bind=refund_order=REFUND_ORDER,Order,order_id"]
NUMBERS = itertools.count(1)

pytestmark = pytest.mark.skipif(not kiff_program().is_file(), reason="needs a KIFF server: set KIFF_BIN")


@pytest.fixture(params=["stdio", "http"])
def over(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """auto: the protocol of 2026-07-28; legacy: that of 2025-11-25."""
    return str(request.param)


@pytest.fixture
def invoice(invoices: Tower) -> str:
    """An approved one of the test's own."""
    approved_invoice(invoices, name := f"inv_{next(NUMBERS)}")
    return name


@pytest.fixture
def order(orders: Tower) -> str:
    paid_order(orders, name := f"ord_{next(NUMBERS)}")
    return name


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path / "bank.jsonl")


def talk(way: Any, say: Callable[[Client], Awaitable[Any]], mode: str) -> Any:
    """What an agent's program does: one connection, some calls."""

    async def session() -> Any:
        async with Client(way(), mode=mode) as client:
            return await say(client)

    return asyncio.run(session())


@contextmanager
def gateway(tower: Tower, bank: Bank, over: str, *trouble: str, guarded: bool = True) -> Iterator[Any]:
    """Where the agent finds the bank."""
    server = [sys.executable, str(SERVER), str(bank.file)]
    receipts = bank.file.with_name("receipts.jsonl")
    options = [*BINDINGS, f"--receipts={receipts}", "--mode=enforce"] if guarded else []
    environment = {"KIFF_URL": tower.url, "KIFF_API_KEY": tower.keys["agent"], "PATH": os.environ["PATH"]}
    if over == "stdio":
        command = [*options, "--", *server, "stdio", *trouble]
        started = StdioServerParameters(command=str(GATEWAY), args=command, env=environment)
        yield lambda: stdio_client(started)
        return
    there, here = port(), port()
    listen = [f"--upstream=http://127.0.0.1:{there}/mcp", f"--listen=127.0.0.1:{here}"]
    processes = [
        subprocess.Popen([*server, "http", str(there)], stderr=subprocess.DEVNULL),
        subprocess.Popen([GATEWAY, *options, *listen], env=environment, stderr=subprocess.DEVNULL),
    ]
    try:
        for each in (there, here):
            listening(each)
        yield lambda: f"http://127.0.0.1:{here}/mcp"
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as line:
        return int(line.getsockname()[1])


def listening(number: int) -> None:
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", number), 1).close()
        except OSError:
            assert time.monotonic() < patience, "nobody listens"
            time.sleep(0.02)
        else:
            return


def pay(invoice: str) -> tuple[str, dict[str, Any]]:
    return "pay_invoice", {"invoice_id": invoice, "amount": 10000.0}


def refund(order: str, amount: Any = 50.0) -> tuple[str, dict[str, Any]]:
    return "refund_order", {"order_id": order, "amount": amount}


Calls = list[tuple[str, dict[str, Any]]]


def in_turn(calls: Calls) -> Callable[[Client], Awaitable[list[bool]]]:
    """One call after the other; whether each was let through."""

    async def say(client: Client) -> list[bool]:
        return [not (await client.call_tool(*call)).is_error for call in calls]

    return say


def at_once(calls: Calls) -> Callable[[Client], Awaitable[list[bool]]]:
    async def say(client: Client) -> list[bool]:
        return [not each.is_error for each in await asyncio.gather(*(client.call_tool(*call) for call in calls))]

    return say


BOTH = pytest.mark.parametrize("how", [in_turn, at_once])


@BOTH
def test_an_invoice_is_paid_once_however_often_it_is_tried(
    invoices: Tower, invoice: str, bank: Bank, over: str, mode: str, how: Any
) -> None:
    with gateway(invoices, bank, over) as way:
        assert talk(way, how([pay(invoice)] * 10), mode).count(True) == 1
    assert invoices.get(f"/v1/entities/invoice:{invoice}/state")["state"] == "PAID"
    assert bank.paid == [(invoice, 10000.0)]


def test_another_program_that_tries_again_pays_nothing(invoices: Tower, invoice: str, bank: Bank, over: str) -> None:
    """A new process, a new connection, the same numbers: KIFF remembers what a gateway cannot."""
    for mode in ("auto", "legacy"):
        with gateway(invoices, bank, over) as way:
            talk(way, in_turn([pay(invoice)] * 2), mode)
    assert bank.paid == [(invoice, 10000.0)]


def test_a_payment_whose_answer_was_lost_is_not_sent_again(invoices: Tower, invoice: str, bank: Bank) -> None:
    """The server dies after the money has left: nobody knows, so nobody pays again before somebody has looked."""

    async def once(client: Client) -> None:
        with pytest.raises(MCPError):
            await client.call_tool(*pay(invoice))

    with gateway(invoices, bank, "stdio", "lost") as way:
        talk(way, once, "auto")
    with gateway(invoices, bank, "stdio") as way:
        assert talk(way, in_turn([pay(invoice)] * 3), "auto") == [False] * 3
    unknown = invoices.get("/v1/operations?status=unknown")["operations"]
    assert [each["entity"] for each in unknown] == [f"invoice:{invoice}"]
    assert bank.paid == [(invoice, 10000.0)]


@BOTH
def test_no_more_than_an_order_cost_is_given_back(
    orders: Tower, order: str, bank: Bank, over: str, mode: str, how: Any
) -> None:
    """Who comes while another is at it is told to come again, and does."""
    with gateway(orders, bank, over) as way:
        first = talk(way, how([refund(order)] * 5), mode)
        later = talk(way, in_turn([refund(order)] * 5), mode)
    assert [*first, *later].count(True) == 2
    assert bank.paid == [(order, 50.0)] * 2


def test_small_refunds_do_not_add_up_to_more(orders: Tower, order: str, bank: Bank) -> None:
    with gateway(orders, bank, "stdio") as way:
        said = talk(way, in_turn([refund(order, amount) for amount in (60.0, 60.0, 40.0, 0.01)]), "auto")
    assert said == [True, False, True, False]
    assert sum(amount for _, amount in bank.paid) == 100.0


def test_what_is_not_as_it_should_be_gives_nothing_back(orders: Tower, order: str, bank: Bank) -> None:
    """The server would take the text for a number."""
    left_out = ("refund_order", {"amount": 50.0}), ("refund_order", {"order_id": order})
    odd = [*left_out, refund(order, "50"), refund(order, 101), refund(order, -50)]
    with gateway(orders, bank, "stdio") as way:
        said = talk(way, in_turn(odd), "auto")
    assert said == [False] * 5
    assert bank.paid == []


def test_without_enforce_the_money_leaves_ten_times(invoices: Tower, invoice: str, bank: Bank, over: str) -> None:
    """The control: the same calls, the same server, and nobody who decides."""
    with gateway(invoices, bank, over, guarded=False) as way:
        assert talk(way, in_turn([pay(invoice)] * 10), "auto") == [True] * 10
    assert len(bank.paid) == 10
