"""Text of others on a terminal: shown, never obeyed."""

from __future__ import annotations

import os
from typing import TextIO

_COLOURS = {"green": "32", "yellow": "33", "red": "31", "dim": "2"}


def visible(value: object) -> str:
    """One line with nothing in it that moves a cursor, hides or rearranges text: such letters as their escapes."""
    text = "" if value is None else str(value)
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def coloured(stream: TextIO) -> bool:
    """Is it a terminal whose owner has not turned colours off?"""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour else text


def _escape(letter: str) -> str:
    code = ord(letter)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
