"""Which store: `--store`, or the file that says it. A password is taken from where no other user sees it."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import click
from click.core import ParameterSource

from kiff.errors import InvalidInput
from kiff.server.settings import SQLITE
from kiff.stores.opening import is_postgres

F = TypeVar("F", bound=Callable[..., Any])


def store_options(command: F) -> F:
    """Adds `--store` and `--store-file`; `said_store` says what they come to."""
    store = click.option(
        "--store",
        envvar="KIFF_STORE",
        show_envvar=True,
        metavar="STORE",
        default=SQLITE,
        show_default=True,
        help="Where rows are kept: `sqlite`, in the data folder, or `postgresql://…`.",
    )
    return store(store_file_option(command))


def store_file_option(command: F) -> F:
    """Adds `--store-file`."""
    return click.option(
        "--store-file",
        envvar="KIFF_STORE_FILE",
        show_envvar=True,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The file that says the store, for a URL with a password.",
    )(command)


def root_key_option(command: F) -> F:
    """Adds `--root-key-file`."""
    return click.option(
        "--root-key-file",
        "root_key",
        envvar="KIFF_ROOT_KEY_FILE",
        show_envvar=True,
        metavar="FILE",
        type=click.Path(path_type=Path),
        show_default="root.key in the data folder",
        help="The root secret that keys on PostgreSQL are sealed with.",
    )(command)


def said_store(store: str, file: Path | None) -> str:
    """The store: `sqlite` or a PostgreSQL URL. Of the URL no error says anything.

    Raises:
        InvalidInput: it is neither, the file is open to others, or the password is on the command line.
    """
    context = click.get_current_context()
    by_hand = context.get_parameter_source("store") is ParameterSource.COMMANDLINE
    if file is not None and by_hand:
        raise InvalidInput("--store and --store-file both say where rows are kept; give one of them", field="--store")
    where = store if file is None else private_line(file)
    if where != SQLITE and not is_postgres(where):
        message = f"`{where.split(':')[0]:.20}` is no store; there are `sqlite` and `postgresql://USER@HOST/DATABASE`"
        raise InvalidInput(message, field="--store" if file is None else str(file))
    if by_hand and has_password(where):
        raise InvalidInput(
            "every user of this machine can read a password on a command line; put the URL into KIFF_STORE, or into "
            "a file for --store-file, or leave the password to PGPASSWORD or ~/.pgpass",
            field="--store",
        )
    return where


def has_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.password) or "password" in parse_qs(parts.query)
    except ValueError:
        return True  # who cannot read it cannot say that it has none


def private_line(file: Path) -> str:
    """What the file says.

    Raises:
        InvalidInput: it cannot be read, or others can read it. A file of root's may be read through a group, as
            platforms mount secrets.
    """
    try:
        found = file.stat()
        said = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidInput(f"`{file}` cannot be read: {reason}", field="--store-file") from error
    others = stat.S_IRWXO if found.st_uid == 0 else stat.S_IRWXO | stat.S_IRWXG
    if found.st_mode & others:
        message = f"`{file}` holds a secret and is open to other users; run `chmod 600 {file}`"
        raise InvalidInput(message, field="--store-file")
    return said
