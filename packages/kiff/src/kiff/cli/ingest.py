"""`kiff ingest`: something happened."""

from __future__ import annotations

from typing import Any

import click

from kiff.cli.answer import fields
from kiff.cli.exits import Exit
from kiff.cli.given import whole_object
from kiff.cli.output import output_option, print_fields
from kiff.cli.place import Place
from kiff.cli.place_options import acting_place_option
from kiff.cli.repeat import repeated, repeating_option
from kiff.cli.safe_text import visible


@click.command("ingest")
@click.argument("type")
@click.argument("entity")
@click.option("--payload", metavar="JSON", help="A JSON object, @FILE, or - for stdin.")
@click.option("--source", default="cli", show_default=True, help="The system it comes from.")
@click.option("--occurred-at", metavar="TIME", help="When, as the source says it (RFC 3339).")
@repeating_option("--id", "event")
@click.option("--dry-run", is_flag=True, help="Say where it would lead, and write nothing.")
@output_option
@acting_place_option
def command(
    type: str,
    entity: str,
    payload: str | None,
    source: str,
    occurred_at: str | None,
    id: str | None,
    dry_run: bool,
    output: str,
    place: Place,
) -> Exit:
    """Record what happened to an entity, and move its state.

    TYPE is an event of the domain, ENTITY is written `type:id`. Whoever ingests needs the permission
    `events.ingest`. Ends with 11 when the event leads nowhere from the entity's state: it is recorded, and the
    state stays.
    """
    said: dict[str, Any] = {"type": type, "entity": entity, "source": source, "occurred_at": occurred_at}
    said["payload"] = None if payload is None else whole_object(payload, flag="--payload")
    return tell(place, said, id, output, dry_run=dry_run)


def tell(place: Place, event: dict[str, Any], id: str | None, output: str, *, dry_run: bool = False) -> Exit:
    """Says what happened, and shows where it led.

    Args:
        id: the event's; drawn when it is None.
    """
    with repeated("--id", id, "evt", quiet=dry_run) as event_id:
        answer = place.ingest({**event, "id": event_id}, dry_run=dry_run)
        print_fields(output, fields(answer, dry_run=dry_run))
    if not answer.applied:
        what = f"{event['type']} on {answer.entity}"
        click.echo(f"refused: {what}: {visible(answer.message)}   [{answer.code}]", err=True)
    return Exit.DONE if answer.applied else Exit.BLOCKED
