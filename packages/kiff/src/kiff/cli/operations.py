"""`kiff operations`: what was cleared, what is still open, and what nobody knows the end of."""

from __future__ import annotations

from typing import Any, Literal

import click

from kiff.cli.answer import fields
from kiff.cli.given import whole_object
from kiff.cli.noun import Noun
from kiff.cli.output import MOST_ROWS, output_option, print_fields, print_rows
from kiff.cli.place import Place
from kiff.cli.place_options import acting_place_option, place_option
from kiff.client.nouns import Operation

COLUMNS = ("operation_id", "status", "action", "entity", "principal", "cleared_at", "settled_by", "disputed")
STATUSES = ("open", "unknown", "succeeded", "failed", "cancelled", "expired")
NEEDED = ("open", "unknown")
MOST = 1000


@click.group("operations", cls=Noun)
def command() -> None:
    """See how cleared actions ended, and settle unknown ones."""


@command.command("list")
@click.option("--status", type=click.Choice([*STATUSES, "all"]), multiple=True, help="Only these; may be repeated.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=MOST, show_default=True, help="At most so many.")
@output_option
@place_option
def list_(status: tuple[str, ...], limit: int, output: str, place: Place) -> None:
    """The operations that are open or unknown, the oldest first, unless --status asks for others."""
    wanted = (None,) if "all" in status else status or NEEDED
    with place.reading() as reading:
        found = [each for one in wanted for each in reading.operations(one, limit)]
    rows = [_row(each) for each in sorted(found, key=lambda each: (each.cleared_at, each.id))[:limit]]
    print_rows(output, "operations", COLUMNS, rows)
    if not rows:
        click.echo(f"no operation is {' or '.join(status or NEEDED)}", err=True)


@command.command("settle")
@click.argument("operation_id")
@click.argument("status", type=click.Choice(("succeeded", "failed", "cancelled", "unknown")))
@click.option("--message", default="", metavar="TEXT", help="What you found when you looked.")
@click.option("--event", "events", multiple=True, help="An event of the contract's `emits`; may be repeated.")
@click.option("--result", metavar="JSON", help="What came of it: a JSON object, @FILE, or - for stdin.")
@click.option("--dry-run", is_flag=True, help="Say what would come of it, and write nothing.")
@output_option
@acting_place_option
def settle(
    operation_id: str,
    status: Literal["succeeded", "failed", "cancelled", "unknown"],
    message: str,
    events: tuple[str, ...],
    result: str | None,
    dry_run: bool,
    output: str,
    place: Place,
) -> None:
    """Say how OPERATION_ID ended: the app that ran it in time, afterwards a reviewer who looked and did not propose it.

    Without --event, a success emits the one event that the contract declares. Settling the same way again changes
    nothing; another answer is recorded as a contradiction, and the operation is unknown until a person looks.
    """
    said: dict[str, Any] = {"message": message, "events": list(events) or None}
    said["output"] = None if result is None else whole_object(result, flag="--result")
    print_fields(output, fields(place.settle(operation_id, status, said, dry_run=dry_run), dry_run=dry_run))


def _row(operation: Operation) -> dict[str, Any]:
    return {
        "operation_id": operation.id,
        "status": operation.status,
        "action": operation.action,
        "entity": operation.entity,
        "principal": operation.principal,
        "cleared_at": operation.cleared_at,
        "settled_by": operation.settled_by,
        "disputed": "yes" if operation.disputed else "no",
        "mode": operation.mode,
        "deadline": operation.deadline,
        "receipt_id": operation.receipt_id,
        "approval_id": operation.approval_id,
    }
