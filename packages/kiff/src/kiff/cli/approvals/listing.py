"""`kiff approvals list` and `show`."""

from __future__ import annotations

from pathlib import Path

import click

from kiff.cli.approvals.facts import COLUMNS, facts, found, row
from kiff.cli.database import database_option, snapshot
from kiff.cli.output import MOST_ROWS, output_option, print_fields, print_rows

STATUSES = ("pending", "granted", "consumed", "denied", "expired", "cancelled", "all")
MOST = 1000


@click.command("list")
@click.option("--status", type=click.Choice(STATUSES), default="pending", show_default=True, help="Only these.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=MOST, show_default=True, help="At most so many.")
@output_option
@database_option
def list_(status: str, limit: int, output: str, database: Path, tenant: str) -> None:
    """What waits for a person, the oldest first."""
    with snapshot(database) as still:
        asked = None if status == "all" else status
        rows = [row(each) for each in still.approvals(tenant, status=asked, limit=limit)]
    print_rows(output, "approvals", COLUMNS, rows)
    if not rows:
        click.echo("nothing waits for a person" if status == "pending" else f"no approval is {status}", err=True)


@click.command("show")
@click.argument("approval_id")
@output_option
@database_option
def show(approval_id: str, output: str, database: Path, tenant: str) -> None:
    """What a reviewer of APPROVAL_ID looks at, and who may answer it."""
    with snapshot(database) as still:
        told = facts(still, found(still, tenant, approval_id))
    print_fields(output, told)
