"""Where the data are: `--db`, else KIFF_DB, else `kiff.db` here. The environment is read here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kiff.errors import StoreUnavailable
from kiff.stores.sqlite import SqliteStore

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT = Path("kiff.db")
VARIABLE = "KIFF_DB"


def database_option(command: F) -> F:
    """Adds `--db` and `--tenant`."""
    tenant = click.option("--tenant", default="default", show_default=True, help="Whose log.")
    return click.option(
        "--db",
        "database",
        type=click.Path(path_type=Path),
        default=DEFAULT,
        envvar=VARIABLE,
        show_default=True,
        show_envvar=True,
        help="The database file.",
    )(tenant(command))


def database_argument(command: F) -> F:
    """Adds the database as an argument that may be left out."""
    where = click.argument("database", type=click.Path(path_type=Path), default=DEFAULT, envvar=VARIABLE)
    return where(command)


def open_database(path: Path) -> SqliteStore:
    """The database, to be read only, also beside its running writer.

    Raises:
        StoreError: it is not there, not a KIFF database, damaged, or of a newer schema.
    """
    if not path.is_file():
        hint = f"give its path with --db PATH, or set {VARIABLE}; `kiff demo` makes one to look at"
        raise StoreUnavailable(f"there is no database at `{path}`", path=str(path), hint=hint)
    return SqliteStore(path, read_only=True)
