"""Events that move an entity in one version of a domain and do not in another, or that lead elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from kiff.analysis.access.occurrences import Occurrence, event_test, lands, occurrences
from kiff.domain import Domain
from kiff.domain.way import Way

Key = tuple[str | None, str]


class Move(Struct, frozen=True):
    """One event that leads to `to` under the later version.

    Args:
        before: where it led; None where it was refused.
    """

    occurrence: Occurrence
    before: str | None
    to: str

    @property
    def message(self) -> str:
        start = f"in {self.occurrence.state}" if self.occurrence.state else "at the beginning"
        was = "was refused" if self.before is None else f"led to {self.before}"
        return f"`{self.occurrence.event}` {start} leads to {self.to}, where it {was}"


def moves(before: Domain, after: Domain) -> list[Move]:
    """What events newly do, one for each place where they lead from each state; where they stay is no move."""
    found: dict[tuple[Key, str], Move] = {}
    for key, ways in after.transitions.items():
        old = before.transitions.get(key, ())
        if _written(old) != _written(ways):
            for move in _moved(before, after, key):
                found.setdefault((key, move.to), move)
    return list(found.values())


def move_json(after: Domain, move: Move) -> dict[str, Any]:
    """As commands and the wire tell it. `case` is a test file: it passes under the later version."""
    occurrence = move.occurrence
    told = {"event": occurrence.event, "from": occurrence.state, "to": move.to, "before": move.before}
    return told | {"message": move.message, "case": event_test(after, occurrence, move.message)}


def _moved(before: Domain, after: Domain, key: Key) -> Iterator[Move]:
    for occurrence in occurrences(after, *key, besides=(before,)):
        to, was = lands(after, occurrence), lands(before, occurrence)
        if to is not None and to not in (was, occurrence.state):
            yield Move(occurrence, was, to)


def _written(ways: Sequence[Way]) -> set[tuple[str, str]]:
    return {(way.to, "" if way.when is None else way.when.text) for way in ways}
