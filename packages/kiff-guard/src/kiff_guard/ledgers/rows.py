"""A receipts file, read line by line. It may be written meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from kiff_guard.ledgers import line as lines
from kiff_guard.ledgers.lock import locked


def settled_size(file: BinaryIO, path: str) -> int:
    """How long the file is while nobody is in the middle of a line."""
    try:
        with locked(file.fileno(), path, timeout_seconds=2.0):
            return os.fstat(file.fileno()).st_size
    except OSError:  # somebody holds it, or the folder takes no lock file: then a line may be seen half-written
        return os.fstat(file.fileno()).st_size


def rows(file: BinaryIO, size: int) -> Iterator[tuple[bytes, bool]]:
    """Each line without its line break, and whether it is whole. One that is too long comes in pieces."""
    while size > 0 and (raw := file.readline(min(size, lines.BYTES_LIMIT + 1))):
        size -= len(raw)
        yield raw.removesuffix(b"\n"), raw.endswith(b"\n") or (size > 0 and len(raw) > lines.BYTES_LIMIT)
