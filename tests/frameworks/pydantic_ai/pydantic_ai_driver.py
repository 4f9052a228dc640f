"""Plays scenes through Pydantic AI, with the framework's own function model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, Tool
from pydantic_ai.messages import ModelResponse, RetryPromptPart, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from scripts import Awaited, Scripted

from kiff_guard.adapters.pydantic_ai import attach, hook
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable

OUTPUT = [str, DeferredToolRequests]


class Script(Scripted):
    """What the model asks, turn by turn, and what it was told about each call."""

    def __init__(self, turns: Sequence[Sequence[ToolCall]]) -> None:
        self.turns = [list(turn) for turn in turns]
        self.told: dict[str, str] = {}
        self.next = 0

    @property
    def model(self) -> FunctionModel:
        return FunctionModel(self.answer, stream_function=self.stream)

    def answer(self, messages: list[Any], info: Any) -> ModelResponse:
        calls = self._asked(messages)
        parts = [ToolCallPart(call.tool, dict(call.args), tool_call_id=call.call_id) for call in calls]
        return ModelResponse(parts=parts or [TextPart("done")])

    async def stream(self, messages: list[Any], info: Any) -> Any:
        calls = self._asked(messages)
        for number, call in enumerate(calls):
            yield {number: DeltaToolCall(name=call.tool, json_args=json.dumps(call.args), tool_call_id=call.call_id)}
        if not calls:
            yield "done"

    def _asked(self, messages: list[Any]) -> list[ToolCall]:
        self.reads(messages)
        return self.take()

    def reads(self, messages: list[Any]) -> None:
        for message in messages:
            for part in message.parts:
                if isinstance(part, ToolReturnPart):
                    self.told[part.tool_call_id] = part.model_response_str()
                elif isinstance(part, RetryPromptPart):
                    self.told[part.tool_call_id] = part.model_response()


class PydanticAI(Awaited):
    """The capability, on an agent whose output may be deferred tool requests."""

    name = "pydantic-ai"
    version = version("pydantic-ai-slim")
    streams = False
    stacks = True
    names_errors = True
    lacks: Mapping[str, str] = {}

    async def aplay(self, scene: Scene) -> Played:
        script = Script(scene.turns)
        tools = [Tool(function, name=name) for name, function in scene.tools.items()]
        agent = Agent(script.model, tools=tools, capabilities=[hook(scene.guard)], output_type=OUTPUT)
        for guard in scene.also:
            attach(guard, agent)
        return await self._run(agent, script, scene, user_prompt="go", conversation_id=scene.session)

    async def _run(self, agent: Any, script: Script, scene: Scene, **how: Any) -> Played:
        try:
            ended = await stoppable(self.run(agent, **how), scene.cancel)
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(script.said(), error)
        script.reads(ended.all_messages())
        if not isinstance(ended.output, DeferredToolRequests):
            return Played(script.said())
        waiting = [call.tool_call_id for call in ended.output.approvals]
        paused = [ended.output.metadata[call_id]["approval_id"] for call_id in waiting]

        def resume(yes: bool) -> Played:
            answers = DeferredToolResults(approvals=dict.fromkeys(waiting, yes))
            how = {"message_history": ended.all_messages(), "deferred_tool_results": answers}
            return asyncio.run(self._run(agent, script, scene, **how))

        return Played(script.said(), None, paused, resume)

    async def run(self, agent: Any, **how: Any) -> Any:
        return await agent.run(**how)


class PydanticAIStreamed(PydanticAI):
    """The same, read piece by piece."""

    name = "pydantic-ai (streamed)"

    async def run(self, agent: Any, **how: Any) -> Any:
        async with agent.run_stream(**how) as stream:
            return SimpleNamespace(output=await stream.get_output(), all_messages=stream.all_messages)


def agent_with(turns: Sequence[Sequence[ToolCall]], *tools: Callable[..., Any], **more: Any) -> tuple[Any, Script]:
    """An agent over a scripted model, and the script."""
    script = Script(turns)
    return Agent(script.model, tools=list(tools), **more), script
