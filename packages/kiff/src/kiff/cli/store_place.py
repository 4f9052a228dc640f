"""A store by what a user calls it, on the command line: a path, `sqlite:PATH` or `postgresql://…`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from kiff.cli.key_set import read_keys
from kiff.cli.settings import setting_option, settings
from kiff.cli.store_option import has_password, private_line, root_key_option, store_file_option
from kiff.errors import InvalidInput
from kiff.ledger import PublicKeys
from kiff.runtime.ports import Store
from kiff.server.settings import SQLITE
from kiff.stores.opening import is_postgres, open_store, without_password

F = TypeVar("F", bound=Callable[..., Any])
DATABASE, SHARED_SEEN = "kiff.db", "postgres.seen.json"
"""Their names in a data folder, as in `kiff.server.tower`, which takes long to import."""


class StorePlace(NamedTuple):
    """Where a store is, and where its installation keeps what is not in it.

    Args:
        where: as `open_store` takes it.
        data: the folder with the root secret and the seen heads of a store on PostgreSQL.
        root_key: the root secret's file, where it is not in the data folder.
    """

    where: str
    data: Path
    root_key: Path | None = None

    @property
    def is_postgres(self) -> bool:
        return is_postgres(self.where)

    @property
    def path(self) -> Path:
        """Of a SQLite database."""
        return Path(self.where.removeprefix("sqlite:"))

    @property
    def shown(self) -> str:
        """What may be printed: without the password."""
        return without_password(self.where.removeprefix("sqlite:"))

    @property
    def seen(self) -> Path:
        """The file of seen heads."""
        return self.data / SHARED_SEEN if self.is_postgres else Path(f"{self.path}.seen.json")

    def read(self) -> Store:
        """The store, to be read.

        Raises:
            StoreError: it cannot be opened.
        """
        return open_store(self.where, read_only=True)

    def public_keys(self, store: Store) -> PublicKeys:
        """The public keys that are kept with the store: beside a SQLite database, in the rows of another."""
        if self.is_postgres:
            from kiff.stores.keyring import published

            return published(store)
        beside = Path(f"{self.path}.key.jwks.json")
        return read_keys(beside if beside.is_file() else None)


def store_place(text: str, data: Path, root_key: Path | None = None) -> StorePlace:
    """What the text of an argument or a setting names.

    Raises:
        InvalidInput: no store that KIFF has.
    """
    scheme, divider, _ = text.partition("://")
    if divider and not is_postgres(text):
        message = f"`{scheme:.20}://` is no store that KIFF has; give a path, sqlite:PATH or postgresql://…"
        raise InvalidInput(message, field="store")
    if not text or text == "sqlite:":
        raise InvalidInput("name a store: a path, sqlite:PATH or postgresql://…", field="store")
    if text == SQLITE:  # as `kiff serve` calls the one in its data folder
        return StorePlace(str(data / DATABASE), data, root_key)
    return StorePlace(text, data, root_key)


def named_place(text: str, data: Path, root_key: Path | None = None) -> StorePlace:
    """The same for an argument of the command line, where other users see a password.

    Raises:
        InvalidInput: it has one.
    """
    if is_postgres(text) and has_password(text):
        message = "every user of this machine can read a password on a command line"
        raise InvalidInput(f"{message}; leave it to PGPASSWORD or ~/.pgpass", field="store")
    return store_place(text, data, root_key)


def said_place(store: str | None, file: Path | None, data: Path, root_key: Path | None = None) -> StorePlace:
    """What `--store`, `--store-file` or the settings name; the database of `--db`'s setting without any of them.

    Raises:
        InvalidInput: they name no store, or two.
    """
    by_hand = click.get_current_context().get_parameter_source("store") is ParameterSource.COMMANDLINE
    if by_hand and store is not None:
        if file is not None:
            raise InvalidInput("--store and --store-file both name a store; give one of them", field="--store")
        return named_place(store, data, root_key)
    if file is not None:
        return store_place(private_line(file), data, root_key)
    return store_place(store or str(settings().db), data, root_key)


def store_place_options(command: F) -> F:
    """Adds `--store` and `--store-file`; `said_place` says what they come to."""
    store = click.option(
        "--store",
        envvar="KIFF_STORE",
        show_envvar=True,
        metavar="STORE",
        show_default="the database of this folder, KIFF_DB",
        help="A path, postgresql://…, or `sqlite` for the one in the data folder.",
    )
    return store(store_file_option(command))


def secrets_options(command: F) -> F:
    """Adds `--data` and `--root-key-file`: where an installation on PostgreSQL keeps what is not in the database."""
    return setting_option("data", "The data folder of the server.")(root_key_option(command))
