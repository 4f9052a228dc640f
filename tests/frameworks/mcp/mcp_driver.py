"""Plays scenes through a server and a client of the `mcp` SDK, in one process and over the protocol."""

from __future__ import annotations

from importlib.metadata import version

import mcp_types as types
from mcp import Client
from mcp.server.mcpserver import MCPServer
from mcp_callers import Caller, nobody

from kiff_guard.adapters.mcp import attach, hook
from kiff_guard.conformance import Scene


def error_tool(order_id: str) -> types.CallToolResult:
    """A tool that tells its error as a result."""
    text = types.TextContent(type="text", text=f"nothing found for {order_id}")
    return types.CallToolResult(content=[text], is_error=True)


class MCP(Caller):
    """A server with the guard as its extension, or attached to it.

    Args:
        mode: the client's: `auto` speaks 2026-07-28, `legacy` 2025-11-25.
    """

    version = version("mcp")
    hides_errors = True
    error_tool = staticmethod(error_tool)

    def __init__(self, mode: str = "auto", *, attaches: bool = False) -> None:
        self.name = f"mcp ({'attach' if attaches else 'extension'}, {'2026-07-28' if mode == 'auto' else '2025-11-25'})"
        self._mode = mode
        self._attaches = attaches

    def server(self, scene: Scene) -> MCPServer:
        extensions = [] if self._attaches else [hook(scene.guard)]
        server = MCPServer("shop", extensions=extensions, log_level="CRITICAL")
        for name, tool in scene.tools.items():
            server.add_tool(tool, name, structured_output=False)
        for guard in scene.guards if self._attaches else scene.also:  # the SDK takes one extension of a name
            attach(guard, server)
        return server

    def client(self, server: MCPServer) -> Client:
        if self._mode == "legacy":  # there a pause is a request in the middle of the call, which cannot be left open
            return Client(server, mode="legacy")
        return Client(server, mode="auto", elicitation_callback=nobody)
