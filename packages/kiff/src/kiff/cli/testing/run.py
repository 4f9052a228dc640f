"""One run: the files are loaded, their cases are played, and what was asked besides is worked out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from kiff.analysis.cases import FileIssue, Library, Played, Suite, Unloadable, load_suite, play
from kiff.analysis.cases.coverage import Coverage
from kiff.analysis.cases.document import Case
from kiff.analysis.cases.junit import Timed
from kiff.analysis.cases.mutation import Score, score
from kiff.analysis.cases.source import Subject


class Run(Struct):
    """What was loaded, and what came of it.

    Args:
        problems: of files that cannot be used; nothing is said twice.
        results: one list for each suite.
    """

    suites: list[Suite]
    problems: list[FileIssue]
    results: list[list[Timed]] = []

    @property
    def played(self) -> list[tuple[Suite, Played]]:
        pairs = zip(self.suites, self.results, strict=True)
        return [(suite, timed.played) for suite, each in pairs for timed in each]

    @property
    def failed(self) -> int:
        return sum(played.failure is not None for _, played in self.played)

    @property
    def subjects(self) -> list[Subject]:
        """What the suites are about, each once."""
        return list({_key(suite.subject): suite.subject for suite in self.suites}.values())

    def of(self, subject: Subject) -> list[tuple[Suite, Played]]:
        return [(suite, played) for suite, played in self.played if _key(suite.subject) == _key(subject)]


def load(files: Iterable[Path], *, domain: Path | None, policy: Path | None) -> Run:
    """Loads test files. One that cannot be used does not keep the others from being played."""
    run, library = Run([], []), Library()
    for file in files:
        try:
            run.suites.append(load_suite(file, library, domain=domain, policy=policy))
        except Unloadable as error:
            run.problems += [issue for issue in error.issues if issue not in run.problems]
    return run


def play_all(run: Run, words: str) -> None:
    """Plays the cases.

    Args:
        words: only those whose name has this text, whatever its case.
    """
    wanted = words.lower()
    run.results = [[_timed(suite, case) for case in suite.cases if wanted in case.name.lower()] for suite in run.suites]


def coverage_of(run: Run) -> list[Coverage]:
    """What of each subject the cases reach."""
    found = [Coverage(subject) for subject in run.subjects]
    for coverage in found:
        coverage.add(played for _, played in run.of(coverage.subject))
    return found


def score_of(run: Run) -> list[tuple[Subject, Score]]:
    """How many changes of each subject the cases notice."""
    return [
        (subject, score(subject, [(suite.now, played.case) for suite, played in run.of(subject)]))
        for subject in run.subjects
    ]


def _timed(suite: Suite, case: Case) -> Timed:
    began = time.perf_counter()
    played = play(suite.subject, suite.now, case)
    return Timed(played, time.perf_counter() - began)


def _key(subject: Subject) -> tuple[Path, Path | None]:
    policy = subject.policy_source
    return subject.source.file.resolve(), None if policy is None else policy.file.resolve()
