"""A call of a function tool, or of an MCP server: what is asked before it, what runs it, and what its errors are."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import isawaitable
from os.path import dirname
from threading import Lock
from typing import Any

from kiff_guard.adapters import ArgumentsDoNotFit, Refusal, framework, refused
from kiff_guard.arguments import same
from kiff_guard.decision import Decision, Hold
from kiff_guard.guard import Guard
from kiff_guard.newest import Newest

ADAPTER = "openai-agents"
EXTRA = "openai"
VOTES_LIMIT = 10_000


@dataclass(frozen=True)
class How:
    """What a guard was put in with."""

    guard: Guard
    fail_closed: bool | None
    pause: bool

    @property
    def asked(self) -> dict[str, Any]:
        return {"fail_closed": self.fail_closed, "adapter": ADAPTER}


def is_function_tool(tool: Any) -> bool:
    """Custom tools have a function too, and take a text instead of arguments."""
    return hasattr(tool, "on_invoke_tool") and hasattr(tool, "tool_input_guardrails")


def guarded(how: How, tool: Any) -> Any:
    if getattr(tool, "_agent_instance", None) is not None or not is_function_tool(tool):
        return tool
    if getattr(tool.on_invoke_tool, "kiff_guard", None) is how.guard:
        return tool
    around = Around(how, tool)
    guardrails = [each for each in tool.tool_input_guardrails or () if not is_of(how.guard, each)]
    return replace(
        tool,
        on_invoke_tool=around.invoker(),
        needs_approval=around.needs_approval if how.pause else tool.needs_approval,
        tool_input_guardrails=guardrails or None,
    )


class Around:
    """One function tool: what is asked before a call, and what runs it.

    Args:
        how: the guard.
        tool: the tool as it was. It runs without the SDK's texts for errors, which would look like results.
    """

    def __init__(self, how: How, tool: Any) -> None:
        self._how = how
        self.tool = tool
        self._name = getattr(tool, "qualified_name", tool.name)
        self._tells_errors = hasattr(tool.on_invoke_tool, "__agents_bind_function_tool__")
        self._bare = (
            replace(tool, _failure_error_function=None, _use_default_failure_error_function=False)
            if self._tells_errors
            else tool
        )

    def invoker(self) -> Callable[[Any, str], Any]:
        """What the SDK calls instead of the tool's own function."""

        async def invoke(ctx: Any, raw: str) -> Any:
            return await self._invoke(ctx, raw)

        invoke.kiff_guard = self._how.guard  # type: ignore[attr-defined]
        return invoke

    async def needs_approval(self, ctx: Any, params: dict[str, Any], call_id: str) -> bool:
        """Does the run pause before this call? What the tool's own rule says comes first."""
        if await self._has_own_reason(ctx, params, call_id):
            return True
        guard = self._how.guard
        if guard.mode == "observe":
            return False
        decision = await guard.adecide_only(self._name, params, call_id=call_id, peek=True, **self._how.asked)
        votes_of(guard).keep(call_id, decision)
        return decision.needs_approval

    async def _has_own_reason(self, ctx: Any, params: dict[str, Any], call_id: str) -> bool:
        own = self.tool.needs_approval
        if not callable(own):
            return bool(own)
        answer = own(ctx, params, call_id)
        return bool(await answer if isawaitable(answer) else answer)

    async def _invoke(self, ctx: Any, raw: str) -> Any:
        call_id = getattr(ctx, "tool_call_id", None)
        refusal = self._refused_before(call_id, raw)
        if refusal is not None:
            return Refusal(refusal.explain())
        try:
            return await self._evaluated(ctx, raw, call_id)
        except Hold as hold:
            return Refusal(hold.decision.explain())
        except ArgumentsDoNotFit as unfit:
            return await self._told(ctx, unfit.error)
        except Exception as error:  # noqa: BLE001  # the tool's own
            return await self._told(ctx, error)

    async def _evaluated(self, ctx: Any, raw: str, call_id: str | None, approval_id: str | None = None) -> Any:
        try:
            return await self._how.guard.aevaluate(
                self._name,
                raw,
                lambda: self._run(ctx, raw),
                call_id=call_id,
                approval_id=approval_id,
                failed=refused,
                **self._how.asked,
            )
        except Hold as hold:
            if approval_id or not self._was_paused_elsewhere(call_id, hold.decision):
                raise
            approval_id = hold.decision.approval_id
        return await self._evaluated(ctx, raw, call_id, approval_id)

    def _was_paused_elsewhere(self, call_id: str | None, held: Decision) -> bool:
        """Another process paused this call, or no pause of the guard's came before it: this process learned of the
        approval only now, and asks once more, with it."""
        if not (self._how.pause and call_id and held.needs_approval and held.approval_id):
            return False
        return votes_of(self._how.guard).last(call_id) is None

    async def _run(self, ctx: Any, raw: str) -> Any:
        try:
            return await self._bare.on_invoke_tool(ctx, raw)
        except agents_sdk().ModelBehaviorError as error:
            if _never_left_the_sdk(error):
                raise ArgumentsDoNotFit(error) from error
            raise

    def _refused_before(self, call_id: str | None, raw: str) -> Decision | None:
        """The answer to `needs_approval`, if it was no, and of this very call. It has its receipt."""
        votes = votes_of(self._how.guard)
        vote = votes.last(call_id or "")
        if vote is None or not vote.withheld or vote.needs_approval or not same(raw, vote.args_hash):
            return None
        return votes.take(call_id or "")

    async def _told(self, ctx: Any, error: BaseException) -> Any:
        """What the tool's own way of telling errors makes of one. Where it tells none, the error goes on."""
        tell = getattr(framework("agents.tool", extra=EXTRA), "maybe_invoke_function_tool_failure_error_function", None)
        if tell is None or not self._tells_errors:
            raise error
        told = await tell(function_tool=self.tool, context=ctx, error=error)
        if told is None:
            raise error
        return told


def _never_left_the_sdk(error: BaseException) -> bool:
    """It was raised over the arguments, before the tool's function was called: no frame of it is there."""
    ours = (dirname(agents_sdk().__file__), __file__)
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(ours):
            return False
        trace = trace.tb_next
    return True


class Votes:
    """What was answered before calls ran, by their ids."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: Newest[str, Decision] = Newest(VOTES_LIMIT)

    def keep(self, call_id: str, decision: Decision) -> None:
        with self._lock:
            self._known[call_id] = decision

    def last(self, call_id: str) -> Decision | None:
        with self._lock:
            return self._known.get(call_id)

    def take(self, call_id: str) -> Decision | None:
        with self._lock:
            return self._known.pop(call_id, None)


_making = Lock()
_all_votes: weakref.WeakKeyDictionary[Guard, Votes] = weakref.WeakKeyDictionary()


def votes_of(guard: Guard) -> Votes:
    with _making:
        return _all_votes.setdefault(guard, Votes())


def guard_calls(how: How, server: Any) -> Any:
    call_tool = server.call_tool
    if getattr(call_tool, "kiff_guard", None) is how.guard:
        return server

    async def calls(tool_name: str, arguments: dict[str, Any] | None, *more: Any, **named: Any) -> Any:
        try:
            return await how.guard.aevaluate(
                tool_name,
                arguments,
                lambda: call_tool(tool_name, arguments, *more, **named),
                failed=_mcp_failed,
                **how.asked,
            )
        except Hold as hold:
            told = {"content": [{"type": "text", "text": hold.decision.explain()}], "isError": True}
            return framework("mcp.types", extra=EXTRA).CallToolResult.model_validate(told)

    calls.kiff_guard = how.guard  # type: ignore[attr-defined]
    server.call_tool = calls
    return server


def _mcp_failed(result: Any) -> str:
    is_error = getattr(result, "isError", False) or getattr(result, "is_error", False)
    return "the server told an error" if is_error else ""


def is_of(guard: Guard, guardrail: Any) -> bool:
    return getattr(getattr(guardrail, "guardrail_function", None), "kiff_guard", None) is guard


def agents_sdk() -> Any:
    return framework("agents", extra=EXTRA)
