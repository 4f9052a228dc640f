"""Plays scenes through Agno, with a model of its own kind that answers from a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from agno.agent import Agent
from agno.models.base import Model
from agno.models.response import ModelResponse
from agno.tools import tool
from scripts import Scripted

from kiff_guard.adapters.agno import attach, hook
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable


@dataclass
class Script(Scripted, Model):
    """What the model asks, turn by turn, and what it was told about each call."""

    id: str = "scripted"
    turns: list[list[ToolCall]] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    next: int = 0

    def invoke(self, messages: Any = None, **_: Any) -> ModelResponse:
        self.reads(messages)
        turn = self.take()
        return ModelResponse(role="assistant", content=None if turn else "done", tool_calls=[_asked(c) for c in turn])

    async def ainvoke(self, messages: Any = None, **_: Any) -> ModelResponse:
        return self.invoke(messages)

    def invoke_stream(self, messages: Any = None, **_: Any) -> Iterator[ModelResponse]:
        yield self.invoke(messages)

    async def ainvoke_stream(self, messages: Any = None, **_: Any) -> AsyncIterator[ModelResponse]:
        yield self.invoke(messages)

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response

    def reads(self, messages: Any) -> None:
        for message in messages or ():
            if message.role == "tool":
                self.told[message.tool_call_id] = str(message.content)


def _asked(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.tool, "arguments": json.dumps(call.args)}
    return {"id": call.call_id, "type": "function", "function": function}


class Agno:
    """The tool hooks, on an agent that runs or is awaited."""

    name = "agno"
    version = version("agno")
    streams = True
    stacks = True
    names_errors = True
    lacks: Mapping[str, str] = {
        "K2": "Agno runs a plain tool, and its decision, in a thread that a cancelled run leaves behind: "
        "what is allowed then still runs, and its receipt says so",
    }

    def play(self, scene: Scene) -> Played:
        agent, script = _agent(scene)
        try:
            script.reads(self.run(agent, scene.session))
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(script.said(), error)
        return Played(script.said())

    async def aplay(self, scene: Scene) -> Played:
        agent, script = _agent(scene)
        try:
            script.reads(await stoppable(self.arun(agent, scene.session), scene.cancel))
        except BaseException as error:  # noqa: BLE001
            return Played(script.said(), error)
        return Played(script.said())

    def run(self, agent: Agent, session: str) -> Any:
        return agent.run("go", session_id=session).messages

    async def arun(self, agent: Agent, session: str) -> Any:
        return (await agent.arun("go", session_id=session)).messages


class AgnoStreamed(Agno):
    """The same, read piece by piece; what the last pieces said of calls, the model has read."""

    name = "agno (streamed)"

    def run(self, agent: Agent, session: str) -> Any:
        list(agent.run("go", session_id=session, stream=True, stream_events=True))

    async def arun(self, agent: Agent, session: str) -> Any:
        async for _ in agent.arun("go", session_id=session, stream=True, stream_events=True):
            pass


def _agent(scene: Scene) -> tuple[Agent, Script]:
    tools = [as_tool(name, function) for name, function in scene.tools.items()]
    agent, script = agent_with(scene.turns, *tools, tool_hooks=[hook(scene.guard)])
    for guard in scene.also:
        attach(guard, agent)
    return agent, script


def as_tool(name: str, function: Callable[..., Any]) -> Any:
    return function if function.__name__ == name else tool(name=name)(function)


def agent_with(turns: Sequence[Sequence[ToolCall]], *tools: Callable[..., Any], **more: Any) -> tuple[Agent, Script]:
    """An agent over a scripted model, and the script."""
    script = Script(turns=[list(turn) for turn in turns])
    return Agent(model=script, tools=list(tools), telemetry=False, **more), script
