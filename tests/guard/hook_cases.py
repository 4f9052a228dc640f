"""A hook in a process of its own, and what each agent tells it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import hook_nursery
import pytest

AGENTS = ("claude-code", "codex", "gemini", "cursor")
PATIENCE_SECONDS = hook_nursery.PATIENCE_SECONDS
ARGS: dict[str, Any] = {"order_id": "ord_1", "amount": 49.0}
TOOL = "mcp__shop__refund"
BINDING = {"action": "refund", "entity_type": "order", "entity_arg": "order_id"}


class Ran(NamedTuple):
    """How a hook ended."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def answer(self) -> Any:
        return json.loads(self.stdout)


def before(
    agent: str, tool: str = TOOL, args: Any = ARGS, call: str = "call_1", session: str = "sess_1"
) -> dict[str, Any]:
    """The event before a call, as the agent tells it."""
    told = {"tool_name": tool, "tool_input": args, "cwd": "/project"}
    if agent == "gemini":
        return {"hook_event_name": "BeforeTool", "session_id": session, **told}
    if agent == "cursor":
        return {"hook_event_name": "preToolUse", "conversation_id": session, "tool_use_id": call, **told}
    return {"hook_event_name": "PreToolUse", "session_id": session, "tool_use_id": call, **told}


def after(agent: str, result: Any = "done", **said: Any) -> dict[str, Any]:
    """The event after a call that ended well."""
    name = {"gemini": "AfterTool", "cursor": "postToolUse"}.get(agent, "PostToolUse")
    field = "tool_output" if agent == "cursor" else "tool_response"
    if agent == "gemini":
        result = {"llmContent": result, "returnDisplay": ""}
    return {**before(agent, **said), "hook_event_name": name, field: result}


class Place:
    """A home of its own, with the settings, the state and the receipts in it.

    Args:
        settings: what ~/.config/kiff/guard.json says; None: there is no such file.
        more: variables.
    """

    def __init__(self, home: Path, settings: dict[str, Any] | None = None, **more: str) -> None:
        self.home = home
        self.project = home / "project"
        self.project.mkdir(parents=True, exist_ok=True)
        self.environment = {"HOME": str(home), "PATH": os.environ["PATH"], **more}
        if settings is not None:
            self.write(settings)

    def write(self, settings: Any, name: str = ".config/kiff/guard.json") -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
        path.chmod(0o600)
        return path

    def hook(self, agent: str, event: Any, *words: str, program: list[str] | None = None) -> Ran:
        """A hook with an event on its stdin; bytes are sent as they are.

        Args:
            program: starts it, as an agent would; else it is forked, which takes a tenth of the time.
        """
        return self.run(agent, *words, event=event, program=program)

    def run(self, *words: str, event: Any = b"", program: list[str] | None = None) -> Ran:
        """A command line of `kiff-hook`."""
        raw = event if isinstance(event, bytes) else json.dumps(event).encode()
        if program is None:
            status, stdout, stderr = hook_nursery.born().run([*words], raw, self.environment, self.project)
            return Ran(status, stdout, stderr.decode())
        ran = subprocess.run(
            [*program, *words],
            input=raw,
            capture_output=True,
            env=self.environment,
            cwd=self.project,
            timeout=PATIENCE_SECONDS,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr.decode())

    def lines(self, kind: str = "settled") -> list[dict[str, Any]]:
        """The receipts that were written, oldest first: `opened` or `settled`."""
        path = self.home / ".local/state/kiff/receipts.jsonl"
        if not path.exists():
            return []
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [row["receipt"] for row in rows if row["kind"] == kind]

    @property
    def state(self) -> Path:
        return self.home / ".local/state/kiff/hooks"

    def open_calls(self) -> list[Path]:
        """The files of calls that are open."""
        return [path for path in self.state.glob("*/*") if path.parent.name != "held"]


PROGRAM = [sys.executable, "-I", "-m", "kiff_guard.hooks"]


def denied(agent: str, ran: Ran) -> str:
    """Why it was withheld; fails unless the agent would withhold it: a clean answer, or status 2 and something said."""
    assert ran.status in (0, 2), ran
    answer = ran.answer
    if agent == "gemini":
        assert answer["decision"] == "deny"
        why = answer["reason"]
    elif agent == "cursor":
        assert answer["permission"] == "deny"
        assert answer["user_message"] == answer["agent_message"]
        why = answer["agent_message"]
    else:
        own = answer["hookSpecificOutput"]
        assert (own["hookEventName"], own["permissionDecision"]) == ("PreToolUse", "deny")
        why = own["permissionDecisionReason"]
    assert why.strip()
    if ran.status == 2:
        assert ran.stderr.strip(), "what an agent shows for status 2 is stderr"
    return str(why)


def let_go(ran: Ran) -> None:
    """No objection, and not a word of permission: the agent's own rules still apply."""
    assert (ran.status, ran.answer) == (0, {}), ran


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "home")
