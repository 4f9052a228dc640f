"""Is a receipts file what its guard wrote? This file only reads.

What it shows: no line was changed, moved, or taken out from between; every line is one the format knows; no receipt
settled twice with two ends. What it cannot show by itself: that lines were cut off at the end, or that all of it was
not written anew (with `key`, only by who has the key). For the first, keep a head outside: the hash and the number of
the last line, as a check prints them, and give them to the next one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kiff_guard.errors import LedgerError
from kiff_guard.ledgers import line as lines
from kiff_guard.ledgers.line import Line, Seal, Unreadable
from kiff_guard.ledgers.rows import rows, settled_size

PROBLEMS_LIMIT = 100
SHOWS = (
    "no line was changed, moved or taken out from between",
    "no receipt was settled twice with two ends",
)
CANNOT_SHOW = {
    "tail": "that nothing was cut off at the end: give the head of an earlier check with --head, --size or both",
    "since": "that nothing was cut off that came after the head you gave",
    "rewritten": "that it was not all written anew by who can write the file: use a key, or keep heads outside",
    "key": "that it was not written anew by who has the key",
    "true": "that what the agent told the guard is true, or that calls went around the guard",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where. `line` counts from 1 as editors do; 0 is the file as a whole."""

    line: int
    code: str
    message: str


@dataclass(frozen=True)
class Unsettled:
    """A call that was let go and whose end nobody wrote: the process may have died in it."""

    line: int
    receipt_id: str
    tool: str
    at: str


@dataclass
class Verified:
    """What a check found.

    Attributes:
        problems: why it is broken; empty if it is not. At most 100, `more` counts the rest.
        unsettled: calls that began and never ended.
        notes: what is worth knowing and breaks nothing.
        size: how many lines come after the header; with `head` what to keep outside.
        head: the hash of the last line.
        sealed: `sha256`, or `hmac-sha256` where a key was used.
        shows, cannot_show: what the check means.
    """

    file: str = ""
    size: int = 0
    head: str = ""
    sealed: str = ""
    receipts: int = 0
    problems: list[Problem] = field(default_factory=list)
    more: int = 0
    unsettled: list[Unsettled] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shows: tuple[str, ...] = ()
    cannot_show: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing is wrong with it."""
        return not self.problems

    def problem(self, line: int, code: str, message: str) -> None:
        if len(self.problems) < PROBLEMS_LIMIT:
            self.problems.append(Problem(line, code, message))
        else:
            self.more += 1


def verify(
    path: str | os.PathLike[str], *, key: bytes | str | None = None, head: str = "", size: int | None = None
) -> Verified:
    """Check a receipts file.

    Args:
        path: the file. It may be written meanwhile: what is whole when the check begins is checked.
        key: the one it is sealed with, if it is.
        head: the hash of its last line as an earlier check gave it.
        size: the number of that line; without `head` only how long the file was.

    Raises:
        LedgerError: it cannot be read at all.
    """
    found = Verified()
    check = _Check(found, Seal(key.encode() if isinstance(key, str) else key), head)
    try:
        with open(path, "rb") as file:
            check.all(rows(file, settled_size(file, os.fspath(path))))
    except OSError as error:
        raise LedgerError(f"`{os.fspath(path)}` cannot be read: {error.strerror or error}") from error
    check.against(head, size)
    found.shows = SHOWS if found.ok else ()
    found.cannot_show = tuple(
        CANNOT_SHOW[each] for each in _limits(found.sealed, outside=bool(head) or size is not None)
    )
    return found


def _limits(sealed: str, *, outside: bool) -> Iterator[str]:
    yield "since" if outside else "tail"
    yield "rewritten" if sealed != "hmac-sha256" else "key"
    yield "true"


class _Check:
    """Goes through the lines once, in order."""

    def __init__(self, found: Verified, seal: Seal, head: str) -> None:
        self.found = found
        self._seal = seal
        self._head = head
        self._head_at: int | None = None
        self._told_of_seal = False
        self._at = 0
        self._last: Line | None = None
        self._opened: dict[str, Unsettled] = {}
        self._settled: dict[str, bytes] = {}

    def all(self, rows: Iterator[tuple[bytes, bool]]) -> None:
        for self._at, (raw, whole) in enumerate(rows, start=1):
            self._one(raw, whole)
        if self._at == 0:
            self._wrong("empty", "the file is empty: a guard's file begins with a header")
        self.found.unsettled = list(self._opened.values())

    def against(self, head: str, size: int | None) -> None:
        """Compare with what was kept outside."""
        if size is not None and self.found.size < size:
            message = f"it has {self.found.size} lines and had {size} when you kept its size: its end was cut off"
            self.found.problem(0, "cut_off", message)
        if not head:
            return
        if self._head_at is None:
            message = "no line has the hash you kept: its end was cut off, or it was written anew"
            self.found.problem(0, "head_not_found", message)
        elif size is not None and self._head_at != size:
            message = f"the hash you kept is that of line {self._head_at + 1}, and you kept it for line {size + 1}"
            self.found.problem(self._head_at + 1, "head_elsewhere", message)

    def _one(self, raw: bytes, whole: bool) -> None:
        if not whole:
            message = (
                "the last line is not whole: a crash left it so, or it was cut; a guard that opens it sets it aside"
            )
            self._wrong("torn", message)
            return
        try:
            line = lines.read(raw)
        except Unreadable as error:
            self._wrong("unreadable", f"this is no line of a receipts file: {error}")
            self._last = None
            return
        if self._sealed(line):
            self._chained(line)
            self._meant(line)
        self._last = line
        self.found.size, self.found.head = self._at - 1, line.hash
        if self._head and line.hash == self._head:
            self._head_at = self._at - 1

    def _sealed(self, line: Line) -> bool:
        if self._at == 1:
            self._begins(line)
        kind = line.hash.partition(":")[0]
        if kind != self._seal.name:
            needs = "give the key" if kind == "hmac-sha256" else "give no key, it has none"
            if not self._told_of_seal:
                self._wrong("other_seal", f"it is sealed with {kind}: {needs}")
            self._told_of_seal = True
        elif line.hash != self._seal(line.sealed):
            key = ", or the key is another one" if kind == "hmac-sha256" else ""
            self._wrong("changed", f"its hash is not that of its text: the line was changed{key}")
        else:
            return True
        return False

    def _begins(self, line: Line) -> None:
        if line.kind != lines.HEADER:
            self._wrong("no_header", "the first line is not the header: lines before it were taken out")
            return
        self.found.file, self.found.sealed = str(line.members["file"]), str(line.members["seal"])
        if (line.members["format"], line.members["version"]) != (lines.FORMAT, lines.VERSION):
            self._wrong("other_format", f"expected {lines.FORMAT} {lines.VERSION}: this file is of another kind")

    def _chained(self, line: Line) -> None:
        if line.seq != self._at - 1:
            self._wrong(
                "out_of_order", f"it has number {line.seq} and stands at {self._at - 1}: lines are missing or moved"
            )
        elif self._at > 1 and line.kind == lines.HEADER:
            self._wrong("two_headers", "a header in the middle: two files were put together")
        elif self._at > 1 and self._last is not None and line.members["prev"] != self._last.hash:
            self._wrong("not_chained", "it does not go on from the line before: one of the two is not of this file")

    def _meant(self, line: Line) -> None:
        if line.kind == lines.SET_ASIDE:
            kept = line.members["kept_in"]
            self.found.notes.append(f"line {self._at}: a crash had left a half-written line, kept in {kept!r}")
        elif line.kind == lines.OPENED:
            self._begun(line.members["receipt"], str(line.members["at"]))
        elif line.kind == lines.SETTLED:
            self._ended(line.members["receipt"])

    def _begun(self, receipt: dict[str, Any], at: str) -> None:
        name = str(receipt.get("receipt_id", ""))
        if name in self._opened or name in self._settled:
            self._wrong("opened_twice", f"the call of receipt {name!r} began twice")
            return
        self._opened[name] = Unsettled(self._at, name, str(receipt.get("tool", "")), at)

    def _ended(self, receipt: dict[str, Any]) -> None:
        from hashlib import sha256

        name, content = str(receipt.get("receipt_id", "")), sha256(lines.text(receipt).encode()).digest()
        self._opened.pop(name, None)
        if not name or name not in self._settled:
            self.found.receipts += 1
            self._settled[name] = content
        elif self._settled[name] == content:
            self.found.notes.append(f"line {self._at}: receipt {name!r} stands here once more, unchanged")
        else:
            self._wrong("settled_twice", f"receipt {name!r} was settled before, with another end")

    def _wrong(self, code: str, message: str) -> None:
        self.found.problem(self._at, code, message)
