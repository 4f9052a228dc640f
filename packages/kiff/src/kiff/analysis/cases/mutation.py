"""The mutation score: how many small changes to a domain or a policy its cases would notice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from kiff.analysis.cases.document import Case
from kiff.analysis.cases.mutant import Mutant, mutants
from kiff.analysis.cases.run import play
from kiff.analysis.cases.source import Subject

Timed = tuple[int, Case]
"""The instant (ms) at which a case begins, and the case."""


class Score(Struct, frozen=True):
    """What came of the mutants of one subject.

    Args:
        survivors: those that no case noticed. They may be equivalent: then no case can.
    """

    killed: int
    survivors: tuple[Mutant, ...]

    @property
    def total(self) -> int:
        return self.killed + len(self.survivors)

    @property
    def percent(self) -> float:
        """Of no mutants, all were noticed."""
        return 100.0 * self.killed / self.total if self.total else 100.0


def score(subject: Subject, cases: Sequence[Timed], each: Callable[[], None] = lambda: None) -> Score:
    """Plays the cases on every mutant, until one fails.

    Args:
        cases: they pass on the subject itself.
        each: called after each mutant.
    """
    killed, survivors = 0, []
    for mutant in mutants(subject):
        if _is_noticed(mutant, _about(mutant, cases)):
            killed += 1
        else:
            survivors.append(mutant)
        each()
    return Score(killed, tuple(survivors))


def _about(mutant: Mutant, cases: Iterable[Timed]) -> list[Timed]:
    """The cases that call what was changed: the others cannot tell."""
    if mutant.action is None:
        return list(cases)
    return [(now, case) for now, case in cases if any(call.action == mutant.action for call in case.calls)]


def _is_noticed(mutant: Mutant, cases: Iterable[Timed]) -> bool:
    return any(play(mutant.subject, now, case).failure is not None for now, case in cases)
