"""ruamel.yaml behind one function: text in, the parser's events out, its complaints as ours.

A file of its own because importing the parser takes longer than the rest of KIFF together: `loader` asks for
it when the first text is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scanner import Scanner

from kiff.canonical import MAX_DEPTH
from kiff.domain.issue import refused

# The scanner lets the others out for some broken escapes and directives; they know no place.
_FAULTS = (YAMLError, ArithmeticError, LookupError, ValueError)


class _BoundedScanner(Scanner):  # type: ignore[misc, unused-ignore]
    """Stops at the bracket that is too deep: the scanner looks ahead, and slower with every open bracket."""

    def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:
        if len(self.flow_context) == MAX_DEPTH:
            line = self.reader.get_mark().line + 1
            raise refused("too_deep", line, f"expected at most {MAX_DEPTH} levels of nesting")
        super().fetch_flow_collection_start(TokenClass, to_push)


def events(text: str) -> Iterator[Any]:
    """The events of one text, as they are found.

    Raises:
        InvalidDomain: not YAML, or too many brackets inside each other.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _BoundedScanner
    reached = 1
    try:
        for event in yaml.parse(text):
            reached = event.start_mark.line + 1
            yield event
    except _FAULTS as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "found something else"
        line = _line(error, text) or reached
        raise refused("not_yaml", line, f"expected YAML, {problem}") from None


def _line(error: Exception, text: str) -> int:
    """Where the parser says it stopped; 0 when it does not."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return int(min(mark.line, text.count("\n"))) + 1
    position = getattr(error, "position", None)
    return text.count("\n", 0, position) + 1 if isinstance(position, int) else 0
