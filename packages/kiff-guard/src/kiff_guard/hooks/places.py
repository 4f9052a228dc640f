"""Where each agent keeps its hooks, and what `kiff-hook install` writes there: one row each.

In enforce every entry before a call is fail-closed by the agent's own switch, or, where the agent has none, by a shell
that turns every other end of the command into exit status 2. The agent waits longer than the hook does, so that the
hook's own deadline is the one that strikes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import site
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import kiff_guard

WAIT_SECONDS = 75
"""The longest `deadline_seconds` is 60."""


@dataclass(frozen=True)
class Place:
    """One agent's settings.

    Attributes:
        project, user: the settings file, from the project's folder and from home.
        home: the variable that says where the agent's own folder is instead; "" if there is none.
        before, after: its events.
        entry: (command, mode, is_before) -> what stands in the list of an event.
        commands: (an entry) -> the commands in it.
        base: what an empty file starts with.
        next_step: what a person still has to do.
    """

    project: str
    user: str
    home: tuple[str, str]
    before: tuple[str, ...]
    after: tuple[str, ...]
    entry: Callable[[str, str, bool], dict[str, Any]]
    commands: Callable[[Any], list[str]]
    base: Mapping[str, Any]
    next_step: str

    def path(self, where: str, environment: Mapping[str, str]) -> str:
        """The settings file of the project that is the current folder, or of the user."""
        if where == "project":
            return os.path.abspath(self.project)
        variable, name = self.home
        if variable and environment.get(variable):
            return os.path.join(environment[variable], name)
        return os.path.join(os.path.expanduser("~"), self.user)


def command(dialect: str, mode: str, config: str) -> str:
    """The command line of the hook as it is installed here, by its full path: the agent's PATH may lead elsewhere."""
    words = [*_program(), dialect, "--mode", mode]
    if config:
        words += ["--config", os.path.abspath(config)]
    return shlex.join(words)


def _program() -> list[str]:
    """This Python, alone: neither PYTHONPATH nor the folder where the agent stands has a say in what it imports.

    Where the package is installed for one user only, Python does not find it alone, and the script has to do.
    """
    package = os.path.realpath(kiff_guard.__file__)
    if not package.startswith(os.path.realpath(site.getusersitepackages()) + os.sep):
        return [sys.executable, "-I", "-m", "kiff_guard.hooks"]
    found = shutil.which("kiff-hook") or os.path.join(os.path.dirname(sys.executable), "kiff-hook")
    return [os.path.abspath(found)]


def fail_closed(line: str) -> str:
    """The command line in a shell that blocks whatever becomes of it."""
    return f"sh -c {shlex.quote(f'{line} || exit 2')}"


def _claude(line: str, mode: str, is_before: bool) -> dict[str, Any]:
    hook: dict[str, Any] = {"type": "command", "command": line, "timeout": WAIT_SECONDS}
    if mode == "enforce" and is_before:
        hook["onFailure"] = "block"  # beside the command: at the matcher it is not looked at
    return {"matcher": "*", "hooks": [hook]}


def _codex(line: str, mode: str, is_before: bool) -> dict[str, Any]:
    line = fail_closed(line) if mode == "enforce" and is_before else line
    return {"matcher": ".*", "hooks": [{"type": "command", "command": line, "timeout": WAIT_SECONDS}]}


def _gemini(line: str, mode: str, is_before: bool) -> dict[str, Any]:
    line = fail_closed(line) if mode == "enforce" and is_before else line
    hook = {"type": "command", "name": "kiff", "command": line, "timeout": WAIT_SECONDS * 1000}
    return {"matcher": ".*", "hooks": [hook]}


def _cursor(line: str, mode: str, is_before: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"command": line, "timeout": WAIT_SECONDS}
    if mode == "enforce" and is_before:
        entry["failClosed"] = True
    return entry


def _nested(entry: Any) -> list[str]:
    hooks = entry.get("hooks") if isinstance(entry, dict) else None
    return [text for each in hooks or () for text in _flat(each)] if isinstance(hooks, list) else []


def _flat(entry: Any) -> list[str]:
    text = entry.get("command") if isinstance(entry, dict) else None
    return [text] if isinstance(text, str) else []


PLACES = {
    "claude-code": Place(
        project=os.path.join(".claude", "settings.json"),
        user=os.path.join(".claude", "settings.json"),
        home=("CLAUDE_CONFIG_DIR", "settings.json"),
        before=("PreToolUse",),
        after=("PostToolUse", "PostToolUseFailure", "SessionEnd"),
        entry=_claude,
        commands=_nested,
        base={},
        next_step="start a new session of Claude Code, and look at /hooks",
    ),
    "codex": Place(
        project=os.path.join(".codex", "hooks.json"),
        user=os.path.join(".codex", "hooks.json"),
        home=("CODEX_HOME", "hooks.json"),
        before=("PreToolUse",),
        after=("PostToolUse",),
        entry=_codex,
        commands=_nested,
        base={},
        next_step="start Codex and trust the hooks when it asks (/hooks): it skips a hook that nobody trusted, "
        "and asks again when its command line changes",
    ),
    "gemini": Place(
        project=os.path.join(".gemini", "settings.json"),
        user=os.path.join(".gemini", "settings.json"),
        home=("", ""),
        before=("BeforeTool",),
        after=("AfterTool", "SessionEnd"),
        entry=_gemini,
        commands=_nested,
        base={},
        next_step="start a new session of Gemini CLI, and look at /hooks",
    ),
    "cursor": Place(
        project=os.path.join(".cursor", "hooks.json"),
        user=os.path.join(".cursor", "hooks.json"),
        home=("", ""),
        before=("preToolUse",),
        after=("postToolUse", "postToolUseFailure", "sessionEnd"),
        entry=_cursor,
        commands=_flat,
        base={"version": 1},
        next_step="restart Cursor, and look at the hooks in its settings",
    ),
}
