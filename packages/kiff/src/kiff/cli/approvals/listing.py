"""`kiff approvals list` and `show`."""

from __future__ import annotations

import click

from kiff.cli.approvals.facts import COLUMNS, facts, for_people, row
from kiff.cli.output import MOST_ROWS, output_option, print_fields, print_rows
from kiff.cli.place import Place
from kiff.cli.place_options import place_option

STATUSES = ("pending", "granted", "consumed", "denied", "expired", "cancelled", "all")
MOST = 1000


@click.command("list")
@click.option("--status", type=click.Choice(STATUSES), default="pending", show_default=True, help="Only these.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=MOST, show_default=True, help="At most so many.")
@output_option
@place_option
def list_(status: str, limit: int, output: str, place: Place) -> None:
    """What waits for a person, the oldest first."""
    with place.reading() as reading:
        rows = [row(each) for each in reading.approvals(None if status == "all" else status, limit)]
    print_rows(output, "approvals", COLUMNS, rows)
    if not rows:
        click.echo("nothing waits for a person" if status == "pending" else f"no approval is {status}", err=True)


@click.command("show")
@click.argument("approval_id")
@output_option
@place_option
def show(approval_id: str, output: str, place: Place) -> None:
    """What a reviewer of APPROVAL_ID looks at, and who may answer it."""
    with place.reading() as reading:
        approval = reading.approval(approval_id)
        told = facts(approval, reading.look(approval))
    print_fields(output, told if output in ("json", "jsonl") else for_people(told))
