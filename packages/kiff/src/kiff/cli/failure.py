"""What a person sees when a command fails: what happened, its code, what to do next. A traceback only on request."""

from __future__ import annotations

import traceback

import click

from kiff.cli.safe_text import visible
from kiff.errors import KiffError

HINTS: dict[str, str] = {
    "invalid_domain": "kiff check lists everything that is wrong with it, and how to mend it",
    "invalid_policy": "kiff policies check lists everything that is wrong with it, and how to mend it",
    "schema_too_new": "install the KIFF that wrote it, or a newer one",
    "schema_too_old": "kiff migrate brings it up to date",
    "store_corrupt": "restore it from a backup; `kiff verify` names what does not hold",
    "store_in_use": "stop the other process, or read with a command that only reads",
}
"""By error code; an error may bring its own as `hint`."""


def report(error: Exception, *, debug: bool) -> None:
    """Writes an error to stderr."""
    if debug:
        click.echo(visible_lines("".join(traceback.format_exception(error))), err=True)
    if isinstance(error, KiffError):
        click.echo(f"error: {visible(error.message)}   [{error.code}]", err=True)
        hint = error.detail.get("hint") or HINTS.get(error.code)
    elif isinstance(error, OSError):
        where = f"`{visible(error.filename)}`: " if error.filename else ""
        click.echo(f"error: {where}{error.strerror or error}   [io_error]", err=True)
        hint = "what was decided before this line is written: kiff timeline ENTITY shows it"
    else:
        click.echo(f"error: {type(error).__name__}: {visible(error)}   [internal]", err=True)
        hint = None if debug else "this is a defect in KIFF; --debug shows where"
    if hint:
        click.echo(f"  hint   {visible(hint)}", err=True)


def visible_lines(text: str) -> str:
    return "\n".join(visible(line) for line in text.split("\n"))
