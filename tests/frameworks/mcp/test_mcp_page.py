"""docs/guides/frameworks/mcp.md does what it says: its files are written, its commands started, against a real KIFF."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from pages import GUIDES, run_page
from towers import Tower

PAGE = (GUIDES / "frameworks" / "mcp.md").read_text("utf-8")
GATEWAY = Path(sys.executable).with_name("kiff-mcp")
PATIENCE_SECONDS = 30.0
REFUND = {"order_id": "ord_mcp", "amount": 250.0, "reason": "it arrived broken"}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the page has its reader write."""
    (tmp_path / "shop_server.py").write_text(blocks("python")[0], "utf-8")
    (tmp_path / "tools.json").write_text(blocks("json")[1], "utf-8")
    return tmp_path


def client_of(settings: str, folder: Path, tower: Tower, upstream: str = "") -> Client:
    """What a client makes of its mcp.json; the addresses and the keys are those of the test."""
    server = json.loads(settings)["mcpServers"]["shop"]
    assert server["command"] == "kiff-mcp"
    here = {"python": sys.executable, "https://shop.example.com/mcp": upstream}
    arguments = [here.get(each, each) for each in server["args"]]
    environment = {"PATH": os.environ["PATH"]}
    given = {"KIFF_URL": tower.url, "KIFF_API_KEY": tower.keys["agent"]}
    if "env" in server:
        given |= {"SHOP_AUTHORIZATION": "Bearer shop"} if upstream else {}
        assert server["env"].keys() == given.keys()
        environment |= given
    started = StdioServerParameters(command=str(GATEWAY), args=arguments, env=environment, cwd=folder)
    return Client(stdio_client(started))


def call(client: Client, order: str = "ord_mcp") -> Any:
    async def session() -> Any:
        async with client as each:
            return await each.call_tool("refund_order", REFUND | {"order_id": order})

    return asyncio.run(session())


def executions(folder: Path) -> list[str]:
    lines = map(json.loads, (folder / "receipts.jsonl").read_text("utf-8").splitlines())
    return [each["receipt"]["execution"] for each in lines if each["kind"] == "settled"]


def test_the_first_mcp_json_observes(folder: Path, tower: Tower) -> None:
    assert not call(client_of(blocks("json")[0], folder, tower)).is_error
    assert executions(folder) == ["succeeded"]


def test_the_second_mcp_json_enforces(folder: Path, tower: Tower) -> None:
    tower.paid("ord_mcp")
    enforcing = blocks("json")[2]
    held = call(client_of(enforcing, folder, tower))
    assert held.is_error and "approval" in held.content[0].text
    waiting = tower.get("/v1/approvals?status=pending")["approvals"]
    tower.grant(next(each["id"] for each in waiting if each["entity_id"].endswith("ord_mcp")))
    assert not call(client_of(enforcing, folder, tower)).is_error
    assert executions(folder) == ["not_run", "succeeded"]


@pytest.fixture
def upstream(folder: Path) -> Iterator[str]:
    """The page's server behind a URL."""
    with socket.create_server(("127.0.0.1", 0)) as line:
        port = line.getsockname()[1]
    run = f"from shop_server import shop; shop.run('streamable-http', host='127.0.0.1', port={port})"
    with subprocess.Popen([sys.executable, "-c", run], cwd=folder, stderr=subprocess.DEVNULL) as server:
        try:
            patience = time.monotonic() + PATIENCE_SECONDS
            while not listens(port):
                assert time.monotonic() < patience, "nobody listens"
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            server.kill()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_the_mcp_json_for_a_url_enforces(folder: Path, tower: Tower, upstream: str) -> None:
    tower.paid("ord_mcp_url")
    client = client_of(blocks("json")[3], folder, tower, upstream)
    assert call(client, "ord_mcp_url").is_error
    waiting = tower.get("/v1/approvals?status=pending")["approvals"]
    tower.grant(next(each["id"] for each in waiting if each["entity_id"].endswith("ord_mcp_url")))
    assert not call(client_of(blocks("json")[3], folder, tower, upstream), "ord_mcp_url").is_error
    assert executions(folder) == ["not_run", "succeeded"]


def test_the_python_of_the_page_guards_a_server(at_tower: Tower) -> None:
    at_tower.paid("ord_page")
    page = run_page("mcp.md")

    async def session() -> list[bool]:
        said = []
        for server in (page["shop"], page["server"]):
            async with Client(server) as client:
                result = await client.call_tool("refund_order", REFUND | {"order_id": "ord_page"})
                said.append(result.is_error)
        return said

    page["shop"].add_tool(page["refund_order"])
    assert asyncio.run(session()) == [True, True]
    assert {each.outcome for each in page["guard"].receipts} == {"approval_required"}
