"""The `kiff` command. Names and help stand in a table; a command's module is imported when it runs, not before."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from kiff.cli.exits import Exit
from kiff.cli.failure import report
from kiff.errors import Forbidden, StoreRolledBack, Unanswered, Unauthorized

COMMANDS: dict[str, tuple[str, str]] = {
    "approvals": ("kiff.cli.approvals", "See what waits for a person, and answer it."),
    "backup": ("kiff.cli.backup", "Copy the whole store into a folder, and check the copy."),
    "check": ("kiff.cli.check", "Say everything that is wrong with a domain, and how to mend it."),
    "completion": ("kiff.cli.completion", "Print what makes a shell complete kiff commands."),
    "demo": ("kiff.cli.demo", "Run the governed loop on a real database, in one screen."),
    "diff": ("kiff.cli.diff", "Say what one version lets through that another does not."),
    "doctor": ("kiff.cli.doctor", "Look whether everything here is as it should be."),
    "domains": ("kiff.cli.domains", "Publish domain versions, and see which of them govern."),
    "entities": ("kiff.cli.entities", "See which entities there are, and what may be done with one."),
    "execute": ("kiff.cli.execute", "Run an action through its executor, if the gate allows it now."),
    "explain": ("kiff.cli.explain", "Say why a decision came out as it did, and what would change it."),
    "export": ("kiff.cli.export", "Take the log out, with its proof, for whoever audits it."),
    "graph": ("kiff.cli.graph", "Draw the state machine of a domain."),
    "ingest": ("kiff.cli.ingest", "Record what happened to an entity, and move its state."),
    "keys": ("kiff.cli.keys", "Mint, list and revoke the keys of a tenant on a server."),
    "login": ("kiff.cli.login", "Sign in on a server, or approve the login of another program."),
    "logout": ("kiff.cli.logout", "Sign out on a server."),
    "members": ("kiff.cli.members", "Say who somebody is on a server, and what they may do."),
    "migrate": ("kiff.cli.migrate", "Bring a PostgreSQL database up to date, and grant its role."),
    "move": ("kiff.cli.move", "Copy the whole store to another place, and go on there."),
    "new": ("kiff.cli.new", "Make a project: a governed domain that runs."),
    "operations": ("kiff.cli.operations", "See how cleared actions ended, and settle unknown ones."),
    "policies": ("kiff.cli.policies", "Say what holds for every domain, beside its contracts."),
    "propose": ("kiff.cli.propose", "Ask whether an action may run now, by the caller's own hand."),
    "receipts": ("kiff.cli.receipts", "Take a receipt out of a database, with its proof."),
    "replay": ("kiff.cli.replay", "Fold the events and decide history again, and compare."),
    "restore": ("kiff.cli.restore", "Put a backup into an empty place."),
    "root": ("kiff.cli.root", "Change the secret that keys on PostgreSQL are sealed with."),
    "scaffold": ("kiff.cli.scaffold", "Write the Python of a domain: contracts, executors, tests."),
    "serve": ("kiff.cli.serve", "Serve tenants over HTTP."),
    "simulate": ("kiff.cli.simulate", "Decide history again under a draft, and say what would differ."),
    "state": ("kiff.cli.state", "Where an entity is now, or was."),
    "tail": ("kiff.cli.tail", "Follow the log of a server as it grows."),
    "test": ("kiff.cli.test", "Play the cases that prove a domain and its policy."),
    "timeline": ("kiff.cli.timeline", "What happened to one entity, step by step."),
    "trigger": ("kiff.cli.trigger", "Try out what an event leads to."),
    "up": ("kiff.cli.up", "Start a server with a tenant to try things on."),
    "vault": ("kiff.cli.vault", "See which sensitive values are kept, open one, or erase it."),
    "verify": ("kiff.cli.verify", "Check a receipt, a bundle, an export or a whole database."),
    "version": ("kiff.cli.version", "Versions of KIFF and of what it stands on."),
    "webhooks": ("kiff.cli.webhooks", "Have programs told of what is recorded, with signed messages."),
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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """From the table: asking each command for its help would import all of them at every key."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        named = [(name, line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return [CompletionItem(name, help=line) for name, line in named]

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
        return ending(error)
    return code if isinstance(code, int) else Exit.DONE


def ending(error: Exception) -> Exit:
    """Not to be known, not to be allowed, and not to know whether it was done are no plain failures."""
    if isinstance(error, Unauthorized):
        return Exit.SIGN_IN
    if isinstance(error, Unanswered) and error.may_have_acted:
        return Exit.UNKNOWN
    if isinstance(error, StoreRolledBack):
        return Exit.INVALID
    return Exit.BLOCKED if isinstance(error, Forbidden) else Exit.FAILED


def main() -> None:
    """The entry point of the `kiff` program."""
    # A closed stream is no stream at all in Python; what is written to it goes nowhere.
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115  open until the process ends
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing is said again at exit
        if not isinstance(error, BrokenPipeError):  # `kiff timeline … | head` ends quietly
            report(error, debug=False)
            code = code or Exit.FAILED
    sys.exit(code)
