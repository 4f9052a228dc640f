"""`kiff check`: everything that is wrong with a domain and its executors, read and never run."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import click
from msgspec import Struct, to_builtins

from kiff.cli.domain_file import domain_argument, read_text
from kiff.cli.executors_file import Stubs, stubs
from kiff.cli.exits import Exit
from kiff.cli.output import SCHEMA, output_option, painted, print_json, print_rows
from kiff.cli.pasted import pasted
from kiff.cli.prove import prove_options, proved, wanted
from kiff.cli.safe_text import visible, width
from kiff.cli.settings import Settings, settings, variable
from kiff.domain import Domain, Issue, check
from kiff.errors import InvalidInput

COLUMNS = ("file", "line", "level", "code", "path", "message", "fix")
Level = Literal["error", "unfinished", "warning", "unknown", "info"]
LEVELS: dict[str, Level] = {"error": "error", "activation": "unfinished", "warning": "warning"}
"""The levels of an issue, as people read them."""

PLURAL: dict[Level, str] = {
    "error": "errors",
    "unfinished": "unfinished",
    "warning": "warnings",
    "unknown": "unknown",
    "info": "infos",
}
"""Worst first."""

_COLOURS = {"error": "wrong", "unfinished": "held", "warning": "held", "unknown": "held", "info": "head"}


class Found(Struct, frozen=True):
    """One finding, in the file where it is to be mended.

    Args:
        excerpt: of an expression: the line that is wrong, and below it a line of carets under the place.
        example: of a proof: a test file with one case that shows it.
    """

    file: str
    line: int
    level: Level
    code: str
    path: str
    message: str
    fix: str
    excerpt: str = ""
    example: dict[str, Any] | None = None


@click.command("check")
@domain_argument
@click.option(
    "--executors",
    type=click.Path(path_type=Path),
    show_default="actions.py beside FILE, if it is there",
    help=f"The Python file with EXECUTORS. It is read, never run.  [env var: {variable('executors')}]",
)
@click.option("--strict", is_flag=True, help="End with 1 on warnings and on what is not known, too.")
@prove_options
@output_option
def command(
    file: Path,
    executors: Path | None,
    strict: bool,
    prove: bool,
    invariant: tuple[str, ...],
    invariants: Path | None,
    timeout: float,
    output: str,
) -> Exit:
    """Say everything that is wrong with a domain, and how to mend it.

    FILE is a kiff.yaml, or a folder with one. An `error` keeps it from being loaded, `unfinished` from governing or
    from running; a `warning` is probably not meant. Ends with 1 when there is an error or something unfinished.
    """
    file = file / "kiff.yaml" if file.is_dir() else file
    text = read_text(file)
    source = _source(executors, file)
    domain, issues = check(text, executors=source.names)
    found = [found_of(issue, file) for issue in issues]
    found += sorted(_of_executors(source, domain), key=lambda each: each.line)
    asked = wanted(prove, invariant, invariants)
    if asked is not None:
        found += [Found(str(file), **each) for each in proved(domain, text, asked, timeout)]
    counted, version = Counter(each.level for each in found), domain.version if domain else None
    failed = bool(counted["error"] or counted["unfinished"] or (strict and len(found) > counted["info"]))
    print_found(output, file, "domain", version, found, ok=not failed)
    for line in (*_unread(source, domain), summary(counted, version, ready=not failed)):
        click.echo(visible(line), err=True)
    return Exit.FAILED if failed else Exit.DONE


class Source(Struct, frozen=True):
    """The executors file, as far as it can be read.

    Args:
        stubs: None when there is no such file, or it cannot be read.
    """

    path: Path
    stubs: Stubs | None = None
    problem: InvalidInput | None = None

    @property
    def names(self) -> list[str] | None:
        """The executors there are; None when that cannot be told."""
        return [each.name for each in self.stubs.executors] if self.stubs and self.stubs.is_literal else None


def _source(given: Path | None, file: Path) -> Source:
    path = given or _usual(file)
    nobody_asked = given is None and settings().executors == Settings().executors
    if nobody_asked and not path.is_file():
        return Source(path)
    try:
        return Source(path, stubs(path))
    except InvalidInput as error:
        if not path.is_file():
            raise
        return Source(path, problem=error)


def _usual(file: Path) -> Path:
    """The settings' executors, or, for a kiff.yaml of another folder, the file of that name beside it."""
    said = settings()
    return said.executors if file == said.domain else file.parent / said.executors.name


def found_of(issue: Issue, file: Path) -> Found:
    """What an issue is, in the file where it is."""
    level = LEVELS[issue.level]
    return Found(str(file), issue.line, level, issue.code, issue.path, issue.message, issue.fix, issue.excerpt)


def _of_executors(source: Source, domain: Domain | None) -> Iterator[Found]:
    """What is wrong in the executors file."""
    file = str(source.path)
    if source.problem is not None:
        line, hint = source.problem.detail.get("line"), source.problem.detail.get("hint")
        yield Found(file, line or 1, "error", "executors_unusable", "", source.problem.message, hint or "")
    used = {contract.executor_name for contract in domain.actions.values()} if domain and source.names else None
    for each in source.stubs.executors if source.stubs else ():
        path = f"EXECUTORS[{each.name}]"
        if each.unfinished:
            message = f"`{each.name}` is not written yet: `{each.function}` raises Unfinished"
            yield Found(file, each.line, "unfinished", "executor_unfinished", path, message, _WRITE)
        if used is not None and each.name not in used:
            message = f"no action of the domain names `{each.name}`"
            yield Found(file, each.line, "warning", "executor_unused", path, message, _UNUSED)


_WRITE = "write what it does, and take the `raise` out"
_UNUSED = "remove it, or name it as the `executor` of an action"


def print_found(output: str, file: Path, noun: str, version: str | None, found: list[Found], *, ok: bool) -> None:
    """The findings about one file, in the format that was asked for.

    Args:
        noun: what the file holds; version: of it, when it can be read.
    """
    rows = [to_builtins(each) for each in found]
    if output == "json":
        head = {"kiff": SCHEMA, "file": str(file), noun: version, "ok": ok}
        counted = {plural: sum(each.level == level for each in found) for level, plural in PLURAL.items()}
        print_json({**head, **counted, "findings": rows})
    elif output == "text" or (output == "auto" and sys.stdout.isatty()):
        _show(found)
    else:
        print_rows(output, "findings", COLUMNS, rows)


def _show(found: list[Found]) -> None:
    """Where, how bad and what, aligned; below it why, and how to mend it."""
    places = [visible(f"{each.file}:{each.line}") for each in found]
    columns = max(map(width, places), default=0)
    codes = max((len(each.code) for each in found), default=0)
    for each, place in zip(found, places, strict=True):
        level = painted(f"{each.level:<10}", _COLOURS[each.level])
        print(f"{place}{' ' * (columns - width(place))}  {level}  {each.code:<{codes}}  {visible(each.path)}".rstrip())
        print(f"    {visible(each.message)}")
        for line in _pointed(each.excerpt) if each.excerpt else ():
            print(f"      {painted(line, 'head')}")
        if each.fix:
            print(f"    {painted('fix', 'head')}  {visible(each.fix)}")
        for line in pasted(each.example) if each.example else ():
            print(f"        {line}")


def _pointed(excerpt: str) -> Iterator[str]:
    """The two lines of an excerpt, with the carets below what a terminal shows of it."""
    line, carets = excerpt.split("\n")
    start = len(carets) - carets.count("^")
    yield visible(line)
    yield " " * width(visible(line[:start])) + "^" * max(1, width(visible(line[start : len(carets)])))


def _unread(source: Source, domain: Domain | None) -> Iterator[str]:
    """What was not looked at, and why."""
    if source.stubs is not None and not source.stubs.is_literal:
        yield f"`{source.path}`: EXECUTORS is not one dict that is written out, so its names were not compared"
    actions = () if domain is None else domain.actions.values()
    named = any(contract.executor_name and not contract.runs_elsewhere for contract in actions)
    if source.stubs is None and source.problem is None and named:
        yield f"there is no `{source.path}`, so the executors were not looked at"


def summary(counted: Counter[Level], version: str | None, *, ready: bool) -> str:
    """`2 errors, 1 unfinished, 3 warnings`."""
    said = [f"{counted[level]} {level if counted[level] == 1 else plural}" for level, plural in PLURAL.items()]
    text = ", ".join(each for each in said if not each.startswith("0 ")) or "no findings"
    return f"{text}: {version} is ready" if ready and version else text
