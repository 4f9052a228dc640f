"""A tool call of a graph: what is decided of it, how it pauses, and what keeps the tool to what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass, field, replace
from inspect import iscoroutinefunction
from threading import Lock
from types import FunctionType
from typing import Any

from kiff_guard.adapters import ArgumentsDoNotFit, framework
from kiff_guard.decision import Decision, Hold
from kiff_guard.errors import ActionFailed
from kiff_guard.guard import Guard
from kiff_guard.newest import Newest
from kiff_guard.watching import NotRun

ADAPTER = "langgraph"
EXTRA = "langgraph"
PAUSED_LIMIT = 10_000
BOUND = "kiff_bound"
"""On a copy of a tool: the calls that it is bound to."""
FUNCTIONS = ("func", "coroutine", "_run", "_arun")
"""What a tool runs, where middleware could call it without the tool."""
LAST = "the guard has to be the last of the middleware"

_inside: ContextVar[tuple[Any, ...] | None] = ContextVar("kiff_guard_inside", default=None)
"""The guard and the call that are being run around here."""

Handler = Callable[[Any], Any]
Wrapper = Callable[[Any, Handler], Any]


class Seam:
    """Where tool calls pass. It remembers which calls it has paused.

    Args:
        guard, fail_closed, pause: as for `langgraph.hook`.
    """

    def __init__(self, guard: Guard, fail_closed: bool | None, pause: bool | None) -> None:
        self.guard = guard
        self._how: dict[str, Any] = {"fail_closed": fail_closed, "adapter": ADAPTER}
        self._pause = pause
        self._paused: Newest[tuple[str, str, str], dict[str, Any]] = Newest(PAUSED_LIMIT)
        self._steps: dict[str, Step] = {}
        self._lock = Lock()

    def call(self, request: Any, handler: Handler) -> Any:
        """One call, in this thread."""
        call = self._call(request, handler)
        if call.is_inside:
            return handler(request)
        woken, approval_id = self._woken(call), ""
        while True:
            try:
                return self.guard.evaluate(call.tool, call.args, call.runs, **call.which(approval_id), **self._how)
            except Interrupted as stopped:
                raise stopped.error from None
            except (ArgumentsChanged, RanAlready) as refused:
                return call.answer(str(refused))
            except Hold as hold:
                held = hold.decision
            approval_id = "" if woken else self._pauses(call, held)
            if not approval_id:
                return call.answer(held.explain(), held)
            woken = True

    async def acall(self, request: Any, handler: Handler) -> Any:
        """The same in an event loop."""
        call = self._call(request, handler)
        if call.is_inside:
            return await handler(request)
        name = call.step or str(id(call))
        step = self._steps.setdefault(name, Step())
        step.running += 1
        try:
            return await self._acalled(call)
        except _errors().GraphBubbleUp:
            await step.others_end()
            raise
        finally:
            step.left()
            if not step.running:
                self._steps.pop(name, None)

    async def _acalled(self, call: Call) -> Any:
        woken, approval_id = self._woken(call), ""
        while True:
            try:
                which = call.which(approval_id)
                return await self.guard.aevaluate(call.tool, call.args, call.aruns, **which, **self._how)
            except Interrupted as stopped:
                raise stopped.error from None
            except (ArgumentsChanged, RanAlready) as refused:
                return call.answer(str(refused))
            except Hold as hold:
                held = hold.decision
            approval_id = "" if woken else self._pauses(call, held)
            if not approval_id:
                return call.answer(held.explain(), held)
            woken = True

    def _call(self, request: Any, handler: Handler) -> Call:
        return Call.of(request, handler, self.guard)

    def _woken(self, call: Call) -> bool:
        """Is this the resume of a call that was paused here? Its answer is taken, or else an interrupt of the tool's
        own would get it."""
        with self._lock:
            question = self._paused.pop(call.key, None)
        if question is None:
            return False
        try:
            _interrupt(question)
        except (*_no_pause(), _errors().GraphInterrupt):  # it came again without an answer; KIFF may have one
            return False
        self._remember(call, question)
        return True

    def _pauses(self, call: Call, held: Decision) -> str:
        """Pauses the graph, if a person is waited for and it can. It comes back with the approval to ask with where
        the answer is here already, because another process had paused the call; with "" there is no pause."""
        wanted = call.can_resume if self._pause is None else self._pause
        if not (wanted and held.needs_approval and held.approval_id):
            return ""
        question = {"type": "kiff_approval", **held.as_dict(), **call.asked}
        self._remember(call, question)
        try:
            _interrupt(question)
        except _no_pause():
            return ""
        return held.approval_id

    def _remember(self, call: Call, question: dict[str, Any]) -> None:
        with self._lock:
            self._paused[call.key] = question


class Step:
    """The calls that a tool node began together in an event loop. A pause of one cuts the others off where they are,
    and a tool that is cut off may have done its work: so the pause waits for them."""

    def __init__(self) -> None:
        self.running = 0
        self._paused = 0
        self._changed = asyncio.Event()

    def left(self) -> None:
        self.running -= 1
        self._changed.set()

    async def others_end(self) -> None:
        self._paused += 1
        self._changed.set()
        while self.running > self._paused:
            self._changed.clear()
            await self._changed.wait()


class Interrupted(ActionFailed):
    """The tool paused the graph, or left it. It is run again from its beginning, so what it did counts as nothing.

    Args:
        error: the framework's own, which goes on.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class ArgumentsChanged(ActionFailed):
    """Middleware behind the guard handed the tool something else than was decided on: it did not run."""


class RanAlready(Exception):
    """Middleware behind the guard called the tool again. What its first run did is not known."""


@dataclass(frozen=True)
class Call:
    """One tool call as the graph holds it.

    Attributes:
        request: the framework's own.
        handler: goes on to the tool.
        id: the model's id of the call.
        thread: the conversation that the id is unique in; "" without one, and then ids are no more than names.
        step: the graph's own id of what it is doing; the calls of a tool node share it.
        can_resume: the graph has a checkpointer.
        guard: decides it.
        onces: the newest try, if middleware is behind the guard.
    """

    request: Any
    handler: Handler
    id: str
    thread: str
    step: str
    can_resume: bool
    guard: Guard
    onces: list[Once] = field(default_factory=list)

    @classmethod
    def of(cls, request: Any, handler: Handler, guard: Guard) -> Call:
        config = getattr(request.runtime, "config", None) or {}
        settings = config.get("configurable") or {}
        return cls(
            request=request,
            handler=handler,
            id=str(request.tool_call.get("id") or ""),
            thread=_thread(settings),
            step=str(settings.get("__pregel_task_id") or ""),
            can_resume=bool(settings.get("__pregel_checkpointer")),
            guard=guard,
        )

    @property
    def tool(self) -> str:
        return str(self.request.tool_call["name"])

    @property
    def args(self) -> Any:
        return self.request.tool_call.get("args")

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.thread, self.id, self.tool)

    @property
    def is_inside(self) -> bool:
        """The same guard stands further out, and has decided this call."""
        return bool(self.id and self.step) and _inside.get() == self._itself

    @property
    def _itself(self) -> tuple[Any, ...]:
        """No other call is this one: small models number their calls, and a sub-agent's begin at the same number."""
        return (id(self.guard), self.step, self.id, self.tool, self.args)

    @property
    def binds(self) -> bool:
        """The tool must be kept to what is decided, because other middleware stands before it."""
        return self.guard.mode == "enforce" and not _goes_to_the_tool(self.handler)

    @property
    def asked(self) -> dict[str, Any]:
        """The call, for the person who is asked."""
        return {"tool": self.tool, "args": self.args, "tool_call_id": self.id}

    def which(self, approval_id: str) -> dict[str, Any]:
        return {
            "call_id": self.id or None,
            "session": self.thread or None,
            "approval_id": approval_id or None,
            "failed": self._failed,
        }

    def runs(self) -> Any:
        outside = _inside.set(self._itself)
        try:
            request, handler = self._bound()
            return handler(request)
        except _errors().GraphBubbleUp as error:
            raise Interrupted(error) from None
        finally:
            _inside.reset(outside)

    async def aruns(self) -> Any:
        outside = _inside.set(self._itself)
        try:
            request, handler = self._bound()
            return await handler(request)
        except _errors().GraphBubbleUp as error:
            raise Interrupted(error) from None
        finally:
            _inside.reset(outside)

    def answer(self, text: str, decision: Decision | None = None) -> Any:
        """What the model is told instead of a result. What programs may want to know is in `artifact`."""
        return framework("langchain_core.messages", extra=EXTRA).ToolMessage(
            text,
            tool_call_id=self.id,
            name=self.tool,
            status="error",
            artifact=None if decision is None else {"kiff": decision.as_dict()},
        )

    def _failed(self, result: Any) -> Any:
        """Errors that the model is told: of the tool, or of a call that never reached it."""
        if any(once.was_answered_elsewhere for once in self.onces):
            return NotRun("middleware behind the guard answered")
        if getattr(result, "status", None) != "error":
            return ""
        if self._never_began():
            return ArgumentsDoNotFit(ValueError(str(getattr(result, "content", ""))))
        return "the tool told an error"

    def _never_began(self) -> bool:
        """There is no such tool, or it does not take these arguments."""
        tool = self.request.tool
        if tool is None:
            return _goes_to_the_tool(self.handler)
        return not _fits(tool, self.args or {})

    def _bound(self) -> tuple[Any, Handler]:
        """The request whose tools run with what was decided on and nothing else, whatever middleware is behind, and
        the handler that lets no other tool through."""
        if not self.binds:
            return self.request, self.handler
        once = Once(self.tool, deepcopy(self.args or {}))
        self.onces[:] = [once]
        request, named = self.request, {}
        if request.tool is not None:
            named["tool"] = once.bound(request.tool)
        if getattr(request.runtime, "tools", None):
            named["runtime"] = replace(request.runtime, tools=[once.bound(tool) for tool in request.runtime.tools])
        return replace(request, **named), once.kept(self.handler)


class Once:
    """A call that was decided on: its tool runs once, with these arguments.

    Args:
        tool: its name.
        args: a copy of the arguments that nobody else holds.
    """

    def __init__(self, tool: str, args: dict[str, Any]) -> None:
        self._tool = tool
        self._args = args
        self._ran = False
        self._sees_all = False

    @property
    def was_answered_elsewhere(self) -> bool:
        """The tool did not run, and no other could: middleware gave the result, from a cache or of its own."""
        return self._sees_all and not self._ran

    def bound(self, tool: Any) -> Any:
        """A copy of a tool that does so."""

        def invoke(given: Any, config: Any = None, **more: Any) -> Any:
            self._check(tool, given)
            return tool.invoke(given, config, **more)

        async def ainvoke(given: Any, config: Any = None, **more: Any) -> Any:
            self._check(tool, given)
            return await tool.ainvoke(given, config, **more)

        def run(given: Any, *rest: Any, **more: Any) -> Any:
            self._check(tool, {"args": given})
            return tool.run(given, *rest, **more)

        async def arun(given: Any, *rest: Any, **more: Any) -> Any:
            self._check(tool, {"args": given})
            return await tool.arun(given, *rest, **more)

        bound = tool.model_copy()
        for each in (invoke, ainvoke, run, arun):
            object.__setattr__(bound, each.__name__, each)
        for name in FUNCTIONS:
            if callable(getattr(bound, name, None)):
                object.__setattr__(bound, name, self._past_the_tool)
        object.__setattr__(bound, BOUND, (*getattr(tool, BOUND, ()), self))
        return bound

    def kept(self, handler: Handler) -> Handler:
        """A handler like this one, which lets no tool through but those that are bound. LangChain hands what runs a
        tool on from one middleware to the next. As it is, where somebody else composed it."""
        held = _held(handler)
        if held is None:
            return handler
        inner, execute = held
        self._sees_all = True

        def only_bound(request: Any) -> Any:
            if request.tool is not None and self not in getattr(request.tool, BOUND, ()):
                raise ArgumentsChanged(f"KIFF withheld `{self._tool}`: another tool was put in its place; {LAST}")
            return execute(request)

        async def aonly_bound(request: Any) -> Any:
            return await only_bound(request)

        last = aonly_bound if iscoroutinefunction(execute) else only_bound
        return lambda request: inner(request, last)

    def _past_the_tool(self, *_: Any, **__: Any) -> Any:
        raise ArgumentsChanged(f"KIFF withheld `{self._tool}`: its function was called past the tool; {LAST}")

    def _check(self, tool: Any, given: Any) -> None:
        if self._ran:
            raise RanAlready(f"KIFF withheld `{self._tool}`: it ran, and was not decided on again; {LAST}")
        if tool.name != self._tool or not _same(tool, self._args, given):
            raise ArgumentsChanged(f"KIFF withheld `{self._tool}`: it was changed after it was decided on; {LAST}")
        self._ran = True


def _held(handler: Handler) -> tuple[Any, Any] | None:
    """The middleware behind the guard, and what runs the tool, as LangChain's chain of middleware holds them."""
    if not isinstance(handler, FunctionType) or handler.__module__ != "langchain.agents.factory":
        return None
    cells = zip(handler.__code__.co_freevars, handler.__closure__ or (), strict=True)
    held = {name: cell.cell_contents for name, cell in cells}
    return (held["inner"], held["execute"]) if held.keys() == {"inner", "execute"} else None


def _thread(settings: dict[str, Any]) -> str:
    """A sub-agent has a conversation of its own, within the call that started it."""
    thread, above = settings.get("thread_id"), str(settings.get("checkpoint_ns") or "").rpartition("|")[0]
    if not thread:
        return ""
    return f"{thread}/{above}" if above else str(thread)


def _goes_to_the_tool(handler: Handler) -> bool:
    """Nothing stands between the guard and the tool node."""
    name = getattr(handler, "__qualname__", "")
    return name.endswith(("ToolNode._run_one.<locals>.execute", "ToolNode._arun_one.<locals>.execute"))


def _fits(tool: Any, args: dict[str, Any]) -> bool:
    """Does the framework call the tool with these? Where it cannot be known, it does."""
    schema = tool.tool_call_schema
    if isinstance(schema, dict):
        return True
    try:
        schema.model_validate(args)
    except ValueError:
        return False
    return True


def _same(tool: Any, decided: dict[str, Any], given: Any) -> bool:
    """What the graph itself passes to a tool, such as its state, is no part of a call."""
    named = given.get("args", {}) if isinstance(given, dict) else {}
    schema = tool.tool_call_schema
    asked = schema.get("properties", {}) if isinstance(schema, dict) else schema.model_fields
    return all(name in named for name in decided) and all(
        name in decided and named[name] == decided[name] for name in named if name in asked or name in decided
    )


def _errors() -> Any:
    return framework("langgraph.errors", extra=EXTRA)


def _interrupt(question: dict[str, Any]) -> Any:
    return framework("langgraph.types", extra=EXTRA).interrupt(question)


def _no_pause() -> tuple[type[Exception], ...]:
    """What an interrupt says where there is no graph around it; before Python 3.11 an event loop hides the graph."""
    return (RuntimeError, KeyError)
