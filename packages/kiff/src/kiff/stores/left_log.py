"""The write-ahead log that a process left which was killed: made durable before anybody builds on it.

When a sync fails, the kernel takes what it could not write for written: the next process reads those commits like any
other, no later sync writes them, and a power loss takes them away with all that was committed after them. So the log
is written once more. A copy goes to disk first, because a power loss may spoil what is being overwritten.
"""

from __future__ import annotations

import os
from pathlib import Path

from kiff.stores.durable_file import sync_folder

_BYTES_AT_ONCE = 1 << 20


def write_left_log_again(database: Path) -> None:
    """Only the one writer may call it, before it opens the database; readers see the same bytes all along.

    Raises:
        OSError: the disk still fails, or is full.
    """
    log = database.with_name(f"{database.name}-wal")
    copy = database.with_name(f"{database.name}-wal.copy")
    if not copy.exists():  # one that is there is whole, and the power was lost before the log was
        if not log.exists() or log.stat().st_size == 0:
            return
        part = copy.with_suffix(".part")
        part.unlink(missing_ok=True)
        _write_over(part, log)
        part.rename(copy)
        sync_folder(database.parent)
    _write_over(log, copy)
    sync_folder(database.parent)
    copy.unlink()
    sync_folder(database.parent)


def _write_over(path: Path, source: Path) -> None:
    """Writes what the source holds into a file, in place and on disk."""
    read = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        write = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            at = 0
            while data := os.pread(read, _BYTES_AT_ONCE, at):
                at += os.pwrite(write, data, at)
            os.fsync(write)
        finally:
            os.close(write)
    finally:
        os.close(read)
