"""`kiff-hook install`: writes the hook into an agent's settings, and takes it out again.

Everything else in the file stays as it is. A file that cannot be read as JSON is not touched: a comment in it would be
lost. What was there before is kept beside it.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from kiff_guard.errors import ConfigurationError
from kiff_guard.hooks.places import PLACES, Place, command
from kiff_guard.strict_json import once

BYTES_LIMIT = 8 * 1024 * 1024
_OURS = re.compile(r"\bkiff-hook\b|\bkiff_guard\.hooks\b")
_INDENT = re.compile(r"\{\r?\n([ \t]+)")


class Change(NamedTuple):
    """What installing comes to.

    Args:
        before, after: the file's text; None: there is none.
        backup: where the text before was kept; "" if nothing was.
    """

    path: str
    before: str | None
    after: str | None
    backup: str = ""

    @property
    def changes(self) -> bool:
        return self.before != self.after


def change(dialect: str, where: str, mode: str, config: str, environment: Mapping[str, str], *, remove: bool) -> Change:
    """What the settings would become. Writes nothing.

    Args:
        where: `project` or `user`.
        remove: take the hook out.

    Raises:
        ConfigurationError: the file cannot be read, or is not what such a file has to be.
    """
    place = PLACES[dialect]
    path = os.path.realpath(place.path(where, environment))
    before = _text(path)
    told = _object(path, before) if before is not None else {}
    line = command(dialect, mode, config)
    after = _without(place, dialect, told, path) if remove else _with(place, dialect, told, path, line, mode)
    if before is not None and after == told:
        return Change(path, before, before)
    if before is None and remove:
        return Change(path, None, None)
    return Change(path, before, _written(after, before))


def carry_out(planned: Change) -> Change:
    """Writes it, all or nothing, and keeps what was there before.

    Raises:
        ConfigurationError: somebody else has written it meanwhile. OSError: it cannot be written. It is as it was.
    """
    if not planned.changes or planned.after is None:
        return planned
    if _text(planned.path) != planned.before:
        raise ConfigurationError(
            f"{planned.path} was written by somebody else just now; nothing was changed, run it again"
        )
    folder = os.path.dirname(planned.path)
    os.makedirs(folder, exist_ok=True)
    mode, backup = 0o644, ""
    if planned.before is not None:
        mode = stat.S_IMODE(os.stat(planned.path).st_mode)
        backup = _unused(f"{planned.path}.before-kiff")
        _write(backup, planned.before, mode)
    _write(planned.path, planned.after, mode)
    return planned._replace(backup=backup)


def installed(dialect: str, where: str, environment: Mapping[str, str]) -> tuple[str, dict[str, list[Any]]]:
    """The settings file, and the entries of ours in it, by event.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    place = PLACES[dialect]
    path = place.path(where, environment)
    text = _text(path)
    told = {} if text is None else _object(path, text)
    hooks = _hooks(told, path)
    found = {
        event: [entry for entry in _entries(hooks, event, path) if _ours(place, dialect, entry)] for event in hooks
    }
    return path, {event: entries for event, entries in found.items() if entries}


def _with(place: Place, dialect: str, told: dict[str, Any], path: str, line: str, mode: str) -> dict[str, Any]:
    """The settings with the hook once in every event, in the place where it stands already, and as it should be."""
    after = {**place.base, **told}
    hooks = dict(_hooks(told, path))
    for event in (*place.before, *place.after):
        entry = place.entry(line, mode, event in place.before)
        entries = _entries(hooks, event, path)
        rest = [each for each in entries if not _ours(place, dialect, each)]
        mine = next((number for number, each in enumerate(entries) if _ours(place, dialect, each)), len(rest))
        hooks[event] = [*rest[:mine], entry, *rest[mine:]]
    after["hooks"] = hooks
    return after


def _without(place: Place, dialect: str, told: dict[str, Any], path: str) -> dict[str, Any]:
    hooks = dict(_hooks(told, path))
    for event in list(hooks):
        entries = _entries(hooks, event, path)
        rest = [each for each in entries if not _ours(place, dialect, each)]
        if len(rest) == len(entries):
            continue
        hooks[event] = rest
        if not rest:
            del hooks[event]
    after = {**told, "hooks": hooks}
    if not hooks:
        del after["hooks"]
    return after


def _ours(place: Place, dialect: str, entry: Any) -> bool:
    """Is it a hook of ours, and nothing else with it? One that shares its entry with a stranger's is the stranger's."""
    commands = place.commands(entry)
    return bool(commands) and all(_OURS.search(each) and f" {dialect} " in f"{each} " for each in commands)


def _hooks(told: dict[str, Any], path: str) -> dict[str, Any]:
    hooks = told.get("hooks", {})
    if not isinstance(hooks, dict):
        raise ConfigurationError(f"`hooks` in {path} is no object; correct it first, nothing was changed")
    return hooks


def _entries(hooks: dict[str, Any], event: str, path: str) -> list[Any]:
    entries = hooks.get(event, [])
    if not isinstance(entries, list):
        raise ConfigurationError(f"`hooks.{event}` in {path} is no list; correct it first, nothing was changed")
    return entries


def _text(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            raw = file.read(BYTES_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if len(raw) > BYTES_LIMIT:
        raise ConfigurationError(f"{path} has more than {BYTES_LIMIT} bytes; nothing was changed")
    try:
        return raw.decode("utf-8")
    except ValueError as error:
        raise ConfigurationError(f"{path} is no UTF-8; nothing was changed") from error


def _object(path: str, text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        told = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        message = f"{path} is no JSON that can be written back as it was ({error})"
        raise ConfigurationError(f"{message}; take out comments and names given twice, nothing was changed") from error
    if not isinstance(told, dict):
        raise ConfigurationError(f"{path} is JSON but no object; nothing was changed")
    return told


def _written(told: dict[str, Any], before: str | None) -> str:
    """As JSON, in the manner of the file: its indent, its line ends, and its last line's end."""
    found = _INDENT.search(before or "")
    indent: int | str = found[1] if found else 2
    text = json.dumps(told, indent=indent, ensure_ascii=False)
    if not before or before.endswith("\n"):
        text += "\n"
    return text.replace("\n", "\r\n") if before and "\r\n" in before else text


def _unused(path: str) -> str:
    number, found = 1, path
    while os.path.lexists(found):
        number += 1
        found = f"{path}.{number}"
    return found


def _write(path: str, text: str, mode: int) -> None:
    file, half = tempfile.mkstemp(prefix=".kiff-", dir=os.path.dirname(path))
    try:
        with os.fdopen(file, "w", encoding="utf-8", newline="") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(half, mode)
        os.replace(half, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(half)
        raise
