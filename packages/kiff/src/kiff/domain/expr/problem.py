"""What is wrong with a condition: at load a `Problem` with its place, at run time an `EvaluationError`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing an author has to change.

    Args:
        code: syntax_error, unknown_name, type_mismatch, not_in_enum, may_be_missing, too_costly, not_supported
            or wrong_unit.
        message: what is wrong, with the author's text in backticks.
        fix: what to write instead; empty when there is nothing to suggest.
        start: the first character of the place, counted from 0.
        end: the character after its last.
    """

    code: str
    message: str
    fix: str
    start: int
    end: int


class ExpressionError(Exception):
    """The text is no condition that may be used. `problems` has everything that is wrong, in order of place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.start))
        super().__init__("; ".join(problem.message for problem in self.problems))


class EvaluationError(Exception):
    """A condition has no value for these facts: withhold. The message never repeats a value.

    Args:
        message: lower case, no full stop.
        path: the leaf at fault, e.g. `entity.total`; empty when it is no single one.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def rendered(problem: Problem, text: str) -> str:
    """The problem as people read it: what is wrong, the line of the text, a caret line under the place."""
    said = f"{problem.message} ({problem.fix})" if problem.fix else problem.message
    line, carets = excerpt(problem, text).split("\n")
    return f"{said}\n  {line}\n  {carets}"


def excerpt(problem: Problem, text: str) -> str:
    """The line of the text where the problem begins, and below it a line of carets under the place."""
    begin = text.rfind("\n", 0, problem.start) + 1
    line = text[begin:].split("\n", 1)[0]
    width = max(1, min(problem.end, begin + len(line)) - problem.start)
    indent = "".join("\t" if char == "\t" else " " for char in line[: problem.start - begin])
    return f"{line}\n{indent}{'^' * width}"
