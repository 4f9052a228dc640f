"""`kiff version`: what is installed."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import version

import click

from kiff.cli.output import SCHEMA, output_option, print_json, print_rows
from kiff.stores.sqlite_schema import MIGRATIONS


@click.command("version")
@output_option
def command(output: str) -> None:
    """Versions of KIFF and of what it stands on."""
    found = {
        "version": version("kiff"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "schema": len(MIGRATIONS),
    }
    if output == "json":
        print_json({"kiff": SCHEMA, **found})
        return
    rows = [{"part": name, "version": value} for name, value in found.items()]
    print_rows(output, "parts", ("part", "version"), rows)
