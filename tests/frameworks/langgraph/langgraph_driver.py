"""Plays scenes through LangChain and LangGraph: agents, and graphs of one's own, over a scripted model."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib.metadata import version
from typing import Any

os.environ["LANGSMITH_TRACING"] = "false"

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command
from pydantic import Field
from scripts import Scripted

from kiff_guard.adapters.langgraph import attach, hook, wrappers
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable

GO = {"messages": [("user", "go")]}


class Script(Scripted, BaseChatModel):
    """What the model asks, turn by turn, and what it was told about each call."""

    turns: list[list[ToolCall]] = Field(default_factory=list)
    told: dict[str, str] = Field(default_factory=dict)
    next: int = 0

    @property
    def _llm_type(self) -> str:
        return "script"

    def bind_tools(self, tools: Any, **more: Any) -> Any:
        return self

    def _generate(self, messages: list[Any], stop: Any = None, run_manager: Any = None, **more: Any) -> ChatResult:
        self.reads(messages)
        turn = self.take()
        asked = [{"name": call.tool, "args": dict(call.args), "id": call.call_id, "type": "tool_call"} for call in turn]
        return ChatResult(generations=[ChatGeneration(message=AIMessage("" if turn else "done", tool_calls=asked))])

    def reads(self, messages: list[Any]) -> None:
        for message in messages:
            if isinstance(message, ToolMessage):
                self.told[message.tool_call_id] = str(message.content)


def script_of(turns: Sequence[Sequence[ToolCall]]) -> Script:
    return Script(turns=[list(turn) for turn in turns])


def as_tool(name: str, function: Callable[..., Any]) -> Any:
    """A tool for both ways: LangChain runs no coroutine in a thread."""
    if not inspect.iscoroutinefunction(function):
        return StructuredTool.from_function(function, name=name)

    @wraps(function)
    def waits(*given: Any, **named: Any) -> Any:
        return asyncio.run(function(*given, **named))

    return StructuredTool.from_function(waits, coroutine=function, name=name)


def error_tool(order_id: str) -> str:
    """Told in the end by the node: a tool that says by its message that it failed."""
    return ToolMessage("card network down", tool_call_id="call-1", status="error")  # type: ignore[return-value]


class _Played:
    """What every way of playing has in common: an agent per scene, and the answers to its pauses."""

    version = version("langgraph")
    lacks: Mapping[str, str] = {"H8": "what a graph is resumed with is no yes and no no: a no is said in KIFF"}
    error_tool = staticmethod(error_tool)
    stacks = True
    names_errors = True

    def agent(self, scene: Scene, script: Script) -> Any:
        raise NotImplementedError

    def play(self, scene: Scene) -> Played:
        script = script_of(scene.turns)
        return self._run(self.guarded(scene, script), script, scene, GO)

    async def aplay(self, scene: Scene) -> Played:
        script = script_of(scene.turns)
        return await self._arun(self.guarded(scene, script), script, scene, GO)

    def guarded(self, scene: Scene, script: Script) -> Any:
        """The agent, with every guard behind the first attached to it."""
        agent = self.agent(scene, script)
        for guard in scene.also:
            attach(guard, agent)
        return agent

    def _run(self, agent: Any, script: Script, scene: Scene, given: Any) -> Played:
        try:
            state = agent.invoke(given, config_of(scene))
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(script.said(), error)
        return self._played(state, script, lambda answer: self._run(agent, script, scene, answer))

    async def _arun(self, agent: Any, script: Script, scene: Scene, given: Any) -> Played:
        try:
            state = await stoppable(agent.ainvoke(given, config_of(scene)), scene.cancel)
        except BaseException as error:  # noqa: BLE001
            return Played(script.said(), error)
        return self._played(state, script, lambda answer: asyncio.run(self._arun(agent, script, scene, answer)))

    def _played(self, state: Any, script: Script, go_on: Callable[[Any], Played]) -> Played:
        script.reads(state["messages"])
        pauses = state.get("__interrupt__", ())
        if not pauses:
            return Played(script.said())

        def resume(yes: bool) -> Played:
            return go_on(Command(resume={pause.id: {"approved": yes} for pause in pauses}))

        return Played(script.said(), None, [pause.value["approval_id"] for pause in pauses], resume)


class Agent(_Played):
    """The middleware, on an agent with a checkpointer."""

    name = "langgraph"

    def agent(self, scene: Scene, script: Script) -> Any:
        tools = [as_tool(name, function) for name, function in scene.tools.items()]
        return create_agent(script, tools, middleware=[hook(scene.guard)], checkpointer=InMemorySaver())


class Graph(_Played):
    """The wrappers, on the tool node of a graph of one's own: all calls of a turn are one step of it."""

    name = "langgraph (tool node)"

    def agent(self, scene: Scene, script: Script) -> Any:
        tools = [as_tool(name, function) for name, function in scene.tools.items()]
        return graph_of(script, ToolNode(tools, **wrappers(scene.guard)), InMemorySaver())


def graph_of(script: Script, node: Any, checkpointer: Any = None) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [script.invoke(state["messages"])]})
    graph.add_node("tools", node)
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=checkpointer)


def config_of(scene: Scene) -> dict[str, Any]:
    return {"configurable": {"thread_id": scene.session}}
