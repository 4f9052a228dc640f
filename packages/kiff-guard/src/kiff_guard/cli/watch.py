"""`kiff-guard watch`: receipts as they are written."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from kiff_guard.cli import OK
from kiff_guard.cli.follow import follow
from kiff_guard.cli.text import coloured, paint, visible
from kiff_guard.ledgers import line as lines

COLUMNS = ("time", "outcome", "tool", "agent", "execution", "approval")
_WIDTHS = (24, 17, 24, 16, 10, 0)
_COLOURS = {"allowed": "green", "observed": "dim", "approval_required": "yellow"}
_OTHERS = "red"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the receipts file; it is waited for if it is not there yet")
    parser.add_argument("--json", action="store_true", help="print the receipts themselves, one a line")
    parser.add_argument("--once", action="store_true", help="end when all that is there is shown")


def run(arguments: argparse.Namespace) -> int:
    show = _as_json if arguments.json else _Table()
    shown = 0
    for raw in follow(arguments.file, once=arguments.once, say=_say):
        try:
            line = lines.read(raw)
        except lines.Unreadable as error:
            _say(f"a line is left out: {error}; `kiff-guard verify` says more")
            continue
        if line.kind == lines.SETTLED:
            show(line.members)
            shown += 1
    if not shown:
        _say(f"`{visible(arguments.file)}` holds no receipts yet")
    return OK


def _as_json(members: dict[str, Any]) -> None:
    print(lines.text(members["receipt"]), flush=True)


class _Table:
    """One line a receipt; the columns are named once."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._colours = coloured(sys.stdout)
        self._begun = False

    def __call__(self, members: dict[str, Any]) -> None:
        if not self._begun:
            self._begun = True
            self._row(COLUMNS, "")
        receipt = members["receipt"]
        outcome = str(receipt.get("outcome", ""))
        cells = (members["at"], outcome, *(receipt.get(name) for name in ("tool", "agent")), _execution(receipt))
        colour = _COLOURS.get(outcome, _OTHERS) if self._colours else ""
        self._row((*cells, receipt.get("approval_id")), colour)

    def _row(self, cells: tuple[object, ...], colour: str) -> None:
        texts = [visible(cell) for cell in cells]
        if not self._terminal:
            print("\t".join(texts), flush=True)
            return
        padded = [text.ljust(width) for text, width in zip(texts, _WIDTHS, strict=True)]
        padded[1] = paint(padded[1], colour)
        print("  ".join(padded).rstrip(), flush=True)


def _execution(receipt: dict[str, Any]) -> str:
    """How it ended; what was executed and not decided on must not look like a success."""
    ended = str(receipt.get("execution", ""))
    return f"{ended}, not as decided" if receipt.get("integrity_violation") else ended


def _say(message: str) -> None:
    print(f"kiff-guard: {message}", file=sys.stderr, flush=True)
