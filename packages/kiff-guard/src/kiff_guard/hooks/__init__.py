"""`kiff-hook`: KIFF before and after every tool call of a coding agent. One process, one event, one answer.

    kiff-hook claude-code|codex|gemini|cursor [--mode observe|enforce] [--config FILE]
    kiff-hook install claude-code|codex|gemini|cursor [--project|--user] [--mode MODE] [--config FILE] [--dry-run]
    kiff-hook install … --uninstall
    kiff-hook doctor claude-code|codex|gemini|cursor [--config FILE]
    kiff-hook --help | --version

The agent writes one JSON object to stdin, and reads its own JSON from stdout. Until an answer is out, every end of this
process withholds in enforce: exit status 2, which each of these agents takes for no.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from kiff_guard.hooks.reply import Reply

NAMES = ("claude-code", "codex", "gemini", "cursor")
STARTING_SECONDS = 10.0
"""How long it may take until the settings are read, which say how long the rest may take."""
ABOUT, USAGE = (__doc__ or "\n\n").split("\n\n")[:2]


def main(argv: list[str] | None = None) -> int:
    """The command line. Returns the exit status; where it answers an agent, the process ends in here."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] in (["install"], ["doctor"]):
        from kiff_guard.hooks.commands import run

        return run(words)
    if words[:1] in (["-h"], ["--help"]):
        sys.stdout.write(f"{ABOUT}\n\n{USAGE}\n")
        return 0
    if words == ["--version"]:
        from kiff_guard.version import VERSION

        sys.stdout.write(f"kiff-hook {VERSION}\n")
        return 0
    try:
        dialect, mode, config = _read(words)
    except ValueError as error:
        _say(f"kiff-hook: {error}\n{USAGE}\n")
        _end(2)
    try:
        status = _hook(dialect, mode, config)
    except BaseException as error:  # noqa: BLE001  # a part of this very package is missing or broken
        _say(f"kiff-hook: {type(error).__name__}: {error}\n")
        status = 0 if mode == "observe" else 2
    _end(status)


def _end(status: int) -> NoReturn:
    """The process ends now, and with this status.

    Python's own end has one more: 120, where what stands in stderr's buffer cannot be written. Claude Code runs the
    tool on that, and looks at no answer.
    """
    _say("")
    os._exit(status)


def _say(text: str) -> None:
    with suppress(BaseException):  # nobody can be told
        sys.stderr.write(text)
        sys.stderr.flush()


def _hook(dialect: str, mode: str, config: str) -> int:
    from kiff_guard.hooks.dialects import DIALECTS
    from kiff_guard.hooks.reply import Reply, take_stdout

    reply = Reply(DIALECTS[dialect], take_stdout())
    reply.blocks = mode != "observe"
    try:
        reply.arm(STARTING_SECONDS)
        from kiff_guard.hooks.flow import answer

        answer(reply, mode, config, os.environ)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the agent waits for an answer
        _broken(reply, config, error)
    return reply.status


def _broken(reply: Reply, config: str, error: BaseException) -> None:
    """Answers a failure. What fails in that too leaves the status, which says no where it has to."""
    with suppress(BaseException):
        from kiff_guard.hooks.settings import enforces_already

        reply.blocks = reply.blocks or enforces_already(config, os.environ)
    with suppress(BaseException):
        code = getattr(error, "code", type(error).__name__)
        reply.broken(f"{code}: {error}")


def _read(words: list[str]) -> tuple[str, str, str]:
    """The dialect, the mode and the settings file. By hand: a parser of command lines costs more than the hook.

    Raises:
        ValueError: says what is wrong.
    """
    if not words or words[0] not in NAMES:
        found = f"found `{words[0]}`" if words else "found nothing"
        raise ValueError(f"expected one of {', '.join(NAMES)}, install or doctor, {found}")
    given = {"--mode": "", "--config": ""}
    rest = iter(words[1:])
    for word in rest:
        name, equals, value = word.partition("=")
        if name not in given or given[name]:
            raise ValueError(f"`{word}` is not understood here")
        given[name] = value if equals else next(rest, "")
        if not given[name]:
            raise ValueError(f"`{name}` lacks its value")
    if given["--mode"] not in ("", "observe", "enforce"):
        raise ValueError(f"`--mode` is `{given['--mode']}`; expected observe or enforce")
    return words[0], given["--mode"], given["--config"]
