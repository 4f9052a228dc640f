"""`kiff-mcp` between a client and a server of the `mcp` SDK 1.x, with a real KIFF behind it."""

from __future__ import annotations

import asyncio
import json
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
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import CallToolResult, ElicitResult
from towers import Tower

SERVER, TASKS = (Path(__file__).with_name(name) for name in ("old_server.py", "task_server.py"))
GATEWAY = Path(sys.executable).with_name("kiff-mcp")
PATIENCE_SECONDS = 30.0
BINDINGS = [
    "--mode=enforce",
    "--bind=refund=AUTO_REFUND,Order,order_id",
    "--bind=boom=AUTO_REFUND,Order,order_id",
    "--bind=raises=AUTO_REFUND,Order,order_id",
    "--bind=slow=AUTO_REFUND,Order,order_id",
]

Say = Callable[[ClientSession], Awaitable[Any]]


@pytest.fixture(params=["stdio", "http", "remote"])
def over(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Shop:
    """A shop behind a gateway."""

    def __init__(self, folder: Path, over: str, tower: Tower, *bindings: str, server: Path = SERVER) -> None:
        self.effects_file, self.receipts_file = folder / "effects.jsonl", folder / "receipts.jsonl"
        self._over = over
        self._options = [*(bindings or BINDINGS), f"--receipts={self.receipts_file}"]
        self._server = [sys.executable, str(server), str(self.effects_file)]
        self._environment = {"KIFF_URL": tower.url, "KIFF_API_KEY": tower.keys["agent"], "PATH": os.environ["PATH"]}

    def talk(self, say: Say, **client: Any) -> Any:
        return asyncio.run(self._talk(say, client))

    async def _talk(self, say: Say, client: dict[str, Any]) -> Any:
        with self._behind() as way:
            async with way as streams, ClientSession(streams[0], streams[1], **client) as session:
                await session.initialize()
                await session.list_tools()
                return await say(session)

    @contextmanager
    def _behind(self) -> Iterator[Any]:
        if self._over == "stdio":
            arguments = [*self._options, "--", *self._server, "stdio"]
            yield stdio_client(StdioServerParameters(command=str(GATEWAY), args=arguments, env=self._environment))
            return
        there, here = port(), port()
        upstream = f"--upstream=http://127.0.0.1:{there}/mcp"
        listens = [GATEWAY, *self._options, upstream, f"--listen=127.0.0.1:{here}"]
        processes = [subprocess.Popen([*self._server, "http", str(there)], stderr=subprocess.DEVNULL)]
        try:
            listening(there)
            if self._over == "remote":
                arguments = [*self._options, upstream]
                yield stdio_client(StdioServerParameters(command=str(GATEWAY), args=arguments, env=self._environment))
                return
            processes.append(subprocess.Popen(listens, env=self._environment, stderr=subprocess.DEVNULL))
            listening(here)
            yield streamablehttp_client(f"http://127.0.0.1:{here}/mcp")
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait(PATIENCE_SECONDS)

    def effects(self) -> list[str]:
        if not self.effects_file.exists():
            return []
        return [json.loads(line)["tool"] for line in self.effects_file.read_text("utf-8").splitlines()]

    def ends(self) -> list[tuple[str, str]]:
        """Of each receipt: the tool, and how it ended."""
        told = [json.loads(line) for line in self.receipts_file.read_text("utf-8").splitlines()]
        receipts = [each["receipt"] for each in told if each["kind"] == "settled"]
        return [(each["tool"], each["execution"]) for each in receipts]


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


def refund(order: str, amount: float = 50.0, tool: str = "refund") -> tuple[str, dict[str, Any]]:
    return tool, {"order_id": order, "amount": amount, "reason": "customer request"}


def test_what_kiff_does_not_allow_does_not_run(tmp_path: Path, tower: Tower, over: str) -> None:
    """Not paid yet, too much, no action of the domain, no such tool."""
    placed, paid = f"old_placed_{over}", f"old_paid_{over}"
    tower.happened("order", placed, "ORDER_PLACED")
    tower.paid(paid)
    calls = [refund(placed), refund(paid, 5000.0), ("boom", {"order_id": paid}), ("nope", {})]

    async def say(session: ClientSession) -> list[Any]:
        return [await session.call_tool(*call) for call in calls]

    shop = Shop(tmp_path, over, tower)
    results = shop.talk(say)
    assert all(each.isError and "KIFF withheld" in each.content[0].text for each in results)
    assert shop.effects() == []


def test_what_kiff_allows_runs_once(tmp_path: Path, tower: Tower, over: str) -> None:
    order = f"old_{over}"
    tower.paid(order)

    async def say(session: ClientSession) -> list[bool]:
        return [not (await session.call_tool(*refund(order))).isError for _ in range(3)]

    shop = Shop(tmp_path, over, tower)
    assert shop.talk(say) == [True, False, False]
    assert shop.effects() == ["refund"]
    assert tower.get(f"/v1/entities/order:{order}/state")["state"] == "REFUNDED"


def test_a_held_call_is_told_and_runs_when_it_comes_again(tmp_path: Path, tower: Tower, over: str) -> None:
    order = f"old_held_{over}"
    tower.paid(order)

    async def say(session: ClientSession) -> Any:
        held = await session.call_tool(*refund(order))
        assert held.isError and "approval" in held.content[0].text
        assert (await session.call_tool(*refund(order))).isError
        waiting = tower.get("/v1/approvals?status=pending")["approvals"]
        tower.grant(next(each["id"] for each in waiting if each["entity_id"].endswith(order)))
        return await session.call_tool(*refund(order))

    shop = Shop(tmp_path, over, tower, "--mode=enforce", "--bind=refund=REFUND_ORDER,Order,order_id")
    assert not shop.talk(say).isError
    assert shop.effects() == ["refund"]


@pytest.mark.parametrize(("action", "granted"), [("accept", True), ("accept", False), ("decline", True)])
def test_a_client_that_can_ask_is_asked(tmp_path: Path, tower: Tower, over: str, action: str, granted: bool) -> None:
    order = f"old_asked_{over}_{action}_{granted}"
    tower.paid(order)

    async def elicit(context: Any, params: Any) -> Any:
        waiting = tower.get("/v1/approvals?status=pending")["approvals"]
        approval = next(each["id"] for each in waiting if each["entity_id"].endswith(order))
        assert approval in params.message
        if granted:
            tower.grant(approval)
        return ElicitResult(action=action, content={"granted": True} if action == "accept" else None)

    async def say(session: ClientSession) -> Any:
        return await session.call_tool(*refund(order))

    shop = Shop(tmp_path, over, tower, "--mode=enforce", "--bind=refund=REFUND_ORDER,Order,order_id")
    runs = granted and action == "accept"
    assert shop.talk(say, elicitation_callback=elicit).isError is not runs
    assert shop.effects() == (["refund"] if runs else [])


@pytest.mark.parametrize(
    ("tool", "ends", "state"),
    [("refund", "succeeded", "REFUNDED"), ("boom", "failed", "PAID"), ("raises", "failed", "PAID")],
)
def test_a_call_that_is_made_a_task_ends_with_the_task(
    tmp_path: Path, tower: Tower, over: str, tool: str, ends: str, state: str
) -> None:
    """The SDK calls a task completed whose result is an error of the tool: the result says it."""
    order = f"old_task_{over}_{tool}"
    tower.paid(order)

    async def say(session: ClientSession) -> list[Any]:
        tasks = session.experimental
        made = await tasks.call_tool_as_task(*refund(order, tool=tool))
        async for each in tasks.poll_task(made.task.taskId):
            status = each.status
        if status == "completed":
            await tasks.get_task_result(made.task.taskId, CallToolResult)
        return [status, shop.ends()]

    shop = Shop(tmp_path, over, tower, server=TASKS)
    status, known = shop.talk(say)
    assert status == ("failed" if tool == "raises" else "completed")
    assert known == [(tool, ends)], "before the session ended"
    assert shop.effects() == [tool]
    assert tower.get(f"/v1/entities/order:{order}/state")["state"] == state
    assert shop.ends() == [(tool, ends)]


def test_a_task_that_is_under_way_when_its_client_goes_is_no_success(tmp_path: Path, tower: Tower, over: str) -> None:
    order = f"old_task_left_{over}"
    tower.paid(order)

    async def say(session: ClientSession) -> None:
        await session.experimental.call_tool_as_task(*refund(order, tool="slow"))
        while not shop.effects():
            await asyncio.sleep(0.02)

    shop = Shop(tmp_path, over, tower, server=TASKS)
    shop.talk(say)
    assert shop.ends() == [("slow", "unknown")]
    assert tower.get(f"/v1/entities/order:{order}/state")["state"] == "PAID"
