"""What `kiff-hook` is told to do. One file says it, and the agent that is guarded is not the one to write it.

    1. /etc/kiff/guard.json, where there is one: it decides alone, and nothing below is read; no variable has a say.
    2. --config FILE, else $KIFF_GUARD_CONFIG, else ~/.config/kiff/guard.json.
    3. .kiff/guard.json of the project, beside either of them: it can only make things stricter.

What a file says, no variable says otherwise: a project can set variables of the agent that works in it.

INVARIANT: enforce wins. Whoever says enforce, the command line, the file or the project, nothing else takes it back.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kiff_guard.errors import ConfigurationError
from kiff_guard.strict_json import once

MANAGED = "/etc/kiff/guard.json"
PROJECT = os.path.join(".kiff", "guard.json")
BYTES_LIMIT = 1024 * 1024
MODES = ("observe", "enforce")
UNMAPPED = ("withhold", "allow", "observe")
ERRORS = ("unknown", "failed")
DEADLINE_SECONDS = 10.0

_FIELDS = {
    "mode": str,
    "url": str,
    "agent": str,
    "key_file": str,
    "receipts": str,
    "state": str,
    "unmapped": str,
    "tools": dict,
    "ungoverned": list,
    "withheld": list,
    "redact": list,
    "errors": str,
    "deadline_seconds": (int, float),
    "defer": bool,
}
_PROJECT_FIELDS = {"mode", "withheld"}
_PATHS = ("key_file", "receipts", "state")


@dataclass(frozen=True)
class Settings:
    """What one event is answered by.

    Attributes:
        mode: observe or enforce.
        url: where KIFF is.
        key: what it is asked with; "" if there is none.
        agent: who is guarded.
        tools: bindings by the tool's name or pattern.
        ungoverned: patterns of tools that run without KIFF, and whose receipts say so.
        withheld: patterns of tools that never run.
        errors: what KIFF is told of a tool that failed: `unknown`, for it may have done its work, or `failed`.
        redact: names of arguments that receipts do not keep, beside those whose names say that they are secret.
        unmapped: what becomes of tools that nothing names: withhold, allow or observe.
        receipts: the file of receipts.
        state: the folder of what is open between two events.
        deadline_seconds: when the answer is no, if there is none by then.
        defer: end the run where a person has to approve, for an agent that can be resumed.
        source: the file that said so, for people.
    """

    mode: str
    url: str = ""
    key: str = ""
    agent: str = ""
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ungoverned: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()
    errors: str = "unknown"
    unmapped: str = "withhold"
    receipts: str = ""
    state: str = ""
    deadline_seconds: float = DEADLINE_SECONDS
    defer: bool = False
    source: str = ""

    def __repr__(self) -> str:
        return f"<Settings {self.mode} of {self.source or 'nothing'}>"

    @property
    def enforces(self) -> bool:
        return self.mode == "enforce"


def read(flag: str, path: str, environment: Mapping[str, str], project: str) -> Settings:
    """The settings for one event.

    Args:
        flag: what --mode says; "" if it is not given.
        path: what --config says; "" if it is not given.
        project: the folder where the agent works.

    Raises:
        ConfigurationError: there is nothing to go by, or it cannot be trusted or understood.
    """
    found = main_file(path, environment)
    if found == MANAGED:
        environment = _without_variables(environment)
    told = _told(found) if found else {}
    _check(told, found)
    own, tightened = _project(project, environment)
    modes = {flag, told.get("mode", ""), tightened.get("mode", "")} - {""}
    if not modes:
        message = "neither --mode nor a settings file says whether to observe or to enforce"
        raise ConfigurationError(f"{message}; run `kiff-hook install`, or write {_home(environment)}")
    key_file, receipts, state = (_path(told.get(each, ""), found, environment) for each in _PATHS)
    return Settings(
        mode="enforce" if "enforce" in modes else "observe",
        url=told.get("url") or environment.get("KIFF_URL", ""),
        key=_key(key_file) if key_file else environment.get("KIFF_API_KEY", ""),
        agent=told.get("agent", ""),
        tools=told.get("tools", {}),
        ungoverned=tuple(told.get("ungoverned", ())),
        withheld=(*told.get("withheld", ()), *tightened.get("withheld", ())),
        redact=tuple(told.get("redact", ())),
        errors=told.get("errors", "unknown"),
        unmapped=told.get("unmapped", "withhold"),
        receipts=receipts or os.path.join(_states(environment), "receipts.jsonl"),
        state=state or os.path.join(_states(environment), "hooks"),
        deadline_seconds=float(told.get("deadline_seconds", DEADLINE_SECONDS)),
        defer=told.get("defer", False) and _is_unattended(environment),
        source=" and ".join(filter(None, (found, own))),
    )


def enforces_already(path: str, environment: Mapping[str, str]) -> bool:
    """Does the file that decides say enforce, whatever is wrong with all the rest?

    The machine's own that cannot be read may say so too.
    """
    try:
        found = main_file(path, environment)
        return bool(found) and _told(found).get("mode") == "enforce"
    except ConfigurationError:
        return _is_there(MANAGED)


def fits(tool: str, patterns: tuple[str, ...]) -> bool:
    """Is the tool one of these?"""
    if tool in patterns:
        return True
    from fnmatch import fnmatchcase

    return any(fnmatchcase(tool, each) for each in patterns)


def main_file(path: str, environment: Mapping[str, str]) -> str:
    """The file that decides; "" where there is none and none was asked for.

    Raises:
        ConfigurationError: a path means one thing here and another thing there.
    """
    if _is_there(MANAGED):
        return MANAGED
    if path:
        return os.path.abspath(_expanded(path, environment))
    named = environment.get("KIFF_GUARD_CONFIG", "")
    if named:
        named = _expanded(named, environment)
        if not os.path.isabs(named):
            raise ConfigurationError("KIFF_GUARD_CONFIG must be a whole path: the project must not say what it means")
        return named
    home = _home(environment)
    return home if _is_there(home) else ""


def _is_there(path: str) -> bool:
    """Is anything at the path? What cannot be looked at is: nobody frees himself by locking it away."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _without_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What is left of the environment where the machine's settings decide: how the agent was started, and who it is."""
    kept = {name: value for name, value in environment.items() if name.startswith("CLAUDE_CODE_")}
    try:
        import pwd

        kept["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):  # no such users here: `~` is where the system says
        kept["HOME"] = environment.get("HOME", "")
    return kept


def _is_unattended(environment: Mapping[str, str]) -> bool:
    """Did a program start Claude Code? With a person before it nobody promises that a deferred call does not run."""
    started_by, attended = (environment.get(f"CLAUDE_CODE_{name}", "") for name in ("ENTRYPOINT", "SESSION_ATTENDED"))
    return started_by.startswith("sdk") and attended in ("", "0")


def _home(environment: Mapping[str, str]) -> str:
    base = _base("XDG_CONFIG_HOME", environment) or _expanded("~/.config", environment)
    return os.path.join(base, "kiff", "guard.json")


def _states(environment: Mapping[str, str]) -> str:
    """The folder of receipts and of the state, unless the settings say."""
    return os.path.join(_base("XDG_STATE_HOME", environment) or _expanded("~/.local/state", environment), "kiff")


def _base(name: str, environment: Mapping[str, str]) -> str:
    """A folder of the XDG specification, which has it that a path that is not whole is none."""
    given = environment.get(name, "")
    return given if os.path.isabs(given) else ""


def _expanded(name: str, environment: Mapping[str, str]) -> str:
    """A path that may begin with `~`.

    Raises:
        ConfigurationError: nobody knows where home is; it would be a folder named `~` of the project.
    """
    if name != "~" and not name.startswith("~" + os.sep):
        return os.path.expanduser(name)
    home = environment.get("HOME", "") if os.name == "posix" else ""
    home = home or os.path.expanduser("~")
    if not os.path.isabs(home):
        raise ConfigurationError(f"there is no home folder, and `{name}` is in it; set HOME to a whole path")
    return home + name[1:]


def _project(folder: str, environment: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The project's own file, from its folder upwards, and what it may say: more is withheld, never less.

    Raises:
        ConfigurationError: it says anything else.
    """
    home = environment.get("HOME", "") or os.path.expanduser("~")
    here = os.path.abspath(folder) if folder else ""
    while here and here != home:
        path = os.path.join(here, PROJECT)
        if _is_there(path):
            told = _told(path, trusted=False)
            more = sorted(set(told) - _PROJECT_FIELDS)
            if more or told.get("mode", "enforce") != "enforce":
                message = f'{path} belongs to the project, and may say `"mode": "enforce"` and `"withheld": […]` only'
                raise ConfigurationError(
                    f"{message}; put {', '.join(more) or 'another mode'} into the settings of the user"
                )
            _check(told, path)
            return path, told
        above = os.path.dirname(here)
        here = "" if above == here else above
    return "", {}


def _told(path: str, *, trusted: bool = True) -> dict[str, Any]:
    """What a file says.

    Raises:
        ConfigurationError: it cannot be read, is no JSON object, or others than its owner may write it.
    """
    try:
        raw, found = _bytes(path)
        if trusted:
            owned(path, found, "settings", stat.S_IWGRP | stat.S_IWOTH)
        told = json.loads(raw.decode("utf-8"), object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"the settings {path} cannot be read: {error}") from error
    if not isinstance(told, dict):
        raise ConfigurationError(f"the settings {path} are no JSON object")
    return told


def _bytes(path: str) -> tuple[bytes, os.stat_result]:
    """A whole file. One that never ends, a pipe for one, is none."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is no file")
        raw = b""
        while len(raw) <= BYTES_LIMIT and (part := os.read(file, BYTES_LIMIT + 1 - len(raw))):
            raw += part
    finally:
        os.close(file)
    if len(raw) > BYTES_LIMIT:
        raise OSError(f"it has more than {BYTES_LIMIT} bytes")
    return raw, found


def owned(path: str, found: os.stat_result, what: str, forbidden: int) -> None:
    """
    Raises:
        ConfigurationError: somebody else could have written it, or could read a key.
    """
    if os.name != "posix":
        return
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(f"the {what} {path} belong to another user; expected yourself or root")
    if found.st_mode & forbidden:
        allowed = "0600" if forbidden & stat.S_IRGRP else "0644"
        raise ConfigurationError(f"the {what} {path} are open to other users; run `chmod {allowed} {path}`")


def _check(told: dict[str, Any], path: str) -> None:
    """
    Raises:
        ConfigurationError: names the field, and what was expected.
    """
    for name, value in told.items():
        kind = _FIELDS.get(name)
        if kind is None:
            raise ConfigurationError(f"`{name}` in {path} is no setting; expected one of {', '.join(sorted(_FIELDS))}")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):  # type: ignore[arg-type]
            raise ConfigurationError(f"`{name}` in {path} has the wrong type: {type(value).__name__}")
    _one_of(told, "mode", MODES, path)
    _one_of(told, "unmapped", UNMAPPED, path)
    _one_of(told, "errors", ERRORS, path)
    for name in ("ungoverned", "withheld", "redact"):
        if not all(isinstance(each, str) and each for each in told.get(name, ())):
            raise ConfigurationError(f"`{name}` in {path} is a list of names")
    if not 0.1 <= told.get("deadline_seconds", DEADLINE_SECONDS) <= 60:
        raise ConfigurationError(f"`deadline_seconds` in {path} must be 0.1 to 60")
    if "tools" in told:
        from kiff_guard.tool_map import ToolMap

        ToolMap.from_settings(told["tools"], path)


def _one_of(told: dict[str, Any], name: str, words: tuple[str, ...], path: str) -> None:
    if name in told and told[name] not in words:
        raise ConfigurationError(f"`{name}` in {path} is `{told[name]}`; expected one of {', '.join(words)}")


def _key(path: str) -> str:
    """The key in a file that nobody else can read.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        raw, found = _bytes(path)
        owned(path, found, "key file", 0o077)
        key = raw.decode("ascii").strip()
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"`key_file` {path} cannot be read: {error}") from error
    if not key:
        raise ConfigurationError(f"`key_file` {path} is empty")
    return key


def _path(name: str, settings: str, environment: Mapping[str, str]) -> str:
    """A path as the settings mean it: from home, or from where the settings stand."""
    if not name:
        return ""
    name = _expanded(name, environment)
    return name if os.path.isabs(name) else os.path.join(os.path.dirname(settings), name)
