"""Attacks on the guard in FastMCP: tools that are called before the guard hears of it, and calls that only begin."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.server.middleware import Middleware
from fastmcp.server.middleware.tool_injection import ToolInjectionMiddleware
from fastmcp.tools import Tool
from guards import RAN

from kiff_guard import Guard
from kiff_guard.adapters.fastmcp import attach
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import ConfigurationError

CALLS_ITSELF = "on_call_tool" in vars(ToolInjectionMiddleware)


def refund(order_id: str) -> str:
    """Refund an order."""
    RAN.append(order_id)
    return f"refunded {order_id}"


class Started:
    """A task's metadata: no result."""


class Later(Middleware):
    """Makes a call a task, as a server with workers does."""

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        return Started()


def called(server: FastMCP) -> Any:
    async def session() -> Any:
        async with Client(server) as client:
            return await client.call_tool("refund", {"order_id": "o-1"}, raise_on_error=False)

    return asyncio.run(session())


def injecting() -> FastMCP:
    server: FastMCP = FastMCP("shop")
    server.add_middleware(ToolInjectionMiddleware(tools=[Tool.from_function(refund)]))
    return server


def test_an_injected_tool_does_not_run_undecided() -> None:
    guard = Guard(ScriptedClient("blocked"), mode="enforce")
    if CALLS_ITSELF:
        with pytest.raises(ConfigurationError, match=r"`ToolInjectionMiddleware` calls the tools .* `server.add_tool`"):
            attach(guard, injecting())
        return
    told = called(attach(guard, injecting()))
    assert (RAN, told.is_error, len(guard.receipts)) == ([], True, 1)


def test_in_observe_it_runs() -> None:
    called(attach(Guard(mode="observe"), injecting()))
    assert RAN == ["o-1"]


def test_a_call_that_becomes_a_task_is_no_success() -> None:
    server: FastMCP = FastMCP("shop")
    server.tool(refund)
    guard = Guard(mode="observe")
    attach(guard, server)
    server.add_middleware(Later())
    with suppress(Exception):  # FastMCP itself expects its own kind of task
        called(server)
    assert [(each.executed, each.execution) for each in guard.receipts] == [(True, "unknown")]
