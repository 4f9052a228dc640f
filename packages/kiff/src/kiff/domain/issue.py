"""One problem of a domain document: where it is, what is wrong, what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from kiff.errors import InvalidDomain

Path = tuple[str | int, ...]
Level = Literal["error", "activation", "warning"]


class Issue(msgspec.Struct, frozen=True):
    """What an author reads, in document order.

    Args:
        code: stable, snake_case.
        path: e.g. `actions[1].allowed_states[0]`; empty for the document itself.
        line: counted from 1; 0 where there is no text (a domain built in Python).
        message: what is wrong, with the author's value in backticks.
        fix: what to do, when that is known.
        level: an `error` cannot be loaded; with `activation` the document loads and stays a draft; a `warning` keeps
            nothing from anything: it works, and probably not as meant.
        excerpt: of an expression: the line of it that is wrong, and below it a line of carets under the place.
    """

    code: str
    path: str
    line: int
    message: str
    fix: str = ""
    level: Level = "error"
    excerpt: str = ""

    def __str__(self) -> str:
        where = " ".join(filter(None, (f"line {self.line}" if self.line else "", self.path)))
        text = f"{where}: {self.message}" if where else self.message
        return f"{text} ({self.fix})" if self.fix else text


class Finding(NamedTuple):
    """A problem as the checks see it, before paths become text. `line` overrules the line of `path`."""

    path: Path
    code: str
    message: str
    fix: str = ""
    level: Level = "error"
    line: int = 0
    excerpt: str = ""


def issues_of(findings: Iterable[Finding], lines: Mapping[Path, int]) -> tuple[Issue, ...]:
    """The findings as issues, in document order."""
    issues = [
        Issue(f.code, dotted(f.path), f.line or _line(f.path, lines), f.message, f.fix, f.level, f.excerpt)
        for f in findings
    ]
    return in_order(issues)


def in_order(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    """By line; what stands on one line stays as it came."""
    return tuple(sorted(issues, key=lambda issue: issue.line))


def refused(code: str, line: int, message: str, fix: str = "") -> InvalidDomain:
    """For a text that cannot be read any further: an error with one issue."""
    issues = (Issue(code, "", line, message, fix),)
    return InvalidDomain(f"line {line}: {message}", issues=issues)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt name, or nothing."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word[:80].casefold(), folded, n=1)
    return f"did you mean `{folded[close[0]]}`?" if close else ""


def shown(value: object) -> str:
    """A value as a message repeats it: in backticks, on one line, bounded."""
    text = value if isinstance(value, str) else _PLAIN.get(repr(value), repr(value))
    return f"`{_bounded(text)}`"


def listed(names: Iterable[str]) -> str:
    """`A`, `B` and 3 more."""
    first, *rest = map(shown, names)
    shorter = [first, *rest[: _LISTED - 1]]
    more = len(rest) + 1 - len(shorter)
    if more:
        return f"{', '.join(shorter)} and {more} more"
    return " and ".join(filter(None, (", ".join(shorter[:-1]), shorter[-1])))


def warning(path: Path, code: str, message: str, fix: str) -> Finding:
    """A finding that keeps nothing from anything."""
    return Finding(path, code, message, fix, "warning")


_PLAIN = {"None": "null", "True": "true", "False": "false"}
_SHOWN = 40  # characters of an author's text that are repeated
_LISTED = 4  # names


def _bounded(text: str) -> str:
    safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:_SHOWN])
    return f"{safe}…" if len(text) > _SHOWN else safe


def dotted(path: Path) -> str:
    """`actions[1].rules[0].when`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{_bounded(step)}" for step in path)
    return text.removeprefix(".")


def _line(path: Path, lines: Mapping[Path, int]) -> int:
    """The line of the value, or of the nearest thing around it that has one."""
    for end in range(len(path), -1, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return 0
