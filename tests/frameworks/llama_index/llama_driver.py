"""Plays scenes through LlamaIndex: a scripted model, an agent alone or in a workflow, and its waiting for events."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata, MessageRole
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import FunctionTool, ToolOutput
from llama_index.core.workflow import Context, HumanResponseEvent, InputRequiredEvent
from pydantic import Field
from scripts import Awaited

from kiff_guard.adapters import llama_index
from kiff_guard.conformance.driver import Played, Scene, ToolCall

TICK_SECONDS = 0.005


class ScriptedModel(FunctionCallingLLM):
    """Says one turn after the other; a turn is a list of tool calls or a text. It keeps what it was told."""

    turns: list[Any] = Field(default_factory=list)
    said: int = 0
    requests: list[Any] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_chat_model=True, is_function_calling_model=True, model_name="scripted")

    def chat(self, messages: Sequence[ChatMessage], **options: Any) -> ChatResponse:
        self.requests.append(list(messages))
        turn = self.turns[self.said] if self.said < len(self.turns) else "done"
        self.said += 1
        if isinstance(turn, str):
            return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=turn))
        said = {"tool_calls": [asdict(call) for call in turn]}
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content="", additional_kwargs=said))

    async def achat(self, messages: Sequence[ChatMessage], **options: Any) -> ChatResponse:
        return self.chat(messages)

    def stream_chat(self, messages: Sequence[ChatMessage], **options: Any) -> Any:
        yield self.chat(messages)

    async def astream_chat(self, messages: Sequence[ChatMessage], **options: Any) -> Any:
        async def pieces() -> Any:
            yield self.chat(messages)

        return pieces()

    def complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponse:
        return CompletionResponse(text="done")

    async def acomplete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponse:
        return self.complete(prompt)

    def stream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
        yield self.complete(prompt)

    async def astream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
        raise NotImplementedError

    def _prepare_chat_with_tools(
        self, tools: Any, user_msg: Any = None, chat_history: Any = None, **options: Any
    ) -> dict[str, Any]:
        return {"messages": list(chat_history or []) + ([user_msg] if user_msg else [])}

    def get_tool_calls_from_response(self, response: ChatResponse, *about: Any, **options: Any) -> list[ToolSelection]:
        calls = [ToolCall(**each) for each in response.message.additional_kwargs.get("tool_calls", [])]
        return [ToolSelection(tool_id=each.call_id, tool_name=each.tool, tool_kwargs=each.args) for each in calls]

    def told(self) -> dict[str, str]:
        """What the newest request says of each call, by the call's id."""
        answers = [each for each in (self.requests[-1] if self.requests else []) if each.role == MessageRole.TOOL]
        return {each.additional_kwargs["tool_call_id"]: each.content or "" for each in answers}


def scripted(*turns: Any) -> ScriptedModel:
    return ScriptedModel(turns=list(turns))


def as_tool(function: Callable[..., Any], name: str | None = None) -> FunctionTool:
    """A tool that may also answer with an output of its own."""
    kind = "async_fn" if asyncio.iscoroutinefunction(function) else "fn"
    return FunctionTool.from_defaults(**{kind: function}, name=name, callback=_own_output)


def _own_output(result: Any) -> ToolOutput | None:
    return result if isinstance(result, ToolOutput) else None


def alone(
    model: ScriptedModel, tools: Sequence[Any], guard: Any = None, *, streaming: bool = False, **options: Any
) -> FunctionAgent:
    """An agent that runs by itself."""
    agent = FunctionAgent(name="root", description="root", tools=list(tools), llm=model, streaming=streaming, **options)
    return llama_index.attach(guard, agent) if guard is not None else agent


def workflow(
    model: ScriptedModel, tools: Sequence[Any], guard: Any = None, *, streaming: bool = False, **options: Any
) -> AgentWorkflow:
    """The same agent in a workflow."""
    made = AgentWorkflow(agents=[alone(model, tools, streaming=streaming)], **options)
    return llama_index.attach(guard, made) if guard is not None else made


@dataclass(frozen=True)
class Kept:
    """A run that waits, as its application would store it."""

    context: dict[str, Any]
    memory: Any
    asked: list[InputRequiredEvent]


@dataclass
class Run:
    """A run that can wait for a person and be gone on with."""

    handler: Any
    asked: list[InputRequiredEvent] = field(default_factory=list)
    raised: BaseException | None = None
    result: Any = None
    open: int = 0
    ended: Any = None
    followed: Any = None

    @classmethod
    def of(cls, agent: Any, **start: Any) -> Run:
        run = cls(agent.run(**(start or {"user_msg": "go"})))
        run.ended = asyncio.ensure_future(run._to_the_end())
        run.followed = asyncio.ensure_future(run._follow())
        return run

    @classmethod
    async def again(cls, agent: Any, kept: Kept) -> Run:
        """A run that was kept while it waited, gone on with: in another loop, or in another process."""
        run = cls.of(agent, ctx=Context.from_dict(agent, kept.context))
        await run.handler.ctx.store.set("memory", kept.memory)
        run.asked = kept.asked
        return run

    async def go(self, cancel: threading.Event | None = None) -> None:
        """On to its end, or until every call of the turn has ended or waits for a person."""
        while not self.ended.done() and not self._waits():
            await asyncio.wait({self.ended}, timeout=TICK_SECONDS)
            if cancel is not None and cancel.is_set():
                cancel = None
                await self.handler.cancel_run()

    def answer(self, approved: bool) -> None:
        asked, self.asked = self.asked, []
        for event in asked:
            self.handler.ctx.send_event(HumanResponseEvent(approval_id=event.approval_id, approved=approved))

    def _waits(self) -> bool:
        return bool(self.asked) and len(self.asked) == self.open

    async def keep(self) -> Kept:
        """What there is to go on with; this run ends here."""
        with warnings.catch_warnings(action="ignore"):  # of what LlamaIndex does not write down: the memory
            context = self.handler.ctx.to_dict()
        kept = Kept(context, await self.handler.ctx.store.get("memory"), self.asked)
        await self.handler.cancel_run()
        await asyncio.wait({self.ended})
        return kept

    async def _to_the_end(self) -> None:
        try:
            self.result = await self.handler
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            self.raised = error

    async def _follow(self) -> None:
        async for event in self.handler.stream_events():
            if isinstance(event, AgentOutput):
                self.open = len(event.tool_calls)
            elif isinstance(event, ToolCallResult):
                self.open -= 1
            elif isinstance(event, InputRequiredEvent):
                self.asked.append(event)


def error_tool(order_id: str) -> ToolOutput:
    """Fails by its result."""
    text = f"the tool broke over {order_id}"
    return ToolOutput(content=text, tool_name="error_tool", raw_input={}, raw_output=text, is_error=True)


class LlamaDriver(Awaited):
    """`kiff_guard.adapters.llama_index` under test.

    Args:
        made: makes the guarded agent of a model and tools: `alone` or `workflow`.
        streamed: what the model says comes piece by piece.
    """

    version = version("llama-index-core")
    stacks = True
    names_errors = "exception" in ToolOutput.model_fields
    error_tool: Callable[..., Any] = staticmethod(error_tool)

    def __init__(self, made: Callable[..., Any] = workflow, *, streamed: bool = False) -> None:
        self.name = "llama-index (streamed)" if streamed else "llama-index"
        self.made = made
        self.streamed = streamed
        self.lacks: dict[str, str] = {}

    async def aplay(self, scene: Scene) -> Played:
        model = scripted(*scene.turns)
        tools = [as_tool(function, name) for name, function in scene.tools.items()]
        agent = self.made(model, tools, streaming=self.streamed)
        for guard in scene.guards:
            llama_index.attach(guard, agent)
        return await self._played(scene, model, agent, Run.of(agent))

    async def _played(self, scene: Scene, model: ScriptedModel, agent: Any, run: Run) -> Played:
        await run.go(scene.cancel)
        told = [text for _, text in sorted(model.told().items())]
        if not run.asked:
            return Played(told, run.raised)
        kept = await run.keep()

        async def resumed(yes: bool) -> Played:
            again = await Run.again(agent, kept)
            again.answer(yes)
            return await self._played(scene, model, agent, again)

        return Played(told, None, [event.approval_id for event in kept.asked], lambda yes: asyncio.run(resumed(yes)))
