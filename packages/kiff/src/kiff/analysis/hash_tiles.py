"""The stored tiles beside the ones the records give."""

from __future__ import annotations

from kiff.ledger import node_hash
from kiff.ledger.tiles import WIDTH
from kiff.ledger.tree import HASH_BYTES
from kiff.runtime.ports import Store


class TileCheck:
    """Recomputes the stored tiles as leaves come by."""

    def __init__(self, store: Store, tenant: str) -> None:
        self.count = 0
        self.wrong: list[tuple[int, int, int, bytes | None]] = []
        """(level, index, number of the first hash that differs, what is stored there)"""
        self._store = store
        self._tenant = tenant
        self._rows: list[list[bytes]] = [[]]
        self._cut: list[int] = [0]

    def take(self, leaves: list[bytes]) -> None:
        self._rows[0] += leaves
        level = 0
        while level < len(self._rows):
            row = self._rows[level]
            while len(row) >= WIDTH:
                self._up(level + 1, self._full(level, row[:WIDTH]))
                row = self._rows[level] = row[WIDTH:]
            level += 1

    def end(self) -> None:
        """The unfinished upper tiles are stored as far as they go; of the leaves, only full tiles are."""
        for level, row in enumerate(self._rows):
            if level and row:
                self._full(level, row)

    def _up(self, level: int, top: bytes) -> None:
        if level == len(self._rows):
            self._rows.append([])
            self._cut.append(0)
        self._rows[level].append(top)

    def _full(self, level: int, row: list[bytes]) -> bytes:
        index = self._cut[level]
        self._cut[level] += 1
        self.count += 1
        stored = self._store.tile(self._tenant, level, index)
        if stored != b"".join(row):
            self.wrong.append(_first_wrong(level, index, row, stored))
        while len(row) > 1 and len(row) == 1 << (len(row).bit_length() - 1):
            row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
        return row[0]


def _first_wrong(level: int, index: int, row: list[bytes], stored: bytes | None) -> tuple[int, int, int, bytes | None]:
    if stored is None or len(stored) != HASH_BYTES * len(row):
        return level, index, 0, None
    for number, expected in enumerate(row):
        found = stored[HASH_BYTES * number : HASH_BYTES * (number + 1)]
        if found != expected:
            return level, index, number, found
    raise AssertionError("the tiles differ somewhere")
