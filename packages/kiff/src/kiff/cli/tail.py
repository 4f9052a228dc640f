"""`kiff tail`: the log of a server as it grows."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from kiff.cli.output import SCHEMA
from kiff.cli.safe_text import visible
from kiff.cli.server import server_option
from kiff.cli.summary import summary
from kiff.protocol.record import KINDS

if TYPE_CHECKING:
    from kiff.cli.on_server import OnServer

COLUMNS = ("seq", "time", "kind", "entity", "actor", "summary")
HELD = "approval_required"


@click.command("tail")
@click.option("--kind", type=click.Choice(KINDS), help="Only records of this kind.")
@click.option("--entity", help="Only records of this entity (`order:ord_001`).")
@click.option("--held", is_flag=True, help=f"Only what is held for a person: --kind {HELD}.")
@click.option("--after", type=click.IntRange(-1), help="Begin behind this record; -1 for the whole log.")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(("auto", "text", "jsonl")),
    default="auto",
    show_default=True,
    help="jsonl: the records themselves, one a line.",
)
@server_option
def command(
    kind: str | None,
    entity: str | None,
    held: bool,
    after: int | None,
    limit: int | None,
    output: str,
    server: OnServer,
) -> None:
    """Show records as they are written, until Ctrl-C. A lost connection is taken up again where it was."""
    if held and kind not in (None, HELD):
        raise click.UsageError(f"--held is --kind {HELD}; give one of them")
    shown = 0
    with server.client() as client:
        stream = client.stream(entity=entity, kind=HELD if held else kind, after=None if after is None else str(after))
        show = _json if output == "jsonl" else _Lines(output)
        for event in stream:
            show(event.record)
            shown += 1
            if shown == limit:
                return


def _json(record: dict[str, Any]) -> None:
    click.echo(json.dumps({"kiff": SCHEMA, **record}, separators=(",", ":")).replace("\x7f", "\\u007f"))


class _Lines:
    """One line a record, written as it comes; the columns are named once."""

    def __init__(self, output: str) -> None:
        self._gap = "  " if output == "text" or sys.stdout.isatty() else "\t"
        self._begun = False

    def __call__(self, record: dict[str, Any]) -> None:
        if not self._begun:
            click.echo(self._gap.join(COLUMNS))
            self._begun = True
        told = (record["seq"], record["at"], record["kind"], record["entity"], record["actor"]["id"], summary(record))
        click.echo(self._gap.join(visible(each) for each in told))
        sys.stdout.flush()
