"""What a program did to its files, in order: the file that shim.c writes."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

_HEAD = struct.Struct("=IIQQ")


class Kind(IntEnum):
    """The kinds of shim.c, and SAID: what the program itself has to say at that point."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC_BEGIN = 4
    SYNC_END = 5
    SYNC_FAILED = 6
    UNLINK = 7
    RENAME = 8
    LINK = 9
    MKDIR = 10
    MAPPED = 11
    SAID = 100


class Op(NamedTuple):
    """One thing that happened.

    Args:
        inode: the file, or the folder of a sync; 0 where `data` has the names.
        at: the offset of a write, the size of a truncation.
        data: what was written; a name below the folder, or two with a zero byte between; JSON that was said.
    """

    kind: Kind
    inode: int
    at: int
    data: bytes

    @property
    def names(self) -> list[str]:
        return [name.decode() for name in self.data.split(b"\0")]

    @property
    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.data)
        return said


def read_trace(file: Path) -> list[Op]:
    """Every operation of a trace; a record that a killed program left half-written is none."""
    return list(_ops(file.read_bytes()))


def _ops(data: bytes) -> Iterator[Op]:
    start = 0
    while start + _HEAD.size <= len(data):
        kind, length, inode, at = _HEAD.unpack_from(data, start)
        start += _HEAD.size
        if start + length > len(data):
            return
        yield Op(Kind(kind), inode, at, data[start : start + length])
        start += length


def say(trace: int, what: dict[str, Any]) -> None:
    """Puts a word of the program's own between the operations, in one write.

    Args:
        trace: the trace's file descriptor, opened to append.
    """
    data = json.dumps(what).encode()
    os.write(trace, _HEAD.pack(Kind.SAID, len(data), 0, 0) + data)
