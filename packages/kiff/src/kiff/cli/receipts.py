"""`kiff receipts`: which there are, one as evidence to be taken away, and whether it holds."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import click
from msgspec import to_builtins

from kiff.canonical import MAX_INT
from kiff.cli.database import Database, database_option, only_a_database, snapshot
from kiff.cli.exits import BY_STATUS, Exit
from kiff.cli.key_set import keys_of
from kiff.cli.noun import Noun
from kiff.cli.output import MOST_ROWS, output_option, print_json, print_rows
from kiff.cli.place import Place
from kiff.cli.place_options import place_option
from kiff.cli.verdict import print_verdict
from kiff.ledger import verify_receipt
from kiff.protocol.ids import split_ref
from kiff.runtime.reading import Reading

COLUMNS = ("seq", "receipt_id", "issued_at", "entity", "action", "decision", "reason")
PAGE = 1000


@click.group("receipts", cls=Noun)
def command() -> None:
    """Take a receipt out of a database, with its proof."""


@command.command("list")
@click.option("--entity", help="Only those about this entity (`order:ord_001`).")
@click.option("--after", type=click.IntRange(-1, MAX_INT), default=-1, help="Only those of records with a greater seq.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=PAGE, show_default=True, help="At most so many.")
@output_option
@place_option
def list_(entity: str | None, after: int, limit: int, output: str, place: Place) -> None:
    """The receipts, oldest first: one for each decision, and for the end of each hold."""
    ref = None if entity is None else ":".join(split_ref(entity))
    with place.reading() as reading:
        found = reading.receipts(ref, after)
        shown = list(islice(found, limit))
        more = next(found, None) is not None
    print_rows(output, "receipts", COLUMNS, shown)
    if more:
        click.echo(f"more: --after {shown[-1]['seq']}", err=True)


@command.command("verify")
@click.argument("receipt_id")
@click.option("--jwks", type=click.Path(path_type=Path), help="The issuer's key set; else the one beside the database.")
@output_option
@database_option
def verify(receipt_id: str, jwks: Path | None, output: str, database: Database, tenant: str) -> Exit:
    """Check RECEIPT_ID in a database: its signature, its record, and that record under the newest signed head.

    A file with a receipt is checked by `kiff verify`. Ends with 0 (valid), 20 (invalid) or 21 (undecidable).
    """
    only_a_database("kiff receipts verify")
    keys = keys_of(database, jwks)
    with snapshot(database) as still:
        receipt = Reading(still, {}).receipt(receipt_id, tenant=tenant, proof=True)
    verdict = verify_receipt(receipt, keys)
    rungs = [to_builtins(rung) for rung in verdict.rungs]
    print_verdict(output, "receipt", receipt_id, verdict.status, rungs, verdict.problems, {})
    return BY_STATUS[verdict.status]


@command.command("show")
@click.argument("receipt_id")
@click.option("--proof", "form", flag_value="proof", help="With its record, inclusion proof and signed head.")
@click.option("--bundle", "form", flag_value="bundle", help="With every record of its trace, each with its proof.")
@click.option("--jws", "form", flag_value="jws", help="As a compact JWS, for any JOSE library.")
@output_option
@place_option
def show(receipt_id: str, form: str | None, output: str, place: Place) -> None:
    """Show RECEIPT_ID.

    As JSON it is the receipt and nothing else, so a file of it can be given to `kiff verify`. With --proof and
    --bundle it is always JSON.
    """
    with place.reading() as reading:
        if form == "jws":
            click.echo(reading.jws(receipt_id))
            return
        if form == "bundle":
            print_json(reading.bundle(receipt_id))
            return
        receipt = reading.receipt(receipt_id, proof=form == "proof")
    if form == "proof" or output == "json":
        print_json(receipt)
    elif output == "jsonl":
        click.echo(json.dumps(receipt, separators=(",", ":")))
    else:
        print_rows(output, "receipt", ("field", "value"), _members(receipt))


def _members(receipt: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"field": name, "value": json.dumps(value) if isinstance(value, dict) else value}
        for name, value in receipt.items()
    ]
