"""What a person types: `kiff-hook install` and `kiff-hook doctor`. Says what it did, and what is left to do."""

from __future__ import annotations

import difflib
import os
import sys
from typing import NamedTuple

from kiff_guard.errors import ConfigurationError
from kiff_guard.hooks import NAMES, USAGE
from kiff_guard.hooks.install import Change, carry_out, change
from kiff_guard.hooks.places import PLACES
from kiff_guard.hooks.settings import MODES, main_file, read

_SWITCHES = {"--project", "--user", "--dry-run", "--uninstall"}
_VALUES = {"--mode", "--config"}


class Asked(NamedTuple):
    """A command line.

    Args:
        where: `project` or `user`.
    """

    verb: str
    dialect: str
    where: str = "user"
    mode: str = ""
    config: str = ""
    dry_run: bool = False
    uninstall: bool = False


def run(words: list[str]) -> int:
    """Carries out a command line. Returns the exit status."""
    try:
        asked = _asked(words)
        if asked.verb == "doctor":
            from kiff_guard.hooks.doctor import examine

            return examine(asked.dialect, os.environ, _say, asked.config)
        return _install(asked)
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"kiff-hook: {error}\n")
        return 2


def _install(asked: Asked) -> int:
    mode = asked.mode or _mode(asked)
    config = asked.config or _fixed(asked, mode)
    planned = change(asked.dialect, asked.where, mode, config, os.environ, remove=asked.uninstall)
    if asked.dry_run:
        _say(_difference(planned) or f"{planned.path} would stay as it is")
        return 0
    done = carry_out(planned)
    verb = "taken out of" if asked.uninstall else "written into"
    _say(f"{'the hook is ' + verb if done.changes else 'nothing to change in'} {done.path}")
    if done.backup:
        _say(f"what was there before is in {done.backup}")
    if done.changes and not asked.uninstall:
        _say(f"mode: {mode}")
        _say(f"next: {PLACES[asked.dialect].next_step}; then `kiff-hook doctor {asked.dialect}`")
    return 0


def _mode(asked: Asked) -> str:
    """The mode that the settings say; observe, if there are none."""
    if asked.uninstall or not main_file(asked.config, os.environ):
        return "observe"
    try:
        return read("", asked.config, os.environ, "").mode
    except ConfigurationError:
        return read("observe", asked.config, os.environ, "").mode


def _fixed(asked: Asked, mode: str) -> str:
    """In enforce the user's hook names its settings: variables that a project sets do not lead it elsewhere."""
    return main_file("", os.environ) if mode == "enforce" and asked.where == "user" else ""


def _asked(words: list[str]) -> Asked:
    """
    Raises:
        ConfigurationError: says what is wrong with the command line.
    """
    verb, rest = words[0], words[1:]
    if not rest or rest[0] not in NAMES:
        raise ConfigurationError(f"expected one of {', '.join(NAMES)} after `{verb}`\n{USAGE}")
    dialect, given, switches = rest[0], dict[str, str](), set[str]()
    left = iter(rest[1:])
    for word in left:
        name, equals, value = word.partition("=")
        if name in _SWITCHES and not equals:
            switches.add(name)
        elif name in _VALUES:
            given[name] = value if equals else next(left, "")
        else:
            raise ConfigurationError(f"`{word}` is not understood here\n{USAGE}")
    if {"--project", "--user"} <= switches:
        raise ConfigurationError("`--project` and `--user` are two places; say one of them")
    if given.get("--mode", "observe") not in MODES:
        raise ConfigurationError(f"`--mode` is `{given['--mode']}`; expected one of {', '.join(MODES)}")
    return Asked(
        verb,
        dialect,
        where="project" if "--project" in switches else "user",
        mode=given.get("--mode", ""),
        config=given.get("--config", ""),
        dry_run="--dry-run" in switches,
        uninstall="--uninstall" in switches,
    )


def _difference(planned: Change) -> str:
    before, after = (planned.before or "").splitlines(), (planned.after or "").splitlines()
    return "\n".join(difflib.unified_diff(before, after, planned.path, planned.path, lineterm=""))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
