"""`kiff timeline`: what happened to one entity."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from kiff.canonical import MAX_INT
from kiff.cli.exits import Exit
from kiff.cli.output import MOST_ROWS, output_option, print_rows
from kiff.cli.place import Place, Reading
from kiff.cli.place_options import place_option
from kiff.cli.safe_text import visible
from kiff.cli.summary import summary
from kiff.errors import NotFound
from kiff.protocol.record import KINDS
from kiff.runtime import Rebuilt
from kiff.runtime.reading import PAGE

COLUMNS = ("seq", "time", "kind", "actor", "summary")


@click.command("timeline")
@click.argument("entity")
@click.option("--after", type=click.IntRange(-1, MAX_INT), default=-1, help="Only records with a greater seq.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=PAGE, show_default=True, help="At most so many.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only this kind; may be repeated.")
@output_option
@place_option
def command(entity: str, after: int, limit: int, kinds: tuple[str, ...], output: str, place: Place) -> Exit:
    """What happened to ENTITY (`order:ord_001`), oldest first.

    Ends with 20 when its events, folded again, do not lead to the state that is kept.
    """
    with place.reading() as reading:
        if next(reading.timeline(entity, -1), None) is None:
            raise NotFound(f"nothing is recorded about `{entity}`", entity=entity)
        found = (record for record in reading.timeline(entity, after) if not kinds or record["kind"] in kinds)
        shown = [_row(record, reading) for record in islice(found, limit)]
        print_rows(output, "records", COLUMNS, shown)
        if len(shown) == limit and next(found, None) is not None:
            click.echo(f"more: --after {shown[-1]['seq']}", err=True)
        rebuilt = reading.rebuild(entity)
    click.echo(_compared(rebuilt), err=True)
    return Exit.DONE if rebuilt.match else Exit.INVALID


def _row(record: dict[str, Any], reading: Reading) -> dict[str, Any]:
    return {
        "seq": record["seq"],
        "time": record["at"],
        "kind": record["kind"],
        "actor": record["actor"]["id"],
        "summary": summary(record, high_risk=reading.risk(record) == "high"),
        "trace_id": record["trace_id"],
    }


def _compared(rebuilt: Rebuilt) -> str:
    if rebuilt.match:
        return "rebuild: materialized state matches replay ✓"
    kept, replayed = visible(rebuilt.materialized), visible(rebuilt.replayed)
    return f"rebuild: materialized state {kept or 'none'} does not match replay {replayed or 'none'} ✕"
