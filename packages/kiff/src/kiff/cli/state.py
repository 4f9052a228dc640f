"""`kiff state`: where an entity is."""

from __future__ import annotations

from pathlib import Path

import click

from kiff.canonical import MAX_INT
from kiff.cli.database import database_option, snapshot
from kiff.cli.output import output_option, print_fields
from kiff.errors import InvalidInput, NotFound
from kiff.runtime.reading import Reading


@click.command("state")
@click.argument("entity")
@click.option(
    "--at", "seq", type=click.IntRange(0, MAX_INT), help="As of this record of the log, folded from the events."
)
@output_option
@database_option
def command(entity: str, seq: int | None, output: str, database: Path, tenant: str) -> None:
    """Where ENTITY (`order:ord_001`) is now, or was."""
    with snapshot(database) as still:
        reading = Reading(still, {})
        size = next((head.size for head in still.heads() if head.tenant == tenant), 0)
        if seq is not None and seq >= size:
            raise InvalidInput(f"the log of `{tenant}` holds {size} records, numbered from 0", field="--at")
        found = reading.state(entity, tenant=tenant) if seq is None else reading.state_at(entity, seq, tenant=tenant)
    if found is None:
        then = "" if seq is None else f" up to record {seq}"
        raise NotFound(f"nothing has happened to `{entity}`{then}", entity=entity, tenant=tenant)
    fields = {"entity": found.entity, "state": found.state, "version": found.version, "domain": found.domain}
    print_fields(output, fields | ({} if seq is None else {"at": seq}))
