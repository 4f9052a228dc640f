"""`kiff root`: the one secret that the keys in a PostgreSQL database are sealed with."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from kiff.cli.noun import Noun
from kiff.cli.output import output_option, print_fields
from kiff.cli.store_place import said_place, secrets_options, store_place_options
from kiff.errors import InvalidInput
from kiff.stores.opening import open_store
from kiff.stores.root_key import change_root


@click.group("root", cls=Noun)
def command() -> None:
    """Change the secret that the keys in a PostgreSQL database are sealed with."""


@command.command("rotate")
@click.argument("new", type=click.Path(path_type=Path))
@store_place_options
@secrets_options
@output_option
def rotate(
    new: Path, store: str | None, store_file: Path | None, data: Path, root_key: Path | None, output: str
) -> None:
    """Let the secret in the file NEW open the keys from now on; it is drawn when NEW is not there.

    Servers that run go on. Put NEW in the place of root.key for every one of them before it starts again, and keep the
    old secret for as long as you keep backups from before.
    """
    place = said_place(store, store_file, data, root_key)
    if not place.is_postgres:
        message = f"`{place.shown}` keeps its keys in files; a root secret is only of keys that PostgreSQL holds"
        raise InvalidInput(message, field="--store")
    with closing(open_store(place.where)) as opened:
        changed = change_root(opened, data, new, root_key)
    print_fields(output, {"root": str(new), "changed": changed})
