"""Pydantic AI: the guard as a capability, around the one place where a tool is really called.

Its rule: what is decided is what is executed. The capability asks to be the innermost one and wraps the toolset, not
the hooks: other capabilities change arguments in `before_tool_execute`, and from Pydantic AI 2.1 on they do so inside
of `wrap_tool_execute`. Here every one of them has spoken. Arguments are validated by then, too. What stands behind the
guard all the same, such as a toolset around a toolset, can change a call no more: it is withheld then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, get_args

from kiff_guard.adapters import framework
from kiff_guard.adapters.holding import started_by
from kiff_guard.arguments import digest
from kiff_guard.decision import Decision, Hold
from kiff_guard.errors import ActionFailed, ConfigurationError
from kiff_guard.guard import Guard

ADAPTER = "pydantic-ai"
EXTRA = "pydantic-ai"


def hook(guard: Guard, *, fail_closed: bool | None = None, pause: bool | None = None) -> Any:
    """The capability that guards an agent's tools: `Agent(model, capabilities=[hook(guard)])`.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
        pause: what becomes of a call that waits for a person. True ends the run with `DeferredToolRequests`, whose
            metadata holds the approval's id; False tells the model; None pauses where the agent's `output_type` has
            `DeferredToolRequests`, which Pydantic AI needs for it.
    """
    return _types().capability(Seam(guard, fail_closed, pause))


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None, pause: bool | None = None) -> Any:
    """Guards an agent that is there already, from its next run on, and returns it.

    So it does the agents that a tool's function names or holds. One that a function comes by in another way is an agent
    of its own: attach it, too.
    """
    inner = agent
    while hasattr(inner, "wrapped"):
        inner = inner.wrapped
    root = getattr(inner, "_root_capability", None)
    if root is None:
        raise ConfigurationError(
            f"agent: a `{type(inner).__name__}` takes no capability once it is made: "
            "write Agent(..., capabilities=[hook(guard)])"
        )
    if not _guarded(root, guard):
        ours = hook(guard, fail_closed=fail_closed, pause=pause)
        inner._root_capability = _types().combined([root, ours])
        _stay(ours, inner)
        for below in _below(inner):
            attach(guard, below, fail_closed=fail_closed, pause=pause)
    return agent


def _below(agent: Any) -> Iterator[Any]:
    for toolset in agent.toolsets:
        while hasattr(toolset, "wrapped"):
            toolset = toolset.wrapped
        tools = getattr(toolset, "tools", None)
        for tool in list(tools.values()) if isinstance(tools, dict) else ():
            yield from started_by(getattr(tool, "function", None), lambda value: hasattr(value, "_root_capability"))


def kiff_before_tool_execute(
    guard: Guard, fail_closed: bool | None = None, skip_factory: Callable[[Any], Exception] | None = None
) -> Callable[..., Awaitable[Any]]:
    """The vote of kiff-guard 1.x: `Hooks(before_tool_execute=kiff_before_tool_execute(guard))`.

    It never learns how a call ended, so a receipt of it says `unknown`, and hooks behind it may still change the
    arguments. `hook` is the better seam.

    Args:
        guard: decides.
        fail_closed: as for `hook`.
        skip_factory: makes what is raised to skip a tool, from the text that the model is told.
    """

    async def vote(ctx: Any = None, *, call: Any = None, tool_def: Any = None, args: Any = None, **_: Any) -> Any:
        name = str(getattr(call, "tool_name", None) or getattr(tool_def, "name", ""))
        decision = await guard.adecide_only(
            name, args, **_which(ctx, call), fail_closed=fail_closed, settles=False, adapter=ADAPTER
        )
        if decision.withheld:
            raise (skip_factory or framework("pydantic_ai.exceptions", extra=EXTRA).SkipToolExecution)(
                decision.explain()
            )
        return args

    return vote


@dataclass(frozen=True)
class Seam:
    """What the capability and its toolset share."""

    guard: Guard
    fail_closed: bool | None
    pause: bool | None

    async def call(self, name: str, args: dict[str, Any], ctx: Any, run: Callable[[], Awaitable[Any]]) -> Any:
        """Calls the tool, if KIFF lets it run; else what the framework takes for a call that is held or denied."""
        try:
            return await self.guard.aevaluate(
                name, args, run, **_which(ctx), fail_closed=self.fail_closed, failed=_denied, adapter=ADAPTER
            )
        except Hold as hold:
            return self.withheld(hold.decision, ctx)
        except (ArgumentsChanged, CalledAgain) as changed:
            return framework("pydantic_ai", extra=EXTRA).ToolDenied(str(changed))

    async def output(self, ctx: Any, about: Any, output: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        """Calls the function that a model ends its run with, which is a tool like any other; else the model is told."""
        call = about.tool_call
        name = about.function_name or (call.tool_name if call is not None else "output")
        args = output if isinstance(output, dict) else {"output": output}
        once = Once(name, args)
        token = _OUTPUT.set(once)
        try:
            return await self.guard.aevaluate(
                name, args, lambda: run(output), **_which(ctx, call), fail_closed=self.fail_closed, adapter=ADAPTER
            )
        except (Hold, ArgumentsChanged) as refused:
            raise framework("pydantic_ai", extra=EXTRA).ModelRetry(str(refused)) from refused
        finally:
            _OUTPUT.reset(token)

    def withheld(self, decision: Decision, ctx: Any) -> Any:
        """A yes that was given here only woke the call: if KIFF still waits, it is not asked for a second time."""
        if decision.needs_approval and not ctx.tool_call_approved and self.pauses(ctx):
            raise framework("pydantic_ai", extra=EXTRA).ApprovalRequired(metadata=decision.as_dict())
        return framework("pydantic_ai", extra=EXTRA).ToolDenied(decision.explain())

    def pauses(self, ctx: Any) -> bool:
        """Pydantic AI ends a run that pauses and may not with an error, so it is asked before."""
        if self.pause is not None:
            return self.pause
        wanted = getattr(ctx.agent, "output_type", None)
        kinds = wanted if isinstance(wanted, (list, tuple)) else get_args(wanted) or (wanted,)
        return framework("pydantic_ai", extra=EXTRA).DeferredToolRequests in kinds


class ArgumentsChanged(ActionFailed):
    """What stands behind the guard handed a tool something else than was decided on: it did not run."""


class CalledAgain(Exception):
    """What stands behind the guard called a tool a second time, after it ran: how the call ended nobody can say."""


class Once:
    """One call that was decided on: it reaches the tool once, with these arguments."""

    def __init__(self, name: str, args: dict[str, Any]) -> None:
        self._name = name
        self._digest = digest(args)
        self._ran = False

    def bound(self, tool: Any) -> Any:
        """The tool as a toolset calls it, bound to this call; as it is, where its function cannot be seen."""
        if callable(getattr(tool, "call_func", None)):
            return replace(tool, call_func=self._around(tool.call_func))
        if hasattr(tool, "source_tool"):
            return replace(tool, source_tool=self.bound(tool.source_tool))
        return tool

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(args: dict[str, Any], ctx: Any) -> Any:
            self.check(args)
            self._ran = True
            return await function(args, ctx)

        return call

    def check(self, args: dict[str, Any]) -> None:
        if self._ran:
            raise CalledAgain(
                f"KIFF withheld `{self._name}`: it ran, and was to run again without being decided on again; what "
                "repeats calls has to stand before the guard"
            )
        if digest(args) != self._digest:
            raise ArgumentsChanged(
                f"KIFF withheld `{self._name}`: the call was changed after it was decided on, and did not run; what "
                "changes calls has to stand before the guard"
            )


_OUTPUT: ContextVar[Once | None] = ContextVar("kiff_pydantic_ai_output", default=None)
"""The output function that was decided on."""


def _denied(result: Any) -> ActionFailed | None:
    """Why a result is none: what stands behind the guard, such as another guard, did not call the tool."""
    is_denial = isinstance(result, framework("pydantic_ai", extra=EXTRA).ToolDenied)
    return ActionFailed(result.message) if is_denial else None


def _which(ctx: Any, call: Any = None) -> dict[str, Any]:
    """Which call it is. A conversation keeps its id when a paused run is taken up again; a run does not."""
    return {
        "call_id": getattr(call, "tool_call_id", None) or getattr(ctx, "tool_call_id", None),
        "session": getattr(ctx, "conversation_id", None) or getattr(ctx, "run_id", None),
    }


def _guarded(root: Any, guard: Guard) -> bool:
    return any(isinstance(each, _types().capability) and each.seam.guard is guard for each in _leaves(root))


def _leaves(root: Any) -> list[Any]:
    found: list[Any] = []
    if root is not None:
        root.apply(found.append)
    return found


def _stay(ours: Any, agent: Any) -> None:
    """`agent.override(spec=...)` puts other capabilities in the place of an agent's own: ours stays among them."""
    overrides = getattr(agent, "_override_root_capability", None)
    if overrides is not None and not (isinstance(overrides, _Overrides) and overrides.ours is ours):
        agent._override_root_capability = _Overrides(overrides, ours)


class _Overrides:
    """The capabilities that are in the place of an agent's own for a while, with the guard's among them."""

    def __init__(self, overrides: Any, ours: Any) -> None:
        self.ours = ours
        self.set = overrides.set
        self.reset = overrides.reset
        self._get = overrides.get

    def get(self, *default: Any) -> Any:
        found = self._get(*default)
        if found is None or _guarded(found.value, self.ours.seam.guard):
            return found
        return type(found)(_types().combined([found.value, self.ours]))


@dataclass(frozen=True)
class _Types:
    capability: Any
    combined: Any


@cache
def _types() -> _Types:
    """The framework's classes with ours below them, made when first needed."""
    capabilities = framework("pydantic_ai.capabilities", extra=EXTRA)
    toolsets = framework("pydantic_ai.toolsets", extra=EXTRA)

    @dataclass
    class GuardedToolset(toolsets.WrapperToolset):  # type: ignore[misc, name-defined]
        seam: Any = None

        async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: Any, tool: Any) -> Any:
            binds = self.seam.guard.mode == "enforce"
            called = Once(name, tool_args).bound(tool) if binds else tool

            async def run() -> Any:
                return await self.wrapped.call_tool(name, tool_args, ctx, called)

            return await self.seam.call(name, tool_args, ctx, run)

    class KiffGuard(capabilities.AbstractCapability):  # type: ignore[misc, name-defined]
        def __init__(self, seam: Seam) -> None:
            self.seam = seam

        def for_agent(self, agent: Any) -> Any:
            inner = agent
            while hasattr(inner, "wrapped"):
                inner = inner.wrapped
            if any(each is self for each in _leaves(getattr(inner, "_root_capability", None))):  # not of one run alone
                _stay(self, inner)
            return self

        def get_ordering(self) -> Any:
            return capabilities.CapabilityOrdering(position="innermost")

        def get_wrapper_toolset(self, toolset: Any) -> Any:
            return GuardedToolset(toolset, seam=self.seam)

        async def wrap_output_process(self, ctx: Any, *, output_context: Any, output: Any, handler: Any) -> Any:
            if not output_context.has_function:
                return await handler(output)
            return await self.seam.output(ctx, output_context, output, handler)

        async def before_output_process(self, ctx: Any, *, output_context: Any, output: Any) -> Any:
            once = _OUTPUT.get()
            if once is not None and self.seam.guard.mode == "enforce":
                once.check(output if isinstance(output, dict) else {"output": output})
            return output

    return _Types(KiffGuard, capabilities.CombinedCapability)
