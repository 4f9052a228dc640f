"""Plays scenes through a FastMCP server and its client, in one process and over the protocol."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastmcp import Client, FastMCP
from fastmcp.server import create_proxy
from fastmcp.tools import ToolResult
from mcp_callers import Caller, nobody

from kiff_guard.adapters.fastmcp import attach, hook
from kiff_guard.conformance import Scene

PAUSES = int(version("fastmcp").partition(".")[0]) >= 4
"""FastMCP 3 speaks 2025-11-25 alone, where a pause is a request in the middle of the call."""


def error_tool(order_id: str) -> Any:
    """A tool that tells its error as a result, which FastMCP 4 knows."""
    return ToolResult(content=f"nothing found for {order_id}", is_error=True)


class Fast(Caller):
    """A server with the guard as its last middleware.

    Args:
        proxied: the tools are those of another server, behind a proxy that has the guard.
    """

    version = version("fastmcp")
    asks = Caller.asks if PAUSES else {}

    def __init__(self, *, proxied: bool = False) -> None:
        self.name = f"fastmcp ({'proxy' if proxied else 'server'})"
        self._proxied = proxied
        if PAUSES:
            self.error_tool = error_tool

    def server(self, scene: Scene) -> FastMCP:
        server: FastMCP = FastMCP("shop", middleware=[] if self._proxied else [hook(guard) for guard in scene.guards])
        for name, tool in scene.tools.items():
            server.tool(tool, name=name, output_schema=None)
        if self._proxied:
            server = create_proxy(server)
            for guard in scene.guards:
                attach(guard, server)
        return server

    def client(self, server: FastMCP) -> Client[Any]:
        return Client(server, elicitation_handler=nobody) if PAUSES else Client(server)
