"""Strands: a hook that puts the guard around the one tool that is about to be called.

Its rule: what is decided is what is executed. The hook asks nobody; it wraps the tool that is chosen, and every other
that a hook or a middleware behind it puts in its place, so the question is asked when the tool is really called, with
the arguments its function gets. Approvals are Strands' own interrupts.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

from kiff_guard.adapters import ArgumentsDoNotFit, framework
from kiff_guard.adapters.holding import started_by
from kiff_guard.arguments import same
from kiff_guard.decision import ERROR, OBSERVED, Decision
from kiff_guard.guard import Guard
from kiff_guard.newest import Newest

ADAPTER = "strands"
EXTRA = "strands"
INTERRUPT = "kiff"
"""The name of the interrupt that a held call raises. Its `reason` is the decision: `approval_id` is in it."""
NO = ("n", "no", "deny", "denied", "reject", "rejected", "false")
PAUSED_LIMIT = 10_000
GUARDING = "kiff_guarding"
"""On an event: the hooks that want to be around whatever tool is put into it."""

log = logging.getLogger("kiff_guard")


def hook(guard: Guard, *, fail_closed: bool | None = None) -> Any:
    """The hook provider that guards an agent's tools: `Agent(hooks=[..., hook(guard)])`, the last one.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
    """
    return Hooks(guard, fail_closed)


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None) -> Any:
    """Guards an agent that is there already, and the agents below it: those that are tools, a graph's, a swarm's, and
    those that a tool's function names or holds. Returns it.

    An agent that a function comes by in another way is one of its own: attach it, too.
    """
    seen: set[int] = set()
    left = [agent]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        nodes = getattr(each, "nodes", None)
        if isinstance(nodes, dict):
            left += [getattr(node, "executor", node) for node in nodes.values()]
            continue
        each.hooks.add_hook(hook(guard, fail_closed=fail_closed))
        left += [below for tool in each.tool_registry.registry.values() for below in _below(tool)]
    return agent


def _below(tool: Any) -> list[Any]:
    if hasattr(tool, "agent"):
        return [tool.agent]
    return list(started_by(getattr(tool, "_tool_func", None), _runs_by_itself))


def _runs_by_itself(value: Any) -> bool:
    """Is it an agent, a graph or a swarm?"""
    is_agent = hasattr(value, "tool_registry") and hasattr(value, "hooks")
    return is_agent or (isinstance(getattr(value, "nodes", None), dict) and hasattr(type(value), "invoke_async"))


def kiff_hook_provider(guard: Guard, fail_closed: bool | None = None) -> Any:
    """The name of kiff-guard 1.x for `hook`."""
    return hook(guard, fail_closed=fail_closed)


def kiff_before_tool_call(guard: Guard, fail_closed: bool | None = None) -> Callable[[Any], None]:
    """The callback of kiff-guard 1.x: `agent.hooks.add_callback(BeforeToolCallEvent, kiff_before_tool_call(guard))`."""
    hooks = Hooks(guard, fail_closed)

    def callback(event: Any) -> None:
        if hasattr(event, "selected_tool"):
            hooks.before(event)
            return
        tool_use = event.tool_use
        decision = guard.decide_only(
            tool_use["name"], tool_use.get("input"), fail_closed=fail_closed, settles=False, adapter=ADAPTER
        )
        if decision.withheld:
            event.cancel_tool = decision.explain()

    return callback


class Hooks:
    """A hook provider of Strands'. The two callbacks share nothing but what stands here."""

    def __init__(self, guard: Guard, fail_closed: bool | None = None) -> None:
        self.guard = guard
        self.fail_closed = fail_closed
        self.paused: Newest[str, bool] = Newest(PAUSED_LIMIT)

    def register_hooks(self, registry: Any, **_: Any) -> None:
        hooks = framework("strands.hooks", extra=EXTRA)
        order = getattr(framework("strands.hooks.registry", extra=EXTRA), "HookOrder", None)
        if order is not None:
            registry.add_callback(hooks.BeforeToolCallEvent, self.before, order=order.SDK_LAST)
            return
        # Before 1.4x the order is that of registration, and live sessions have an event of their own.
        live = getattr(framework("strands.experimental.hooks", extra=EXTRA), "BidiBeforeToolCallEvent", None)
        for event in (hooks.BeforeToolCallEvent, *([] if live is None else [live])):
            registry.add_callback(event, self.before)

    def before(self, event: Any) -> None:
        """Wraps the tool, and any that is put in its place from now on."""
        tool = event.selected_tool
        guarding = vars(event).setdefault(GUARDING, [])
        if self not in guarding:
            guarding.append(self)
            kind: Any = type(event)
            object.__setattr__(event, "__class__", _watchful(kind))
        event.selected_tool = tool
        self._go_innermost(event.agent)

    def around(self, tool: Any) -> Any:
        """The tool, guarded. One that does not exist is Strands' to refuse."""
        return GuardedTool(tool, self) if _acts(tool) and not self._wraps(tool) else tool

    def _go_innermost(self, agent: Any) -> None:
        """Middleware may put another tool in a tool's place, and it runs behind all hooks: ours is behind it."""
        registry = getattr(agent, "_middleware_registry", None)
        if registry is None:  # before 1.4x there is none
            return
        stage = framework("strands.middleware", extra=EXTRA).ExecuteToolStage
        known = registry._handlers.get(stage, ())
        if known and known[-1].handler == self.execute:
            return
        registry._handlers[stage] = [each for each in known if each.handler != self.execute]
        registry.add_middleware(stage, self.execute)

    async def execute(self, context: Any, go_on: Callable[[Any], Any]) -> AsyncIterator[Any]:
        """The middleware next to the tool."""
        guarded = self.around(context.tool)
        async for event in go_on(context if guarded is context.tool else context.replace(tool=guarded)):
            yield event

    def _wraps(self, tool: Any) -> bool:
        while type(tool) is GuardedTool:
            if tool.kiff.guard is self.guard:
                return True
            tool = tool.inner
        return False

    async def decide(self, tool: str, args: Any, tool_use: Any, agent: Any) -> Decision:
        try:
            return await self.guard.adecide_only(
                tool,
                args,
                call_id=_call_id(tool_use),
                session=_session(agent),
                fail_closed=self.fail_closed,
                adapter=ADAPTER,
            )
        except (KeyboardInterrupt, SystemExit, CancelledError):
            raise
        except BaseException as error:  # a guard that breaks has allowed nothing
            log.exception("the guard failed at `%s`", tool)
            outcome = OBSERVED if self.guard.mode == "observe" else ERROR
            return Decision(outcome, f"guard_failed: {type(error).__name__}", tool=tool)


class GuardedTool:
    """A tool of Strands' with the guard around its body. To everything else it is that tool."""

    def __init__(self, inner: Any, kiff: Hooks) -> None:
        self.inner = inner
        self.kiff = kiff

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # `isinstance` asks this one: Strands treats some kinds of tools in their own way
        return self.inner.__class__

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def stream(self, tool_use: Any, invocation_state: dict[str, Any], **kwargs: Any) -> AsyncIterator[Any]:
        """Calls the tool, if KIFF lets it run; else what Strands takes for a call that is held or failed."""
        call_id = str(tool_use.get("toolUseId"))
        person = _Person(tool_use, invocation_state, kwargs.get("_tool_context"))
        if call_id in self.kiff.paused and person.says_no():
            yield _refused(tool_use, f"a person said no to `{self.inner.tool_name}` here; it did not run")
            return
        args, _ = _arguments(self.inner, tool_use)
        decision = await self.kiff.decide(self.inner.tool_name, args, tool_use, invocation_state.get("agent"))
        if not decision.withheld:
            self.kiff.paused.pop(call_id, None)
            async for event in self._run(decision, tool_use, invocation_state, kwargs):
                yield event
        elif decision.needs_approval and (waiting := person.asked(decision)):
            self.kiff.paused[call_id] = True
            yield framework("strands.types._events", extra=EXTRA).ToolInterruptEvent(tool_use, [waiting])
        else:
            yield _refused(tool_use, decision.explain())

    async def _run(self, decision: Decision, tool_use: Any, state: dict[str, Any], kwargs: Any) -> AsyncIterator[Any]:
        """Every event unchanged and as it comes. Strands reads no further than the result, so it is settled before."""
        guard, last = self.kiff.guard, None
        args, fits = _arguments(self.inner, tool_use)
        if guard.mode == "enforce" and decision.args_hash and not same(args, decision.args_hash):
            await guard.asettle(decision, args=args, status="not_run")
            yield _refused(tool_use, f"`{self.inner.tool_name}` was changed after KIFF decided on it; it did not run")
            return
        events = self.inner.stream(tool_use, state, **kwargs)
        try:
            async for event in events:
                last = event
                if hasattr(event, "tool_result") or hasattr(event, "interrupts"):
                    await guard.asettle(decision, args=args, **_ended(event, fits))
                yield event
        except BaseException as error:
            guard.settle(decision, error=error)
            raise
        finally:
            await events.aclose()
        await guard.asettle(decision, args=args, **_ended(last, fits))


class _Person:
    """Who answers Strands' interrupts. A yes of theirs wakes a call, and nothing more."""

    def __init__(self, tool_use: Any, state: dict[str, Any], context: Any) -> None:
        types = framework("strands.types.tools", extra=EXTRA)
        agent = state.get("agent")
        self._can_wait = agent is not None and "event_loop_cycle_id" in state  # a direct call has nobody to wait
        self._context = context or types.ToolContext(tool_use=tool_use, agent=agent, invocation_state=state)

    def asked(self, decision: Decision) -> Any:
        """The interrupt to wait with; None if it is answered, or nobody can wait."""
        if not self._can_wait:
            return None
        try:
            self._context.interrupt(INTERRUPT, reason=decision.as_dict())
        except framework("strands.interrupt", extra=EXTRA).InterruptException as waiting:
            return waiting.interrupt
        return None

    def says_no(self) -> bool:
        try:
            said = self._context.interrupt(INTERRUPT)
        except framework("strands.interrupt", extra=EXTRA).InterruptException:
            return False  # not answered: KIFF says whether it still waits
        if isinstance(said, dict):
            said = said.get("approved", said.get("response", True))
        return said.strip().lower() in NO if isinstance(said, str) else not said


@cache
def _watchful(kind: Any) -> Any:
    """The same kind of event, and every tool that is put into it is guarded."""
    if "__setattr__" in vars(kind) and kind.__setattr__.__module__ == __name__:
        return kind

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if name == "selected_tool":
            for hooks in vars(self)[GUARDING]:
                value = hooks.around(value)
        kind.__setattr__(self, name, value)

    return type(kind.__name__, (kind,), {"__setattr__": __setattr__, "__module__": kind.__module__})


def _acts(tool: Any) -> bool:
    """Is it a tool that does something? Strands has the model give structured output by calling one that does not."""
    return tool is not None and tool.tool_type != "structured_output"


def _arguments(tool: Any, tool_use: Any) -> tuple[Any, bool]:
    """What the tool's function will get, and whether it will: what is left out is decided on as well, and what a text
    stands for. Strands calls no function with what does not fit; of other kinds of tools nothing is known."""
    given = tool_use.get("input")
    model = getattr(getattr(tool, "_metadata", None), "input_model", None)
    if model is None or not isinstance(given, dict):
        return given, True
    try:
        known = model(**given).model_dump(mode="json")
    except Exception:  # noqa: BLE001  # validators are the user's own
        return given, False
    return {name: value for name, value in known.items() if name in given or value is not None}, True


def _ended(last: Any, fits: bool) -> dict[str, Any]:
    """How a tool ended, from its last event."""
    if hasattr(last, "interrupts"):
        return {"status": "cancelled"}  # it wants to wait for somebody, and begins anew then
    result = getattr(last, "tool_result", last)
    if isinstance(result, dict) and result.get("status") == "success":
        return {"result": result.get("content")}
    error = getattr(last, "exception", None)
    if not fits:
        error = ArgumentsDoNotFit(error or ValueError("the arguments do not fit"))
    return {"error": error, "status": "failed"}


def _refused(tool_use: Any, text: str) -> Any:
    result = {"toolUseId": str(tool_use.get("toolUseId")), "status": "error", "content": [{"text": text}]}
    return framework("strands.types._events", extra=EXTRA).ToolResultEvent(result)


def _call_id(tool_use: Any) -> str | None:
    """The model's id of a call. Some providers give the name of the tool for one, which is the same for every call."""
    given = tool_use.get("toolUseId")
    return None if not given or given == tool_use.get("name") else str(given)


def _session(agent: Any) -> str | None:
    """The conversation, where Strands keeps one: a call of it is the same call in the process that resumes it."""
    return getattr(getattr(agent, "_session_manager", None), "session_id", None)
