"""Claude Agent SDK: the guard as hooks around every tool call, in the vote shape: `hooks=hook(guard)` in its options.

Its rule: the callback before a call always answers, and its matcher says `on_failure="block"`. A callback that raises
without it, and one that gives nothing, lets the tool run. Hooks see the built-in tools, those of MCP servers and those
that sub-agents call; `can_use_tool` and `allowed_tools` only come after them.
"""

from __future__ import annotations

import json
import os
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kiff_guard.adapters import framework
from kiff_guard.decision import ERROR, Decision
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard

ADAPTER = "claude_agent_sdk"
BEFORE, AFTER, FAILED = "PreToolUse", "PostToolUse", "PostToolUseFailure"
BARE = "CLAUDE_CODE_SIMPLE"
TIMEOUT_SECONDS = 60.0
"""How long the SDK waits for the hook; a client's own deadline is shorter."""

Told = dict[str, Any]
Callback = Callable[[Told, Any, Any], Awaitable[Told]]


def hook(guard: Guard, *, fail_closed: bool | None = None, pause: bool = False) -> dict[str, list[Any]]:
    """The hooks, for `ClaudeAgentOptions(hooks=...)`.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
        pause: True ends the run where a call waits for a person: its result has `deferred_tool_use`, and resuming the
            session asks KIFF again. Else the model is told, and goes on. Only for runs without a person at a terminal.
    """
    matcher = framework("claude_agent_sdk", extra="claude-agent-sdk").HookMatcher
    before = matcher(hooks=[_before(guard, fail_closed, pause)], timeout=TIMEOUT_SECONDS, on_failure=_on_failure(guard))
    after = matcher(hooks=[_after(guard)], timeout=TIMEOUT_SECONDS)
    return {BEFORE: [before], AFTER: [after], FAILED: [after]}


def attach(guard: Guard, options: Any, *, fail_closed: bool | None = None, pause: bool = False) -> Any:
    """The same options with the guard behind the hooks they have. Sub-agents are guarded with them.

    Raises:
        ConfigurationError: in enforce, Claude Code would run no hooks with these options.
    """
    if guard.mode == "enforce" and _is_bare(options):
        raise ConfigurationError(
            f"options: Claude Code runs no hooks with `--bare` or {BARE}=1, and so every tool undecided: leave it out"
        )
    given = dict(options.hooks or {})
    if any(_guard_of(matcher) is guard for matcher in given.get(BEFORE, ())):
        return options
    for event, matchers in hook(guard, fail_closed=fail_closed, pause=pause).items():
        given[event] = [*given.get(event, ()), *matchers]
    return replace(options, hooks=given)


def _is_bare(options: Any) -> bool:
    """Does the program start without hooks? What stands in settings files of its user's is not looked at."""
    if "bare" in (getattr(options, "extra_args", None) or {}):
        return True
    environments = (os.environ, getattr(options, "env", None) or {}, _settings(options).get("env"))
    return any(each.get(BARE) not in (None, "", "0", "false") for each in environments if isinstance(each, Mapping))


def _settings(options: Any) -> dict[str, Any]:
    """The settings among the options: JSON, or the path of a file with it."""
    given = getattr(options, "settings", None)
    try:
        text = str(given or "{}").strip()
        known = json.loads(text if text.startswith("{") else Path(text).read_text("utf-8"))
    except (OSError, ValueError):  # Claude Code's to complain about
        return {}
    return known if isinstance(known, dict) else {}


def _before(guard: Guard, fail_closed: bool | None, pause: bool) -> Callback:
    async def kiff_before(told: Told, tool_use_id: Any, context: Any) -> Told:
        tool = str(told.get("tool_name") or "")
        try:
            decision = await guard.adecide_only(
                tool,
                told.get("tool_input"),
                call_id=told.get("tool_use_id") or tool_use_id,
                session=told.get("session_id"),
                fail_closed=fail_closed,
                adapter=ADAPTER,
            )
        except (KeyboardInterrupt, SystemExit, CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001  # what is raised here would let the tool run
            if guard.mode == "observe":
                return {}
            decision = Decision(ERROR, f"hook_failed: {type(error).__name__}", tool=tool)
        if not decision.withheld:
            return {}
        return _answer("defer" if pause and decision.needs_approval else "deny", decision.explain())

    kiff_before.guard = guard  # type: ignore[attr-defined]
    return kiff_before


def _after(guard: Guard) -> Callback:
    async def kiff_after(told: Told, tool_use_id: Any, context: Any) -> Told:
        """It ran already: whatever fails here only leaves the receipt to be swept."""
        call_id = told.get("tool_use_id") or tool_use_id
        args, session = told.get("tool_input"), told.get("session_id")
        try:
            if told.get("hook_event_name") == FAILED:
                status = "cancelled" if told.get("is_interrupt") else "failed"
                await guard.asettle(call_id, status=status, error=ToolFailed(), args=args, session=session)
            else:
                result = told.get("tool_response")
                await guard.asettle(call_id, status=_status(result), result=result, args=args, session=session)
        except (KeyboardInterrupt, SystemExit, CancelledError):
            raise
        except BaseException:  # noqa: BLE001
            return {}
        return {}

    return kiff_after


class ToolFailed(Exception):
    """Claude Code says that the tool failed."""


def _status(result: Any) -> str:
    """Some tools say by their result how they ended: MCP's by `isError`, the shell by `interrupted`."""
    if not isinstance(result, Mapping):
        return "succeeded"
    if result.get("interrupted") is True:
        return "cancelled"
    return "failed" if result.get("isError") is True or result.get("is_error") is True else "succeeded"


def _answer(decision: str, why: str) -> Told:
    own = {"hookEventName": BEFORE, "permissionDecision": decision, "permissionDecisionReason": why}
    return {"hookSpecificOutput": own}


def _on_failure(guard: Guard) -> str | None:
    return "block" if guard.mode == "enforce" else None


def _guard_of(matcher: Any) -> Any:
    return next((each.guard for each in matcher.hooks if hasattr(each, "guard")), None)
