"""A backup: a folder with the whole store as one SQLite file, the public keys beside it, and what is to be in it.

kiff.db                  every row; any command reads it: kiff verify ARCHIVE/kiff.db
kiff.db.key.jwks.json    the public keys that signed it
manifest.json            the file's digest, the heads of its logs, how many rows of each kind
keys/, kiff.db.key.pem, kiff.db.vault.key, root.key     only with --with-keys
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from kiff.analysis import LeavesVerdict, verify_leaves
from kiff.cli.store_place import DATABASE
from kiff.errors import Conflict, InvalidInput, NotFound, StoreCorrupt, StoreUnavailable
from kiff.ledger import PublicKeys, parse_jwks
from kiff.runtime.ports import Store
from kiff.stores.copying import Counts
from kiff.stores.durable_file import sync_file, sync_folder
from kiff.stores.seen_heads import Seen
from kiff.stores.sqlite import SqliteStore

MANIFEST, KEY_SET = "manifest.json", f"{DATABASE}.key.jwks.json"


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup holds.

    Args:
        kiff: the version that wrote it.
        source: what it was made of; sealed keys in its rows are of use on PostgreSQL alone.
        bytes, sha256: of the database file.
        heads: by tenant, the logs as they stood.
        secrets: the files with secrets in it, relative to the folder.
    """

    kiff_backup: Literal[1] = 1
    kiff: str
    made_at: str
    source: Literal["sqlite", "postgresql"]
    bytes: int
    sha256: str
    heads: dict[str, Seen]
    rows: Counts
    secrets: tuple[str, ...] = ()


class Archive(NamedTuple):
    """A backup that was read."""

    folder: Path
    manifest: Manifest

    @property
    def database(self) -> Path:
        return self.folder / DATABASE

    @property
    def key_set(self) -> Path:
        return self.folder / KEY_SET

    def open(self) -> Store:
        """Its rows, to be read."""
        return SqliteStore(self.database, read_only=True)

    def keys(self) -> PublicKeys:
        return parse_jwks(self.key_set.read_bytes())


def read_archive(folder: Path) -> Archive:
    """A backup, its database compared with the digest in its manifest.

    Raises:
        NotFound: there is none. InvalidInput: it is none. StoreCorrupt: its database is not what was written.
    """
    if not folder.is_dir():
        raise NotFound(f"there is no folder `{folder}`", hint="give the folder that kiff backup made")
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        (folder / KEY_SET).stat()
        found = (folder / DATABASE).stat().st_size, digest_of(folder / DATABASE)
    except FileNotFoundError as error:
        message = f"`{folder}` is no backup: it has no {Path(error.filename).name}"
        raise InvalidInput(message, field=str(folder)) from error
    except msgspec.DecodeError as error:
        message = f"`{folder / MANIFEST}` is no manifest of this version: {error}"
        raise InvalidInput(message, field=str(folder)) from error
    except OSError as error:
        raise StoreUnavailable(f"`{folder}` cannot be read: {error.strerror}", path=str(folder)) from error
    if found != (manifest.bytes, manifest.sha256):
        message = f"`{folder / DATABASE}` is not the file that was written: its digest is another one"
        raise StoreCorrupt(message, path=str(folder), hint="take another backup; kiff verify says what this one holds")
    return Archive(folder, manifest)


@contextmanager
def new_archive(folder: Path) -> Iterator[Path]:
    """A folder to fill, which has its name once the block is left without an error; before, nothing is there.

    Raises:
        Conflict: something has that name. StoreUnavailable: it cannot be made.
    """
    if folder.exists():
        raise Conflict(f"`{folder}` is there already; a backup is a folder of its own, and replaces nothing")
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir(mode=0o700)
        yield fresh
        for file in (each for each in fresh.rglob("*") if each.is_file()):
            sync_file(file)
        sync_folder(fresh)
        fresh.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise StoreUnavailable(f"`{folder}` cannot be written: {error.strerror}", path=str(folder)) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def alone(database: Path) -> None:
    """Leaves a database as one file, with nothing beside it.

    Raises:
        StoreUnavailable: it cannot be written.
    """
    try:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"`{database}` cannot be written: {error}", path=str(database)) from error
    database.with_name(f"{database.name}.lock").unlink(missing_ok=True)


def digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def checked(store: Store, keys: PublicKeys, what: str) -> LeavesVerdict:
    """The records of every log against its signed heads.

    Raises:
        StoreCorrupt: they are not what was signed.
    """
    verdict = verify_leaves(store, keys)
    if verdict.status == "invalid":
        first = verdict.problems[0]
        raise StoreCorrupt(f"{what} is not what was signed: {first.where} {first.field}: {first.message}")
    return verdict


def heads_of(store: Store) -> dict[str, Seen]:
    """How far each log of a store goes, with its newest signed head."""
    found: dict[str, Seen] = {}
    for head in store.heads():
        note = store.checkpoint(head.tenant)
        text = None if note is None else note.note.decode(errors="replace")
        found[head.tenant] = Seen(head.log_id, head.size, head.root.hex(), text)
    return found
