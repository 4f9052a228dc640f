"""What a disk may hold after the power went, at any point of a trace.

The rules are those of POSIX, read against the program: what a completed sync covered is there; of everything since,
each write is there, or not, or some of its sectors are, in any order; a file's size may be an older one; a name that
was made, moved or removed stands or does not until its folder was synced. After a sync that failed, the kernel takes
what it covered for clean: it may never be written, whatever later syncs say.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from power.trace import Kind, Op

SECTORS = (512, 4096)


class Change(NamedTuple):
    """A write of `data` at an offset; with `data` None, a size that was set."""

    at: int
    data: bytes | None


class File:
    """One file: what is surely there, and what was done to it since, oldest first."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = bytearray(durable)
        self.pending: list[Change] = []
        self._promoted = 0
        self._begun: list[int] = []

    def sync_begins(self) -> None:
        self._begun.append(self._promoted + len(self.pending))

    def sync_ends(self) -> None:
        """What stood when the oldest sync under way began is durable: no later one may claim more."""
        covered = max(0, self._begun.pop(0) - self._promoted)
        for change in self.pending[:covered]:
            put(self.durable, change)
        del self.pending[:covered]
        self._promoted += covered

    def sync_fails(self, draw: random.Random) -> None:
        """The kernel takes what the sync covered for clean; some of it never reaches the disk."""
        covered = max(0, self._begun.pop(0) - self._promoted)
        everything = draw.random() < 0.5
        for number, change in enumerate(self.pending[:covered]):
            if change.data is not None and (everything or draw.random() < 0.5):
                end = change.at + len(change.data)
                self.pending[number] = Change(end, b"")  # the size is metadata, and stays

    def whole(self) -> bytes:
        """What the program itself sees, apart from what a failed sync dropped."""
        content = bytearray(self.durable)
        for change in self.pending:
            put(content, change)
        return bytes(content)

    def torn(self, draw: random.Random) -> bytes:
        """One of the contents that the disk may have."""
        content = bytearray(self.durable)
        sizes = [len(content)]
        for change in _survivors(self.pending, draw):
            put(content, change)
            sizes.append(len(content))
        if draw.random() < 0.2:
            del content[max(draw.choice(sizes), 0) :]
        return bytes(content)


def put(content: bytearray, change: Change) -> None:
    """Makes a change; a hole it leaves reads as zeros."""
    if change.data is None:
        size = change.at
        del content[size:]
        content.extend(bytes(size - len(content)))
        return
    content.extend(bytes(max(0, change.at - len(content))))
    content[change.at : change.at + len(change.data)] = change.data


def _survivors(pending: list[Change], draw: random.Random) -> Iterator[Change]:
    """What reached the disk: nothing, all, the first ones and a part of the next, or any of them in any state."""
    way = draw.choice(("none", "all", "first", "any", "sectors"))
    if way == "all":
        yield from pending
    elif way == "first" and pending:
        cut = draw.randrange(len(pending))
        yield from pending[:cut]
        yield from _sectors(pending[cut], draw)
    elif way == "any":
        yield from (change for change in pending if draw.random() < 0.5)
    elif way == "sectors":
        for change in pending:
            yield from _sectors(change, draw)


def _sectors(change: Change, draw: random.Random) -> Iterator[Change]:
    """Some sectors of a write; one in thirty of those that stay away holds what nobody wrote."""
    if change.data is None:
        if draw.random() < 0.5:
            yield change
        return
    size = draw.choice(SECTORS)
    start, end = change.at, change.at + len(change.data)
    while start < end:
        stop = min(end, start - start % size + size)
        if draw.random() < 0.5:
            yield Change(start, change.data[start - change.at : stop - change.at])
        elif draw.random() < 1 / 30:
            yield Change(start, draw.randbytes(stop - start))
        start = stop


class Folder:
    """One folder: how many of its names were settled, and where the syncs under way began."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.promoted = 0
        self.begun: list[int] = []


class Rename(NamedTuple):
    """Names that one call changed, in one step: what each stands for now, or None where it is taken away."""

    names: dict[str, File | Folder | None]

    def touches(self, folder: Folder) -> bool:
        return any(os.path.dirname(name) == folder.name for name in self.names)


class Disk:
    """The files below one folder, as a trace goes on.

    Args:
        start: file -> content before the first operation; all of it is durable.
        inodes: the inode of each of these files and of every folder; the folder of all is "".
        obeys: False for a disk that calls everything synced, and syncs nothing.
        seed: decides what a failed sync drops.
    """

    def __init__(self, start: dict[str, bytes], inodes: dict[str, int], *, obeys: bool = True, seed: int = 0) -> None:
        self._obeys = obeys
        self._draw = random.Random(seed)
        there = {name: File(start[name]) if name in start else Folder(name) for name in inodes}
        self._inodes: dict[int, File | Folder] = {inodes[name]: what for name, what in there.items()}
        self._names: dict[str, File | Folder] = {name: what for name, what in there.items() if name}
        self._pending: list[Rename] = []
        self.mapped: set[str] = set()

    def apply(self, op: Op) -> None:
        """What one operation does. What the program says does nothing."""
        match op.kind:
            case Kind.WRITE:
                self._file(op).pending.append(Change(op.at, op.data))
            case Kind.TRUNCATE:
                self._file(op).pending.append(Change(op.at, None))
            case Kind.CREATE:
                self._inodes[op.inode] = File()
                self._rename({op.names[0]: self._inodes[op.inode]})
            case Kind.MKDIR:
                self._inodes[op.inode] = Folder(op.names[0])
                self._rename({op.names[0]: self._inodes[op.inode]})
            case Kind.UNLINK:
                self._rename({op.names[0]: None})
            case Kind.LINK:
                self._rename({op.names[1]: self._now()[op.names[0]]})
            case Kind.RENAME:
                self._rename({op.names[0]: None, op.names[1]: self._now()[op.names[0]]})
            case Kind.MAPPED:
                self.mapped |= {name for name, what in self._now().items() if what is self._inodes[op.inode]}
            case Kind.SYNC_BEGIN | Kind.SYNC_END | Kind.SYNC_FAILED:
                self._sync(op)

    def whole(self) -> dict[str, bytes]:
        """Every file as the program sees it."""
        return {name: what.whole() for name, what in self._now().items() if isinstance(what, File)}

    def after_power_loss(self, draw: random.Random) -> dict[str, bytes]:
        """One of the disks that may be found: file -> content. What a lost folder held is lost with it."""
        names: dict[str, File | Folder | None] = dict(self._names)
        for rename in self._kept(draw):
            names |= rename.names
        there = {name for name, what in names.items() if what is not None} | {""}
        contents: dict[File, bytes] = {}
        found: dict[str, bytes] = {}
        for name, what in names.items():
            if isinstance(what, File) and all(str(parent) in there for parent in Path(name).parents[:-1]):
                if what not in contents:
                    contents[what] = what.torn(draw)
                found[name] = contents[what]
                if name in self.mapped:  # what goes through a mapping is in no trace: it may be anything
                    found[name] = draw.choice((bytes, draw.randbytes))(len(found[name]))
        return found

    def _kept(self, draw: random.Random) -> list[Rename]:
        """Which of the names that no sync covered have changed: none, all, the first ones, or any."""
        way = draw.choice(("none", "all", "first", "any"))
        if way == "first":
            return self._pending[: draw.randrange(len(self._pending) + 1)]
        return [rename for rename in self._pending if way == "all" or (way == "any" and draw.random() < 0.5)]

    def _file(self, op: Op) -> File:
        file = self._inodes[op.inode]
        assert isinstance(file, File)
        return file

    def _now(self) -> dict[str, File | Folder]:
        names: dict[str, File | Folder | None] = dict(self._names)
        for rename in self._pending:
            names |= rename.names
        return {name: what for name, what in names.items() if what is not None}

    def _rename(self, names: dict[str, File | Folder | None]) -> None:
        self._pending.append(Rename(names))

    def _sync(self, op: Op) -> None:
        what = self._inodes[op.inode]
        if not self._obeys:
            return
        if isinstance(what, Folder):
            self._sync_names(op.kind, what)
        elif op.kind is Kind.SYNC_BEGIN:
            what.sync_begins()
        elif op.kind is Kind.SYNC_END:
            what.sync_ends()
        else:
            what.sync_fails(self._draw)

    def _sync_names(self, kind: Kind, folder: Folder) -> None:
        here = [rename for rename in self._pending if rename.touches(folder)]
        if kind is Kind.SYNC_BEGIN:
            folder.begun.append(folder.promoted + len(here))
            return
        covered = here[: max(0, folder.begun.pop(0) - folder.promoted)]
        if kind is Kind.SYNC_FAILED:
            return  # the names stay undecided, until a later sync makes them durable
        folder.promoted += len(covered)
        self._pending = [rename for rename in self._pending if not any(rename is settled for settled in covered)]
        for rename in covered:
            for name, what in rename.names.items():
                if what is None:
                    self._names.pop(name, None)
                else:
                    self._names[name] = what


def inodes_of(folder: Path) -> dict[str, int]:
    """The inode of every file and folder below one, and of itself as ""."""
    names = [Path(place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files)]
    return {"": folder.stat().st_ino} | {str(path.relative_to(folder)): path.stat().st_ino for path in names}


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lay_out(files: dict[str, bytes], folder: Path) -> None:
    """Puts a disk into a folder, which is made, or emptied."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, folders, old in os.walk(folder, topdown=False):
        for name in old:
            os.unlink(os.path.join(place, name))
        for name in folders:
            os.rmdir(os.path.join(place, name))
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_bytes(content)
