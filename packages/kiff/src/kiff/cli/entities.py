"""`kiff entities`: everything that is governed, and what may be done with it now."""

from __future__ import annotations

from itertools import islice

import click

from kiff.cli.noun import Noun
from kiff.cli.output import MOST_ROWS, output_option, print_fields, print_rows
from kiff.cli.place import Place
from kiff.cli.place_options import place_option
from kiff.cli.safe_text import visible

PAGE = 1000


@click.group("entities", cls=Noun)
def command() -> None:
    """See which entities there are, and what may be done with one."""


@command.command("list")
@click.option("--state", help="Only those in this state.")
@click.option("--type", "entity_type", help="Only of this entity type.")
@click.option("--after", default="", metavar="ENTITY", help="Only those behind this one in order.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=PAGE, show_default=True, help="At most so many.")
@output_option
@place_option
def list_(state: str | None, entity_type: str | None, after: str, limit: int, output: str, place: Place) -> None:
    """The entities and their states, in order of their names."""
    with place.reading() as reading:
        found = (each for each in reading.entities(entity_type, after) if state in (None, each.state))
        shown = list(islice(found, limit))
        more = next(found, None) is not None
    rows = [{"entity": e.entity, "state": e.state, "version": e.version, "domain": e.domain} for e in shown]
    print_rows(output, "entities", ("entity", "state", "version", "domain"), rows)
    if more:
        click.echo(f"more: --after {shown[-1].entity}", err=True)
    if not rows:
        click.echo(f"no such entity of {visible(place.whose)}", err=True)


@command.command("show")
@click.argument("entity")
@output_option
@place_option
def show(entity: str, output: str, place: Place) -> None:
    """One ENTITY: its state, who holds it, what waits for a person, and the actions that may start now."""
    with place.reading() as reading:
        found = reading.entity(entity)
    fields = {
        "entity": found.entity,
        "state": found.state,
        "version": found.version,
        "domain": found.domain,
        "held_by": found.held_by,
        "waiting_approvals": found.waiting,
        "actions": found.startable,
    }
    print_fields(output, fields)
