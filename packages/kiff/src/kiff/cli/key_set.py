"""What a verification trusts: keys and a saved head, from the caller or from beside the caller's database."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from kiff.embedded import key_path
from kiff.errors import InvalidInput
from kiff.ledger import Checkpoint, Problem, PublicKeys, open_checkpoint, parse_jwks
from kiff.stores.keyfile import public_path
from kiff.stores.keyring import published
from kiff.stores.opening import open_store


def read_keys(jwks: Path | None) -> PublicKeys:
    """The key set in a file; an empty one when there is none."""
    if jwks is None:
        return PublicKeys()
    try:
        return parse_jwks(read(jwks))
    except InvalidInput as error:
        hint = "give the issuer's key set with --jwks FILE; they publish it as /.well-known/jwks.json"
        raise InvalidInput(f"`{jwks}` is not a key set: {error.message}", field=str(jwks), hint=hint) from error


def keys_of(database: Path | str, jwks: Path | None) -> PublicKeys:
    """The key set that was given, else the one kept with the database; says so when there is neither."""
    if isinstance(database, str):
        return read_keys(jwks) if jwks is not None else _published(database)
    beside = public_path(key_path(database))
    keys = read_keys(jwks or (beside if beside.is_file() else None))
    if not keys:
        click.echo(f"no key set at {beside}: signatures are not checked; give it with --jwks FILE", err=True)
    return keys


def _published(url: str) -> PublicKeys:
    """The key set in the rows. Whoever can write them could have added a key: one from outside says more."""
    with closing(open_store(url, read_only=True)) as store:
        keys = published(store)
    if not keys:
        click.echo("no key set in the database: signatures are not checked; give it with --jwks FILE", err=True)
    return keys


def saved_head(heads: tuple[Path, ...], keys: PublicKeys) -> tuple[Checkpoint | None, tuple[Problem, ...]]:
    """The head that the caller kept outside, opened; or why it cannot be."""
    if not heads:
        return None, ()
    opened = open_checkpoint(read(heads[0]), keys)
    if isinstance(opened, Problem):
        return None, (Problem("saved head", opened.field, opened.message, opened.undecidable),)
    return opened.checkpoint, ()


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"`{path}` cannot be read: {error.strerror}", field=str(path)) from error
