"""Plays scenes through Microsoft Agent Framework: a scripted client, real agents and tools, its approval requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatMiddlewareLayer,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    Message,
    ResponseStream,
    tool,
)

from kiff_guard.adapters.microsoft_agent_framework import hook
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable


class ScriptedModel(FunctionInvocationLayer, ChatMiddlewareLayer, BaseChatClient):
    """Says one turn after the other; a turn is a list of tool calls. After the last one it says `done`."""

    def __init__(self, turns: Sequence[Sequence[ToolCall]]) -> None:
        super().__init__()
        self.turns = [list(turn) for turn in turns]
        self.said = 0
        self.told: dict[str, str] = {}

    def _inner_get_response(self, *, messages: Any, stream: bool, options: Any, **more: Any) -> Any:
        contents = self._turn(messages)
        if stream:
            return ResponseStream(self._pieces(contents), finalizer=ChatResponse.from_updates)
        return self._whole(contents)

    async def _whole(self, contents: list[Content]) -> ChatResponse:
        return ChatResponse(messages=[Message("assistant", contents)])

    async def _pieces(self, contents: list[Content]) -> AsyncIterator[ChatResponseUpdate]:
        for content in contents:
            yield ChatResponseUpdate(contents=[content], role="assistant")

    def _turn(self, messages: Sequence[Message]) -> list[Content]:
        self.reads(messages)
        turn = self.turns[self.said] if self.said < len(self.turns) else []
        self.said += 1
        calls = [Content.from_function_call(call.call_id, call.tool, arguments=dict(call.args)) for call in turn]
        return calls or [Content.from_text("done")]

    def reads(self, messages: Sequence[Message]) -> None:
        for message in messages:
            for content in message.contents:
                if content.type == "function_result":
                    self.told[content.call_id] = str(content.result)

    def heard(self) -> list[str]:
        """What the model was told about each call, in the order of the calls."""
        return [self.told[call.call_id] for turn in self.turns for call in turn if call.call_id in self.told]


def scripted(*turns: Sequence[ToolCall]) -> ScriptedModel:
    return ScriptedModel(turns)


def as_tool(function: Callable[..., Any]) -> Any:
    return function if hasattr(function, "approval_mode") else tool(function)


def agent_with(client: Any, *functions: Any, **more: Any) -> Agent:
    return Agent(client, name="agent", tools=[as_tool(each) for each in functions], **more)


class AgentFramework:
    """The middleware on an agent."""

    name = "microsoft-agent-framework"
    version = version("agent-framework-core")
    streams = False
    hides_errors = True
    lacks: Mapping[str, str] = {}

    def play(self, scene: Scene) -> Played:
        return asyncio.run(self.aplay(scene))

    async def aplay(self, scene: Scene) -> Played:
        client = ScriptedModel(scene.turns)
        agent = agent_with(client, *scene.tools.values(), middleware=[hook(scene.guard)])
        session = agent.create_session(session_id=scene.session)
        return await self._run(lambda said: agent.run(said, session=session), client, scene, "go")

    async def _run(self, run: Callable[[Any], Awaitable[Any]], client: Any, scene: Scene, said: Any) -> Played:
        async def started() -> Any:
            return await run(said)

        try:
            ended = await stoppable(started(), scene.cancel)
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(client.heard(), error)
        client.reads(ended.messages)
        waiting = [each for each in ended.user_input_requests if each.type == "function_approval_request"]
        if not waiting:
            return Played(client.heard())

        def resume(yes: bool) -> Played:
            answers = Message("user", [each.to_function_approval_response(yes) for each in waiting])
            return asyncio.run(self._run(run, client, scene, answers))

        paused = [each.additional_properties["approval_id"] for each in waiting]
        return Played(client.heard(), None, paused, resume)
