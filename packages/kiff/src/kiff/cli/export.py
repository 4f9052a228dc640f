"""`kiff export`: the log, to be checked where the database is not, or to be read in a spreadsheet."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import click
import orjson

from kiff.analysis.export import export_lines
from kiff.analysis.history import pages
from kiff.cli.database import Database, database_option, only_a_database, snapshot
from kiff.cli.progress import progress
from kiff.cli.safe_text import visible
from kiff.cli.summary import summary
from kiff.errors import NotFound
from kiff.protocol.ids import split_ref
from kiff.runtime.ports import Store

COLUMNS = ("seq", "time", "kind", "entity", "actor", "actor_type", "summary", "receipt_id", "trace_id")
_FORMULA = ("=", "+", "-", "@")
"""What makes a spreadsheet take a cell for a formula."""


@click.command("export")
@click.option("--entity", help="Only this entity's records, each with its proof.")
@click.option("--format", "form", type=click.Choice(("jsonl", "csv")), default="jsonl", show_default=True)
@click.option("--to", "target", type=click.Path(dir_okay=False, path_type=Path), help="A file, instead of stdout.")
@database_option
def command(entity: str | None, form: str, target: Path | None, database: Database, tenant: str) -> None:
    """Take the log out, with its proof, for whoever audits it.

    jsonl: every record with the receipt it binds, and the signed head over them; `kiff verify` checks such a file
    with the issuer's key set. csv: a line a record, for reading; it proves nothing. It works on a database only; from
    a server, `kiff receipts show --bundle` takes evidence out.
    """
    only_a_database("kiff export")
    ref = None if entity is None else ":".join(split_ref(entity))
    with snapshot(database) as still:
        if ref is not None and not still.records(tenant, entity=ref, limit=1):
            raise NotFound(f"nothing is recorded about `{entity}`", entity=entity, tenant=tenant)
        lines = export_lines(still, tenant, entity=ref) if form == "jsonl" else _csv(still, tenant, ref)
        with nullcontext() if target is None else progress(f"exporting to {visible(target)}"):
            count = _written(lines, target)
        left = _after_the_head(still, tenant) if form == "jsonl" else 0
    said = f"{count - 1} records" + ("" if target is None else f" in {target}")
    click.echo(said + (f"; {left} more are not under a signed head yet" if left else ""), err=True)


def _written(lines: Iterable[bytes], target: Path | None) -> int:
    count = 0
    with _target(target) as file:
        for line in lines:
            file.write(line + b"\n")
            count += 1
    return count


@contextmanager
def _target(target: Path | None) -> Iterator[BinaryIO]:
    """The file appears when it is whole."""
    if target is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = target.resolve()
    if target.exists() and not target.is_file():  # a pipe or a device is written to, not replaced
        with target.open("wb") as file:
            yield file
        return
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _after_the_head(store: Store, tenant: str) -> int:
    note = store.checkpoint(tenant)
    size = next((head.size for head in store.heads() if head.tenant == tenant), 0)
    return size - (0 if note is None else note.size)


def _csv(store: Store, tenant: str, entity: str | None) -> Iterator[bytes]:
    yield _row(COLUMNS)
    for page in pages(store, tenant, entity=entity):
        for row in page:
            record = orjson.loads(row.body)
            actor, receipt = record["actor"], record["data"].get("receipt") or {}
            told = (record["at"], record["kind"], record["entity"], actor["id"], actor["type"], summary(record))
            yield _row((record["seq"], *told, receipt.get("id"), record["trace_id"]))


def _row(cells: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([_cell(visible(cell)) for cell in cells])
    return text.getvalue().encode()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
