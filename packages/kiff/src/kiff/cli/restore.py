"""`kiff restore`: a backup into an empty place, checked before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from kiff.cli.archive import Archive, checked, heads_of, read_archive
from kiff.cli.key_set import read_keys
from kiff.cli.move import filled, key_target, require_empty
from kiff.cli.output import output_option, print_fields
from kiff.cli.progress import progress
from kiff.cli.safe_text import visible
from kiff.cli.server_options import rollback_option
from kiff.cli.store_place import DATABASE, StorePlace, named_place, secrets_options
from kiff.errors import KeyUnusable, StoreCorrupt
from kiff.ledger import PublicKeys, jwks, parse_jwks
from kiff.protocol.receipt import Receipt
from kiff.runtime.ports import Store
from kiff.runtime.rows import RecordRow
from kiff.stores.copying import copy, counts, new_file
from kiff.stores.durable_file import make_folder, replace_file
from kiff.stores.key_places import carry, key_folder, keys_beside
from kiff.stores.keyfile import load_secret
from kiff.stores.keyring import Keyring
from kiff.stores.root_key import ROOT
from kiff.stores.seen_heads import Memory, accepting, write_seen
from kiff.stores.tables import TABLES


class Restored(NamedTuple):
    """What came of it.

    Args:
        keys: what was put where, for whoever reads.
        accepted: tenants whose log holds less than was seen of it.
    """

    records: int
    receipts: int
    tenants: int
    status: str
    keys: str
    accepted: list[str]


@click.command("restore")
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path))
@click.option("--to", required=True, metavar="STORE", help="sqlite:PATH, a path, or postgresql://…; nothing is there.")
@click.option("--jwks", type=click.Path(path_type=Path), help="The issuer's key set, if not the one in the backup.")
@rollback_option
@secrets_options
@output_option
def command(
    source: Path,
    to: str,
    jwks: Path | None,
    accept_rollback: tuple[str, ...],
    data: Path,
    root_key: Path | None,
    output: str,
) -> None:
    """Put the backup FROM into an empty place. It is checked against its signed heads first.

    A backup that is older than what this installation saw of a log is refused, unless that log's tenant is named:
    what was acknowledged since is lost then, and the log's next record says so.
    """
    place = named_place(to, data, root_key)
    with progress(f"restoring {visible(source)}"):
        restored = _restore(read_archive(source), place, read_keys(jwks) if jwks else None, accept_rollback)
    print_fields(
        output,
        {
            "restored": place.shown,
            "from": str(source),
            "tenants": restored.tenants,
            "records": restored.records,
            "receipts": restored.receipts,
            "verified": restored.status,
            "keys": restored.keys,
            "rolled_back": restored.accepted,
        },
    )
    if restored.accepted:
        click.echo("the next record of each log that lost something says so, and who accepted it", err=True)


def _restore(archive: Archive, place: StorePlace, keys: PublicKeys | None, accept: tuple[str, ...]) -> Restored:
    with closing(archive.open()) as copied:
        found = heads_of(copied)
        if found != archive.manifest.heads:
            raise StoreCorrupt(f"`{archive.database}` does not hold the logs that its manifest names")
        status = checked(copied, archive.keys() if keys is None else keys, f"`{archive.database}`").status
        require_empty(place)
        memory = accepting(place.seen, copied, accept)
        if memory.accepted:
            _accept(place.seen, memory)
        said = _put(archive, place, copied)
        rows = counts(copied, sealed_keys=True)
    return Restored(
        rows.get(TABLES[RecordRow], 0), rows.get(TABLES[Receipt], 0), len(found), status, said, sorted(memory.accepted)
    )


def _accept(file: Path, memory: Memory) -> None:
    """Remembered before the rows are there: what opens them next records it."""
    make_folder(file.parent)
    write_seen(file, memory)


def _put(archive: Archive, place: StorePlace, copied: Store) -> str:
    """Keys first, so that what is there is whole. Returns what to say of them."""
    if place.is_postgres:
        said = _keys_for_rows(archive, place, copied)
        with filled(place) as target:
            copy(copied, target, sealed_keys=archive.manifest.source == "postgresql")
        with closing(place.read()) as written:
            if heads_of(written) != archive.manifest.heads:
                raise StoreCorrupt(f"`{place.shown}` does not hold what was in the backup; empty it, and restore again")
        return said
    with new_file(place.path) as fresh:
        shutil.copyfile(archive.database, fresh)
        said = _keys_for_files(archive, place, copied)
    return said


def _keys_for_rows(archive: Archive, place: StorePlace, copied: Store) -> str:
    """The keys of a store on PostgreSQL: in its rows already, or brought there from files."""
    if archive.manifest.source == "postgresql":
        held = archive.folder / ROOT
        if not held.is_file():
            return f"sealed in the rows; {ROOT} is not in the backup: bring it"
        if place.root_key is None:
            make_folder(place.data)
            _place_file(held, place.data / ROOT)
        return f"sealed in the rows, opened by {place.root_key or place.data / ROOT}"
    tenants = copied.tenants()
    with key_target(place) as target:
        number = carry(keys_beside(archive.database, tenants), target, tenants)
    if not number:
        return "not in the backup: to sign, copy the key files into it, and restore into an empty database"
    return f"of {number} tenants, sealed in the rows, opened by {place.root_key or place.data / ROOT}"


def _keys_for_files(archive: Archive, place: StorePlace, copied: Store) -> str:
    """The keys of a SQLite database: files beside it."""
    _publish(place.path, archive.keys())
    root = place.root_key or _first(archive.folder / ROOT, place.data / ROOT)
    if archive.manifest.source == "postgresql" and root is not None:
        secret = load_secret(root, mounted=root == place.root_key)
        number = carry(Keyring(copied, secret), key_folder(place.path), copied.tenants())
        return f"of {number} tenants, in {place.path.parent / 'keys'}"
    placed = [target for file, target in _files(archive, place.path) if _place_file(file, target)]
    return ", ".join(map(str, placed)) if placed else "not in the backup: put yours beside the database"


def _files(archive: Archive, database: Path) -> Iterator[tuple[Path, Path]]:
    """The secret files of a backup of SQLite, and where each belongs."""
    for name in archive.manifest.secrets:
        folder, _, last = name.rpartition("/")
        renamed = last if folder else database.name + last.removeprefix(DATABASE)
        yield archive.folder / name, database.parent / folder / renamed


def _place_file(file: Path, target: Path) -> bool:
    """
    Raises:
        KeyUnusable: another secret is in its place.
    """
    data = file.read_bytes()
    if target.exists():
        if target.read_bytes() != data:
            raise KeyUnusable(f"`{target}` is another key than the backup's; move it away", path=str(target))
        return True
    make_folder(target.parent, 0o700)
    replace_file(target, data)
    return True


def _publish(database: Path, keys: PublicKeys) -> None:
    """The key set beside a database; keys that it has already stay in it."""
    beside = database.with_name(f"{database.name}.key.jwks.json")
    known = parse_jwks(beside.read_bytes()) if beside.exists() else PublicKeys()
    publics = {kid: each.public(kid) for each in (known, keys) for kid in each}
    make_folder(database.parent)
    replace_file(beside, msgspec.json.format(msgspec.json.encode(jwks(publics.values()))) + b"\n", 0o644)


def _first(*files: Path) -> Path | None:
    return next((file for file in files if file.is_file()), None)
