"""Plays scenes through the OpenAI Agents SDK, with a model that answers from a script."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"

from agents import Agent, Runner, RunState, function_tool, set_tracing_disabled
from agents.items import ModelResponse
from agents.models.interface import Model
from agents.usage import Usage
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)
from scripts import Awaited, Scripted

from kiff_guard.adapters.openai_agents import approval_of, attach
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable

set_tracing_disabled(True)


class Script(Scripted, Model):
    """What the model asks, turn by turn, and what it was told. Arguments may be a text that is no JSON."""

    def __init__(self, turns: Sequence[Sequence[ToolCall]]) -> None:
        self.turns = [list(turn) for turn in turns]
        self.told: dict[str, str] = {}
        self.next = 0

    async def get_response(self, system_instructions: Any, input: Any, *given: Any, **named: Any) -> ModelResponse:
        return ModelResponse(output=self._answer(input), usage=Usage(), response_id=None)

    async def stream_response(
        self, system_instructions: Any, input: Any, *given: Any, **named: Any
    ) -> AsyncIterator[Any]:
        response = Response(
            id="resp_1",
            created_at=1,
            model="script",
            object="response",
            output=self._answer(input),
            tool_choice="auto",
            tools=[],
            parallel_tool_calls=True,
        )
        yield ResponseCompletedEvent(type="response.completed", response=response, sequence_number=0)

    def _answer(self, input: Any) -> list[Any]:
        self.reads(input)
        turn = self.take()
        return [_asked(call) for call in turn] or [_text("done")]

    def reads(self, items: Any) -> None:
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and item.get("type") == "function_call_output":
                self.told[item["call_id"]] = _plain(item["output"])


def _asked(call: ToolCall) -> ResponseFunctionToolCall:
    args = call.args if isinstance(call.args, str) else json.dumps(call.args)
    return ResponseFunctionToolCall(call_id=call.call_id, name=call.tool, arguments=args, type="function_call")


def _text(text: str) -> ResponseOutputMessage:
    content = [ResponseOutputText(annotations=[], text=text, type="output_text")]
    return ResponseOutputMessage(id="msg_1", content=content, role="assistant", status="completed", type="message")


def _plain(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output)


class OpenAIAgents(Awaited):
    """The wrappers that `attach` puts around an agent's tools. There is no synchronous way: `play` runs a loop."""

    name = "openai-agents"
    version = version("openai-agents")
    streams = False
    stacks = True
    names_errors = True
    hides_errors = True  # its own text for errors says nothing of them from 0.20 on
    lacks: Mapping[str, str] = {}

    async def aplay(self, scene: Scene) -> Played:
        script = Script(scene.turns)
        tools = [function_tool(function, name_override=name) for name, function in scene.tools.items()]
        agent = Agent(name="agent", model=script, tools=tools)
        for guard in scene.guards:
            attach(guard, agent)
        return await self._run(agent, script, scene, "go")

    async def _run(self, agent: Any, script: Script, scene: Scene, given: Any) -> Played:
        try:
            ended = await stoppable(self.run(agent, given), scene.cancel)
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(script.said(), error)
        script.reads(ended.to_input_list())
        if not ended.interruptions:
            return Played(script.said())
        paused = [approval_of(scene.guard, each) for each in ended.interruptions]
        text = ended.to_state().to_string()

        async def resumed(yes: bool) -> Played:
            state = await RunState.from_string(agent, text)
            for each in state.get_interruptions():
                state.approve(each) if yes else state.reject(each)
            return await self._run(agent, script, scene, state)

        return Played(script.said(), None, paused, lambda yes: asyncio.run(resumed(yes)))

    async def run(self, agent: Any, given: Any) -> Any:
        return await Runner.run(agent, given, max_turns=50)


class OpenAIAgentsStreamed(OpenAIAgents):
    """The same, read piece by piece."""

    name = "openai-agents (streamed)"

    async def run(self, agent: Any, given: Any) -> Any:
        going = Runner.run_streamed(agent, given, max_turns=50)
        try:
            async for _ in going.stream_events():
                pass
        except asyncio.CancelledError:
            going.cancel()
            raise
        return going


def tool(function: Callable[..., Any], **more: Any) -> Any:
    return function_tool(function, **more)
