"""Plays scenes through a FastMCP server and its client, in one process and over the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from fastmcp import Client, FastMCP
from fastmcp.server import create_proxy
from fastmcp.tools import ToolResult

from kiff_guard.adapters.fastmcp import attach, hook
from kiff_guard.adapters.mcp_calls import QUESTION
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable

NUMBERED = "clients number their requests anew on each connection, and a model's own id of a call does not travel"
PAUSES = int(version("fastmcp").partition(".")[0]) >= 4
"""FastMCP 3 speaks 2025-11-25 alone, where a pause is a request in the middle of the call."""


def error_tool(order_id: str) -> Any:
    """A tool that tells its error as a result, which FastMCP 4 knows."""
    return ToolResult(content=f"nothing found for {order_id}", is_error=True)


@dataclass
class Run:
    """One run of a model that calls tools, as far as it has come."""

    scene: Scene
    server: FastMCP
    turn: int = 0
    told: dict[int, str] = field(default_factory=dict)
    held: dict[int, tuple[ToolCall, Any]] = field(default_factory=dict)

    def next(self) -> list[tuple[int, ToolCall]]:
        if self.turn == len(self.scene.turns):
            return []
        start = sum(map(len, self.scene.turns[: self.turn]))
        self.turn += 1
        return list(enumerate(self.scene.turns[self.turn - 1], start))

    def take(self, place: int, call: ToolCall, result: Any) -> None:
        if hasattr(result, "request_state"):
            self.held[place] = (call, result)
        else:
            self.told[place] = "".join(getattr(each, "text", "") for each in result.content)


class Fast:
    """A server with the guard as its last middleware.

    Args:
        proxied: the tools are those of another server, behind a proxy that has the guard.
    """

    streams = False
    version = version("fastmcp")
    lacks: Mapping[str, str] = {"I1": NUMBERED, "I3": NUMBERED, "I4": NUMBERED}

    def __init__(self, *, proxied: bool = False) -> None:
        self.name = f"fastmcp ({'proxy' if proxied else 'server'})"
        self._proxied = proxied
        if PAUSES:
            self.error_tool = error_tool

    def play(self, scene: Scene) -> Played:
        return asyncio.run(self.aplay(scene))

    async def aplay(self, scene: Scene) -> Played:
        server = FastMCP("shop", middleware=[] if self._proxied else [hook(scene.guard)])
        for name, tool in scene.tools.items():
            server.tool(tool, name=name, output_schema=None)
        return await self._go_on(
            Run(scene, attach(scene.guard, create_proxy(server)) if self._proxied else server), [], {}
        )

    async def _go_on(self, run: Run, calls: list[tuple[int, ToolCall]], answers: dict[int, dict[str, Any]]) -> Played:
        raised = None
        try:
            await stoppable(self._turns(run, calls or run.next(), answers), run.scene.cancel)
        except BaseException as error:  # noqa: BLE001  # the suite is told what ended the run
            raised = error
        told = [run.told[place] for place in sorted(run.told)]
        paused = [result.meta["dev.kiff/decision"]["approval_id"] for _, result in run.held.values()]
        return Played(told, raised, paused, (lambda yes: asyncio.run(self._resumed(run, yes))) if paused else None)

    async def _resumed(self, run: Run, yes: bool) -> Played:
        """The client's user answers, and the client sends each held call again."""
        from mcp_types import ElicitResult

        answer = ElicitResult(action="accept" if yes else "decline", content={"granted": yes})
        held, run.held = run.held, {}
        again = {
            place: {"input_responses": {QUESTION: answer}, "request_state": result.request_state}
            for place, (_, result) in held.items()
        }
        return await self._go_on(run, [(place, call) for place, (call, _) in held.items()], again)

    async def _turns(self, run: Run, calls: list[tuple[int, ToolCall]], answers: dict[int, dict[str, Any]]) -> None:
        async with self._client(run.server) as client:
            while calls:
                results = await asyncio.gather(*(self._call(client, call, answers.get(at, {})) for at, call in calls))
                for (place, call), result in zip(calls, results, strict=True):
                    run.take(place, call, result)
                calls = [] if run.held else run.next()

    def _client(self, server: FastMCP) -> Client[Any]:
        async def nobody(*about: Any) -> Any:
            raise AssertionError("the driver answers pauses itself")

        return Client(server, elicitation_handler=nobody) if PAUSES else Client(server)

    async def _call(self, client: Client[Any], call: ToolCall, answers: dict[str, Any]) -> Any:
        more = {"allow_input_required": True, **answers} if PAUSES else {}
        return await client.session.call_tool(call.tool, dict(call.args), **more)
