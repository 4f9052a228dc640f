"""`kiff backup`: the whole store as it stands, beside its running writers, checked before it gets its name."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import click
import msgspec

from kiff.cli.archive import KEY_SET, MANIFEST, Manifest, alone, checked, digest_of, heads_of, new_archive
from kiff.cli.output import SCHEMA, output_option, print_fields, print_json
from kiff.cli.progress import progress
from kiff.cli.safe_text import visible
from kiff.cli.store_place import DATABASE, StorePlace, said_place, secrets_options, store_place_options
from kiff.errors import KeyUnusable, StoreUnavailable
from kiff.ledger import PublicKeys, jwks
from kiff.protocol.instant import rfc3339
from kiff.runtime.clock import SystemClock
from kiff.stores.copying import copy, counts, new_database
from kiff.stores.key_places import secret_files
from kiff.stores.root_key import ROOT
from kiff.stores.seen_heads import lost_logs, read_seen, rolled_back
from kiff.stores.sqlite import SqliteStore

STEPS = 10_000
"""How many instructions of SQLite's go by between two looks at signals."""


@click.command("backup")
@click.option("--to", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="A new folder, for it.")
@click.option("--with-keys", is_flag=True, help="The private keys too: whoever has them can sign as you.")
@store_place_options
@secrets_options
@output_option
def command(
    to: Path,
    with_keys: bool,
    store: str | None,
    store_file: Path | None,
    data: Path,
    root_key: Path | None,
    output: str,
) -> None:
    """Copy the whole store into a new folder, as it stands at one instant, also beside its running writers.

    What was copied is checked against its signed heads before the folder gets its name. Without --with-keys, keep the
    private keys elsewhere: what was sealed or signed with them needs them.
    """
    place = said_place(store, store_file, data, root_key)
    with progress(f"copying {visible(place.shown)}"), new_archive(to) as fresh:
        manifest, status = _write(place, fresh, with_keys)
    _tell(place, to, manifest, status, output)


def _write(place: StorePlace, fresh: Path, with_keys: bool) -> tuple[Manifest, str]:
    database = fresh / DATABASE
    keys = _copied(place, database)
    (fresh / KEY_SET).write_bytes(
        msgspec.json.format(msgspec.json.encode(jwks(keys.public(kid) for kid in keys))) + b"\n"
    )
    with closing(SqliteStore(database, read_only=True)) as copied:
        lost = lost_logs(copied, read_seen(place.seen).logs)
        if lost:
            raise rolled_back(lost)
        status = checked(copied, keys, "the copy").status
        heads, rows, tenants = heads_of(copied), counts(copied, sealed_keys=True), copied.tenants()
    manifest = Manifest(
        kiff=version("kiff"),
        made_at=rfc3339(SystemClock().now()),
        source="postgresql" if place.is_postgres else "sqlite",
        bytes=database.stat().st_size,
        sha256=digest_of(database),
        heads=heads,
        rows=rows,
        secrets=tuple(_take_secrets(place, fresh, tenants)) if with_keys else (),
    )
    (fresh / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return manifest, status


def _copied(place: StorePlace, database: Path) -> PublicKeys:
    """The store as one file. Returns the public keys that are kept with it."""
    with closing(place.read()) as store:
        keys = place.public_keys(store)
        if place.is_postgres:
            with closing(store.snapshot()) as still, new_database(database) as target:
                copy(still, target, sealed_keys=True)
        else:
            _vacuumed(place.path, database)
            SqliteStore(database).close()  # one that an older KIFF wrote is brought up to date here, not where it is
    alone(database)
    return keys


def _vacuumed(path: Path, to: Path) -> None:
    """One consistent copy of a SQLite file, without the pages that it no longer uses; nobody waits for it."""
    quoted = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        with closing(sqlite3.connect(f"file:{quoted}?mode=ro", uri=True)) as connection:
            connection.set_progress_handler(_awake, STEPS)
            connection.execute("VACUUM INTO ?", (str(to),))
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from error
        raise StoreUnavailable(f"`{path}` cannot be copied: {error}", path=str(path)) from error


def _awake() -> int:
    """Called on the way, so that Ctrl-C is heard: what a signal raises here ends the statement."""
    return 0


def _take_secrets(place: StorePlace, fresh: Path, tenants: list[str]) -> list[str]:
    """Copies the files with private keys.

    Raises:
        KeyUnusable: there are none.
    """
    if place.is_postgres:
        found = {place.root_key or place.data / ROOT: ROOT}
    else:
        path = place.path
        found = {
            file: f"{file.parent.name}/{file.name}" if file.parent != path.parent else _renamed(path, file)
            for file in secret_files(path, tenants)
        }
    if not any(file.is_file() for file in found):
        raise KeyUnusable(f"no private keys are kept with `{place.shown}`; leave --with-keys out")
    for file, name in found.items():
        target = fresh / name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(file, target)
        target.chmod(0o600)
    return sorted(found.values())


def _renamed(database: Path, file: Path) -> str:
    """`shop.db.key.pem` is `kiff.db.key.pem` in a backup."""
    return DATABASE + file.name.removeprefix(database.name)


def _tell(place: StorePlace, to: Path, manifest: Manifest, status: str, output: str) -> None:
    told = {
        "backup": str(to),
        "of": place.shown,
        "tenants": len(manifest.heads),
        "records": manifest.rows.get("records", 0),
        "receipts": manifest.rows.get("receipts", 0),
        "verified": status,
        "private_keys": list(manifest.secrets),
    }
    if output in ("json", "jsonl"):
        print_json({"kiff": SCHEMA, **told, "rows": manifest.rows, "bytes": manifest.bytes, "sha256": manifest.sha256})
        return
    print_fields(output, told)
    if status == "undecidable":
        click.echo(
            "nothing outside the rows binds all of them: no signed head, or no public key, covers them", err=True
        )
    if not manifest.secrets:
        held = f"{ROOT} in the data folder" if place.is_postgres else "the key files beside the database"
        click.echo(f"the private keys are not in it: keep {held} too, apart from this", err=True)
