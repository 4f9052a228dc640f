"""The dialects of coding agents, as one table: how each tells of a call, and how it is told yes or no.

INVARIANT: yes is "no objection": the agent's own permissions still apply. The guard adds no authority.
No is a `deny` everywhere. `ask` is never said: Codex runs the tool on it, Gemini CLI hangs without a person, and in the
others a person's local yes would run what KIFF has not granted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kiff_guard.hooks.event import AFTER, BEFORE, END, Event, EventRefused, text

Told = dict[str, Any]
Ended = tuple[str, Any, str]
"""How a call ended: status, result, and what went wrong."""


@dataclass(frozen=True)
class Dialect:
    """One agent's way of talking to its hooks.

    Attributes:
        moments: its events, and which moment of a call each of them is.
        call: the tool and its arguments, out of the event.
        ended: how the call ended, out of an event AFTER it.
        deny: the answer that withholds: (event's name, why).
        session, call_id: which fields of the event these are; "" if it has none.
        mute: tools of which it never tells whether they succeeded: a shell without an exit code.
        pause: the answer that ends the run until somebody resumes it; None if the agent knows none.
    """

    name: str
    moments: Mapping[str, str]
    call: Callable[[str, Told], tuple[str, Any]]
    ended: Callable[[str, Told], Ended]
    deny: Callable[[str, str], Told]
    session: str = "session_id"
    call_id: str = "tool_use_id"
    mute: frozenset[str] = frozenset()
    pause: Callable[[str, str], Told] | None = None

    def event(self, told: Told) -> Event:
        """The event that the agent told of.

        Raises:
            EventRefused: it is none of those that the hook is made for, or one without its parts.
        """
        name = text(told, "hook_event_name")
        moment = self.moments.get(name)
        if moment is None:
            known = ", ".join(self.moments)
            raise EventRefused(f"`{name}` is no event that `kiff-hook {self.name}` answers; expected one of {known}")
        session, cwd = text(told, self.session), text(told, "cwd", limit=4096)
        if moment == END:
            return Event(END, name, session=session, cwd=cwd)
        tool, args = self.call(name, told)
        if not tool:
            raise EventRefused(f"the event `{name}` names no tool")
        call_id = text(told, self.call_id) if self.call_id else ""
        reports = tool not in self.mute
        if moment == BEFORE:
            return Event(BEFORE, name, tool, args, call_id, session, cwd, reports=reports)
        status, result, error = self.ended(name, told)
        return Event(AFTER, name, tool, args, call_id, session, cwd, status, result, error, reports)

    @property
    def first(self) -> str:
        """The event before a call: a failure is answered as this one, when nobody knows which event it was."""
        return next(name for name, moment in self.moments.items() if moment == BEFORE)


def _named_call(event: str, told: Told) -> tuple[str, Any]:
    return text(told, "tool_name"), told.get("tool_input")


def _cursor_call(event: str, told: Told) -> tuple[str, Any]:
    """Shell commands have events of their own, which name no tool."""
    if event in ("beforeShellExecution", "afterShellExecution"):
        return "Shell", {"command": told.get("command")}
    return _named_call(event, told)


def _is_error(result: Any) -> bool:
    """An error that is told as a result: MCP's `isError`, and its relatives."""
    return isinstance(result, Mapping) and any(result.get(name) is True for name in ("isError", "is_error"))


def _claude_ended(event: str, told: Told) -> Ended:
    result = told.get("tool_response")
    if event == "PostToolUseFailure":
        status = "cancelled" if told.get("is_interrupt") is True else "failed"
        return status, None, str(told.get("error") or "the tool failed")[:500]
    if isinstance(result, Mapping) and result.get("interrupted") is True:
        return "cancelled", result, "the command was interrupted"
    return _plainly(result)


def _codex_ended(event: str, told: Told) -> Ended:
    """Codex tells what a shell command wrote, and not its exit code."""
    result = told.get("tool_response")
    return ("unknown", result, "") if told.get("tool_name") == "Bash" else _plainly(result)


def _gemini_ended(event: str, told: Told) -> Ended:
    result = told.get("tool_response")
    error = result.get("error") if isinstance(result, Mapping) else None
    if error:
        return "failed", result, str(error.get("message") if isinstance(error, Mapping) else error)[:500]
    if told.get("tool_name") == "run_shell_command":
        return "unknown", result, ""  # the exit code stands among the command's own words, which may say anything
    return _plainly(result)


def _cursor_ended(event: str, told: Told) -> Ended:
    if event == "postToolUseFailure":
        kind = told.get("failure_type")
        interrupted = told.get("is_interrupt") is True
        status = "not_run" if kind == "permission_denied" else "cancelled" if interrupted else "failed"
        return status, None, str(told.get("error_message") or kind or "the tool failed")[:500]
    if event == "afterShellExecution":
        return _by_exit_code(told.get("exit_code"), told.get("output"))
    result = _json(told.get("result_json" if event == "afterMCPExecution" else "tool_output"))
    if told.get("tool_name") == "Shell":
        return _by_exit_code(result.get("exitCode") if isinstance(result, Mapping) else None, result)
    return _plainly(result)


def _plainly(result: Any) -> Ended:
    return ("failed", result, "the tool says so") if _is_error(result) else ("succeeded", result, "")


def _by_exit_code(code: Any, result: Any) -> Ended:
    if type(code) is not int:
        return "unknown", result, ""
    return ("succeeded", result, "") if code == 0 else ("failed", result, f"exit code {code}")


def _json(value: Any) -> Any:
    """Cursor writes results as JSON inside a text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _permission(decision: str) -> Callable[[str, str], Told]:
    """Claude Code's answer, which Codex took over. After the call there is nothing left to refuse."""

    def answer(event: str, why: str) -> Told:
        if event != "PreToolUse":
            return {}
        own = {"hookEventName": event, "permissionDecision": decision, "permissionDecisionReason": why}
        return {"hookSpecificOutput": own}

    return answer


def _gemini_deny(event: str, why: str) -> Told:
    return {"decision": "deny", "reason": why} if event == "BeforeTool" else {}


def _cursor_deny(event: str, why: str) -> Told:
    if event not in ("preToolUse", "beforeShellExecution", "beforeMCPExecution"):
        return {}
    return {"permission": "deny", "user_message": why, "agent_message": why}


CLAUDE_CODE = Dialect(
    name="claude-code",
    moments={"PreToolUse": BEFORE, "PostToolUse": AFTER, "PostToolUseFailure": AFTER, "SessionEnd": END},
    call=_named_call,
    ended=_claude_ended,
    deny=_permission("deny"),
    pause=_permission("defer"),
)
CODEX = Dialect(
    name="codex",
    moments={"PreToolUse": BEFORE, "PostToolUse": AFTER, "SessionEnd": END},
    call=_named_call,
    ended=_codex_ended,
    deny=_permission("deny"),
    mute=frozenset({"Bash"}),
)
GEMINI = Dialect(
    name="gemini",
    moments={"BeforeTool": BEFORE, "AfterTool": AFTER, "SessionEnd": END},
    call=_named_call,
    ended=_gemini_ended,
    deny=_gemini_deny,
    call_id="",
    mute=frozenset({"run_shell_command"}),
)
CURSOR = Dialect(
    name="cursor",
    moments={
        "preToolUse": BEFORE,
        "postToolUse": AFTER,
        "postToolUseFailure": AFTER,
        "beforeShellExecution": BEFORE,
        "afterShellExecution": AFTER,
        "beforeMCPExecution": BEFORE,
        "afterMCPExecution": AFTER,
        "sessionEnd": END,
    },
    call=_cursor_call,
    ended=_cursor_ended,
    deny=_cursor_deny,
    session="conversation_id",
)

DIALECTS = {each.name: each for each in (CLAUDE_CODE, CODEX, GEMINI, CURSOR)}
