"""`kiff-hook`: KIFF before and after every tool call of a coding agent. One process, one event, one answer.

    kiff-hook claude-code|codex|gemini|cursor [--mode observe|enforce] [--config FILE]
    kiff-hook install claude-code|codex|gemini|cursor [--project|--user] [--mode MODE] [--config FILE] [--dry-run]
    kiff-hook install … --uninstall
    kiff-hook doctor claude-code|codex|gemini|cursor

The agent writes one JSON object to stdin, and reads its own JSON from stdout. Until an answer is out, every end of this
process withholds in enforce: exit status 2, which each of these agents takes for no.
"""

from __future__ import annotations

import os
import sys

NAMES = ("claude-code", "codex", "gemini", "cursor")
STARTING_SECONDS = 10.0
"""How long it may take until the settings are read, which say how long the rest may take."""
USAGE = (__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]


def main(argv: list[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] in (["install"], ["doctor"]):
        from kiff_guard.hooks.commands import run

        return run(words)
    if words[:1] in (["-h"], ["--help"]):
        sys.stdout.write(f"{USAGE}\n")
        return 0
    try:
        dialect, mode, config = _read(words)
    except ValueError as error:
        sys.stderr.write(f"kiff-hook: {error}\n{USAGE}\n")
        return 2
    try:
        return _hook(dialect, mode, config)
    except BaseException as error:  # noqa: BLE001  # a part of this very package is missing or broken
        sys.stderr.write(f"kiff-hook: {type(error).__name__}: {error}\n")
        return 0 if mode == "observe" else 2


def _hook(dialect: str, mode: str, config: str) -> int:
    from kiff_guard.hooks.dialects import DIALECTS
    from kiff_guard.hooks.reply import Reply, take_stdout

    reply = Reply(DIALECTS[dialect], take_stdout())
    reply.blocks = mode != "observe"
    reply.arm(STARTING_SECONDS)
    try:
        from kiff_guard.hooks.flow import answer

        answer(reply, mode, config, os.environ)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the agent waits for an answer
        code = getattr(error, "code", type(error).__name__)
        reply.broken(f"{code}: {error}")
    return reply.status


def _read(words: list[str]) -> tuple[str, str, str]:
    """The dialect, the mode and the settings file. By hand: a parser of command lines costs more than the hook.

    Raises:
        ValueError: says what is wrong.
    """
    if not words or words[0] not in NAMES:
        raise ValueError(f"expected one of {', '.join(NAMES)}, found `{words[0] if words else ''}`")
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
