"""`kiff state`: where an entity is."""

from __future__ import annotations

import click

from kiff.canonical import MAX_INT
from kiff.cli.output import output_option, print_fields
from kiff.cli.place import Place
from kiff.cli.place_options import place_option
from kiff.errors import NotFound


@click.command("state")
@click.argument("entity")
@click.option(
    "--at", "seq", type=click.IntRange(0, MAX_INT), help="As of this record of the log, folded from the events."
)
@output_option
@place_option
def command(entity: str, seq: int | None, output: str, place: Place) -> None:
    """Where ENTITY (`order:ord_001`) is now, or was."""
    with place.reading() as reading:
        found = reading.state(entity, seq)
    if found is None:
        then = "" if seq is None else f" up to record {seq}"
        raise NotFound(f"nothing has happened to `{entity}`{then}", entity=entity)
    fields = {"entity": found.entity, "state": found.state, "version": found.version, "domain": found.domain}
    told = {f"attributes.{name}": value for name, value in found.attributes.items()}
    print_fields(output, fields | told | ({} if seq is None else {"at": seq}))
