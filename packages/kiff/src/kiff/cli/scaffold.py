"""`kiff scaffold`: the Python of a domain, beside its kiff.yaml. What somebody has edited is never written over."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from kiff.cli.domain_file import domain_argument, read_domain
from kiff.cli.exits import Exit
from kiff.cli.output import output_option, painted, print_rows
from kiff.cli.safe_text import visible
from kiff.cli.scaffolding import scaffolding
from kiff.domain import Domain
from kiff.errors import InvalidDomain, InvalidInput

COLUMNS = ("status", "path")
_COLOURS = {"+": "ok", "-": "wrong", "@": "head"}

Row = dict[str, Any]


@click.command("scaffold")
@domain_argument
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write into; made when it is missing.  [default: the one FILE is in]",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@output_option
@click.pass_context
def command(context: click.Context, file: Path, folder: Path | None, dry_run: bool, output: str) -> None:
    """Write the Python of a domain: contracts, executors, tests.

    FILE is a complete kiff.yaml. A file that is missing is created. One that is there and says something else is
    kept, and what would change in it is shown. Ends with 1 when a file was kept.
    """
    file = file / "kiff.yaml" if file.is_dir() else file
    domain = _complete(read_domain(file), file)
    folder = file.parent if folder is None else folder
    yaml = os.path.relpath(file.parent.resolve() / file.name, folder.resolve())
    sources = {folder / name: source for name, source in scaffolding(domain, yaml).items()}
    rows = [_compared(path, source) for path, source in sources.items()]
    if not dry_run:
        for path in (Path(row["path"]) for row in rows if row["status"] == "created"):
            _write(path, sources[path])
    _print(output, rows)
    if dry_run:
        click.echo("nothing was written", err=True)
    context.exit(Exit.FAILED if any(row["status"] == "kept" for row in rows) else Exit.DONE)


def _complete(domain: Domain, file: Path) -> Domain:
    """The domain, unless it is a draft: then everything that it lacks is said."""
    missing = domain.activation_issues
    if not missing:
        return domain
    for issue in missing:
        click.echo(f"{visible(file)}: {visible(issue)}   [{issue.code}]", err=True)
    message = f"`{file}` is a draft, it lacks {len(missing)} things; code is written for a complete domain"
    raise InvalidDomain(message, issues=missing)


def _compared(path: Path, source: str) -> Row:
    """What is to be done about one file."""
    row = {"path": str(path)}
    if not os.path.lexists(path):
        return row | {"status": "created"}
    try:
        found = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"`{path}` cannot be read: {error.strerror}", field=str(path)) from error
    if found == source.encode():
        return row | {"status": "unchanged"}
    return row | {"status": "kept", "diff": "".join(_difference(path, found, source))}


def _write(path: Path, source: str) -> None:
    """All of it or nothing: under another name first."""
    beside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(source.encode())
        beside.rename(path)
    except OSError as error:
        raise InvalidInput(f"`{path}` cannot be written: {error.strerror}", field=str(path)) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _difference(path: Path, found: bytes, source: str) -> Iterator[str]:
    """From what is there to what the domain gives, as `diff -u` and `patch` write it."""
    there = found.decode("utf-8", "backslashreplace")
    for line in difflib.unified_diff(_lines(there), _lines(source), str(path), str(path)):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _print(output: str, rows: list[Row]) -> None:
    """The files; for people, what would change in those that were kept below."""
    print_rows(output, "files", COLUMNS, rows)
    kept = [row for row in rows if row["status"] == "kept"]
    if output in ("auto", "text"):
        for line in (line for row in kept for line in row["diff"].removesuffix("\n").split("\n")):
            print(painted(visible(line), _COLOURS[line[0]]) if line[:1] in _COLOURS else visible(line))
    if kept:
        click.echo(f"kept {len(kept)} that differ from what the domain gives: `-` is yours, `+` is new", err=True)
