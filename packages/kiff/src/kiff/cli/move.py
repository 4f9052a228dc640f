"""`kiff move`: a whole store to another place, with its keys. Every receipt and proof stays what it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
from msgspec import structs

from kiff.cli.archive import checked, heads_of
from kiff.cli.output import SCHEMA, output_option, print_json, print_rows
from kiff.cli.progress import progress
from kiff.cli.safe_text import visible
from kiff.cli.store_place import StorePlace, named_place, secrets_options
from kiff.errors import Conflict, InvalidInput, NotFound, StoreCorrupt, StoreInUse
from kiff.runtime.ports import Store
from kiff.stores.copying import Counts, Target, copy, counts, new_database
from kiff.stores.durable_file import make_folder
from kiff.stores.key_places import KeySource, KeyTarget, carry, key_folder, keys_beside
from kiff.stores.opening import open_store
from kiff.stores.root_key import open_keyring
from kiff.stores.seen_heads import Memory, accepting, lost_logs, read_seen, rolled_back, write_seen


class Moved(NamedTuple):
    """What came of it.

    Args:
        tenants: how many have a log.
        keys: how many of them have their signing key at the target.
        again: the target held it already.
    """

    source: Counts
    target: Counts
    tenants: int
    keys: int
    status: str
    again: bool


@click.command("move")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@secrets_options
@output_option
def command(source: str, target: str, data: Path, root_key: Path | None, output: str) -> None:
    """Copy the whole store FROM into the empty store TO, with its keys: sqlite:PATH, or postgresql://USER@HOST/DB.

    Nobody may write FROM meanwhile. It is left as it is, and a SQLite database refuses from then on to be written:
    it goes on at TO. Interrupted, it leaves nothing at TO, and can be run again.
    """
    old, new = named_place(source, data, root_key), named_place(target, data, root_key)
    if old.where == new.where or (old.path.resolve() == new.path.resolve() and not old.is_postgres):
        raise InvalidInput("FROM and TO are the same store", field="TO")
    with progress(f"moving {visible(old.shown)}"):
        moved = _move(old, new)
    _tell(old, new, moved, output)


def _move(old: StorePlace, new: StorePlace) -> Moved:
    with _held(old) as store:
        memory = accepting(old.seen, store, ())
        if memory.accepted:
            message = f"the log of `{min(memory.accepted)}` lost something, and has not recorded it yet"
            raise Conflict(message, hint="start a server on it once, then stop it and move")
        with closing(store.snapshot()) as still:
            keys = old.public_keys(store)
            checked(still, keys, f"`{old.shown}`")
            if not still.heads():
                raise NotFound(f"`{old.shown}` holds no log: there is nothing to move")
            again = _already(still, new)
            _not_older(still, new)
            carried = _carry_keys(old, store, new) if not again else 0
            if not again:
                with filled(new) as target:
                    copy(still, target, sealed_keys=False)
                    _unmoved(still, store, old)
            moved = _compared(still, new, old, again, carried)
            _remember(new, still)
        if not old.is_postgres:
            write_seen(old.seen, structs.replace(memory, moved_to=new.shown))
    return moved


def _not_older(still: Store, new: StorePlace) -> None:
    """
    Raises:
        StoreRolledBack: whoever starts at the target saw more than there is to move.
    """
    lost = lost_logs(still, read_seen(new.seen).logs)
    if lost:
        error = rolled_back(lost)
        error.detail["hint"] = f"move the newest copy; `{new.seen}` remembers what went on at the target"
        raise error


def _remember(new: StorePlace, still: Store) -> None:
    """What went on elsewhere goes on here; an older copy does not pass here from now on."""
    make_folder(new.seen.parent)
    write_seen(new.seen, Memory(heads_of(still)))


@contextmanager
def _held(place: StorePlace) -> Iterator[Store]:
    """The source, which nobody else writes.

    Raises:
        StoreInUse: somebody does. StoreError: it is not there, or cannot serve.
    """
    place.read().close()  # a mistyped path makes no database
    if place.is_postgres:
        from kiff.stores.postgres.copying import others

        count = others(place.where)
        if count:
            message = f"`{place.shown}` has {count} connections of KIFF"
            raise StoreInUse(f"{message}; stop every server on it first", hint="systemctl stop kiff, or scale to 0")
    with closing(open_store(place.where, read_only=place.is_postgres)) as store:
        yield store


@contextmanager
def filled(place: StorePlace) -> Iterator[Target]:
    """An empty store to fill: all of it is there once the block is left, or nothing."""
    if not place.is_postgres:
        with new_database(place.path) as target:
            yield target
        return
    from kiff.stores.postgres.copying import filling

    open_store(place.where).close()  # makes the tables
    with filling(place.where) as rows:
        yield rows


def require_empty(place: StorePlace) -> None:
    """
    Raises:
        Conflict: there are rows, or a file.
    """
    if not place.is_postgres:
        if place.path.exists():
            raise Conflict(f"`{place.shown}` is there already; nothing is written over it", path=place.shown)
        return
    with closing(open_store(place.where)) as store:
        tenants = store.tenants()
    if tenants:
        message = f"`{place.shown}` holds {len(tenants)} tenants already, `{tenants[0]}` first"
        raise Conflict(f"{message}; give an empty database")


def _already(still: Store, new: StorePlace) -> bool:
    """Whether an earlier run came to the end of copying.

    Raises:
        Conflict: the target holds something else.
    """
    try:
        require_empty(new)
    except Conflict:
        with closing(new.read()) as target:
            if target.heads() == still.heads():
                return True
        raise
    return False


def _carry_keys(old: StorePlace, store: Store, new: StorePlace) -> int:
    """Before the rows: a database with rows is whole. Keys alone are found again by the next run."""
    tenants = store.tenants()
    source: KeySource = (
        open_keyring(store, old.data, old.root_key) if old.is_postgres else keys_beside(old.path, tenants)
    )
    with key_target(new) as target:
        return carry(source, target, tenants)


@contextmanager
def key_target(place: StorePlace) -> Iterator[KeyTarget]:
    """Where the keys of a store are put."""
    if not place.is_postgres:
        yield key_folder(place.path)
        return
    place.data.mkdir(parents=True, exist_ok=True)
    with closing(open_store(place.where)) as store:
        yield open_keyring(store, place.data, place.root_key)


def _unmoved(still: Store, store: Store, old: StorePlace) -> None:
    """
    Raises:
        Conflict: somebody wrote the source after all.
    """
    if still.heads() != store.heads():
        message = f"`{old.shown}` was written while it was copied, and nothing is at the target"
        raise Conflict(message, hint="stop every server on it, and move again")


def _compared(still: Store, new: StorePlace, old: StorePlace, again: bool, carried: int) -> Moved:
    """What was written, read back.

    Raises:
        StoreCorrupt: it is not what was copied.
    """
    source = counts(still, sealed_keys=False)
    with closing(new.read()) as target:
        written = counts(target, sealed_keys=False)
        heads = heads_of(target)
        if again and written != source:
            raise Conflict(f"`{new.shown}` holds these logs, and was written since: it is in use, go on there")
        if written != source or heads != heads_of(still):
            raise StoreCorrupt(f"`{new.shown}` does not hold what was copied; empty it, and move again")
        status = checked(target, old.public_keys(still), f"`{new.shown}`").status
    return Moved(source, written, len(heads), carried, status, again)


def _tell(old: StorePlace, new: StorePlace, moved: Moved, output: str) -> None:
    rows: list[dict[str, Any]] = [
        {"rows": table, "from": number, "to": moved.target.get(table, 0)} for table, number in moved.source.items()
    ]
    if output == "json":
        told = {"from": old.shown, "to": new.shown, "tenants": moved.tenants, "keys": moved.keys}
        print_json({"kiff": SCHEMA, **told, "verified": moved.status, "already": moved.again, "rows": rows})
    else:
        print_rows(output, "rows", ("rows", "from", "to"), rows)
    if moved.again:
        click.echo(f"{visible(new.shown)} held all of it already; nothing was copied", err=True)
    elif moved.keys < moved.tenants:
        missing = moved.tenants - moved.keys
        click.echo(f"{missing} tenants have no signing key beside {visible(old.shown)}: bring those yourself", err=True)
    click.echo(f"checked at {visible(new.shown)} against the signed heads: {moved.status}", err=True)
    if old.is_postgres:
        click.echo(f"go on there; nothing keeps a server from writing {visible(old.shown)} but you", err=True)
    else:
        click.echo(f"go on there; {visible(old.shown)} refuses to be written from now on", err=True)
