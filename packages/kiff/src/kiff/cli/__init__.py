"""The `kiff` command. Names and help stand in a table; a command's module is imported when it runs, not before."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from kiff.cli.exits import Exit
from kiff.cli.failure import report

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("kiff.cli.demo", "Run the governed loop on a real database, in one screen."),
    "receipts": ("kiff.cli.receipts", "Take a receipt out of a database, with its proof."),
    "replay": ("kiff.cli.replay", "Fold the events and decide history again, and compare."),
    "timeline": ("kiff.cli.timeline", "What happened to one entity, step by step."),
    "verify": ("kiff.cli.verify", "Check a receipt, a bundle or a whole database."),
    "version": ("kiff.cli.version", "Versions of KIFF and of what it stands on."),
}
"""name -> (module, one line of help)."""


class LazyGroup(click.Group):
    """A group whose commands come from COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """KIFF decides, before anything happens, whether an agent's action may run, and can prove what it decided."""


def run(argv: Sequence[str]) -> int:
    """Runs one command line and returns its exit code. Data go to stdout, everything else to stderr."""
    debug = "--debug" in argv
    try:
        code: Any = cli.main(list(argv), prog_name="kiff", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as help_shown:
        help_shown.show()
        return Exit.USAGE
    except click.UsageError as error:
        error.show()
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001  the edge: whatever went wrong becomes a line and an exit code
        report(error, debug=debug)
        return Exit.FAILED
    return code if isinstance(code, int) else Exit.DONE


def main() -> None:
    """The entry point of the `kiff` program."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `kiff timeline … | head` ends quietly
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))
