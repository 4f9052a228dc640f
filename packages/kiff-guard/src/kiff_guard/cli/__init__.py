"""The `kiff-guard` command. Names and help stand in a table; a command's module is imported when it runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from kiff_guard.errors import GuardError

COMMANDS = {
    "watch": "Show receipts as they are written.",
    "draft": "Write a starter kiff.yaml from the calls in a receipts file.",
    "verify": "Check that a receipts file is what its guard wrote.",
}
OK = 0
NOT_OK = 1
"""What was looked at is not right."""
UNUSABLE = 2
"""The command was not understood, or what it names cannot be read."""
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    _print_anything()
    arguments = _parser(given).parse_args(given)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK


def _run(arguments: argparse.Namespace) -> int:
    from kiff_guard.cli.text import visible

    try:
        code = int(_module(arguments.command).run(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (GuardError, OSError) as error:
        print(f"kiff-guard: {visible(error)}", file=sys.stderr)
        return UNUSABLE
    return code


def _print_anything() -> None:
    """A terminal that cannot show a letter is shown its escape."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _parser(given: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kiff-guard", description="What a guard has seen and written down.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and end")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((word for word in given if not word.startswith("-")), "")
    for name, help_ in COMMANDS.items():
        command = commands.add_parser(name, help=help_, description=help_)
        if name == asked:
            _module(name).arguments(command)
    return parser


def _module(name: str) -> Any:
    return import_module(f"kiff_guard.cli.{name}")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *given: object) -> None:
        from importlib.metadata import version

        print(f"kiff-guard {version('kiff-guard')}")
        parser.exit()
