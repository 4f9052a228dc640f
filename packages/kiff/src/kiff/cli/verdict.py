"""How a verdict is shown: the rungs with what each leaves unchecked, then every problem by its place."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import to_builtins

from kiff.cli.output import SCHEMA, painted, print_json
from kiff.cli.safe_text import visible
from kiff.ledger import Problem

MOST = 20
"""How many problems a person is shown; JSON has all of them."""

_MARKS = {True: ("✓", "ok"), False: ("✕", "wrong"), None: ("–", "held")}
_WORDS = {"valid": ("✓ valid", "ok"), "invalid": ("✕ invalid", "wrong"), "undecidable": ("– undecidable", "held")}


def print_verdict(
    output: str,
    what: str,
    file: str,
    status: str,
    rungs: Sequence[Mapping[str, Any]],
    problems: Sequence[Problem],
    counts: Mapping[str, int],
) -> None:
    """Args:
    what: receipt, bundle, database or replay.
    rungs: {name, ok, detail}, lowest first.
    counts: how much was looked at.
    """
    if output in ("json", "jsonl"):
        told = [to_builtins(problem) for problem in problems]
        document = {"kiff": SCHEMA, "what": what, "file": file, "status": status}
        print_json(document | {"rungs": list(rungs), "counts": dict(counts), "problems": told})
        return
    if output == "auto" and not sys.stdout.isatty():
        _values(status, rungs, problems)
        return
    for rung in rungs:
        mark, role = _MARKS[rung["ok"]]
        print(f"{painted(mark, role)} {rung['name']:<10}  {visible(rung['detail'])}")
    for problem in problems[:MOST]:
        place = visible(f"{problem.where} {problem.field}".rstrip())
        print(f"  {painted(place, 'held' if problem.undecidable else 'wrong')}: {visible(problem.message)}")
    if len(problems) > MOST:
        print(f"  and {len(problems) - MOST} more; -o json has all of them")
    if counts:
        print("  " + ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in counts.items()))
    word, role = _WORDS[status]
    print(painted(f"{word}  {visible(file)}", role))


def _values(status: str, rungs: Sequence[Mapping[str, Any]], problems: Sequence[Problem]) -> None:
    print(f"status\t{status}")
    for rung in rungs:
        print(f"rung\t{rung['name']}\t{_OK[rung['ok']]}\t{visible(rung['detail'])}")
    for problem in problems:
        print(f"problem\t{visible(problem.where)}\t{visible(problem.field)}\t{visible(problem.message)}")


_OK = {True: "yes", False: "no", None: "unchecked"}
