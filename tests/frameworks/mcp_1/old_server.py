"""An MCP server made with the `mcp` SDK 1.x: `old_server.py EFFECTS stdio | http PORT`."""

from __future__ import annotations

import json
import sys

from mcp.server.fastmcp import FastMCP

EFFECTS, HOW, *PORT = sys.argv[1:]
shop = FastMCP("shop", log_level="CRITICAL", port=int(PORT[0]) if PORT else 8000)


def ran(tool: str, **arguments: object) -> None:
    with open(EFFECTS, "a", encoding="utf-8") as file:
        print(json.dumps({"tool": tool, "arguments": arguments}), file=file)


@shop.tool()
def refund(order_id: str, amount: float) -> str:
    """Gives money back."""
    ran("refund", order_id=order_id, amount=amount)
    return f"refunded {amount} on {order_id}"


@shop.tool()
def boom(order_id: str) -> str:
    """Fails."""
    ran("boom", order_id=order_id)
    raise RuntimeError("the card network is down")


if __name__ == "__main__":
    shop.run("stdio" if HOW == "stdio" else "streamable-http")
