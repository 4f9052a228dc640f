"""The database a command works on: `--db` and `--tenant`, opened to be read or to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from kiff.cli.settings import DATABASE, setting_option, settings, variable
from kiff.embedded import open_runtime
from kiff.errors import InvalidInput, StoreUnavailable
from kiff.runtime import Runtime
from kiff.runtime.ports import Executor, Store
from kiff.stores.opening import open_store, without_password

F = TypeVar("F", bound=Callable[..., Any])
Database = Path | str
"""Where a database is: the path of a file, or the URL of one on PostgreSQL."""


def database_option(command: F) -> F:
    """Adds `--db` and `--tenant`."""
    tenant = setting_option("tenant", "Whose log.")
    return setting_option("db", "The database file.", to="database")(tenant(command))


def only_a_database(what: str) -> None:
    """Refuses to take the database at hand for the server that the settings name.

    Raises:
        click.UsageError: there is such a server, and no `--db` on the command line.
    """
    is_named = click.get_current_context().get_parameter_source("database") is ParameterSource.COMMANDLINE
    if settings().url and not is_named:
        raise click.UsageError(f"{what} works on a database, and {settings().url} is a server: name one with --db")


def database_argument(command: F) -> F:
    """Adds the database as an argument that may be left out."""
    where = click.argument("database", type=DATABASE, default=lambda: settings().db)
    return where(command)


def open_database(where: Database) -> Store:
    """The database, to be read only, also beside its running writers.

    Raises:
        StoreError: it is not there, not a KIFF database, damaged, or of another schema.
    """
    if isinstance(where, Path):
        _present(where)
    return open_store(str(where), read_only=True)


@contextmanager
def snapshot(where: Database) -> Iterator[Store]:
    """The database as it stands now; what is written meanwhile does not show."""
    with closing(open_database(where)) as store, closing(store.snapshot()) as still:
        yield still


@contextmanager
def writing(where: Database, executors: Mapping[str, Executor] | None = None) -> Iterator[Runtime]:
    """A runtime over a database that is there. A mistyped path must not make a second one.

    Raises:
        InvalidInput: it is on PostgreSQL, where servers write.
        StoreError: as in `open_database`; StoreInUse when another process is its writer.
        KeyUnusable: its key cannot be used.
    """
    path = writable(where)
    open_database(path).close()
    with open_runtime(path, executors=executors) as runtime:
        yield runtime


def writable(where: Database) -> Path:
    """
    Raises:
        InvalidInput: it is on PostgreSQL, where servers write.
    """
    if isinstance(where, Path):
        return where
    message = f"`{shown(where)}` is written by its servers"
    raise InvalidInput(f"{message}: give one of them with --url, where a key says who acts", field="--db")


def shown(where: Database) -> str:
    """What may be shown of where a database is."""
    return without_password(str(where))


def _present(path: Path) -> None:
    if path.is_file():
        return
    hint = f"give its path with --db PATH, or set {variable('db')}; `kiff domains apply` makes one"
    raise StoreUnavailable(f"there is no database at `{path}`", path=str(path), hint=hint)
