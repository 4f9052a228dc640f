"""What the drivers of MCP servers share: a model that calls a server's tools over the protocol, turn by turn."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts import Awaited

from kiff_guard.adapters.mcp_calls import QUESTION
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable

NUMBERED = "clients number their requests anew on each connection, and a model's own id of a call does not travel"

ENDS = (
    ("accept", "grant", 1),
    ("accept", "", 0),
    ("accept", "deny", 0),
    ("accept", "expire", 0),
    ("decline", "grant", 0),
)
"""Of a held call: what the client's user says, what its reviewer does meanwhile, and how often the tool runs."""

Calls = list[tuple[int, ToolCall]]
"""Calls, each with its place among all of the scene."""


@dataclass
class Run:
    """One run of the model, as far as it has come."""

    scene: Scene
    server: Any
    turn: int = 0
    told: dict[int, str] = field(default_factory=dict)
    held: dict[int, tuple[ToolCall, Any]] = field(default_factory=dict)

    def next(self) -> Calls:
        if self.turn == len(self.scene.turns):
            return []
        start = sum(map(len, self.scene.turns[: self.turn]))
        self.turn += 1
        return list(enumerate(self.scene.turns[self.turn - 1], start))

    def take(self, place: int, call: ToolCall, result: Any) -> None:
        """A result that asks first is kept, to be answered."""
        if hasattr(result, "request_state"):
            self.held[place] = (call, result)
        else:
            self.told[place] = text(result)


class Caller(Awaited):
    """A driver of a server. It has `server(scene)`, the guarded one, and `client(server)`.

    Attributes:
        asks: what a call is made with where the client may be asked back.
    """

    streams = False
    stacks = True
    lacks: Mapping[str, str] = {"I1": NUMBERED, "I3": NUMBERED, "I4": NUMBERED}
    asks: Mapping[str, Any] = {"allow_input_required": True}

    async def aplay(self: Any, scene: Scene) -> Played:
        run = Run(scene, self.server(scene))
        played: Played = await self.goes_on(run, run.next(), {})
        return played

    async def goes_on(self: Any, run: Run, calls: Calls, answers: Mapping[int, Mapping[str, Any]]) -> Played:
        raised = None
        try:
            await stoppable(self.turns(run, calls, answers), run.scene.cancel)
        except BaseException as error:  # noqa: BLE001  # the suite is told what ended the run
            raised = error
        told = [run.told[place] for place in sorted(run.told)]
        paused = [result.meta["dev.kiff/decision"]["approval_id"] for _, result in run.held.values()]
        return Played(told, raised, paused, (lambda yes: asyncio.run(self.resumed(run, yes))) if paused else None)

    async def resumed(self: Any, run: Run, yes: bool) -> Played:
        """The client's user answers, and the client sends each held call again."""
        from mcp_types import ElicitResult

        answer = ElicitResult(action="accept" if yes else "decline", content={"granted": yes})
        held, run.held = run.held, {}
        again = {
            place: {"input_responses": {QUESTION: answer}, "request_state": result.request_state}
            for place, (_, result) in held.items()
        }
        played: Played = await self.goes_on(run, [(place, call) for place, (call, _) in held.items()], again)
        return played

    async def turns(self: Any, run: Run, calls: Calls, answers: Mapping[int, Mapping[str, Any]]) -> None:
        async with self.client(run.server) as client:
            while calls:
                results = await asyncio.gather(*(self.call(client, call, answers.get(at, {})) for at, call in calls))
                for (place, call), result in zip(calls, results, strict=True):
                    run.take(place, call, result)
                calls = [] if run.held else run.next()

    async def call(self, client: Any, call: ToolCall, answers: Mapping[str, Any]) -> Any:
        return await client.session.call_tool(call.tool, dict(call.args), **self.asks, **answers)


def text(result: Any) -> str:
    """What a result says."""
    return "".join(getattr(each, "text", "") for each in result.content)


async def nobody(*about: Any) -> Any:
    """What a client is made with to be one that can be asked: the drivers answer by themselves."""
    raise AssertionError("the driver answers pauses itself")
