"""`kiff approvals watch`: what is held, as it happens; or one approval until somebody answered."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from kiff.cli.approvals.facts import COLUMNS, row, standing
from kiff.cli.exits import Exit
from kiff.cli.output import SCHEMA, output_option
from kiff.cli.place import Place, Reading
from kiff.cli.place_options import place_option
from kiff.cli.safe_text import visible
from kiff.client.nouns import Approval

EVERY_SECONDS = 1.0
MOST = 1000
ENDED = {
    "granted": Exit.DONE,
    "consumed": Exit.DONE,
    "denied": Exit.DENIED,
    "expired": Exit.EXPIRED,
    "cancelled": Exit.FAILED,
}


class Seconds(click.FloatRange):
    """A number of seconds; a range alone lets `nan` through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found: float = super().convert(value, param, ctx)
        if found != found:
            self.fail("expected a number", param, ctx)
        return found


@click.command("watch")
@click.argument("approval_id", required=False)
@click.option("--every", type=Seconds(0.05, 86_400), default=EVERY_SECONDS, show_default=True, help="Seconds.")
@click.option("--timeout", type=Seconds(0, 31_536_000), help="Stop after so many seconds.")
@output_option
@place_option
def watch(approval_id: str | None, every: float, timeout: float | None, output: str, place: Place) -> Exit:
    """Show what is held and how it is answered, a line each, until Ctrl-C.

    With APPROVAL_ID it waits for that answer and ends with it: 0 (granted), 12 (denied), 13 (expired), or 10 when it
    is still held after --timeout.
    """
    until = time.monotonic() + timeout if timeout is not None else float("inf")
    with place.watching() as reading:
        show = _Lines(output)
        if approval_id is not None:
            return _until_answered(reading, approval_id, every, until, show)
        for approval in _changes(reading, every, until):
            show(approval)
    return Exit.DONE


def _until_answered(reading: Reading, approval_id: str, every: float, until: float, show: _Lines) -> Exit:
    approval = reading.approval(approval_id)
    while standing(approval) == "pending" and time.monotonic() < until:
        time.sleep(every)
        approval = reading.approval(approval_id)
    show(approval)
    return ENDED.get(standing(approval), Exit.HELD)


def _changes(reading: Reading, every: float, until: float) -> Iterator[Approval]:
    """Every approval that is held now, and from then on each time one is opened or changes."""
    seen: dict[str, str] = {}
    while True:
        held = reading.approvals("pending", MOST)
        waiting = {approval.id for approval in held}
        answered = [reading.approval(id) for id in seen if id not in waiting]
        for approval in (*answered, *held):
            if seen.get(approval.id) != standing(approval):
                yield approval
                seen[approval.id] = standing(approval)
        for approval in answered:
            if standing(approval) not in ("pending", "granted"):
                seen.pop(approval.id)
        if time.monotonic() >= until:
            return
        time.sleep(every)


class _Lines:
    """One line an approval, written as it comes; the columns are named once."""

    def __init__(self, output: str) -> None:
        self._json = output in ("json", "jsonl")
        self._gap = "  " if output == "text" or sys.stdout.isatty() else "\t"
        self._begun = False

    def __call__(self, approval: Approval) -> None:
        told: dict[str, Any] = row(approval)
        if self._json:
            click.echo(json.dumps({"kiff": SCHEMA, **told}, separators=(",", ":")))
            return
        if not self._begun:
            click.echo(self._gap.join(COLUMNS))
            self._begun = True
        click.echo(self._gap.join(visible(told[column]) for column in COLUMNS))
