"""Plays scenes through Semantic Kernel: an agent of its own, over a service of its own that answers from a script."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from pydantic import Field
from scripts import Awaited, Scripted
from semantic_kernel import Kernel
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.chat_completion_client_base import ChatCompletionClientBase
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.prompt_execution_settings import PromptExecutionSettings
from semantic_kernel.contents import (
    ChatHistory,
    ChatMessageContent,
    FunctionCallContent,
    FunctionResultContent,
    StreamingChatMessageContent,
    TextContent,
)
from semantic_kernel.functions import kernel_function

from kiff_guard.adapters.semantic_kernel import attach
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable

PLUGIN = "shop"


class Script(Scripted, ChatCompletionClientBase):
    """What the model asks, turn by turn, and what it was told about each call."""

    SUPPORTS_FUNCTION_CALLING = True
    turns: list[list[Any]] = Field(default_factory=list)
    told: dict[str, str] = Field(default_factory=dict)
    next: int = 0

    async def _inner_get_chat_message_contents(self, chat_history: Any, settings: Any) -> list[ChatMessageContent]:
        return [ChatMessageContent(role="assistant", items=self.answer(chat_history))]

    async def _inner_get_streaming_chat_message_contents(
        self, chat_history: Any, settings: Any, function_invoke_attempt: int = 0
    ) -> AsyncGenerator[list[StreamingChatMessageContent], Any]:
        items = self.answer(chat_history)
        if isinstance(items[0], TextContent):
            message = StreamingChatMessageContent(role="assistant", choice_index=0, content="done")
        else:
            message = StreamingChatMessageContent(role="assistant", choice_index=0, items=items)
        yield [message]

    def answer(self, chat_history: Any) -> list[Any]:
        self.reads(*chat_history.messages)
        turn = self.take()
        return [_asked(call) for call in turn] or [TextContent(text="done")]

    def reads(self, *messages: Any) -> None:
        for message in messages:
            for item in message.items:
                if isinstance(item, FunctionResultContent):
                    self.told[item.id] = str(item.result)

    def _update_function_choice_settings_callback(self) -> Callable[..., None]:
        return lambda *given, **named: None

    def _verify_function_choice_settings(self, settings: Any) -> None:
        pass

    def _reset_function_choice_settings(self, settings: Any) -> None:
        settings.function_choice_behavior = None


def _asked(call: ToolCall) -> FunctionCallContent:
    name = call.tool if "-" in call.tool else f"{PLUGIN}-{call.tool}"
    return FunctionCallContent(id=call.call_id, name=name, arguments=json.dumps(call.args))


class SemanticKernel(Awaited):
    """The filter, on the kernel of an agent. There is no synchronous way: `play` runs a loop of its own."""

    name = "semantic-kernel"
    version = version("semantic-kernel")
    streams = True
    stacks = True
    names_errors = True
    lacks: Mapping[str, str] = {}

    async def aplay(self, scene: Scene) -> Played:
        agent, script = agent_with(scene.turns, *(kernel_function(tool, name) for name, tool in scene.tools.items()))
        for guard in scene.guards:
            attach(guard, agent, tool_name=lambda function: function.name)
        try:
            script.reads(*await stoppable(self.run(agent), scene.cancel))
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            return Played(script.said(), error)
        return Played(script.said())

    async def run(self, agent: ChatCompletionAgent) -> list[Any]:
        return [(await agent.get_response("go")).message]


class SemanticKernelStreamed(SemanticKernel):
    """The same, read piece by piece."""

    name = "semantic-kernel (streamed)"

    async def run(self, agent: ChatCompletionAgent) -> list[Any]:
        return [each.message async for each in agent.invoke_stream("go")]


class SemanticKernelService(SemanticKernel):
    """The filter, on the kernel that a chat service is given: nobody's agent."""

    name = "semantic-kernel (service)"

    async def run(self, agent: ChatCompletionAgent) -> list[Any]:
        history = ChatHistory()
        history.add_user_message("go")
        await agent.service.get_chat_message_contents(history, settings(), kernel=agent.kernel)
        return history.messages


def agent_with(
    turns: Sequence[Sequence[ToolCall]], *tools: Callable[..., Any], **more: Any
) -> tuple[ChatCompletionAgent, Script]:
    """An agent over a scripted service, with the tools in one plugin, and the script."""
    script = Script(ai_model_id="scripted", turns=[list(turn) for turn in turns])
    agent = ChatCompletionAgent(
        service=script,
        kernel=kernel_with(*tools),
        name=more.pop("name", "agent"),
        function_choice_behavior=FunctionChoiceBehavior.Auto(),
        **more,
    )
    return agent, script


def kernel_with(*tools: Callable[..., Any]) -> Kernel:
    kernel = Kernel()
    for tool in tools:
        function = tool if hasattr(tool, "__kernel_function__") else kernel_function(tool)
        kernel.add_function(plugin_name=PLUGIN, function=function)
    return kernel


def settings() -> PromptExecutionSettings:
    return PromptExecutionSettings(function_choice_behavior=FunctionChoiceBehavior.Auto())
