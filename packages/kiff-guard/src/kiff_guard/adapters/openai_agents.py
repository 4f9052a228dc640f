"""OpenAI Agents SDK: the guard around what a function tool really does, and what may pause a run before it.

Its rule: a receipt says what the tool did, not what a guardrail thought it would. `attach` and `guard_tool` wrap the
tool's own function, where its result and its errors are. `hook` is the SDK's guardrail: a vote, for tools that cannot
be wrapped; how those calls end is known only if `run_hooks` are given to the run, and not always then.

A call that waits for a person is an interruption of the run. The yes it is answered with only wakes the call: KIFF is
asked again, with the approval, and its word alone runs the tool.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from kiff_guard.adapters.openai_below import agents_from
from kiff_guard.adapters.openai_calls import (
    How,
    agents_sdk,
    guard_calls,
    guarded,
    is_function_tool,
    is_of,
    votes_of,
)
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None, pause: bool = True) -> Any:
    """Guards an agent as it is now, and returns it: its function tools, its MCP servers, and the agents below it.

    Below are the agents it hands off to, those that are its tools, and those that its tools' functions name or hold.
    The start of an agent that is a tool is no call of its own; what that agent calls is.

    Args:
        guard: decides.
        agent: what is added to it later is not guarded.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
        pause: a call that waits for a person interrupts the run. False tells the model instead.

    Raises:
        ConfigurationError: in enforce, a tool that acts on this machine and cannot be guarded, such as a shell.
    """
    how = How(guard, fail_closed, pause)
    for each in agents_from(agent, set(), how):
        each.tools = [guarded(how, tool) for tool in each.tools]
        for server in each.mcp_servers:
            guard_calls(how, server)
    return agent


def guard_tool(guard: Guard, tool: Any, *, fail_closed: bool | None = None, pause: bool = True) -> Any:
    """A guarded copy of one function tool.

    Args:
        guard: decides.
        tool: a `FunctionTool`, as `@function_tool` makes it.
        fail_closed: as for `attach`.
        pause: as for `attach`.
    """
    if not is_function_tool(tool):
        raise ConfigurationError(f"tool: expected a FunctionTool, found a `{type(tool).__name__}`")
    return guarded(How(guard, fail_closed, pause), tool)


def guard_server(guard: Guard, server: Any, *, fail_closed: bool | None = None) -> Any:
    """Guards every tool of an MCP server that agents are given, and returns the server.

    A server is called without the id of the call, so nothing pauses: the model is told what a call waits for.
    """
    return guard_calls(How(guard, fail_closed, False), server)


def hook(guard: Guard, *, fail_closed: bool | None = None) -> Any:
    """The guardrail: `@function_tool(tool_input_guardrails=[hook(guard)])`. Use it where a tool cannot be wrapped.

    Args:
        guard: decides.
        fail_closed: as for `attach`.
    """
    how = How(guard, fail_closed, False)

    async def kiff(data: Any) -> Any:
        return await _vote(how, data.context)

    kiff.kiff_guard = guard  # type: ignore[attr-defined]
    return agents_sdk().ToolInputGuardrail(guardrail_function=kiff, name="kiff")


def kiff_tool_input_guardrail(guard: Guard, fail_closed: bool | None = None) -> Any:
    """The name that `hook` had in kiff-guard 1.x."""
    return hook(guard, fail_closed=fail_closed)


def run_hooks(guard: Guard) -> Any:
    """Settles what `hook` let run: `Runner.run(agent, ..., hooks=run_hooks(guard))`.

    The SDK tells errors of a tool as text, so the end of a call is `unknown`, unless the tool was made with
    `failure_error_function=None`. Hooks of your own may call `on_tool_end` of these.
    """
    return _hooks()(guard)


def approval_of(guard: Guard, interruption: Any) -> str:
    """The approval that an interruption of a run waits for; "" if this process was not told of one."""
    raw = interruption.raw_item
    call_id = raw.get("call_id") if isinstance(raw, dict) else getattr(raw, "call_id", None)
    decision = votes_of(guard).last(str(call_id or ""))
    return "" if decision is None else decision.approval_id


async def _vote(how: How, ctx: Any) -> Any:
    output = agents_sdk().ToolGuardrailFunctionOutput
    name = getattr(ctx, "qualified_tool_name", ctx.tool_name)
    decision = await how.guard.adecide_only(
        name, ctx.tool_arguments, call_id=ctx.tool_call_id, peek=_comes_again(ctx), **how.asked
    )
    if decision.withheld:
        return output.reject_content(decision.explain(), output_info=decision.as_dict())
    return output.allow(output_info=decision.as_dict())


def _comes_again(ctx: Any) -> bool:
    """A run may be set to ask its guardrails before a person is asked, and once more after."""
    execution = getattr(getattr(ctx, "run_config", None), "tool_execution", None)
    before = getattr(execution, "pre_approval_tool_input_guardrails", False)
    return bool(before) and ctx.get_approval_status(ctx.tool_name, ctx.tool_call_id) is None


@cache
def _hooks() -> Any:
    base = agents_sdk().RunHooks

    class KiffRunHooks(base):  # type: ignore[misc,valid-type]
        """Says how calls ended that a guardrail let run."""

        def __init__(self, guard: Guard) -> None:
            self.guard = guard

        async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
            call_id = getattr(context, "tool_call_id", None)
            if call_id and any(is_of(self.guard, each) for each in getattr(tool, "tool_input_guardrails", None) or ()):
                status = None if _raises_errors(tool) else "unknown"
                await self.guard.asettle(str(call_id), result=result, status=status)

    return KiffRunHooks


def _raises_errors(tool: Any) -> bool:
    """Its errors end the run, so whatever it gives back is a result."""
    return (
        getattr(tool, "_use_default_failure_error_function", True) is False
        and getattr(tool, "_failure_error_function", "") is None
    )
