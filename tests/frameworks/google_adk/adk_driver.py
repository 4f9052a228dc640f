"""Plays scenes through Google ADK: a scripted model, a runner with the guard's plugin, and ADK's own confirmations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import InMemoryRunner
from google.adk.tools import FunctionTool
from google.genai import types
from pydantic import Field
from scripts import Awaited

from kiff_guard.adapters import google_adk
from kiff_guard.conformance.driver import Played, Scene, ToolCall, stoppable

APP, USER = "app", "user"
ASKED = "adk_request_confirmation"


class ScriptedModel(BaseLlm):
    """Says one turn after the other; a turn is a list of tool calls or a text. It keeps what it was told."""

    model: str = "scripted"
    turns: list[Any] = Field(default_factory=list)
    said: int = 0
    requests: list[Any] = Field(default_factory=list)

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[LlmResponse]:
        self.requests.append(list(llm_request.contents))
        turn = self.turns[self.said] if self.said < len(self.turns) else "done"
        self.said += 1
        content = types.Content(role="model", parts=_parts(turn))
        if stream:
            yield LlmResponse(content=content, partial=True)
        yield LlmResponse(content=content)

    def told(self) -> dict[str, str]:
        """What the newest request says of each call, by the call's id."""
        parts = [part for content in (self.requests[-1] if self.requests else []) for part in content.parts or []]
        answers = [part.function_response for part in parts if part.function_response]
        return {answer.id or answer.name: text_of(answer.response) for answer in answers}


def scripted(*turns: Any) -> ScriptedModel:
    return ScriptedModel(turns=list(turns))


def text_of(response: dict[str, Any]) -> str:
    said = response.get("error") or response.get("result")
    return said if isinstance(said, str) else json.dumps(response)


def _parts(turn: Any) -> list[types.Part]:
    if isinstance(turn, str):
        return [types.Part(text=turn)]
    calls = [types.FunctionCall(name=each.tool, args=each.args, id=each.call_id or None) for each in turn]
    return [types.Part(function_call=call) for call in calls]


@dataclass
class Conversation:
    """One session with a runner; it can be gone on with."""

    runner: Any
    model: ScriptedModel
    session: str = "session-1"
    events: list[Any] = field(default_factory=list)
    open: list[types.FunctionCall] = field(default_factory=list)
    streamed: bool = False

    async def say(self, *parts: types.Part) -> None:
        """One run to its end; its events are kept."""
        sessions = self.runner.session_service
        known = {"app_name": APP, "user_id": USER, "session_id": self.session}
        if await sessions.get_session(**known) is None:
            await sessions.create_session(**known)
        content = types.Content(role="user", parts=list(parts or [types.Part(text="go")]))
        self.events.clear()
        how = RunConfig(streaming_mode=StreamingMode.SSE if self.streamed else StreamingMode.NONE)
        about = {"user_id": USER, "session_id": self.session, "new_message": content, "run_config": how}
        async for event in self.runner.run_async(**about):
            self.events.append(event)
        self.open = self.asked() or self.open

    async def answer(self, yes: bool) -> None:
        """Answers every confirmation that ADK asked for last. One that is answered may be answered again."""
        replies = [types.FunctionResponse(id=each.id, name=ASKED, response={"confirmed": yes}) for each in self.open]
        await self.say(*(types.Part(function_response=reply) for reply in replies))

    def asked(self) -> list[types.FunctionCall]:
        return [call for event in self.events for call in event.get_function_calls() if call.name == ASKED]

    def paused(self) -> list[str]:
        """The approvals that ADK's confirmations carry."""
        payloads = [call.args["toolConfirmation"].get("payload") or {} for call in self.asked()]
        return [payload["approval_id"] for payload in payloads if payload.get("approval_id")]


def by_plugin(guard: Any, agent: LlmAgent, *also: Any) -> InMemoryRunner:
    """A runner with the guard's plugin. ADK takes one of a name: the agent knows of more guards."""
    for each in also:
        google_adk.attach(each, agent)
    return InMemoryRunner(agent=agent, app_name=APP, plugins=[google_adk.hook(guard)])


def by_callbacks(guard: Any, agent: LlmAgent, *also: Any) -> InMemoryRunner:
    """A runner that knows nothing of the guards: the agent does."""
    for each in (guard, *also):
        google_adk.attach(each, agent)
    return InMemoryRunner(agent=agent, app_name=APP)


def unguarded(guard: Any, agent: LlmAgent) -> InMemoryRunner:
    return InMemoryRunner(agent=agent, app_name=APP)


def conversation(
    model: ScriptedModel,
    tools: Sequence[Any],
    guard: Any,
    *,
    session: str = "session-1",
    guarded: Callable[..., InMemoryRunner] = by_plugin,
    also: Sequence[Any] = (),
    **agent: Any,
) -> Conversation:
    """An agent with these tools, and a guarded runner."""
    root = LlmAgent(name="root", model=model, tools=list(tools), **agent)
    return Conversation(guarded(guard, root, *also), model, session)


def as_tool(name: str, function: Callable[..., Any]) -> Any:
    """A function as users give it; under another name than its own as a tool."""
    if function.__name__ == name:
        return function
    tool = FunctionTool(function)
    tool.name = name
    return tool


def error_tool(order_id: str) -> dict[str, str]:
    """Fails by its result."""
    return {"error": f"the tool broke over {order_id}"}


class AdkDriver(Awaited):
    """`kiff_guard.adapters.google_adk` under test.

    Args:
        guarded: makes the guarded runner: `by_plugin` or `by_callbacks`.
        streamed: what the model says comes piece by piece.
    """

    stacks = True
    names_errors = True
    version = version("google-adk")
    error_tool: Callable[..., Any] = staticmethod(error_tool)

    def __init__(self, guarded: Callable[..., InMemoryRunner] = by_plugin, *, streamed: bool = False) -> None:
        self.name = "google-adk (streamed)" if streamed else "google-adk"
        self.guarded = guarded
        self.streamed = streamed
        self.lacks: dict[str, str] = {}

    async def aplay(self, scene: Scene) -> Played:
        model, tools = scripted(*scene.turns), [as_tool(name, function) for name, function in scene.tools.items()]
        ways = {"session": scene.session, "guarded": self.guarded, "also": scene.also}
        talk = conversation(model, tools, scene.guard, **ways)
        talk.streamed = self.streamed
        return await self._played(talk, scene, talk.say())

    async def _played(self, talk: Conversation, scene: Scene, run: Any) -> Played:
        raised = None
        try:
            await stoppable(run, scene.cancel)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            raised = error
        paused = talk.paused()

        def resume(yes: bool) -> Played:
            return asyncio.run(self._played(talk, scene, talk.answer(yes)))

        return Played(told(talk, scene.turns), raised, paused, resume if paused else None)


def told(talk: Conversation, turns: Sequence[Sequence[ToolCall]]) -> list[str]:
    """By the order of the calls; of a call that pauses the run, the answer that ADK keeps in its session."""
    answers = [answer for event in talk.events for answer in event.get_function_responses() if answer.name != ASKED]
    known = {answer.id: text_of(answer.response) for answer in answers} | talk.model.told()
    return [known[call.call_id] for turn in turns for call in turn if call.call_id in known]
