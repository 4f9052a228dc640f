"""`kiff demo`: the example project `refund-ops`, run as it is."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import click

from kiff.cli.store_option import said_store

PROJECT = Path(__file__).parents[1] / "templates" / "refund-ops"


@click.command("demo")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where the data are kept; the next run goes on there.",
)
@click.option(
    "--store",
    metavar="STORE",
    default="sqlite",
    show_default=True,
    help="`sqlite`, in that folder, or `postgresql://…`: then two workers serve.",
)
@click.option("--fresh", is_flag=True, help="Forget what earlier runs left in that folder.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def command(context: click.Context, folder: Path, store: str, fresh: bool, output: str) -> None:
    """The governed loop on a real database, in one screen.

    Five endings and a retry storm against an outside payment ledger, then the proof, then the five endings again
    through a server. Ends with 0 only if every line is as promised.
    """
    sys.path.insert(0, str(PROJECT))  # a project is a folder of plain modules, not part of this package
    context.exit(import_module("demo").run(folder, store=said_store(store, None), fresh=fresh, output=output))
