"""The table of invariants: each module of this package adds its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kiff_guard.conformance.trial import Trial

Check = Callable[[Trial], None]


@dataclass(frozen=True)
class Invariant:
    """Attributes:
    id: such as `E1`.
    statement: what must hold, in one line.
    check: raises `Violated` if it does not, or `NotHere`.
    asynchronous: it can only be seen on the asynchronous way.
    mandatory: no driver may lack it.
    """

    id: str
    statement: str
    check: Check
    asynchronous: bool = False
    mandatory: bool = False


class NotHere(Exception):
    """The scene cannot be played with this driver; says why. It counts as lacked."""


INVARIANTS: dict[str, Invariant] = {}
LETTERS = "OERXCAKSIHNDBP"
"""The order of the families in every table."""


def invariant(
    id: str, statement: str, *, asynchronous: bool = False, mandatory: bool = False
) -> Callable[[Check], Check]:
    """Adds a row to the table."""

    def add(check: Check) -> Check:
        assert id not in INVARIANTS, id
        INVARIANTS[id] = Invariant(id, statement, check, asynchronous, mandatory)
        return check

    return add


def rows() -> list[Invariant]:
    """The whole table, in its order."""
    return sorted(INVARIANTS.values(), key=lambda row: (LETTERS.index(row.id[0]), int(row.id[1:])))
