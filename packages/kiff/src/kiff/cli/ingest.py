"""`kiff ingest`: something happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kiff.cli.answer import fields
from kiff.cli.database import database_option, snapshot, writing
from kiff.cli.exits import Exit
from kiff.cli.given import whole_object
from kiff.cli.output import output_option, print_fields
from kiff.cli.principals import acting_options, caller
from kiff.cli.repeat import repeated, repeating_option
from kiff.cli.safe_text import visible
from kiff.protocol.actor import Caller
from kiff.runtime import Ingested
from kiff.runtime.rehearsal import Rehearsal


@click.command("ingest")
@click.argument("type")
@click.argument("entity")
@click.option("--payload", metavar="JSON", help="A JSON object, @FILE, or - for stdin.")
@click.option("--source", default="cli", show_default=True, help="The system it comes from.")
@click.option("--occurred-at", metavar="TIME", help="When, as the source says it (RFC 3339).")
@repeating_option("--id", "event")
@click.option("--dry-run", is_flag=True, help="Say where it would lead, and write nothing.")
@acting_options
@output_option
@database_option
def command(
    type: str,
    entity: str,
    payload: str | None,
    source: str,
    occurred_at: str | None,
    id: str | None,
    dry_run: bool,
    acting: str | None,
    principals: Path,
    output: str,
    database: Path,
    tenant: str,
) -> Exit:
    """Record what happened to an entity, and move its state.

    TYPE is an event of the domain, ENTITY is written `type:id`. Whoever ingests needs the permission
    `events.ingest`. Ends with 11 when the event leads nowhere from the entity's state: it is recorded, and the
    state stays.
    """
    who = caller(acting, principals, tenant)
    said: dict[str, Any] = {"type": type, "entity": entity, "source": source, "occurred_at": occurred_at}
    said["payload"] = None if payload is None else whole_object(payload, flag="--payload")
    with repeated("--id", id, "evt", quiet=dry_run) as event_id:
        said["id"] = event_id
        answer = (_rehearsed if dry_run else _written)(who, said, database)
        print_fields(output, fields(answer, dry_run=dry_run))
    if not answer.applied:
        click.echo(f"refused: {type} on {answer.entity}: {visible(answer.message)}   [{answer.code}]", err=True)
    return Exit.DONE if answer.applied else Exit.BLOCKED


def _written(who: Caller, said: dict[str, Any], database: Path) -> Ingested:
    with writing(database) as runtime:
        return runtime.ingest(who, **said).result()


def _rehearsed(who: Caller, said: dict[str, Any], database: Path) -> Ingested:
    with snapshot(database) as still:
        rehearsal = Rehearsal(still)
        answer: Ingested = rehearsal.take(rehearsal.edge.ingest(who, **said)).answer
        return answer
