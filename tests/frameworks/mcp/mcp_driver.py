"""Plays scenes through a server and a client of the `mcp` SDK, in one process and over the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp import Client
from mcp.server.mcpserver import MCPServer

from kiff_guard.adapters.mcp import attach, hook
from kiff_guard.adapters.mcp_calls import QUESTION
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable

NUMBERED = "clients number their requests anew on each connection, and a model's own id of a call does not travel"


def error_tool(order_id: str) -> types.CallToolResult:
    """A tool that tells its error as a result."""
    text = types.TextContent(type="text", text=f"nothing found for {order_id}")
    return types.CallToolResult(content=[text], is_error=True)


@dataclass
class Run:
    """One run of a model that calls tools, as far as it has come."""

    scene: Scene
    server: MCPServer
    turn: int = 0
    told: dict[int, str] = field(default_factory=dict)
    held: dict[int, tuple[ToolCall, types.InputRequiredResult]] = field(default_factory=dict)

    def next(self) -> list[tuple[int, ToolCall]]:
        """The calls of the next turn, each with its place among all."""
        if self.turn == len(self.scene.turns):
            return []
        start = sum(map(len, self.scene.turns[: self.turn]))
        self.turn += 1
        return list(enumerate(self.scene.turns[self.turn - 1], start))

    def take(self, place: int, call: ToolCall, result: Any) -> None:
        if isinstance(result, types.InputRequiredResult):
            self.held[place] = (call, result)
        else:
            self.told[place] = "".join(getattr(each, "text", "") for each in result.content)


class MCP:
    """A server with the guard as its extension.

    Args:
        mode: the client's: `auto` speaks 2026-07-28, `legacy` 2025-11-25.
    """

    streams = False
    version = version("mcp")
    hides_errors = True
    error_tool = staticmethod(error_tool)
    lacks: Mapping[str, str] = {"I1": NUMBERED, "I3": NUMBERED, "I4": NUMBERED}

    def __init__(self, mode: str = "auto", *, attaches: bool = False) -> None:
        self.name = f"mcp ({'attach' if attaches else 'extension'}, {'2026-07-28' if mode == 'auto' else '2025-11-25'})"
        self._mode = mode
        self._attaches = attaches

    def play(self, scene: Scene) -> Played:
        return asyncio.run(self.aplay(scene))

    async def aplay(self, scene: Scene) -> Played:
        extensions = [] if self._attaches else [hook(scene.guard)]
        server = MCPServer("shop", extensions=extensions, log_level="CRITICAL")
        for name, tool in scene.tools.items():
            server.add_tool(tool, name, structured_output=False)
        if self._attaches:
            attach(scene.guard, server)
        return await self._go_on(Run(scene, server), {})

    async def _go_on(self, run: Run, answers: dict[int, dict[str, Any]]) -> Played:
        raised = None
        try:
            await stoppable(self._turns(run, answers), run.scene.cancel)
        except BaseException as error:  # noqa: BLE001  # the suite is told what ended the run
            raised = error
        told = [run.told[place] for place in sorted(run.told)]
        paused = [result.meta["dev.kiff/decision"]["approval_id"] for _, result in run.held.values()]
        return Played(told, raised, paused, (lambda yes: asyncio.run(self._resumed(run, yes))) if paused else None)

    async def _resumed(self, run: Run, yes: bool) -> Played:
        """The client's user answers, and the client sends each held call again."""
        answer = types.ElicitResult(action="accept" if yes else "decline", content={"granted": yes})
        held, run.held = run.held, {}
        again = {
            place: {"input_responses": {QUESTION: answer}, "request_state": result.request_state}
            for place, (_, result) in held.items()
        }
        self._calls = [(place, call) for place, (call, _) in held.items()]
        return await self._go_on(run, again)

    async def _turns(self, run: Run, answers: dict[int, dict[str, Any]]) -> None:
        calls = self._calls if answers else run.next()
        async with self._client(run.server) as client:
            while calls:
                results = await asyncio.gather(*(self._call(client, call, answers.get(at, {})) for at, call in calls))
                for (place, call), result in zip(calls, results, strict=True):
                    run.take(place, call, result)
                calls = [] if run.held else run.next()

    def _client(self, server: MCPServer) -> Client:
        async def nobody(context: Any, params: Any) -> types.ElicitResult:
            raise AssertionError("the driver answers pauses itself")

        if self._mode == "legacy":  # there a pause is a request in the middle of the call, which cannot be left open
            return Client(server, mode="legacy")
        return Client(server, mode="auto", elicitation_callback=nobody)

    async def _call(self, client: Client, call: ToolCall, answers: dict[str, Any]) -> Any:
        return await client.session.call_tool(call.tool, dict(call.args), allow_input_required=True, **answers)
