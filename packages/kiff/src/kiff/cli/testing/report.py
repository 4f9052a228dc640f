"""What `kiff test` says: problems, cases that fail, what no case reaches or notices; as text, or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from kiff.analysis.cases import FileIssue, Played, Suite
from kiff.analysis.cases.coverage import Coverage, Item
from kiff.analysis.cases.mutant import Mutant
from kiff.analysis.cases.mutation import Score
from kiff.analysis.cases.source import Subject
from kiff.cli.output import SCHEMA, painted, print_json, print_rows
from kiff.cli.safe_text import visible
from kiff.cli.testing.files import shown_path
from kiff.cli.testing.run import Run


class Told(Struct, frozen=True):
    """A run with everything that was asked besides.

    Args:
        lists: list what no case reaches.
    """

    run: Run
    coverages: Sequence[Coverage] = ()
    scores: Sequence[tuple[Subject, Score]] = ()
    lists: bool = False


def print_text(told: Told, *, verbose: bool) -> None:
    """For people, whether they look at a terminal or at the log of a CI run."""
    for line in (*_problems(told.run.problems), *_cases(told.run.played, verbose=verbose)):
        print(line)
    for coverage in told.coverages if told.lists else ():
        for item in coverage.missed:
            print(f"{_place(item.file, item.line)}  {painted('not reached', 'held')}  {item.kind} {visible(item.name)}")
    for _, score in told.scores:
        for mutant in score.survivors:
            print(f"{_place(mutant.file, mutant.line)}  {painted('not noticed', 'held')}  {visible(mutant.name)}")
            print(f"    {visible(mutant.change)}")


def print_data(told: Told, output: str) -> None:
    """For programs: one document, or a case a line."""
    rows = [_row(suite, played) for suite, played in told.run.played]
    if output == "jsonl":
        print_rows(output, "cases", (), rows)
        return
    document = {
        "kiff": SCHEMA,
        "ok": not (told.run.failed or told.run.problems) and bool(rows),
        "passed": len(rows) - told.run.failed,
        "failed": told.run.failed,
        "problems": [_problem(each) for each in told.run.problems],
        "cases": rows,
    }
    if told.coverages:
        document["coverage"] = [_coverage(each) for each in told.coverages]
    if told.scores:
        document["mutation"] = [_score(subject, score) for subject, score in told.scores]
    print_json(document)


def summary(told: Told) -> Iterator[str]:
    """What came of it, in a few lines."""
    run = told.run
    files = len({issue.file for issue in run.problems})
    if files:
        yield f"{_count(files, 'file')} cannot be loaded"
    passed, failed = len(run.played) - run.failed, run.failed
    if run.played:
        yield f"{_count(passed + failed, 'case')}: {passed} passed" + (f", {failed} failed" if failed else "")
    elif run.suites:
        yield (
            "no case has that text in its name"
            if any(suite.cases for suite in run.suites)
            else "the files have no cases"
        )
    elif not files:
        yield "no test files here: name one, or write a *_test.yaml beside the kiff.yaml"
    for coverage in told.coverages:
        total, missed = len(coverage.items), len(coverage.missed)
        yield f"coverage of {_named(coverage.subject)}: {coverage.percent:.0f}% ({total - missed} of {total})"
    for subject, score in told.scores:
        told_of = f"{score.percent:.0f}% ({score.killed} of {score.total} changes noticed)"
        yield f"mutation score of {_named(subject)}: {told_of}"
        if score.survivors:
            yield "what was not noticed lacks a case, or may be equivalent: then no case can tell"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _named(subject: Subject) -> str:
    names = [subject.domain.version] + ([] if subject.policy is None else [subject.policy.version])
    return " under ".join(names)


def _problems(problems: Iterable[FileIssue]) -> Iterator[str]:
    for file, issue in problems:
        place = _place(file, issue.line)
        yield f"{place}  {painted('error', 'wrong')}  {issue.code}  {visible(issue.path)}".rstrip()
        yield f"    {visible(issue.message)}"
        if issue.fix:
            yield f"    {painted('fix', 'head')}  {visible(issue.fix)}"


def _cases(played: Iterable[tuple[Suite, Played]], *, verbose: bool) -> Iterator[str]:
    for suite, each in played:
        failure = each.failure
        if failure is not None:
            yield f"{_place(suite.file, failure.line)}  {painted('failed', 'wrong')}  {visible(each.case.name)}"
            yield from (f"    {visible(line)}" for line in failure.lines)
        elif verbose:
            yield f"{_place(suite.file, each.case.line)}  {painted('passed', 'ok')}  {visible(each.case.name)}"


def _place(file: Any, line: int) -> str:
    path = visible(shown_path(file))
    return f"{path}:{line}" if line else path


def _row(suite: Suite, played: Played) -> dict[str, Any]:
    case, failure = played.case, played.failure
    row = {"file": shown_path(suite.file), "line": case.line, "name": case.name, "passed": failure is None}
    if failure is None:
        return row
    found = [each._asdict() for each in failure.differences]
    return row | {"step_line": failure.line, "differences": found, "because": list(failure.because)}


def _problem(each: FileIssue) -> dict[str, Any]:
    issue = each.issue
    told = {"code": issue.code, "path": issue.path, "message": issue.message, "fix": issue.fix}
    return {"file": shown_path(each.file), "line": issue.line, **told}


def _coverage(coverage: Coverage) -> dict[str, Any]:
    missed = [_missed(item) for item in coverage.missed]
    total = len(coverage.items)
    told = {"percent": round(coverage.percent, 2), "reached": total - len(missed), "total": total}
    return {"domain": coverage.subject.domain.version, **told, "missed": missed}


def _missed(item: Item) -> dict[str, Any]:
    return {"file": shown_path(item.file), "line": item.line, "kind": item.kind, "name": item.name}


def _score(subject: Subject, score: Score) -> dict[str, Any]:
    told = {"percent": round(score.percent, 2), "noticed": score.killed, "total": score.total}
    survivors = [_survivor(each) for each in score.survivors]
    return {"domain": subject.domain.version, **told, "not_noticed": survivors}


def _survivor(mutant: Mutant) -> dict[str, Any]:
    return {"file": shown_path(mutant.file), "line": mutant.line, "name": mutant.name, "change": mutant.change}
