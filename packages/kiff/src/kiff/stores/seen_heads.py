"""The last head seen of each log, in a file beside the database: what shows that an older copy of it came back.

A database that was put back to an earlier state, with its heads, looks whole; only what is kept elsewhere tells.
At start-up every log must hold what was seen of it; then `kiff.stores.follow_heads` goes on remembering.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, structs

from kiff.errors import InvalidInput, StoreCorrupt, StoreMoved, StoreRolledBack, StoreUnavailable
from kiff.ledger.tiles import WIDTH, TileHashes
from kiff.ledger.tree import consistency_proof, verify_consistency
from kiff.runtime.ports import Store
from kiff.runtime.rows import LogHead
from kiff.stores.durable_file import replace_file


class Seen(Struct, frozen=True, forbid_unknown_fields=True):
    """How far a log was seen.

    Args:
        log: its id.
        root: lower-case hex.
        note: the newest signed head by then, as `kiff verify --head` takes it; it may be of another size.
    """

    log: str
    size: Annotated[int, Meta(ge=1)]
    root: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    note: str | None = None


class Memory(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds.

    Args:
        logs: by tenant.
        moved_to: where the database was moved to; nobody goes on writing here.
        accepted: tenants whose log may have been rolled back, and who said so; once it is recorded they are gone.
    """

    logs: dict[str, Seen]
    moved_to: str | None = None
    accepted: dict[str, str] = {}
    kiff_seen: Literal[1] = 1


class Lost(Struct, frozen=True):
    """A log that does not hold what was seen of it.

    Args:
        found: how many records it holds.
        said: what is wrong with it.
    """

    tenant: str
    seen: Seen
    found: int
    said: str


def seen_path(database: str | os.PathLike[str]) -> Path:
    """Where the heads of a SQLite database are remembered."""
    return Path(f"{os.fspath(database)}.seen.json")


def read_seen(file: Path) -> Memory:
    """What was seen so far; nothing, when there is no file.

    Raises:
        StoreCorrupt: it is damaged. StoreUnavailable: it cannot be read.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory({})
    except OSError as error:
        raise StoreUnavailable(f"`{file}` cannot be read: {error.strerror}", path=str(file)) from error
    except msgspec.DecodeError as error:
        hint = "restore it; or look at the database with `kiff verify`, and move the file away to begin a new one"
        message = f"`{file}`, which remembers how far each log was seen, is damaged: {error}"
        raise StoreCorrupt(message, path=str(file), hint=hint) from error


def accepting(file: Path, store: Store, accept: Iterable[str]) -> Memory:
    """What was seen, with who accepts that it is not there.

    Args:
        accept: tenants whose log may have been rolled back.

    Raises:
        StoreRolledBack: another log was. StoreMoved: the database goes on elsewhere.
        StoreCorrupt: the file is damaged, or the database is.
        InvalidInput: a tenant to accept is neither in the store nor was it seen.
    """
    memory = read_seen(file)
    if memory.moved_to is not None:
        hint = f"go on there; to write here all the same, remove `{file}`"
        raise StoreMoved(f"this database was moved to `{memory.moved_to}`", moved_to=memory.moved_to, hint=hint)
    lost = lost_logs(store, memory.logs)
    named = dict.fromkeys(accept, _operator())
    for tenant in sorted(named.keys() - memory.logs.keys() - {head.tenant for head in store.heads()}):
        raise InvalidInput(f"no log of `{tenant:.63}` is here, and none was seen", field="accept_rollback")
    accepted = memory.accepted | named
    refused = [each for each in lost if each.tenant not in accepted]
    if refused:
        raise rolled_back(refused)
    return structs.replace(memory, accepted={each.tenant: accepted[each.tenant] for each in lost})


def lost_logs(store: Store, seen: Mapping[str, Seen]) -> list[Lost]:
    """The logs that do not hold what was seen of them. It reads a few tiles of each.

    Raises:
        StoreCorrupt: the tiles of a log are not those of its size.
    """
    heads = {head.tenant: head for head in store.heads()}
    said = {tenant: lost_of(store, heads.get(tenant), each) for tenant, each in seen.items()}
    return [
        Lost(tenant, seen[tenant], heads[tenant].size if tenant in heads else 0, why)
        for tenant, why in sorted(said.items())
        if why
    ]


def rolled_back(lost: list[Lost]) -> StoreRolledBack:
    """The error that names them."""
    first = lost[0]
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    flags = " ".join(f"--accept-rollback {each.tenant}" for each in lost[:3]) + (" …" if len(lost) > 3 else "")
    return StoreRolledBack(
        f"the log of `{first.tenant}`{more} {first.said}: an older copy of the database came back",
        tenant=first.tenant,
        tenants=[each.tenant for each in lost],
        seen_size=first.seen.size,
        found_size=first.found,
        hint=f"restore a newer backup; or go on without what is lost: {flags}, which the log will record",
    )


def write_seen(file: Path, memory: Memory) -> None:
    """Puts the file there, whole and on disk.

    Raises:
        OSError: it cannot be written.
    """
    replace_file(file, msgspec.json.format(msgspec.json.encode(memory)) + b"\n")


def lost_of(store: Store, head: LogHead | None, seen: Seen) -> str:
    """What is wrong with a log; empty when it holds what was seen of it.

    Raises:
        StoreCorrupt: it does not hold what its head says.
    """
    if head is None:
        return f"is not there, and {seen.size} records of it were seen"
    if head.log_id != seen.log:
        return f"is another log, `{head.log_id}`, than the one seen, `{seen.log}`"
    if head.size < seen.size:
        return f"holds {head.size} records, and {seen.size} were seen"
    root = bytes.fromhex(seen.root)
    if head.size == seen.size:
        same = root == head.root
    else:
        path = consistency_proof(seen.size, head.size, _hashes(store, head))
        same = verify_consistency(seen.size, root, head.size, head.root, path)
    return "" if same else f"holds {head.size} records, and not the {seen.size} that were seen: it went on from fewer"


def _hashes(store: Store, head: LogHead) -> TileHashes:
    start = head.size - head.size % WIDTH
    tail = store.leaves(head.tenant, after=start - 1, limit=head.size - start) if head.size > start else []
    if len(tail) != head.size - start:
        raise StoreCorrupt(f"the log of `{head.tenant}` has {head.size} records, and not all of them are there")
    return TileHashes(lambda level, number: store.tile(head.tenant, level, number), head.size, tail)


def _operator() -> str:
    """Whoever runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.geteuid()}"
