"""What was found wrong, as `kiff.ledger.Problem`s; bounded, since a ruined database has more than anyone reads."""

from __future__ import annotations

from collections.abc import Iterable

from kiff.ledger import Problem

MOST = 200


class Findings:
    """Problems in the order they were met; past MOST they are only counted."""

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._more = 0
        self._more_wrong = False

    @property
    def full(self) -> bool:
        return len(self._kept) >= MOST

    def add(self, where: str, field: str, message: str, *, undecidable: bool = False) -> None:
        self.take((Problem(where, field, message, undecidable),))

    def take(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            if not self.full:
                self._kept.append(problem)
                continue
            self._more += 1
            self._more_wrong |= not problem.undecidable

    def problems(self) -> tuple[Problem, ...]:
        if not self._more:
            return tuple(self._kept)
        message = f"{self._more} more problems, not listed"
        return (*self._kept, Problem("database", "", message, not self._more_wrong))
