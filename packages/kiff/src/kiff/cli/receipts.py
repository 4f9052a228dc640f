"""`kiff receipts show`: a receipt as evidence, to be taken away and verified elsewhere."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from kiff.cli.database import database_option, open_database
from kiff.cli.output import output_option, print_json, print_rows
from kiff.errors import InvalidInput, NotFound
from kiff.ledger import compact_jws
from kiff.ledger.receipts import signature_bytes
from kiff.runtime.ports import Store
from kiff.runtime.reading import Reading


@click.group("receipts")
def command() -> None:
    """Take a receipt out of a database, with its proof."""


@command.command("show")
@click.argument("receipt_id")
@click.option("--proof", "form", flag_value="proof", help="With its record, inclusion proof and signed head.")
@click.option("--bundle", "form", flag_value="bundle", help="With every record of its trace, each with its proof.")
@click.option("--jws", "form", flag_value="jws", help="As a compact JWS, for any JOSE library.")
@output_option
@database_option
def show(receipt_id: str, form: str | None, output: str, database: Path, tenant: str) -> None:
    """Show RECEIPT_ID.

    As JSON it is the receipt and nothing else, so a file of it can be given to `kiff verify`. With --proof and
    --bundle it is always JSON.
    """
    with closing(open_database(database)) as store, closing(store.snapshot()) as still:
        if form == "jws":
            click.echo(_jws(still, tenant, receipt_id))
            return
        reading = Reading(still, {})
        if form == "bundle":
            print_json(reading.bundle(receipt_id, tenant=tenant))
            return
        receipt = reading.receipt(receipt_id, tenant=tenant, proof=form == "proof")
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


def _jws(store: Store, tenant: str, receipt_id: str) -> str:
    receipt = store.receipt(tenant, receipt_id)
    if receipt is None:
        raise NotFound(f"there is no receipt `{receipt_id}`", receipt_id=receipt_id)
    signature = signature_bytes(receipt.signature)
    if signature is None:
        raise InvalidInput(
            f"`{receipt_id}` was signed together with others, which has no JWS form",
            hint="use --proof: its path in the batch is among the proofs",
        )
    return compact_jws(receipt.core, str(json.loads(receipt.core)["kid"]), signature)
