"""Plays scenes through Microsoft Agent Framework: a scripted client, real agents and tools, its approval requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
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
from scripts import Awaited, Scripted

from kiff_guard.adapters.microsoft_agent_framework import hook
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable

Run = Callable[[Any], Coroutine[Any, Any, Any]]
"""Says something to an agent."""


class ScriptedModel(Scripted, FunctionInvocationLayer, ChatMiddlewareLayer, BaseChatClient):
    """Says one turn after the other; a turn is a list of tool calls. After the last one it says `done`."""

    def __init__(self, turns: Sequence[Sequence[ToolCall]]) -> None:
        super().__init__()
        self.turns = [list(turn) for turn in turns]
        self.next = 0
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
        calls = [Content.from_function_call(call.call_id, call.tool, arguments=dict(call.args)) for call in self.take()]
        return calls or [Content.from_text("done")]

    def reads(self, messages: Sequence[Message]) -> None:
        for message in messages:
            for content in message.contents:
                if content.type == "function_result":
                    self.told[content.call_id] = str(content.result)


def scripted(*turns: Sequence[ToolCall]) -> ScriptedModel:
    return ScriptedModel(turns)


def as_tool(function: Callable[..., Any], name: str | None = None) -> Any:
    return function if hasattr(function, "approval_mode") else tool(function, name=name)


def agent_with(client: Any, *functions: Any, **more: Any) -> Agent:
    return Agent(client, name="agent", tools=[as_tool(each) for each in functions], **more)


class AgentFramework(Awaited):
    """The middleware on an agent."""

    name = "microsoft-agent-framework"
    version = version("agent-framework-core")
    streams = False
    stacks = True
    names_errors = True
    hides_errors = True
    lacks: Mapping[str, str] = {}

    async def aplay(self, scene: Scene) -> Played:
        client = ScriptedModel(scene.turns)
        tools = [as_tool(function, name) for name, function in scene.tools.items()]
        agent = agent_with(client, *tools, middleware=[hook(guard) for guard in scene.guards])
        session = agent.create_session(session_id=scene.session)
        return await self._run(lambda said: self.run(agent, said, session), client, scene, "go")

    async def run(self, agent: Agent, said: Any, session: Any) -> Any:
        return await agent.run(said, session=session)

    async def _run(self, run: Run, client: Any, scene: Scene, said: Any) -> Played:
        try:
            ended = await stoppable(run(said), scene.cancel)
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(client.said(), error)
        client.reads(ended.messages)
        waiting = [each for each in ended.user_input_requests if each.type == "function_approval_request"]
        if not waiting:
            return Played(client.said())

        def resume(yes: bool) -> Played:
            answers = Message("user", [each.to_function_approval_response(yes) for each in waiting])
            return asyncio.run(self._run(run, client, scene, answers))

        paused = [each.additional_properties["approval_id"] for each in waiting]
        return Played(client.said(), None, paused, resume)


class AgentFrameworkStreamed(AgentFramework):
    """The same, read piece by piece."""

    name = "microsoft-agent-framework (streamed)"

    async def run(self, agent: Agent, said: Any, session: Any) -> Any:
        pieces = agent.run(said, session=session, stream=True)
        async for _ in pieces:
            pass
        return await pieces.get_final_response()
