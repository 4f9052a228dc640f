"""`kiff verify`: a receipt, a bundle or a database, from the public keys alone."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click
from msgspec import to_builtins

from kiff.analysis import replay_store, verify_store
from kiff.canonical import parse
from kiff.cli.database import database_argument, open_database
from kiff.cli.exits import BY_STATUS
from kiff.cli.output import output_option
from kiff.cli.rungs import store_rungs
from kiff.cli.verdict import print_verdict
from kiff.embedded import key_path
from kiff.errors import InvalidInput, InvalidJson, NotFound
from kiff.ledger import (
    Checkpoint,
    Problem,
    PublicKeys,
    open_checkpoint,
    parse_jwks,
    verify_bundle,
    verify_receipt,
)
from kiff.ledger.evidence import MAX_EVIDENCE_BYTES
from kiff.ledger.verdict import status_of
from kiff.stores.keyfile import public_path

_SQLITE = b"SQLite format 3\0"
Files = tuple[Path, ...]


@click.command("verify")
@database_argument
@click.option("--jwks", type=click.Path(path_type=Path), help="The issuer's public key set, as you got it from them.")
@click.option(
    "--head",
    "heads",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A signed head you kept outside; shows what was cut off since. May be repeated for a database.",
)
@output_option
@click.pass_context
def command(context: click.Context, database: Path, jwks: Path | None, heads: Files, output: str) -> None:
    """Check DATABASE, or a file with a receipt or a bundle. What it is, is seen from its content.

    A database is checked with the key set beside it (`<name>.key.jwks.json`) unless --jwks names one; a receipt
    only with --jwks: whoever sends a receipt must not choose the key. Ends with 0 (valid), 20 (invalid) or 21
    (undecidable: a key or a proof is missing).
    """
    if not database.is_file():
        raise NotFound(f"there is no file at `{database}`", hint="give a database, or a receipt's JSON file")
    with database.open("rb") as file:
        is_database = file.read(len(_SQLITE)) == _SQLITE
    status = (_database if is_database else _evidence)(database, jwks, heads, output)
    context.exit(BY_STATUS[status])


def _database(path: Path, jwks: Path | None, heads: Files, output: str) -> str:
    beside = public_path(key_path(path))
    keys = _keys(jwks or (beside if beside.is_file() else None))
    if not keys:
        click.echo(f"no key set at {beside}: signatures are not checked; give it with --jwks FILE", err=True)
    with closing(open_database(path)) as store:
        verdict = verify_store(store, keys, [_read(head) for head in heads])
        replayed = replay_store(store)
    named = {problem.where for problem in verdict.problems}
    further = tuple(problem for problem in replayed.problems if problem.where not in named)
    problems = verdict.problems + further
    status = status_of(problems)
    counts = {
        "tenants": verdict.tenants,
        "records": verdict.records,
        "receipts": verdict.receipts,
        "signed_heads": verdict.checkpoints,
        "records_after_the_last_signed_head": sum(verdict.unsigned_tail.values()),
    }
    rungs = store_rungs(verdict, replayed, further)
    print_verdict(output, "database", str(path), status, rungs, problems, counts)
    return status


def _evidence(path: Path, jwks: Path | None, heads: Files, output: str) -> str:
    if len(heads) > 1:
        raise click.UsageError("a receipt is compared with one saved head: give --head once")
    content = _read(path)
    keys = _keys(jwks)
    if not keys:
        click.echo("give the issuer's key set with --jwks FILE; they publish it as /.well-known/jwks.json", err=True)
    saved, unread = _saved(heads, keys)
    is_bundle = _is_bundle(content)
    verdict = (verify_bundle if is_bundle else verify_receipt)(content, keys, saved)
    problems = verdict.problems + unread
    status = status_of(problems)
    rungs = [to_builtins(rung) for rung in verdict.rungs]
    print_verdict(output, "bundle" if is_bundle else "receipt", str(path), status, rungs, problems, {})
    return status


def _keys(path: Path | None) -> PublicKeys:
    return PublicKeys() if path is None else parse_jwks(_read(path))


def _saved(heads: Files, keys: PublicKeys) -> tuple[Checkpoint | None, tuple[Problem, ...]]:
    if not heads:
        return None, ()
    opened = open_checkpoint(_read(heads[0]), keys)
    if isinstance(opened, Problem):
        return None, (Problem("saved head", opened.field, opened.message, opened.undecidable),)
    return opened.checkpoint, ()


def _is_bundle(content: bytes) -> bool:
    try:
        value: Any = parse(content, max_bytes=MAX_EVIDENCE_BYTES).value
    except InvalidJson:
        return False
    return isinstance(value, dict) and "kiff_bundle" in value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"`{path}` cannot be read: {error.strerror}", field=str(path)) from error
