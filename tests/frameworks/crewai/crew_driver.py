"""Plays scenes through CrewAI: a scripted model (that calls tools natively, or by text), an agent and its crew."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

os.environ.update(
    CREWAI_DISABLE_TELEMETRY="true",
    CREWAI_DISABLE_TRACKING="true",
    CREWAI_TRACING_ENABLED="false",
    OTEL_SDK_DISABLED="true",
    CREWAI_STORAGE_DIR=tempfile.mkdtemp(prefix="crewai-"),
)

from crewai import Agent, Crew, Task
from crewai.llms.base_llm import BaseLLM
from crewai.tools import tool as crewai_tool
from pydantic import Field

from kiff_guard.adapters import crewai
from kiff_guard.conformance.driver import Played, Scene, ToolCall

try:
    from crewai.tools.tool_failure import ToolFailure
except ImportError:  # older releases
    ToolFailure = None

TOLD = "Observation:"
NO_IDS = "CrewAI gives its hooks no call ids: the same call again is another call"
THREADS = "CrewAI runs hooks and tools in threads, and a cancelled run leaves them to their end"
REPEATED = "CrewAI itself refuses a call by text that repeats the one before it"
LACKS = {"I1": NO_IDS, "I3": NO_IDS, "I4": NO_IDS, "K1": THREADS, "K2": THREADS}


class ScriptedModel(BaseLLM):
    """Says one turn after the other; a turn is a list of tool calls or a text. It keeps what it was told."""

    turns: list[Any] = Field(default_factory=list)
    said: int = 0
    requests: list[Any] = Field(default_factory=list)
    native: bool = True

    def supports_function_calling(self) -> bool:
        return self.native

    def supports_stop_words(self) -> bool:
        return True

    def call(self, messages: Any, tools: Any = None, **options: Any) -> Any:
        self.requests.append([dict(each) for each in messages] if isinstance(messages, list) else messages)
        turn = self.turns[self.said] if self.said < len(self.turns) else "done"
        self.said += 1
        if isinstance(turn, str):
            return turn if self.native else f"Thought: I know.\nFinal Answer: {turn}"
        return [_native(each) for each in turn] if self.native else _text(turn[0])

    async def acall(self, messages: Any, tools: Any = None, **options: Any) -> Any:
        return self.call(messages, tools)

    def told(self) -> list[str]:
        """What the newest request says of the calls, in their order."""
        newest = self.requests[-1] if self.requests else []
        if self.native:
            return [each["content"] for each in newest if each["role"] == "tool"]
        texts = [
            str(each["content"]) for each in newest if each["role"] == "assistant" and TOLD in str(each["content"])
        ]
        return [text.partition(TOLD)[2].strip() for text in texts]


def scripted(*turns: Any, native: bool = True) -> ScriptedModel:
    return ScriptedModel(model="scripted", turns=list(turns), native=native)


def _native(call: ToolCall) -> dict[str, Any]:
    return {"id": call.call_id, "type": "function", "function": {"name": call.tool, "arguments": json.dumps(call.args)}}


def _text(call: ToolCall) -> str:
    return f"Thought: I act.\nAction: {call.tool}\nAction Input: {json.dumps(call.args)}"


def as_tool(function: Callable[..., Any], name: str = "") -> Any:
    return crewai_tool(name or function.__name__)(function)


def crew(model: ScriptedModel, tools: Sequence[Any], **options: Any) -> Crew:
    """One agent with these tools, and its one task."""
    agent = Agent(role="ops", goal="g", backstory="b", tools=list(tools), llm=model, verbose=False, cache=False)
    task = Task(description="go", expected_output="x", agent=agent)
    return Crew(agents=[agent], tasks=[task], verbose=False, memory=False, **{"cache": False, **options})


def error_tool(order_id: str) -> Any:
    """Fails by its result."""
    return ToolFailure(message=f"the tool broke over {order_id}")


class CrewDriver:
    """`kiff_guard.adapters.crewai` under test.

    Args:
        native: the model calls tools by the means of its interface; else by text, one at a time.
    """

    name = "crewai"
    version = version("crewai")
    stacks = True
    names_errors = True

    def __init__(self, native: bool = True) -> None:
        self.native = native
        self.error_tool = error_tool if ToolFailure else None
        self.lacks = LACKS if native else LACKS | {"C2": REPEATED}

    def play(self, scene: Scene) -> Played:
        return asyncio.run(self._played(scene, lambda crew: asyncio.to_thread(crew.kickoff)))

    async def aplay(self, scene: Scene) -> Played:
        return await self._played(scene, lambda crew: crew.akickoff())

    async def _played(self, scene: Scene, run: Callable[[Crew], Any]) -> Played:
        turns = scene.turns if self.native else [[call] for turn in scene.turns for call in turn]
        model, raised = scripted(*turns, native=self.native), None
        with ExitStack() as hooks:
            for guard in scene.guards:
                hooks.enter_context(crewai.hook(guard))
            try:
                await run(crew(model, [as_tool(function, name) for name, function in scene.tools.items()]))
            except Exception as error:  # noqa: BLE001
                raised = error
        return Played(model.told(), raised)
