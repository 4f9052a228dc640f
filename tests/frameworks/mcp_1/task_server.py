"""An MCP server of the `mcp` SDK 1.x that makes a task of every call: `task_server.py EFFECTS stdio | http PORT`."""

from __future__ import annotations

import asyncio
import json
import sys

from mcp.server.fastmcp import FastMCP
from mcp.types import CallToolResult, CreateTaskResult, TextContent, Tool, ToolExecution

EFFECTS, HOW, *PORT = sys.argv[1:]
shop = FastMCP("shop", log_level="CRITICAL", port=int(PORT[0]) if PORT else 8000)
server = shop._mcp_server
server.experimental.enable_tasks()
ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}


@server.list_tools()
async def tools() -> list[Tool]:
    execution = ToolExecution(taskSupport="required")
    return [Tool(name=name, inputSchema=ORDER, execution=execution) for name in ("refund", "boom", "raises", "slow")]


@server.call_tool()
async def call(name: str, arguments: dict[str, object]) -> CreateTaskResult:
    async def work(task: object) -> CallToolResult:
        with open(EFFECTS, "a", encoding="utf-8") as file:
            print(json.dumps({"tool": name, "arguments": arguments}), file=file)
        if name == "slow":
            await asyncio.sleep(600)
        if name == "raises":
            raise RuntimeError("the card network is down")
        return CallToolResult(content=[TextContent(type="text", text=f"did {name}")], isError=name == "boom")

    return await server.request_context.experimental.run_task(work)


if __name__ == "__main__":
    shop.run("stdio" if HOW == "stdio" else "streamable-http")
