"""Plays scenes through smolagents: both kinds of agents, over a model of its own kind that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from inspect import Parameter, signature
from typing import Any

from smolagents import CodeAgent, LogLevel, Model, Tool, ToolCallingAgent
from smolagents.models import ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole

from kiff_guard.adapters.smolagents import attach
from kiff_guard.conformance import Played, Scene, ToolCall

END = "the end"
KINDS = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


class Script(Model):
    """What the model asks, turn by turn, and what it was told after each turn."""

    def __init__(self, turns: Sequence[Any]) -> None:
        super().__init__(model_id="scripted")
        self.turns = list(turns)
        self.next = 0
        self.told: list[str] = []

    def generate(self, messages: Any, *given: Any, **named: Any) -> ChatMessage:
        self.reads(messages)
        turn = self.turns[self.next] if self.next < len(self.turns) else None
        self.next += 1
        return self.asked(turn)

    def reads(self, messages: Any) -> None:
        """The last message tells of the turn before."""
        if self.next:
            content = messages[-1].content
            self.told.append(content if isinstance(content, str) else "\n".join(each["text"] for each in content))

    def asked(self, turn: Any) -> ChatMessage:
        raise NotImplementedError


class Calls(Script):
    """Asks for calls, as a model does that has them in its protocol."""

    def asked(self, turn: Sequence[ToolCall] | None) -> ChatMessage:
        calls = turn or [ToolCall("final_answer", {"answer": END}, "call-end")]
        asked = [
            ChatMessageToolCall(
                id=call.call_id,
                type="function",
                function=ChatMessageToolCallFunction(name=call.tool, arguments=dict(call.args)),
            )
            for call in calls
        ]
        return ChatMessage(role=MessageRole.ASSISTANT, content="", tool_calls=asked)


class Code(Script):
    """Writes code that makes the calls; a turn may be code already."""

    def asked(self, turn: Any) -> ChatMessage:
        code = turn if isinstance(turn, str) else "\n".join(_written(call) for call in turn or ())
        content = f"Thought: go\n<code>\n{code or f'final_answer({END!r})'}\n</code>"
        return ChatMessage(role=MessageRole.ASSISTANT, content=content)


def _written(call: ToolCall) -> str:
    named = ", ".join(f"{name}={json.loads(json.dumps(value))!r}" for name, value in call.args.items())
    return f"print({call.tool}({named}))"


def as_tool(name: str, function: Callable[..., Any]) -> Tool:
    """A tool of smolagents, as its users write one, over a plain function."""
    hints, parameters = function.__annotations__, signature(function).parameters.values()
    return type(
        "PlainTool",
        (Tool,),
        {
            "name": name,
            "description": function.__doc__ or "A tool.",
            "inputs": {each.name: _input(each, hints.get(each.name)) for each in parameters},
            "output_type": "any",
            "skip_forward_signature_validation": True,
            "forward": lambda self, *args, **named: function(*args, **named),
        },
    )()


def _input(parameter: Parameter, hint: Any) -> dict[str, Any]:
    told = {"type": _kind(hint), "description": parameter.name}
    return told if parameter.default is Parameter.empty else {**told, "nullable": True}


def _kind(hint: Any) -> str:
    text = hint if isinstance(hint, str) else getattr(hint, "__name__", "any")
    return {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}.get(text.split("[")[0], "any")


class Smolagents:
    """The agent that calls tools by name."""

    name = "smolagents"
    version = version("smolagents")
    stacks = True
    names_errors = True
    lacks: Mapping[str, str] = {}
    agent: Any = ToolCallingAgent
    script: Any = Calls

    def play(self, scene: Scene) -> Played:
        agent, script = self.agent_with(scene.turns, *(as_tool(*each) for each in scene.tools.items()))
        for guard in scene.guards:
            attach(guard, agent)
        try:
            agent.run("go")
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(script.told, error)
        return Played(script.told)

    def agent_with(self, turns: Sequence[Any], *tools: Tool, **more: Any) -> tuple[Any, Script]:
        script = self.script(turns)
        agent = self.agent(tools=list(tools), model=script, verbosity_level=LogLevel.OFF, **more)
        return agent, script


class SmolagentsCode(Smolagents):
    """The agent whose model writes code that calls tools."""

    name = "smolagents (code)"
    agent = CodeAgent
    script = Code
    lacks: Mapping[str, str] = dict.fromkeys(("I1", "I3", "I4"), "code that a model wrote gives its calls no ids")
