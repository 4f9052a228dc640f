"""`kiff-guard draft`: a starter kiff.yaml from the calls in a receipts file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from kiff_guard.catalog import Catalog
from kiff_guard.cli import NOT_OK, OK
from kiff_guard.cli.text import visible
from kiff_guard.draft import export_yaml
from kiff_guard.errors import LedgerError
from kiff_guard.ledgers import line as lines
from kiff_guard.ledgers.rows import rows, settled_size
from kiff_guard.redaction import REDACTED


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the receipts file")
    parser.add_argument("--name", default="my-domain", help="what the domain is to be called (%(default)s)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write it there instead of printing it")
    parser.add_argument("--force", action="store_true", help="replace the file that is there")


def run(arguments: argparse.Namespace) -> int:
    catalog, skipped = read(arguments.file)
    if skipped:
        _say(f"{skipped} lines could not be read and were left out; `kiff-guard verify` says which")
    if not catalog.tools:
        _say(f"`{visible(arguments.file)}` holds no tool calls yet: nothing to draft from")
        return NOT_OK
    text = export_yaml(arguments.name, catalog)
    if arguments.output is None:
        sys.stdout.write(text)
        return OK
    _write(Path(arguments.output), text, replace=arguments.force)
    _say(f"wrote {visible(arguments.output)}: fill in what is marked TODO(human)")
    return OK


def read(path: str) -> tuple[Catalog, int]:
    """What was called, from a receipts file, and how many lines could not be read.

    Raises:
        LedgerError: it cannot be read at all.
    """
    catalog, skipped = Catalog(), 0
    begun: set[str] = set()
    try:
        with open(path, "rb") as file:
            for raw, _ in rows(file, settled_size(file, path)):
                try:
                    members = lines.read(raw).members
                except lines.Unreadable:
                    skipped += 1
                    continue
                if "receipt" in members:
                    _learn(catalog, begun, members["kind"], members["receipt"])
    except OSError as error:
        raise LedgerError(f"`{path}` cannot be read: {error.strerror or error}") from error
    return catalog, skipped


def _learn(catalog: Catalog, begun: set[str], kind: str, receipt: dict[str, Any]) -> None:
    """A call counts once: when it began, or, if it only ended, then."""
    name, tool, args = str(receipt.get("receipt_id", "")), receipt.get("tool"), receipt.get("args")
    if name in begun:
        begun.discard(name)
        return
    if kind == lines.OPENED:
        begun.add(name)
    if isinstance(tool, str) and isinstance(args, dict):
        known = {each: None if value == REDACTED else value for each, value in args.items()}
        catalog.record(str(receipt.get("agent", "")), tool, known)


def _write(path: Path, text: str, *, replace: bool) -> None:
    try:
        with path.open("w" if replace else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as error:
        raise LedgerError(f"`{path}` is there already: give another name, or --force to replace it") from error
    except OSError as error:
        raise LedgerError(f"`{path}` cannot be written: {error.strerror or error}") from error


def _say(message: str) -> None:
    print(f"kiff-guard: {message}", file=sys.stderr)
