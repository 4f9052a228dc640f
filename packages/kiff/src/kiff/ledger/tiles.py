"""The log's hashes in tiles of 256, as C2SP tlog-tiles lays them out, so that any proof needs a few reads.

A tile at level L and index N holds the roots of the complete subtrees of 256**L leaves numbered from N * 256.
Level 0 is stored full; its unfinished rest is the caller's tail. Upper tiles are stored as far as they go
and written again each time a tile below them is completed. What was read from where is the caller's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from kiff.errors import StoreCorrupt
from kiff.ledger.tree import HASH_BYTES, pairs

HEIGHT = 8
WIDTH = 1 << HEIGHT

_PATH = re.compile(r"tile/(entries|[0-9])/((?:x[0-9]{3}/){0,4}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")

ReadTile = Callable[[int, int], bytes | None]
"""`read(level, index)`: the stored bytes of a tile, None when there is none."""


class Tile(Struct, frozen=True, gc=False):
    """One tile to store, in place of what its level and index held before.

    Args:
        data: 1 to 256 hashes of 32 bytes.
    """

    level: int
    index: int
    data: bytes


class Growth(Struct, frozen=True, gc=False):
    """What an append changes: tiles to store, and the leaf hashes since the last full level-0 tile."""

    tiles: tuple[Tile, ...]
    tail: tuple[bytes, ...]


def completed(size_before: int, tail: Sequence[bytes], leaves: Sequence[bytes], read: ReadTile) -> Growth:
    """The tiles that new leaves complete or lengthen.

    Args:
        size_before: size of the log without the new leaves.
        tail: the last size_before % 256 leaf hashes.
        leaves: the new leaf hashes.
        read: the current tiles; asked only for upper tiles that are partly filled.

    Raises:
        StoreCorrupt: an upper tile holds less than the size of the log says.
    """
    assert len(tail) == size_before % WIDTH
    hashes = [*tail, *leaves]
    full = len(hashes) // WIDTH * WIDTH
    if not full:
        return Growth((), tuple(hashes))
    first = size_before // WIDTH
    tiles = _cut(0, first, hashes[:full])
    level, start, roots = 1, first, _tops(hashes[:full])
    while roots:
        index, held = divmod(start, WIDTH)
        row = [*_held(read, level, index, held), *roots]
        tiles += _cut(level, index, row)
        level, start, roots = level + 1, index, _tops(row)
    return Growth(tuple(tiles), tuple(hashes[full:]))


def _cut(level: int, first: int, row: Sequence[bytes]) -> list[Tile]:
    starts = range(0, len(row), WIDTH)
    return [Tile(level, first + at // WIDTH, b"".join(row[at : at + WIDTH])) for at in starts]


def _tops(row: Sequence[bytes]) -> list[bytes]:
    """Roots of the full tiles of a row."""
    above = list(row[: len(row) // WIDTH * WIDTH])
    for _ in range(HEIGHT):
        above = pairs(above)
    return above


def _held(read: ReadTile, level: int, index: int, count: int) -> list[bytes]:
    """The first hashes of a stored tile."""
    if not count:
        return []
    data = read(level, index) or b""
    if len(data) < count * HASH_BYTES:
        raise StoreCorrupt(
            f"tile `{tile_path(level, index)}` should hold `{count}` hashes and holds "
            f"`{len(data) // HASH_BYTES}`; restore the database from a backup",
            level=level,
            index=index,
        )
    return [data[at : at + HASH_BYTES] for at in range(0, count * HASH_BYTES, HASH_BYTES)]


class TileHashes:
    """Subtree roots out of tiles: the `hashes` that the proofs of kiff.ledger.tree ask for.

    Args:
        read_tile: the stored tiles; each is read once.
        size: size of the log the tiles belong to.
        tail: the last size % 256 leaf hashes.
    """

    def __init__(self, read_tile: ReadTile, size: int, tail: Sequence[bytes]) -> None:
        assert len(tail) == size % WIDTH
        self._read = read_tile
        self._size = size
        self._rows: dict[tuple[int, int], Sequence[bytes]] = {(0, size // WIDTH): tail}

    def __call__(self, level: int, index: int) -> bytes:
        assert (index + 1) << level <= self._size
        tile_level, above = divmod(level, HEIGHT)
        tile_index, offset = divmod(index << above, WIDTH)
        row = list(self._row(tile_level, tile_index)[offset : offset + (1 << above)])
        for _ in range(above):
            row = pairs(row)
        return row[0]

    def _row(self, level: int, index: int) -> Sequence[bytes]:
        row = self._rows.get((level, index))
        if row is None:
            complete = self._size >> (HEIGHT * level)
            row = _held(self._read, level, index, min(WIDTH, complete - index * WIDTH))
            self._rows[level, index] = row
        return row


def tile_path(level: int | None, index: int, width: int = WIDTH) -> str:
    """Where a tile is published: `tile/0/x001/x234/067`, `tile/1/000.p/5`, `tile/entries/000`.

    Args:
        level: 0 and up for hashes, None for the entries themselves.
        width: how many hashes or entries it holds; below 256 it is a partial tile.
    """
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{'entries' if level is None else level}/{number}{partial}"


def parse_tile_path(path: str) -> tuple[int | None, int, int] | None:
    """The (level, index, width) that `tile_path` writes exactly so; None for any other text."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    level = None if found[1] == "entries" else int(found[1])
    index, width = int(found[2].replace("x", "").replace("/", "")), int(found[3] or WIDTH)
    return (level, index, width) if width <= WIDTH and tile_path(level, index, width) == path else None
