"""`kiff verify`: a receipt, a bundle, an export or a database, from the public keys alone."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click
from msgspec import to_builtins

from kiff.analysis import replay_store, verify_leaves, verify_store
from kiff.canonical import parse
from kiff.cli.database import Database, database_argument, open_database, shown
from kiff.cli.exits import BY_STATUS, Exit
from kiff.cli.key_set import keys_of, read, read_keys, saved_head
from kiff.cli.output import output_option
from kiff.cli.progress import progress
from kiff.cli.rungs import log_rungs, store_rungs
from kiff.cli.safe_text import visible
from kiff.cli.verdict import print_verdict
from kiff.errors import InvalidJson, NotFound
from kiff.ledger import (
    Checkpoint,
    PublicKeys,
    Verdict,
    verify_bundle,
    verify_export,
    verify_receipt,
)
from kiff.ledger.evidence import MAX_EVIDENCE_BYTES
from kiff.ledger.verdict import status_of

_SQLITE = b"SQLite format 3\0"
_EXPORT = b'"kiff_export":'
MOST_HEADER_BYTES = 65_536
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
@click.option("--log-only", is_flag=True, help="Of a database only the log: records, root, signed heads. Much faster.")
@output_option
def command(database: Database, jwks: Path | None, heads: Files, log_only: bool, output: str) -> Exit:
    """Check DATABASE, or a file with a receipt, a bundle or an export. What it is, is seen from its content.

    A database is checked with the key set beside it (`<name>.key.jwks.json`) unless --jwks names one; a receipt
    only with --jwks: whoever sends a receipt must not choose the key. Ends with 0 (valid), 20 (invalid) or 21
    (undecidable: a key or a proof is missing).
    """
    if isinstance(database, str):
        return BY_STATUS[(_log if log_only else _database)(database, jwks, heads, output)]
    if database.exists() and not database.is_file():
        raise NotFound(f"`{database}` is not a regular file", hint="give a database, or a file with the evidence")
    if not database.is_file():
        raise NotFound(f"there is no file at `{database}`", hint="give a database, or a receipt's JSON file")
    with database.open("rb") as file:
        is_database = file.read(len(_SQLITE)) == _SQLITE
    if log_only and not is_database:
        raise click.UsageError("--log-only is for a database; evidence is checked whole")
    if not is_database:
        return BY_STATUS[_evidence(database, jwks, heads, output)]
    return BY_STATUS[(_log if log_only else _database)(database, jwks, heads, output)]


def _database(where: Database, jwks: Path | None, heads: Files, output: str) -> str:
    keys = keys_of(where, jwks)
    with closing(open_database(where)) as store, progress(f"verifying {visible(shown(where))}"):
        verdict = verify_store(store, keys, [read(head) for head in heads])
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
    print_verdict(output, "database", shown(where), status, rungs, problems, counts)
    return status


def _log(where: Database, jwks: Path | None, heads: Files, output: str) -> str:
    keys = keys_of(where, jwks)
    with closing(open_database(where)) as store, progress(f"verifying the log of {visible(shown(where))}"):
        verdict = verify_leaves(store, keys, [read(head) for head in heads])
    counts = {"tenants": verdict.tenants, "records": verdict.records, "signed_heads": verdict.checkpoints}
    counts["records_after_the_last_signed_head"] = sum(verdict.unsigned_tail.values())
    print_verdict(output, "log", shown(where), verdict.status, log_rungs(verdict), verdict.problems, counts)
    return verdict.status


def _evidence(path: Path, jwks: Path | None, heads: Files, output: str) -> str:
    if len(heads) > 1:
        raise click.UsageError("evidence is compared with one saved head: give --head once")
    keys = read_keys(jwks)
    if not keys:
        click.echo("give the issuer's key set with --jwks FILE; they publish it as /.well-known/jwks.json", err=True)
    saved, unread = saved_head(heads, keys)
    with progress(f"verifying {visible(path)}"):
        what, verdict = _checked(path, keys, saved)
    problems = verdict.problems + unread
    status = status_of(problems)
    rungs = [to_builtins(rung) for rung in verdict.rungs]
    print_verdict(output, what, str(path), status, rungs, problems, {})
    return status


def _checked(path: Path, keys: PublicKeys, saved: Checkpoint | None) -> tuple[str, Verdict]:
    with path.open("rb") as file:
        if _is_export(file.readline(MOST_HEADER_BYTES)):
            file.seek(0)
            return "export", verify_export((line.rstrip(b"\n") for line in file), keys, saved)
    content = read(path)
    if _is_bundle(content):
        return "bundle", verify_bundle(content, keys, saved)
    return "receipt", verify_receipt(content, keys, saved)


def _is_export(line: bytes) -> bool:
    """Whether the first line is an export's header; the words alone may stand in anybody's evidence."""
    if _EXPORT not in line:
        return False
    try:
        value: Any = parse(line.rstrip(b"\n"), max_bytes=MOST_HEADER_BYTES).value
    except InvalidJson:
        return line.startswith(b'{"checkpoint":')  # broken, and still meant to be one
    return isinstance(value, dict) and "kiff_export" in value


def _is_bundle(content: bytes) -> bool:
    try:
        value: Any = parse(content, max_bytes=MAX_EVIDENCE_BYTES).value
    except InvalidJson:
        return False
    return isinstance(value, dict) and "kiff_bundle" in value
