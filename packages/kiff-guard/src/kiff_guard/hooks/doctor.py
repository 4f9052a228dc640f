"""`kiff-hook doctor`: is the hook in place, does it answer, and does it say no when it should?

INVARIANT: a project says neither what is run here, nor to whom the key is shown: whoever looks into a project may not
trust it yet.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kiff_guard.errors import ConfigurationError, GuardError
from kiff_guard.hooks.install import installed
from kiff_guard.hooks.places import PLACES, command
from kiff_guard.hooks.settings import Settings, main_file, read

WAIT_SECONDS = 30

Say = Callable[[str], None]


class Found(NamedTuple):
    """One hook that is installed.

    Args:
        command: its command line; "" if it was not run, because it may be anybody's.
        well: everything about it is as it should be.
    """

    command: str
    well: bool


def examine(dialect: str, environment: Mapping[str, str], say: Say, config: str = "") -> int:
    """Looks at everything and says what it finds. Returns 0 if all of it is well.

    Args:
        config: settings that the user names, which a project's hook may name too.
    """
    found, good = [], True
    for where in ("user", "project"):
        try:
            each = _place(dialect, where, environment, say, config)
        except ConfigurationError as error:
            say(f"no: {error}")
            good = False
        else:
            found += [each] if each else []
    if not found:
        say(f"no: no hook is installed; run `kiff-hook install {dialect}`")
        return 1
    good = all([good, *(each.well for each in found)])
    asking = {each.command for each in found if each.command and _told(each.command)[0] != "observe"}
    if len(asking) > 1:
        say("no: the user's hook and the project's both ask, and KIFF lets a call run once: every one is withheld")
        good = False
    for mode, named in {_told(each.command) for each in found if each.command}:
        good = _settings(mode, named, environment, say) and good
    return 0 if good else 1


def _place(dialect: str, where: str, environment: Mapping[str, str], say: Say, config: str) -> Found | None:
    """The hook in one settings file; None if there is none.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    place = PLACES[dialect]
    path, entries = installed(dialect, where, environment)
    if not entries:
        return None
    good, line = True, ""
    for event in (*place.before, *place.after):
        mine = entries.get(event, [])
        if len(mine) != 1:
            say(f"no: {path} has {len(mine)} hooks of ours for {event}; run `kiff-hook install` again")
            good = False
        elif event in place.before:
            [written] = place.commands(mine[0])
            if where == "project" and not _is_ours(dialect, written, environment, config):
                say(f"no: {path} has a hook that `kiff-hook install` did not write so, and it was not run: {written!r}")
                good = False
                continue
            line = written
            good = _entry(dialect, path, event, mine[0], say) and good
    return Found(line, good)


def _is_ours(dialect: str, line: str, environment: Mapping[str, str], config: str) -> bool:
    """Is it this program, with nothing before or after it, and the user's own settings?"""
    try:
        mode, named = _told(line)
        users = {"", main_file("", environment), os.path.abspath(config) if config else ""}
    except (ValueError, ConfigurationError):
        return False
    place, own = PLACES[dialect], command(dialect, mode, named)
    return named in users and [line] == place.commands(place.entry(own, mode, True))


def _told(line: str) -> tuple[str, str]:
    """What the command line says: --mode and --config.

    Raises:
        ValueError: it is none.
    """
    words = shlex.split(line)
    if words[:2] == ["sh", "-c"] and len(words) == 3:
        words = shlex.split(words[2])
    given = {name: words[words.index(name) + 1] for name in ("--mode", "--config") if name in words[:-1]}
    return given.get("--mode", ""), given.get("--config", "")


def _entry(dialect: str, path: str, event: str, entry: Any, say: Say) -> bool:
    place = PLACES[dialect]
    [line] = place.commands(entry)
    mode = "observe" if _told(line)[0] == "observe" else "enforce"
    say(f"yes: {path} has the hook for {event}, to {mode}")
    started = time.monotonic()
    try:
        ran = subprocess.run(line, shell=True, input=b"{}", capture_output=True, timeout=WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        say(f"no: it gave no answer within {WAIT_SECONDS} seconds")
        return False
    took = f"{(time.monotonic() - started) * 1e3:.0f} ms"
    if mode == "observe":
        good = ran.returncode == 0 and ran.stdout.strip() == b"{}"
        say(f"{'yes' if good else 'no'}: an event that cannot be read stops nothing ({took})")
        return good
    good = ran.returncode == 2 and _is_object(ran.stdout)
    say(f"{'yes' if good else 'no'}: an event that cannot be read is withheld ({took})")
    if place.entry(line, mode, True) != entry and not _is_closed(dialect, entry):
        say("no: the agent's own switch to fail closed is not set; run `kiff-hook install` again")
        return False
    return good


def _is_closed(dialect: str, entry: Any) -> bool:
    """Does the agent withhold the call when the hook cannot even start?"""
    if dialect == "claude-code":
        return all(each.get("onFailure") == "block" for each in entry["hooks"])
    if dialect == "cursor":
        return entry.get("failClosed") is True
    return "|| exit 2" in entry["hooks"][0]["command"]


def _settings(mode: str, config: str, environment: Mapping[str, str], say: Say) -> bool:
    try:
        settings = read(mode, config, environment, os.getcwd())
    except ConfigurationError as error:
        say(f"no: {error}")
        return False
    say(f"yes: {settings.mode}, by {settings.source or 'the command line alone: there is no settings file'}")
    if settings.enforces and mode != "enforce":
        say("no: only the settings say enforce; `kiff-hook install --mode enforce`, so that losing them frees nobody")
        return False
    return not settings.enforces or _server(settings, say)


def _server(settings: Settings, say: Say) -> bool:
    """Does KIFF answer, with this key?"""
    from kiff_guard.client import HTTPClient
    from kiff_guard.tool_map import ToolMap

    if not settings.url or not settings.key:
        say(f"no: there is no {'key' if settings.url else 'server'}: every call is withheld")
        return False
    try:
        client = HTTPClient(settings.key, ToolMap(), settings.url, timeout=settings.deadline_seconds)
        client.request("GET", "/v1/me/domain")
    except GuardError as error:
        say(f"no: {error}")
        return False
    say(f"yes: KIFF answers at {settings.url}; {len(settings.tools)} tools are bound, others: {settings.unmapped}")
    return True


def _is_object(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw), dict)
    except ValueError:
        return False
