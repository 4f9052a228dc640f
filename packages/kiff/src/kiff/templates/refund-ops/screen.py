"""How the demo looks: one screen, 80 to 100 columns, each line written as it happens.

Words and glyphs carry the meaning; colour only repeats it, on a terminal, unless NO_COLOR is set.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable
from typing import TextIO

GLYPHS = {"allowed": ("✓", "+"), "held": ("❚❚", "||"), "blocked": ("✕", "x")}
COLOURS = {"allowed": "32", "held": "33", "blocked": "31", "faint": "2", "strong": "1"}
PLAIN = {ord("×"): "x", ord("›"): ">"}
NARROW, WIDE = 80, 100
INDENT = "   "
HARD_SPACE = "\N{NO-BREAK SPACE}"


class Screen:
    """Writes to one stream.

    Args:
        out: colour when it is a terminal, ASCII when it cannot write anything else.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._encoding = out.encoding or "utf-8"
        terminal = out.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = terminal and not os.environ.get("NO_COLOR")
        self._ascii = not _writes(self._encoding, "✓❚✕›×")
        columns = shutil.get_terminal_size((NARROW, 24)).columns if terminal else NARROW
        self._width = max(NARROW, min(columns, WIDE))

    def title(self, left: str, right: str) -> None:
        self._put(self._paint("strong", left) + right.rjust(self._width - len(left)) + "\n")

    def fact(self, name: str, value: str) -> None:
        """`database  .demo/kiff.db`."""
        self._put(f"{self._paint('faint', name.ljust(10))}{value}\n")

    def proof(self, name: str, value: str, *, holds: bool) -> None:
        """A fact that was checked."""
        mark = self._outcome("allowed" if holds else "blocked", "")
        self._put(f"{self._paint('faint', name.ljust(10))}{mark} {value}\n")

    def begin(self, number: int, title: str, action: str, order: str, amount: str) -> None:
        """The left half of a line, there while the call runs."""
        head = f"{number}  {title:<22}"
        self._put(self._paint("strong", head) + f"{action:<13}{order:<9}{amount:>10}   ")

    def end(self, outcome: str) -> None:
        self._put(f"{self._outcome(outcome, outcome)}\n")

    def note(self, text: str, receipt: str) -> None:
        """What happened, and the receipt that says so at the right edge."""
        room = self._width - len(INDENT) - len(text) - 2
        if len(receipt) > room:
            self._lines(text)
            text, room = "", self._width - len(INDENT) - 2
        self._put(INDENT + text + "  " + self._paint("faint", receipt.rjust(room)) + "\n")

    def trail(self, first: int, last: int, calls: Iterable[Iterable[str]]) -> None:
        """`#1-9  placed › paid › decision_recorded`: numbers of the log's records, and their kinds; a call a line."""
        label = f"#{first}-{last}".ljust(9)
        for steps in calls:
            self._lines(f"{HARD_SPACE}› ".join(steps), "faint", label)
            label = " " * len(label)

    def blank(self) -> None:
        self._put("\n")

    def last(self, outcome: str, text: str) -> None:
        self._put(self._paint(outcome, text) + "\n")

    def _lines(self, text: str, colour: str = "", label: str = "") -> None:
        room = self._width - len(INDENT) - len(label)
        for line in textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False):
            self._put(INDENT + self._paint(colour, label + line.replace(HARD_SPACE, " ")) + "\n")
            label = " " * len(label)

    def _outcome(self, outcome: str, word: str) -> str:
        glyph = GLYPHS[outcome][self._ascii]
        return self._paint(outcome, f"{glyph:<2} {word}" if word else glyph)

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self._colour and colour else text

    def _put(self, text: str) -> None:
        plain = text.translate(PLAIN) if self._ascii else text
        self._out.write(plain.encode(self._encoding, "replace").decode(self._encoding))
        self._out.flush()


def _writes(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
