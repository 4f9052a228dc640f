"""Proofs about a domain: what its rules and guards can never do, and what an author says must always hold.

Offline only, with a solver (`kiff[prove]`); no decision ever waits for it. Whatever is shown as an example was put to
the real gate first. What is not decided in time is said to be unknown, and nothing is said to be proved for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kiff.analysis.prove import guards, invariants, rules
from kiff.analysis.prove.access import ProvedAccess, prove_access
from kiff.analysis.prove.guards import Fork
from kiff.analysis.prove.invariants import Invariant, broken_by, parse
from kiff.analysis.prove.remark import LEVELS, Remark, Report
from kiff.analysis.prove.smt import SECONDS, library
from kiff.analysis.prove.study import Study
from kiff.domain import Domain
from kiff.domain.document import Json, expanded, starts
from kiff.domain.entries import written_transitions
from kiff.domain.issue import Path
from kiff.domain.way import Way

__all__ = [
    "Invariant",
    "LEVELS",
    "ProvedAccess",
    "Remark",
    "Report",
    "SECONDS",
    "broken_by",
    "parse",
    "prove",
    "prove_access",
]


def prove(domain: Domain, document: Json, invariant: Sequence[Invariant] = (), seconds: float = SECONDS) -> Report:
    """Everything that there is to say about a domain.

    Args:
        document: what it was read from; for the places of what is said.
        invariant: what must always hold, besides.
        seconds: what the solver may take for one question.

    Raises:
        InvalidInput: an invariant does not fit the domain; or z3 is not installed.
    """
    library()
    results = [*_of_actions(domain, seconds), *_of_guards(domain, document, seconds)]
    said = [invariants.prove(domain, each, seconds) for each in invariant]
    found = [each for each in results if each is not None] + [remark for each in said for remark in each]
    unknown = sum(remark.level == "unknown" for remark in found)
    asked = len(results) + len(invariant)
    return Report(tuple(found), asked, asked - unknown)


def _of_actions(domain: Domain, seconds: float) -> Iterator[rules.Result]:
    for index, action in enumerate(domain.actions):
        yield from rules.questions(Study(domain, action, seconds), ("actions", index))


def _of_guards(domain: Domain, document: Json, seconds: float) -> Iterator[rules.Result]:
    for key, ways in domain.transitions.items():
        if any(way.when is not None for way in ways):
            yield from guards.questions(Fork(domain, key, seconds), _places(document, key))


def _places(document: Json, key: tuple[str | None, str]) -> Callable[[Way], Path]:
    """Where the ways of one event from one state are written."""
    state, event = key
    written = list(written_transitions(expanded(document)))

    def place(way: Way) -> Path:
        for path, each in written:
            text = "" if way.when is None else way.when.text
            here = each["on"] == event and state in starts(each) and each.get("to", state) == way.to
            if here and each.get("when", "") == text:
                return (*path, "when")
        return ("transitions",)

    return place
