"""An MCP server of the `mcp` SDK, whose tools write down that they ran.

The SDK takes most of a second to be imported, and one process does it for all tests: `shop_server.py SOCKET` forks a
server for each that comes. What is started in a server's place is `shop_door.py`, which lends it its own streams.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from typing import Annotated

from mcp.server.mcpserver import Elicit, MCPServer, Resolve
from pydantic import BaseModel, Field

shop = MCPServer("shop", log_level="CRITICAL")
effects = ""


def ran(tool: str, **arguments: object) -> None:
    with open(effects, "a", encoding="utf-8") as file:
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


@shop.tool()
async def slow(order_id: str) -> str:
    """Takes its time."""
    ran("slow", order_id=order_id)
    await asyncio.sleep(3)
    ran("slow-end", order_id=order_id)
    return "done"


@shop.tool()
def die(order_id: str) -> str:
    """Ends the server."""
    ran("die", order_id=order_id)
    os._exit(3)


@shop.tool()
def ship(order_id: str, region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Wants an argument in a header too, where it is called over HTTP."""
    ran("ship", order_id=order_id, region=region)
    return f"shipped to {region}"


class Seat(BaseModel):
    number: int


def ask_for_a_seat(order_id: str) -> Elicit[Seat]:
    return Elicit(f"Which seat, for {order_id}?", Seat)


@shop.tool()
async def book(order_id: str, seat: Annotated[Seat, Resolve(ask_for_a_seat)]) -> str:
    """Asks its user first."""
    ran("book", order_id=order_id, seat=seat.number)
    return f"booked {seat.number}"


def serve(file: str, how: str, *port: str) -> None:
    global effects
    effects = file
    if how == "stdio":
        shop.run("stdio")
    else:
        shop.run("streamable-http", host="127.0.0.1", port=int(port[0]))


def nursery(path: str) -> None:
    """A server for each that comes, until the process is killed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{path}.new")
        door.listen()
        os.rename(f"{path}.new", path)
        while True:
            caller, _ = door.accept()
            if os.fork() == 0:
                door.close()
                _live(caller)
                return
            caller.close()


def _live(caller: socket.socket) -> None:
    """A server's life. It ends with the process that was started in its place."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    words, streams, _, _ = socket.recv_fds(caller, 65536, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)

    def watch() -> None:
        caller.recv(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    serve(*json.loads(words))


if __name__ == "__main__":
    nursery(sys.argv[1])
