"""Plays scenes through Haystack, either major: a scripted chat generator, real agents and tools."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")

from haystack import component
from haystack.components.agents import Agent
from haystack.dataclasses import ChatMessage
from haystack.dataclasses import ToolCall as HaystackCall
from haystack.tools import create_tool_from_function
from scripts import Scripted

from kiff_guard.adapters.haystack import attach
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable

VERSION = version("haystack-ai")
IS_3 = VERSION.startswith("3.")


@component
class ScriptedModel(Scripted):
    """Says one turn after the other; a turn is a list of tool calls. After the last one it says `done`."""

    def __init__(self, turns: Sequence[Sequence[ToolCall]]) -> None:
        self.turns = [list(turn) for turn in turns]
        self.next = 0
        self.heard: list[Any] = []

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage], tools: Any = None, **more: Any) -> dict[str, Any]:
        self.heard = list(messages)
        calls = [HaystackCall(call.tool, dict(call.args), id=call.call_id) for call in self.take()]
        return {"replies": [ChatMessage.from_assistant(None if calls else "done", tool_calls=calls)]}

    @component.output_types(replies=list[ChatMessage])
    async def run_async(self, messages: list[ChatMessage], tools: Any = None, **more: Any) -> dict[str, Any]:
        return self.run(messages, tools)


def as_tool(function: Callable[..., Any], name: str | None = None) -> Any:
    """A tool as users make it. Haystack 2 takes plain functions only."""
    if inspect.iscoroutinefunction(function) and not IS_3:

        @functools.wraps(function)
        def waited_for(**args: Any) -> Any:
            return asyncio.run(function(**args))

        return create_tool_from_function(waited_for, name)
    return create_tool_from_function(function, name)


def agent_with(model: Any, *functions: Any, **more: Any) -> Agent:
    tools = [each if hasattr(each, "tool_spec") else as_tool(each) for each in functions]
    return Agent(chat_generator=model, tools=tools, **more)


def told(messages: Sequence[Any], turns: Sequence[Sequence[ToolCall]]) -> list[str]:
    """What the model was told about each call, in the order of the calls."""
    texts = {result.origin.id: str(result.result) for each in messages for result in each.tool_call_results}
    return [texts[call.call_id] for turn in turns for call in turn if call.call_id in texts]


def go() -> list[ChatMessage]:
    return [ChatMessage.from_user("go")]


NO_ID = "Haystack 2 tells a tool no id of its call"
THREADS = "Haystack 2 runs tools in threads, which nobody can cancel"


class Haystack:
    """The guard attached to an agent."""

    name = "haystack"
    version = VERSION
    streams = False
    stacks = True
    lacks: Mapping[str, str] = {} if IS_3 else {"I1": NO_ID, "I3": NO_ID, "I4": NO_ID, "K1": THREADS, "K2": THREADS}

    def play(self, scene: Scene) -> Played:
        agent, model = self._agent(scene)
        try:
            ended = self.run(agent)
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(told(model.heard, scene.turns), error)
        return Played(told(ended["messages"], scene.turns))

    async def aplay(self, scene: Scene) -> Played:
        agent, model = self._agent(scene)
        try:
            ended = await stoppable(self.arun(agent), scene.cancel)
        except BaseException as error:  # noqa: BLE001
            return Played(told(model.heard, scene.turns), error)
        return Played(told(ended["messages"], scene.turns))

    def run(self, agent: Agent) -> Any:
        return agent.run(messages=go())

    async def arun(self, agent: Agent) -> Any:
        return await agent.run_async(messages=go())

    def _agent(self, scene: Scene) -> tuple[Agent, ScriptedModel]:
        model = ScriptedModel(scene.turns)
        agent = agent_with(model, *(as_tool(function, name) for name, function in scene.tools.items()))
        for guard in scene.guards:
            attach(guard, agent)
        return agent, model


class HaystackStreamed(Haystack):
    """The same, with what is said sent on piece by piece."""

    name = "haystack (streamed)"

    def run(self, agent: Agent) -> Any:
        return agent.run(messages=go(), streaming_callback=lambda piece: None)

    async def arun(self, agent: Agent) -> Any:
        async def sent_on(piece: Any) -> None:
            pass

        return await agent.run_async(messages=go(), streaming_callback=sent_on)
