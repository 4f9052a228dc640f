"""Tiles against the tree they cut up, across the boundaries of one, two and three levels."""

from __future__ import annotations

import random

import pytest
from ledger_cases import numbered

from kiff.errors import StoreCorrupt
from kiff.ledger import (
    EMPTY,
    Tile,
    TileHashes,
    completed,
    consistency_proof,
    extend,
    inclusion_proof,
    root,
    tile_path,
    verify_consistency,
    verify_inclusion,
)
from kiff.ledger.tiles import parse_tile_path

LARGE = 65536 + 256 * 3 + 17


class Shelf:
    """Tiles as a store keeps them: one per level and index, written over when it grows."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.size = 0
        self.tail: tuple[bytes, ...] = ()
        self.reads: list[tuple[int, int]] = []

    def read(self, level: int, index: int) -> bytes | None:
        self.reads.append((level, index))
        return self.tiles.get((level, index))

    def append(self, leaves: list[bytes]) -> tuple[Tile, ...]:
        growth = completed(self.size, self.tail, leaves, self.read)
        self.tiles |= {(tile.level, tile.index): tile.data for tile in growth.tiles}
        self.size, self.tail = self.size + len(leaves), growth.tail
        return growth.tiles

    def hashes(self) -> TileHashes:
        return TileHashes(self.read, self.size, self.tail)


def shelf_of(leaves: list[bytes], step: int = 256) -> Shelf:
    shelf = Shelf()
    for at in range(0, len(leaves), step):
        shelf.append(leaves[at : at + step])
    return shelf


@pytest.fixture(scope="module")
def large() -> tuple[list[bytes], Shelf]:
    leaves = [number.to_bytes(32) for number in range(LARGE)]
    return leaves, shelf_of(leaves, 10_000)


def test_a_shortened_upper_tile_stops_an_append() -> None:
    shelf = shelf_of(numbered(1024))
    shelf.tiles[1, 0] = shelf.tiles[1, 0][:-32]
    with pytest.raises(StoreCorrupt, match="tile/1/000"):
        shelf.append(numbered(256))


def test_a_lost_tile_stops_a_proof() -> None:
    shelf = shelf_of(numbered(600))
    del shelf.tiles[0, 1]
    with pytest.raises(StoreCorrupt, match="tile/0/001"):
        inclusion_proof(300, 600, shelf.hashes())


def test_a_changed_tile_yields_no_proof_that_holds() -> None:
    leaves = numbered(600)
    shelf = shelf_of(leaves)
    data = shelf.tiles[0, 1]
    shelf.tiles[0, 1] = data[:64] + bytes([data[64] ^ 1]) + data[65:]
    top = root(extend(EMPTY, leaves))
    proof = inclusion_proof(300, 600, shelf.hashes())
    assert not verify_inclusion(leaves[300], 300, 600, proof, top)


def test_nothing_is_stored_before_a_tile_is_full() -> None:
    growth = completed(0, [], numbered(255), Shelf().read)
    assert growth.tiles == ()
    assert list(growth.tail) == numbered(255)


def test_a_full_tile_holds_its_hashes_and_lengthens_the_tile_above() -> None:
    leaves = numbered(256)
    shelf = shelf_of(leaves[:255])
    written = shelf.append(leaves[255:])
    assert written == (Tile(0, 0, b"".join(leaves)), Tile(1, 0, root(extend(EMPTY, leaves))))
    assert shelf.tail == ()


def test_an_upper_tile_is_written_once_for_a_batch() -> None:
    shelf = shelf_of(numbered(256))
    written = shelf.append(numbered(768))
    assert [(tile.level, tile.index, len(tile.data) // 32) for tile in written] == [
        (0, 1, 256), (0, 2, 256), (0, 3, 256), (1, 0, 4),
    ]  # fmt: skip


def test_the_size_of_the_batches_leaves_no_trace() -> None:
    seed = 20260102
    print(f"seed {seed}")
    chance = random.Random(seed)
    leaves = numbered(3000)
    whole, pieces, at = shelf_of(leaves, 3000), Shelf(), 0
    while at < len(leaves):
        step = chance.choice((1, 2, 255, 256, 257, 600))
        pieces.append(leaves[at : at + step])
        at += step
    assert (pieces.tiles, pieces.tail) == (whole.tiles, whole.tail)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 1000])
def test_every_proof_out_of_tiles_holds(size: int) -> None:
    leaves = numbered(size)
    hashes, top = shelf_of(leaves).hashes(), root(extend(EMPTY, leaves))
    for index in range(0, size, 1 if size < 260 else 37):
        assert verify_inclusion(leaves[index], index, size, inclusion_proof(index, size, hashes), top)
    for old in range(1, size + 1, 1 if size < 260 else 37):
        before = root(extend(EMPTY, leaves[:old]))
        assert verify_consistency(old, before, size, top, consistency_proof(old, size, hashes))


def test_proofs_hold_beyond_a_full_tile_of_tiles(large: tuple[list[bytes], Shelf]) -> None:
    leaves, shelf = large
    hashes, top = shelf.hashes(), root(extend(EMPTY, leaves))
    for index in (0, 255, 256, 40_000, 65_535, 65_536, LARGE - 18, LARGE - 1):
        assert verify_inclusion(leaves[index], index, LARGE, inclusion_proof(index, LARGE, hashes), top)
    for old in (1, 256, 65_535, 65_536, 65_537, LARGE - 1):
        before = root(extend(EMPTY, leaves[:old]))
        assert verify_consistency(old, before, LARGE, top, consistency_proof(old, LARGE, hashes))


def test_a_smaller_head_is_proved_from_a_larger_log(large: tuple[list[bytes], Shelf]) -> None:
    leaves, shelf = large
    size = 65_536 - 3
    proof = inclusion_proof(700, size, shelf.hashes())
    assert verify_inclusion(leaves[700], 700, size, proof, root(extend(EMPTY, leaves[:size])))


def test_a_full_tile_of_tiles_starts_the_level_above(large: tuple[list[bytes], Shelf]) -> None:
    leaves, shelf = large
    assert shelf.tiles[2, 0] == root(extend(EMPTY, leaves[:65_536]))
    upper = {key: len(data) // 32 for key, data in shelf.tiles.items() if key[0] > 0}
    assert upper == {(1, 0): 256, (1, 1): 3, (2, 0): 1}


def test_a_proof_reads_few_tiles_and_each_once(large: tuple[list[bytes], Shelf]) -> None:
    _, shelf = large
    shelf.reads.clear()
    inclusion_proof(1_000, LARGE, shelf.hashes())
    assert len(shelf.reads) == len(set(shelf.reads)) <= 4


@pytest.mark.parametrize(
    ("level", "index", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 999, 256, "tile/0/999"),
        (0, 1000, 256, "tile/0/x001/000"),
        (3, 1234067, 256, "tile/3/x001/x234/067"),
        (1, 5, 17, "tile/1/005.p/17"),
        (None, 1234, 256, "tile/entries/x001/234"),
        (None, 0, 1, "tile/entries/000.p/1"),
    ],
)
def test_paths(level: int | None, index: int, width: int, path: str) -> None:
    assert tile_path(level, index, width) == path
    assert parse_tile_path(path) == (level, index, width)


@pytest.mark.parametrize("path", ["tile/0/0", "tile/0/x000/001", "tile/0/000.p/256", "tile/0/000.p/0", "tile/00/000"])
def test_a_tile_has_one_path(path: str) -> None:
    assert parse_tile_path(path) is None
