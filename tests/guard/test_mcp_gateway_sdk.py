"""`kiff-mcp` as its users start it, between the real client and the real server of the `mcp` SDK.

Both eras of the protocol, over stdio and over HTTP. Effects are counted by the server, in a file.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError, StdioServerParameters
from scripted_tower import KEY, ScriptedTower

from kiff_guard.ledgers.verify import verify

pytestmark = pytest.mark.slow

SHOP, DOOR = (Path(__file__).with_name(name) for name in ("shop_server.py", "shop_door.py"))
GATEWAY = Path(sys.executable).with_name("kiff-mcp")
PATIENCE_SECONDS = 20.0
BINDINGS = [f"--bind={tool}={tool},Order,order_id" for tool in ("refund", "boom", "slow", "book", "die", "ship")]
REFUND = {"order_id": "ord_1", "amount": 50.0}

Talk = Callable[[Client], Awaitable[Any]]


class Shop:
    """A shop behind a gateway.

    Args:
        over: stdio, http, or remote: the client starts the gateway, and the server stands behind a URL.
        options: the gateway's, beside the bindings.
    """

    def __init__(self, folder: Path, over: str, tower: ScriptedTower, *options: str) -> None:
        self.folder, self.over, self.tower = folder, over, tower
        self.effects_file, self.receipts_file = folder / "effects.jsonl", folder / "receipts.jsonl"
        self.options = [f"--url={tower.url}", f"--receipts={self.receipts_file}", *BINDINGS, *options]
        self.environment = {"KIFF_API_KEY": KEY, "PATH": os.environ["PATH"]}

    def talk(self, talk: Talk, mode: str, **client: Any) -> Any:
        """One client's session, from its beginning to its end."""
        with self._way() as way:
            return asyncio.run(self._talk(way, talk, mode, client))

    async def _talk(self, way: Any, talk: Talk, mode: str, client: dict[str, Any]) -> Any:
        async with Client(way, mode=mode, **client) as each:  # type: ignore[arg-type]
            return await talk(each)

    @contextmanager
    def _way(self) -> Iterator[Any]:
        if self.over == "stdio":
            server = [*shop_command(), str(self.effects_file), "stdio"]
            arguments = [*self.options, "--", *server]
            yield StdioServerParameters(command=str(GATEWAY), args=arguments, env=self.environment)
            return
        with self._served() as upstream:
            if self.over == "remote":
                arguments = [*self.options, f"--upstream={upstream}"]
                yield StdioServerParameters(command=str(GATEWAY), args=arguments, env=self.environment)
            else:
                with self._listening(upstream) as here:
                    yield here

    @contextmanager
    def _served(self) -> Iterator[str]:
        port = free_port()
        server = subprocess.Popen([*shop_command(), self.effects_file, "http", str(port)], stderr=subprocess.DEVNULL)
        try:
            listening(port)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            server.kill()
            server.wait()

    @contextmanager
    def _listening(self, upstream: str) -> Iterator[str]:
        here = free_port()
        listen = [f"--upstream={upstream}", f"--listen=127.0.0.1:{here}"]
        gateway = subprocess.Popen([GATEWAY, *self.options, *listen], env=self.environment, stderr=subprocess.DEVNULL)
        try:
            listening(here)
            yield f"http://127.0.0.1:{here}/mcp"
            gateway.send_signal(signal.SIGTERM)
            assert gateway.wait(PATIENCE_SECONDS) == 0
        finally:
            gateway.kill()
            gateway.wait()

    def effects(self) -> list[str]:
        if not self.effects_file.exists():
            return []
        return [json.loads(line)["tool"] for line in self.effects_file.read_text("utf-8").splitlines()]

    def receipts(self) -> list[tuple[str, str, str]]:
        """What the file holds, which must be whole."""
        assert verify(self.receipts_file).ok
        lines = map(json.loads, self.receipts_file.read_text("utf-8").splitlines())
        told = [each["receipt"] for each in lines if each["kind"] == "settled"]
        return [(each["tool"], each["outcome"], each["execution"]) for each in told]


@cache
def shop_command() -> list[str]:
    """Starts a shop; the nursery that forks them is there until the tests of this process end."""
    folder = tempfile.TemporaryDirectory(prefix="shop")
    path = Path(folder.name, "socket")
    nursery = subprocess.Popen([sys.executable, SHOP, path])

    def end() -> None:
        nursery.kill()
        nursery.wait()
        folder.cleanup()

    atexit.register(end)
    patience = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert nursery.poll() is None and time.monotonic() < patience, "there is no nursery"
        time.sleep(0.02)
    return [sys.executable, "-I", "-S", str(DOOR), str(path)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as line:
        return int(line.getsockname()[1])


def listening(port: int) -> None:
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < patience, "nobody listens"
            time.sleep(0.02)
        else:
            return


def text(result: Any) -> str:
    return "".join(getattr(each, "text", "") for each in result.content)


@pytest.fixture(params=["stdio", "http", "remote"])
def over(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["legacy", "auto"])
def mode(request: pytest.FixtureRequest) -> str:
    """legacy: 2025-11-25; auto: 2026-07-28."""
    return str(request.param)


def test_the_eras_are_those_that_are_meant(tmp_path: Path, mode: str, over: str) -> None:
    async def talk(client: Client) -> str:
        return str(client.protocol_version)

    with ScriptedTower() as tower:
        assert Shop(tmp_path, over, tower).talk(talk, mode) == {"legacy": "2025-11-25", "auto": "2026-07-28"}[mode]


def test_enforce_lets_through_what_kiff_allows_and_nothing_else(tmp_path: Path, mode: str, over: str) -> None:
    async def talk(client: Client) -> list[Any]:
        tools = (await client.list_tools()).tools
        calls = [("refund", REFUND), ("boom", {"order_id": "o"}), ("slow", {"order_id": "o"}), ("nope", {})]
        return [len(tools), *[await client.call_tool(name, arguments) for name, arguments in calls]]

    with ScriptedTower({"slow": "blocked", "*": "allowed"}) as tower:
        shop = Shop(tmp_path, over, tower, "--mode=enforce")
        tools, refund, boom, slow, nope = shop.talk(talk, mode)
    assert tools == 6
    assert not refund.is_error and text(refund) == "refunded 50.0 on ord_1"
    assert boom.is_error and "KIFF" not in text(boom)
    assert slow.is_error and "KIFF withheld `slow`: blocked" in text(slow)
    assert nope.is_error and "unmapped" in text(nope)
    assert shop.effects() == ["refund", "boom"]
    assert tower.outcomes == ["succeeded", "unknown"], "of an error nobody knows what came before it"
    assert shop.receipts() == [
        ("refund", "allowed", "succeeded"),
        ("boom", "allowed", "failed"),
        ("slow", "blocked", "not_run"),
        ("nope", "invalid", "not_run"),
    ]
    assert set(tower.keys) == {f"Bearer {KEY}"}


def test_a_server_that_dies_in_the_middle_of_a_call_leaves_it_unknown(tmp_path: Path, mode: str, over: str) -> None:
    async def talk(client: Client) -> Any:
        with pytest.raises(MCPError):
            await client.call_tool("die", {"order_id": "o"})

    with ScriptedTower() as tower:
        shop = Shop(tmp_path, over, tower, "--mode=enforce")
        with suppress(BaseExceptionGroup, MCPError):  # a client may see its session end with the server
            shop.talk(talk, mode)
        assert tower.outcomes == ["unknown"]
    assert shop.effects() == ["die"] and shop.receipts() == [("die", "allowed", "unknown")]


def test_arguments_that_the_server_wants_in_headers_are_there(tmp_path: Path, mode: str, over: str) -> None:
    """The SDK's server refuses a call of 2026-07-28 without them; a client on stdin and stdout knows of no header."""

    async def talk(client: Client) -> Any:
        await client.list_tools()
        return await client.call_tool("ship", {"order_id": "o", "region": "Łódź"})

    with ScriptedTower() as tower:
        shop = Shop(tmp_path, over, tower, "--mode=enforce")
        assert text(shop.talk(talk, mode)) == "shipped to Łódź"
    assert shop.receipts() == [("ship", "allowed", "succeeded")]


def test_observe_needs_no_kiff(tmp_path: Path, mode: str, over: str) -> None:
    async def talk(client: Client) -> Any:
        return await client.call_tool("refund", REFUND)

    with ScriptedTower("blocked") as tower:
        shop = Shop(tmp_path, over, tower)
        del shop.environment["KIFF_API_KEY"]
        assert not shop.talk(talk, mode).is_error
    assert tower.client.calls == 0
    assert shop.effects() == ["refund"] and shop.receipts() == [("refund", "observed", "succeeded")]


def test_kiff_that_cannot_be_reached_withholds(tmp_path: Path, mode: str, over: str) -> None:
    async def talk(client: Client) -> Any:
        return await client.call_tool("refund", REFUND)

    with ScriptedTower() as tower:
        shop = Shop(tmp_path, over, tower, "--mode=enforce")
    assert "error" in text(shop.talk(talk, mode))
    assert shop.effects() == [] and shop.receipts() == [("refund", "error", "not_run")]


def test_parallel_calls_are_each_decided(tmp_path: Path, mode: str, over: str) -> None:
    async def talk(client: Client) -> list[Any]:
        return await asyncio.gather(*[client.call_tool("refund", REFUND) for _ in range(12)])

    with ScriptedTower() as tower:
        shop = Shop(tmp_path, over, tower, "--mode=enforce")
        assert not any(each.is_error for each in shop.talk(talk, mode))
    assert shop.effects() == ["refund"] * 12
    assert tower.client.calls == 12 and tower.outcomes == ["succeeded"] * 12


@pytest.mark.parametrize("answer", ["granted", "not granted", "denied", "declined"])
def test_a_held_call_asks_the_user_and_then_kiff(tmp_path: Path, mode: str, over: str, answer: str) -> None:
    """The user's yes wakes the call. It runs if a reviewer said so in KIFF."""
    asked: list[str] = []

    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        approval = tower.client.waiting()[0]
        if answer != "not granted":
            (tower.client.deny if answer == "denied" else tower.client.grant)(approval)
        if answer == "declined":
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"granted": True})

    async def talk(client: Client) -> Any:
        return await client.call_tool("refund", REFUND)

    with ScriptedTower("approval_required") as tower:
        shop = Shop(tmp_path, over, tower, "--mode=enforce")
        result = shop.talk(talk, mode, elicitation_callback=elicit)
    assert len(asked) == 1 and "approval" in asked[0]
    assert result.is_error is (answer != "granted")
    assert shop.effects() == (["refund"] if answer == "granted" else [])
    assert shop.receipts()[0] == ("refund", "approval_required", "not_run")


def test_what_a_tool_asks_its_user_is_answered_under_one_decision(tmp_path: Path, mode: str, over: str) -> None:
    """A request of the server until 2025-11-25, an answer of its own kind after that."""
    asked: list[str] = []

    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"number": 7})

    async def talk(client: Client) -> Any:
        return await client.call_tool("book", {"order_id": "o"})

    with ScriptedTower() as tower:
        shop = Shop(tmp_path, over, tower, "--mode=enforce")
        result = shop.talk(talk, mode, elicitation_callback=elicit)
    assert text(result) == "booked 7" and asked == ["Which seat, for o?"]
    assert tower.client.calls == 1 and tower.outcomes == ["succeeded"]
    assert shop.receipts() == [("book", "allowed", "succeeded")]


def test_a_client_that_cannot_be_asked_is_told(tmp_path: Path, mode: str, over: str) -> None:
    async def talk(client: Client) -> Any:
        held = await client.call_tool("refund", REFUND)
        tower.client.grant(tower.client.waiting()[0])
        return held, await client.call_tool("refund", REFUND)

    with ScriptedTower("approval_required") as tower:
        shop = Shop(tmp_path, over, tower, "--mode=enforce")
        held, later = shop.talk(talk, mode)
    assert held.is_error and "approval" in text(held)
    assert not later.is_error and shop.effects() == ["refund"]


def test_a_call_that_its_client_gave_up_is_not_called_a_success(tmp_path: Path, mode: str, over: str) -> None:
    async def talk(client: Client) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            call = asyncio.ensure_future(client.call_tool("slow", {"order_id": "o"}))
            while not shop.effects():
                await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    with ScriptedTower() as tower:
        shop = Shop(tmp_path, over, tower, "--mode=enforce")
        shop.talk(talk, mode)
    assert shop.effects() == ["slow"]
    assert shop.receipts() in ([("slow", "allowed", "unknown")], [("slow", "allowed", "failed")])
