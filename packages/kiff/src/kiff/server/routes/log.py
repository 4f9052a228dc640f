"""The log: its signed head, the tiles of its tree, the proof that it only grew. Public by an unguessable name.

Tiles are laid out as C2SP tlog-tiles says. Hashes say nothing of what they are hashes of; the records themselves
are for those who may read them.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct

from kiff.errors import InvalidInput, NotFound
from kiff.ledger.proof import Growth
from kiff.ledger.tiles import WIDTH, parse_tile_path
from kiff.server.logs import entry_tile, hash_tile
from kiff.server.route import Answer, Call, Route

HEAD_SECONDS = 1
PART_SECONDS = 60
FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}
BYTES = "application/octet-stream"
TEXT = "text/plain"
Size = Annotated[int, Meta(ge=1, le=2**53 - 1)]


class Sizes(Struct, forbid_unknown_fields=True, rename={"old": "from", "new": "to"}):
    """From which size of the log, and to which; to the newest signed head when that is not said."""

    old: Size
    new: Size | None = None


class LogAnswer(Struct):
    """A tenant's log as it stands. `root`: of the tree of all its records, in hex."""

    log_id: str
    origin: str
    size: int
    root: str
    checkpoint: str


async def log(call: Call) -> Answer:
    head = call.tower.logs.of(call.tenant)
    origin = f"{call.tower.settings.issuer}/log/{head.log_id}"
    return Answer(LogAnswer(head.log_id, origin, head.size, head.root.hex(), f"/v1/log/{head.log_id}/checkpoint"))


async def checkpoint(call: Call) -> Answer:
    head = await asyncio.to_thread(call.tower.logs.named, call.path["log_id"])
    note = await call.tower.logs.signed(head, call.tower.waiting)
    return Answer(note.note, headers={"cache-control": f"public, max-age={HEAD_SECONDS}"}, media=TEXT)


async def hashes(call: Call) -> Answer:
    level, index, width = _tile(f"tile/{call.path['tile']}")
    head = await asyncio.to_thread(call.tower.logs.named, call.path["log_id"])
    assert level is not None, "entries have a route of their own"
    data = await asyncio.to_thread(hash_tile, call.tower.store, head, level, index, width)
    part = {"cache-control": f"public, max-age={PART_SECONDS}"}
    return Answer(data, headers=FOR_EVER if width == WIDTH else part, media=BYTES)


async def entries(call: Call) -> Answer:
    _, index, width = _tile(f"tile/entries/{call.path['tile']}")
    head = await asyncio.to_thread(call.tower.logs.named, call.path["log_id"])
    if head.tenant != call.tenant:
        raise NotFound(f"there is no log `{head.log_id}`", log_id=head.log_id)
    data = await asyncio.to_thread(entry_tile, call.tower.store, head, index, width)
    return Answer(data, headers={"cache-control": "private, no-store"}, media=BYTES)


async def consistency(call: Call) -> Answer:
    query: Sizes = call.query
    head = await asyncio.to_thread(call.tower.logs.named, call.path["log_id"])
    new = query.new
    if new is None:
        new = (await call.tower.logs.signed(head, call.tower.waiting)).size
    for name, size in (("from", query.old), ("to", new)):
        if size > head.size:
            raise InvalidInput(f"`{name}` is beyond the log: it has {head.size} records", field=name)
    return Answer(await asyncio.to_thread(call.tower.runtime.read.consistency, query.old, new, tenant=head.tenant))


def _tile(path: str) -> tuple[int | None, int, int]:
    """Level, index and width of a tile. A tile has one address, so that it is cached once.

    Raises:
        NotFound: no tile is called so.
    """
    found = parse_tile_path(path)
    if found is None:
        raise NotFound("a tile is at tile/<level>/<number>, as in tile/0/x001/234 or tile/0/000.p/5")
    return found


ROUTES = (
    Route("GET", "/v1/log", log, "The tenant's log, and its name.", "Log", answers={200: LogAnswer}),
    Route(
        "GET",
        "/v1/log/{log_id}/checkpoint",
        checkpoint,
        "The newest signed head: a C2SP signed note.",
        "Log",
        answers={200: TEXT},
        access="public",
    ),
    Route(
        "GET",
        "/v1/log/{log_id}/tile/entries/{tile:path}",
        entries,
        "A tile of records, each after its length in two bytes.",
        "Log",
        answers={200: BYTES},
        access="read",
    ),
    Route(
        "GET",
        "/v1/log/{log_id}/tile/{tile:path}",
        hashes,
        "A tile of hashes.",
        "Log",
        answers={200: BYTES},
        access="public",
    ),
    Route(
        "GET",
        "/v1/log/{log_id}/consistency",
        consistency,
        "What shows that the log only grew between two sizes.",
        "Log",
        query=Sizes,
        answers={200: Growth},
        access="public",
    ),
)
