"""Plays scenes through DSPy: ReAct, over a language model of its own that answers from a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import dspy
from dspy.utils import DummyLM

from kiff_guard.adapters.dspy import attach
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable


class Dspy:
    """ReAct, which is called or awaited. It makes one call after the other: a turn of several is as many turns."""

    name = "dspy"
    version = version("dspy")
    stacks = True
    names_errors = True
    lacks: Mapping[str, str] = dict.fromkeys(("I1", "I3", "I4"), "DSPy passes its tools no ids of calls")

    def play(self, scene: Scene) -> Played:
        agent, lm = _agent(scene)
        seen: dict[str, Any] = {}
        try:
            with dspy.context(lm=lm, allow_tool_async_sync_conversion=True):
                seen = agent(question="go").trajectory
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(said(seen), error)
        return Played(said(seen))

    async def aplay(self, scene: Scene) -> Played:
        agent, lm = _agent(scene)
        seen: dict[str, Any] = {}
        try:
            with dspy.context(lm=lm):
                seen = (await stoppable(agent.acall(question="go"), scene.cancel)).trajectory
        except BaseException as error:  # noqa: BLE001
            return Played(said(seen), error)
        return Played(said(seen))


def _agent(scene: Scene) -> tuple[dspy.Module, DummyLM]:
    tools = [dspy.Tool(function, name=name) for name, function in scene.tools.items()]
    agent, lm = agent_with(scene.turns, *tools)
    for guard in scene.guards:
        attach(guard, agent)
    return agent, lm


def agent_with(turns: Sequence[Sequence[ToolCall]], *tools: Callable[..., Any]) -> tuple[dspy.Module, DummyLM]:
    """An agent, and the model that asks for the calls."""
    return dspy.ReAct("question -> answer", tools=list(tools)), script(turns)


def script(turns: Sequence[Sequence[ToolCall]]) -> DummyLM:
    calls = [_asked(call.tool, call.args) for turn in turns for call in turn]
    return DummyLM([*calls, _asked("finish", {}), {"reasoning": "told", "answer": "done"}])


def _asked(tool: str, args: Any) -> dict[str, Any]:
    return {"next_thought": "go", "next_tool_name": tool, "next_tool_args": args}


def said(trajectory: Mapping[str, Any]) -> list[str]:
    """What the model was told about its calls."""
    return [
        str(value)
        for name, value in trajectory.items()
        if name.startswith("observation_") and trajectory[name.replace("observation", "tool_name")] != "finish"
    ]


def run(agent: dspy.Module, lm: DummyLM) -> list[str]:
    with dspy.context(lm=lm, allow_tool_async_sync_conversion=True):
        return said(agent(question="go").trajectory)
