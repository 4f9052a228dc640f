"""Semantic Kernel: the guard as a filter around every function that a kernel invokes.

Its rule: what is decided is what is executed. Filters run in the order they were added, and one that was added later
may change arguments after ours. So ours goes on to the innermost place by itself, wherever it stands, and decides on
the arguments as the function's own code will get them: parsed, and with defaults filled in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from kiff_guard.adapters import framework
from kiff_guard.adapters.holding import started_by
from kiff_guard.decision import Decision, Hold
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard

ADAPTER = "semantic-kernel"
EXTRA = "semantic-kernel"
FUNCTION, MODEL = "function_invocation", "auto_function_invocation"
GIVEN_BY_THE_KERNEL = ("kernel", "service", "execution_settings", "arguments")
"""Parameters that no caller of a function passes."""

Next = Callable[[Any], Awaitable[None]]


def hook(
    guard: Guard,
    *,
    fail_closed: bool | None = None,
    pause: bool = False,
    tool_name: Callable[[Any], str] | None = None,
) -> Callable[..., Awaitable[None]]:
    """The filter: `kernel.add_filter("auto_function_invocation", hook(guard))`, for calls of a model and of your code.

    Added as `function_invocation` it guards as well, and the ids of a model's calls are not known to it.

    Args:
        guard: decides.
        fail_closed: False lets functions run while KIFF cannot be asked; None is the guard's own word.
        pause: True ends the run when a call waits for a person; else the model is told, and goes on. Semantic Kernel
            has no pause that a decision can begin.
        tool_name: how a function is called towards KIFF; its full name (`plugin-function`), if not given.
    """
    return _filter(Seam(guard, fail_closed, pause, tool_name or _full_name))


def attach(
    guard: Guard,
    agent: Any,
    *,
    fail_closed: bool | None = None,
    pause: bool = False,
    tool_name: Callable[[Any], str] | None = None,
) -> Any:
    """Guards a kernel, or the kernel of an agent and of every agent that is a plugin of it, and returns what it got.

    Kernels that are cloned later are guarded too: a clone has the filters of its kernel.
    """
    made = hook(guard, fail_closed=fail_closed, pause=pause, tool_name=tool_name)
    kernels = list(_kernels(agent, set()))
    if not kernels:
        raise ConfigurationError(
            f"agent: a `{type(agent).__name__}` has no kernel; attach a Kernel, or an agent with one"
        )
    for kernel in kernels:
        for kind in (FUNCTION, MODEL):
            if not _has(kernel, kind, guard):
                kernel.add_filter(kind, made)
    return agent


@dataclass
class Call:
    """A call that a model made, as far as it has come.

    Attributes:
        function: the full name of what was called.
        decision: why it was withheld.
    """

    id: str | None
    function: str
    decision: Decision | None = None
    is_begun: bool = False


_CALL: ContextVar[Call | None] = ContextVar("kiff_semantic_kernel_call", default=None)


@dataclass(frozen=True)
class Seam:
    """What both kinds of filter share."""

    guard: Guard
    fail_closed: bool | None
    pause: bool
    tool_name: Callable[[Any], str]

    async def called(self, context: Any, go_on: Next) -> None:
        """A model calls a function: says which call it is to the filter around the function."""
        call = Call(getattr(context.function_call_content, "id", None), context.function.fully_qualified_name)
        token = _CALL.set(call)
        try:
            await go_on(context)
        finally:
            _CALL.reset(token)
        if self.pause and call.decision is not None and call.decision.needs_approval:
            context.terminate = True

    async def invoked(self, context: Any, run: Next) -> None:
        """A function is about to run, and nothing else stands between."""
        call = _CALL.get()
        function = _that_runs(context, run)
        if call is not None and (call.is_begun or call.function != function.fully_qualified_name):
            call = None
        if call is None and function.metadata.is_prompt:
            await run(context)  # nobody's tool: your code asks a model
            return
        if call is not None:
            call.is_begun = True
        await self._decided(function, context, run, call)

    async def _decided(self, function: Any, context: Any, run: Next, call: Call | None) -> None:
        async def body() -> Any:
            await run(context)
            return None if context.result is None else context.result.value

        try:
            value = await self.guard.aevaluate(
                self.tool_name(function),
                arguments(function, context),
                body,
                call_id=None if call is None else call.id,
                fail_closed=self.fail_closed,
                adapter=ADAPTER,
            )
        except Hold as hold:
            if call is None:  # your code would take a text for the function's result
                raise
            call.decision, value = hold.decision, str(hold)
        if context.result is None:
            results = framework("semantic_kernel.functions", extra=EXTRA)
            context.result = results.FunctionResult(function=function.metadata, value=value)
        elif context.result.value is not value:
            context.result.value = value


def _that_runs(context: Any, run: Any) -> Any:
    """The function whose code will run. A filter may put another one in the context, and that changes nothing of it."""
    return getattr(run, "__self__", None) or context.function


def arguments(function: Any, context: Any) -> dict[str, Any]:
    """What the function's code will get, by name. Of what the kernel itself passes, nothing is told.

    Raises:
        FunctionExecutionException: it cannot be called with these: Semantic Kernel's own word, before KIFF is asked.
    """
    if function.metadata.is_prompt:
        return dict(context.arguments)
    found = function.gather_function_parameters(context)
    defaults = {each.name: each.default_value for each in function.parameters if each.default_value is not None}
    return {name: value for name, value in {**defaults, **found}.items() if name not in GIVEN_BY_THE_KERNEL}


def _filter(seam: Seam) -> Callable[..., Awaitable[None]]:
    async def kiff_guard(context: Any, next: Next) -> None:
        if not hasattr(context, "function_call_content"):
            await _innermost(next, seam)(context)
            return
        if not _has(context.kernel, FUNCTION, seam.guard):
            context.kernel.add_filter(FUNCTION, kiff_guard)
        await seam.called(context, next)

    kiff_guard.seam = seam  # type: ignore[attr-defined]
    return kiff_guard


def _innermost(go_on: Any, seam: Seam) -> Next:
    """The filters that were to come after ours, and ours after them."""
    if isinstance(go_on, partial) and "next" in go_on.keywords:
        behind = _innermost(go_on.keywords["next"], seam)
        if _guards(go_on.func, seam.guard):  # it was added twice, and asks once
            return behind
        return partial(go_on.func, *go_on.args, **{**go_on.keywords, "next": behind})

    async def last(context: Any) -> None:
        await seam.invoked(context, go_on)

    return last


def _has(kernel: Any, kind: str, guard: Guard) -> bool:
    return any(_guards(each, guard) for _, each in getattr(kernel, f"{kind}_filters"))


def _guards(filter: Any, guard: Guard) -> bool:
    seam = getattr(filter, "seam", None)
    return isinstance(seam, Seam) and seam.guard is guard


def _full_name(function: Any) -> str:
    return str(function.fully_qualified_name)


def _kernels(agent: Any, seen: set[int]) -> Iterator[Any]:
    """The kernel of an agent, and those of agents that it calls as functions."""
    kernel = agent if hasattr(agent, "add_filter") else getattr(agent, "kernel", None)
    if kernel is None or id(kernel) in seen:
        return
    seen.add(id(kernel))
    yield kernel
    for plugin in kernel.plugins.values():
        for function in plugin.functions.values():
            for below in started_by(getattr(function, "method", None), lambda value: hasattr(value, "get_response")):
                yield from _kernels(below, seen)
