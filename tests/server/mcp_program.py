"""A real MCP server in a process of its own, which writes down every effect. Run as: mcp_program.py FILE [PORT]."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.types import CallToolResult, TextContent

EFFECTS = Path(sys.argv[1])
server = MCPServer("payments", log_level="ERROR")


def act(ctx: Context[Any, Any], tool: str) -> str:
    """The effect: a line that stays, whatever happens to this process."""
    meta = dict(ctx.request_context.meta or {})
    with EFFECTS.open("a") as file:
        file.write(
            json.dumps({"tool": tool, "id": meta.get("kiff/operation_id"), "pid": os.getpid(), "meta": meta}) + "\n"
        )
    return str(meta.get("kiff/operation_id"))


@server.tool()
def refund(amount: float, ctx: Context[Any, Any]) -> dict[str, Any]:
    return {"refund_id": act(ctx, "refund"), "amount": amount}


@server.tool()
def tell(ctx: Context[Any, Any]) -> CallToolResult:
    act(ctx, "tell")
    return CallToolResult(content=[TextContent(type="text", text="it is done")])


@server.tool()
def report_success(ctx: Context[Any, Any]) -> dict[str, Any]:
    return {
        "status": "succeeded",
        "message": "done",
        "output": {"id": act(ctx, "report_success")},
        "events": ["REFUNDED"],
    }


@server.tool()
def report_failure(ctx: Context[Any, Any]) -> dict[str, Any]:
    return {"status": "failed", "message": "the card is closed"}


@server.tool()
def say_failed(ctx: Context[Any, Any]) -> dict[str, Any]:
    return {"status": "failed", "because": act(ctx, "say_failed")}


@server.tool()
def act_and_raise(ctx: Context[Any, Any]) -> str:
    act(ctx, "act_and_raise")
    raise ConnectionError("the line went dead")


@server.tool()
def act_and_exit(ctx: Context[Any, Any]) -> str:
    act(ctx, "act_and_exit")
    os._exit(1)


@server.tool()
def act_and_hang(ctx: Context[Any, Any]) -> str:
    act(ctx, "act_and_hang")
    time.sleep(30)
    return "late"


@server.tool()
async def act_and_wait(ctx: Context[Any, Any]) -> str:
    import anyio

    act(ctx, "act_and_wait")
    await anyio.sleep(30)
    return "late"


@server.tool()
def act_and_flood(ctx: Context[Any, Any]) -> str:
    act(ctx, "act_and_flood")
    return "x" * 100_000


@server.tool()
def act_and_overflow(ctx: Context[Any, Any]) -> str:
    act(ctx, "act_and_overflow")
    return "x" * 5_000_000


if len(sys.argv) > 2:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
else:
    server.run()
