"""`kiff test`: cases that prove a domain and its policy, without side effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from kiff.analysis.cases import Unloadable
from kiff.analysis.cases.junit import junit
from kiff.analysis.cases.mutation import Score
from kiff.analysis.cases.source import Subject
from kiff.cli.exits import Exit
from kiff.cli.output import output_option
from kiff.cli.progress import progress
from kiff.cli.safe_text import visible
from kiff.cli.testing.files import files_of, shown_path
from kiff.cli.testing.report import Told, print_data, print_text, summary
from kiff.cli.testing.run import Run, coverage_of, load, play_all, score_of

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)
_PERCENT = click.FloatRange(0, 100)


class Wants(NamedTuple):
    """What is asked of a run besides its cases; percentages are the least."""

    verbose: bool
    lists: bool
    min_coverage: float | None
    mutate: bool
    min_score: float | None
    report: Path | None

    @property
    def score(self) -> bool:
        return self.mutate or self.min_score is not None


def _options(command: F) -> F:
    """What a run takes, in the order of the help."""
    for option in reversed(
        (
            click.option("-k", "words", default="", metavar="TEXT", help="Only cases whose name has this text."),
            click.option("-v", "--verbose", is_flag=True, help="Name the cases that pass, too."),
            click.option("--domain", type=_FILE, help="The kiff.yaml, instead of those that the files name."),
            click.option("--policy", type=_FILE, help="The policy, instead of those that the files name."),
            click.option(
                "--coverage", "lists", is_flag=True, help="List the rules, limits and transitions not reached."
            ),
            click.option("--min-coverage", type=_PERCENT, help="Fail when less is reached, in percent."),
            click.option("--mutate", is_flag=True, help="Change rules and limits a little; list what goes unnoticed."),
            click.option("--min-score", type=_PERCENT, help="Fail when less is noticed, in percent."),
            click.option("--boundaries", is_flag=True, help="Print cases at every threshold, to be reviewed."),
            click.option("--write", type=_FILE, help="With --boundaries: the file they are added to."),
            click.option("--junit", "report", type=_FILE, help="Write the results as JUnit XML, too."),
        )
    ):
        command = option(command)
    return command


@click.command("test")
@click.argument("paths", nargs=-1, type=_FILE)
@_options
@output_option
def command(
    paths: tuple[Path, ...],
    words: str,
    domain: Path | None,
    policy: Path | None,
    boundaries: bool,
    write: Path | None,
    output: str,
    **asked: Any,
) -> Exit:
    """Play the cases of test files: what must come of each call is held against what KIFF decides.

    PATHS are test files, or folders in which every *_test.yaml is one; the current folder, when left out. Each case
    has a world of its own, whose clock stands still; nothing outside is touched. Ends with 1 when a case fails, and
    with 3 when a file cannot be loaded.
    """
    if write is not None and not boundaries:
        raise click.UsageError("--write says where the cases of --boundaries go; name that, too")
    files = [] if boundaries and not paths and domain is not None else files_of(paths)
    run = load(files, domain=domain, policy=policy)
    if boundaries:
        return _boundaries(run, domain, policy, write)
    play_all(run, words)
    return _tell(run, output, Wants(**asked))


def _tell(run: Run, output: str, wants: Wants) -> Exit:
    """Says what came of it; a score is only of cases that pass."""
    if wants.report is not None:
        named = [(Path(shown_path(suite.file)), each) for suite, each in zip(run.suites, run.results, strict=True)]
        wants.report.write_bytes(junit(named))
    coverages = coverage_of(run) if wants.lists or wants.min_coverage is not None else ()
    scores: Sequence[tuple[Subject, Score]] = ()
    if wants.score and run.played and not run.failed:
        with progress("changing rules and limits"):
            scores = score_of(run)
    told = Told(run, coverages, scores, wants.lists)
    if output in ("json", "jsonl"):
        print_data(told, output)
    else:
        print_text(told, verbose=wants.verbose)
    _say(*summary(told), *(["no mutation score: the cases have to pass first"] if wants.score and run.failed else []))
    return _ending(told, wants)


def _ending(told: Told, wants: Wants) -> Exit:
    run = told.run
    if run.problems:
        return Exit.UNLOADABLE
    is_short = any(each.percent < (wants.min_coverage or 0) for each in told.coverages)
    is_blind = any(score.percent < (wants.min_score or 0) for _, score in told.scores)
    return Exit.FAILED if run.failed or not run.played or is_short or is_blind else Exit.DONE


def _boundaries(run: Run, domain: Path | None, policy: Path | None, write: Path | None) -> Exit:
    """Cases at every threshold; nothing is played but them."""
    from kiff.cli.testing import thresholds

    try:
        if run.problems:
            raise Unloadable(*run.problems)
        subject = thresholds.subject_of(run, domain, policy)
    except Unloadable as error:
        told = Told(Run([], list(error.issues)))
        print_text(told, verbose=False)
        _say(*summary(told))
        return Exit.UNLOADABLE
    cases = thresholds.found(subject)
    if not cases:
        _say("no threshold: no number of a call or an entity turns an answer")
    elif write is None:
        click.echo(thresholds.text_of(subject, cases, Path()), nl=False)
    else:
        added = thresholds.write(subject, cases, write)
        _say(f"{'1 case' if added == 1 else f'{added} cases'} added to {shown_path(write)}: read them")
    return Exit.DONE


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(visible(line), err=True)
