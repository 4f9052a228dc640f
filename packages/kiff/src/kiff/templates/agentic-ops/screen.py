"""How the demo looks: one screen of 80 columns, each line written as it happens.

Words and glyphs carry the meaning; colour only repeats it, on a terminal, unless NO_COLOR is set.
"""

from __future__ import annotations

import os
import textwrap
from typing import TextIO

GLYPHS = {"allowed": ("✓", "+"), "held": ("❚❚", "||"), "blocked": ("✕", "x"), "skipped": ("–", "-")}
COLOURS = {"allowed": "32", "held": "33", "blocked": "31", "skipped": "2", "faint": "2", "strong": "1"}
WIDTH = 80
LABEL = 10


class Screen:
    """Writes to one stream.

    Args:
        out: colour when it is a terminal, ASCII when it cannot write anything else.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._encoding = out.encoding or "utf-8"
        self._colour = out.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
        self._ascii = not _writes(self._encoding, "✓❚✕–")

    def title(self, left: str, right: str) -> None:
        self._put(self._paint("strong", left) + right.rjust(WIDTH - len(left)))

    def text(self, text: str = "") -> None:
        for line in textwrap.wrap(plain(text), WIDTH - 3, break_on_hyphens=False) or [""]:
            self._put(self._paint("faint", f"   {line}") if line else "")

    def ticket(self, number: int, title: str, ticket: str, action: str, outcome: str) -> None:
        """`1  auto-execute   tkt_001  SEND_REPLY   ✓ allowed`."""
        head = f"{number}  {plain(title):<26}{ticket:<10}"
        self._put(self._paint("strong", head) + f"{shortened(action, 26):<28}" + self.outcome(outcome, outcome))

    def fact(self, label: str, said: str, receipt: str = "") -> None:
        """What is so, and the receipt that says it at the right edge, below when it has no room there."""
        head, said = f"   {label:<{LABEL}}", plain(said)
        room = WIDTH - len(head)
        if len(said) + len(receipt) + 2 > room and receipt:
            self.fact(label, said)
            head, said = " " * len(head), ""
        first, *rest = textwrap.wrap(said, room, break_on_hyphens=False) or [""]
        right = self._paint("faint", receipt.rjust(room - len(first)))
        self._put(self._paint("faint", head) + first + right)
        for line in rest:
            self._put(" " * len(head) + line)

    def proof(self, label: str, said: str, *, holds: bool) -> None:
        """A fact that was checked."""
        mark = self.outcome("allowed" if holds else "blocked", "")
        self._put(f"   {self._paint('faint', label.ljust(LABEL))}{mark} {plain(said)}")

    def last(self, outcome: str, text: str) -> None:
        self._put(self._paint(outcome, plain(text)))

    def outcome(self, outcome: str, word: str) -> str:
        glyph = GLYPHS[outcome][self._ascii]
        return self._paint(outcome, f"{glyph:<2} {word}" if word else glyph)

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self._colour and text.strip() else text

    def _put(self, line: str) -> None:
        shown = line if self._colour else line.rstrip()
        self._out.write(shown.encode(self._encoding, "replace").decode(self._encoding) + "\n")
        self._out.flush()


def plain(text: str) -> str:
    """One line with nothing in it that a terminal would act on: a model may have written it."""
    return "".join(each if each.isprintable() else "?" for each in text)


def shortened(text: str, room: int) -> str:
    text = plain(text)
    return text if len(text) <= room else text[: room - 3] + "..."


def _writes(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
