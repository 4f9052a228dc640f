"""`kiff vault`: the sensitive values that the log only commits to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import click
from msgspec import json

from kiff.cli.database import Database, database_option, only_a_database, open_database
from kiff.cli.exits import Exit
from kiff.cli.noun import Noun
from kiff.cli.output import MOST_ROWS, output_option, print_fields, print_rows
from kiff.cli.place import Place
from kiff.cli.place_options import acting_place_option
from kiff.cli.safe_text import visible
from kiff.errors import NotFound
from kiff.protocol.ids import split_ref
from kiff.protocol.sealed import Sealed
from kiff.runtime.ports import Store

COLUMNS = ("commitment", "entity", "parameter", "erased")
PAGE = 1000


@click.group("vault", cls=Noun)
def command() -> None:
    """See which sensitive values are kept, open one, or erase it.

    A parameter that is marked `sensitive` stands in the log as a salted commitment. Its value is kept here, beside the
    log, for the reviewer and for the executor, until it is erased.
    """


@command.command("list")
@click.option("--entity", metavar="ENTITY", help="Only those of calls on it, as in order:ord_002.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=PAGE, show_default=True, help="At most so many.")
@output_option
@database_option
def list_(entity: str | None, limit: int, output: str, database: Database, tenant: str) -> None:
    """What is kept, without the values."""
    only_a_database("kiff vault list")
    ref = None if entity is None else ":".join(split_ref(entity))
    with closing(open_database(database)) as store:
        found = (row for row in _kept(store, tenant) if ref in (None, row.entity))
        rows = [dict(zip(COLUMNS, _told(row), strict=True)) for row in islice(found, limit)]
    print_rows(output, "sealed", COLUMNS, rows)


@command.command("open")
@click.argument("commitment")
@output_option
@database_option
def open_(commitment: str, output: str, database: Database, tenant: str) -> Exit:
    """Show the value that COMMITMENT was made over, and check that it is the one. Ends with 20 when it is another."""
    only_a_database("kiff vault open")
    with closing(open_database(database)) as store:
        row = store.row(Sealed, tenant, commitment)
    if row is None:
        raise NotFound(f"the vault holds nothing for `{commitment}`", commitment=commitment, hint="kiff vault list")
    if row.value is None:
        raise NotFound(f"the value of `{commitment}` was erased", commitment=commitment)
    told = {"commitment": row.id, "entity": row.entity, "parameter": row.name, "opens": row.opens}
    print_fields(output, told | {"salt": row.salt.hex(), "value": json.decode(row.value)})
    return Exit.DONE if row.opens else Exit.INVALID


@command.command("erase")
@click.argument("what")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@acting_place_option
def erase(what: str, yes: bool, output: str, place: Place) -> None:
    """Erase values for good: WHAT is a commitment, or an entity, for all those of its calls.

    The log keeps the commitments, and `kiff verify` still passes. A held call that needs an erased value runs no more.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nothing brings an erased value back: say --yes to erase without being asked")
        click.confirm(f"erase {visible(what)} for good?", abort=True, err=True)
    told = place.erase(what)
    commitments = list(told.commitments)
    while told.more:
        told = place.erase(what)
        commitments += told.commitments
    print_fields(output, {"erased": commitments, "count": len(commitments), "at": told.at})


def _kept(store: Store, tenant: str) -> Iterator[Sealed]:
    after = ""
    while page := store.rows(Sealed, tenant, after=after, limit=PAGE):
        yield from page
        after = page[-1].id


def _told(row: Sealed) -> tuple[str, str, str, str]:
    return row.id, row.entity, row.name, "yes" if row.erased else "no"
