"""Plays scenes through Strands: a scripted model, real agents and tools, Strands' own interrupts."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from scripts import Scripted
from strands import Agent, tool
from strands.models.model import Model

from kiff_guard.adapters.strands import hook
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable


class ScriptedModel(Scripted, Model):
    """Says one turn after the other; a turn is a list of tool calls. After the last one it says `done`."""

    def __init__(self, turns: Sequence[Sequence[ToolCall]]) -> None:
        self.turns = [list(turn) for turn in turns]
        self.next = 0

    def update_config(self, **config: Any) -> None:
        pass

    def get_config(self) -> dict[str, Any]:
        return {}

    async def structured_output(self, *about: Any, **more: Any) -> AsyncIterator[Any]:
        raise NotImplementedError
        yield

    async def stream(self, messages: Any, tool_specs: Any = None, *about: Any, **more: Any) -> AsyncIterator[Any]:
        turn = self.take()
        yield {"messageStart": {"role": "assistant"}}
        for call in turn:
            yield {"contentBlockStart": {"start": {"toolUse": {"name": call.tool, "toolUseId": call.call_id}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(call.args)}}}}
            yield {"contentBlockStop": {}}
        if not turn:
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": "done"}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use" if turn else "end_turn"}}


def as_tool(function: Callable[..., Any], name: str = "") -> Any:
    """A tool as users make it. Strands streams asynchronous generators only."""
    if not inspect.isgeneratorfunction(function):
        return tool(name=name or function.__name__)(function)

    @functools.wraps(function)
    async def streamed(**args: Any) -> AsyncIterator[Any]:
        for piece in function(**args):
            yield piece

    return tool(name=name or function.__name__)(streamed)


def agent_with(model: ScriptedModel, *functions: Any, **more: Any) -> Agent:
    tools = [each if hasattr(each, "tool_spec") else as_tool(each) for each in functions]
    return Agent(model=model, tools=tools, callback_handler=None, **more)


def told(agent: Agent, turns: Sequence[Sequence[ToolCall]]) -> list[str]:
    """What the model was told about each call, in the order of the calls."""
    texts: dict[str, str] = {}
    for message in agent.messages:
        for block in message["content"]:
            if "toolResult" in block:
                content = block["toolResult"]["content"]
                texts[block["toolResult"]["toolUseId"]] = "".join(str(each.get("text", each)) for each in content)
    return [texts[call.call_id] for turn in turns for call in turn if call.call_id in texts]


def error_tool(order_id: str) -> dict[str, Any]:
    """A tool that says by its result that it failed."""
    return {"toolUseId": "unknown", "status": "error", "content": [{"text": f"nothing found for {order_id}"}]}


class Strands:
    """The hook on an agent."""

    name = "strands"
    version = version("strands-agents")
    streams = True
    stacks = True
    error_tool = staticmethod(error_tool)
    lacks: Mapping[str, str] = {"S4": "Strands streams the pieces to the caller and tells the model the last one"}

    def play(self, scene: Scene) -> Played:
        return self._played(scene, lambda agent, prompt: agent(prompt))

    async def aplay(self, scene: Scene) -> Played:
        agent = self._agent(scene)
        try:
            ended = await stoppable(self.invoke(agent, "go"), scene.cancel)
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(told(agent, scene.turns), error)
        return self._came_to(agent, scene, ended, lambda prompt: asyncio.run(self.invoke(agent, prompt)))

    async def invoke(self, agent: Agent, prompt: Any) -> Any:
        return await agent.invoke_async(prompt)

    def _agent(self, scene: Scene) -> Agent:
        tools = [as_tool(function, name) for name, function in scene.tools.items()]
        return agent_with(ScriptedModel(scene.turns), *tools, hooks=[hook(guard) for guard in scene.guards])

    def _played(self, scene: Scene, run: Callable[[Agent, Any], Any]) -> Played:
        agent = self._agent(scene)
        return self._go(agent, scene, "go", functools.partial(run, agent))

    def _go(self, agent: Agent, scene: Scene, prompt: Any, run: Callable[[Any], Any]) -> Played:
        try:
            ended = run(prompt)
        except BaseException as error:  # noqa: BLE001
            return Played(told(agent, scene.turns), error)
        return self._came_to(agent, scene, ended, run)

    def _came_to(self, agent: Agent, scene: Scene, ended: Any, run: Callable[[Any], Any]) -> Played:
        waiting = list(ended.interrupts or []) if ended.stop_reason == "interrupt" else []
        if not waiting:
            return Played(told(agent, scene.turns))

        def resume(yes: bool) -> Played:
            answers = [{"interruptResponse": {"interruptId": each.id, "response": yes}} for each in waiting]
            return self._go(agent, scene, answers, run)

        paused = [each.reason["approval_id"] for each in waiting]
        return Played(told(agent, scene.turns), None, paused, resume)


class StrandsStreamed(Strands):
    """The same, read piece by piece."""

    name = "strands (streamed)"

    def play(self, scene: Scene) -> Played:
        return self._played(scene, lambda agent, prompt: asyncio.run(self.invoke(agent, prompt)))

    async def invoke(self, agent: Agent, prompt: Any) -> Any:
        ended = None
        async for piece in agent.stream_async(prompt):
            ended = piece.get("result", ended)
        return ended
