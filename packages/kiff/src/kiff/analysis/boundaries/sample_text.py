"""A text that a pattern matches, made and then tried; for whoever needs an example and has only the schema."""

from __future__ import annotations

from collections.abc import Iterator

from kiff.domain.parameters import searcher

_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a"}
_ALPHABET = "a0A1b2B-_ .@/:xX9zZ"


def sample_text(pattern: str, least: int, most: int) -> str | None:
    """A text of a length between the two that the pattern matches; None when none was found.

    Args:
        pattern: one that RE2 accepts. Of its syntax, what authors mostly write is understood.
    """
    matches = searcher(pattern)
    for repeats in (1, least, *range(2, 40)):
        text = _Reader(pattern, max(repeats, 1)).text()
        for tried in (text, text + "a" * (least - len(text)), "a" * (least - len(text)) + text):
            if least <= len(tried) <= most and matches(tried):
                return tried
    return None


class _Reader:
    """Reads a pattern once and writes the first text that comes to mind.

    Args:
        repeats: how often `*` and `+` repeat.
    """

    def __init__(self, pattern: str, repeats: int) -> None:
        self._left = list(reversed(pattern))
        self._repeats = repeats

    def text(self) -> str:
        return self._branch()

    def _branch(self) -> str:
        """The first of `a|b`; the others are read and dropped."""
        first, found = True, ""
        while self._left and self._left[-1] != ")":
            if self._left[-1] == "|":
                self._left.pop()
                first = False
                continue
            piece = self._repeated(self._piece())
            found += piece if first else ""
        return found

    def _piece(self) -> str:
        head = self._left.pop()
        if head == "(":
            return self._group()
        if head == "[":
            return self._one_of()
        if head == "\\":
            return self._escaped()
        return {"^": "", "$": "", ".": "a"}.get(head, head)

    def _group(self) -> str:
        if self._ahead("?:"):
            self._left.pop()
            self._left.pop()
        elif self._ahead("?"):
            while self._left and self._left.pop() not in (">", ")"):
                pass
        inner = self._branch()
        if self._left:
            self._left.pop()
        return inner

    def _one_of(self) -> str:
        """The first character of a class; of a negated one, one that it does not name."""
        negated = self._ahead("^") and bool(self._left.pop())
        named: list[str] = []
        while self._left and (self._left[-1] != "]" or not named):
            head = self._left.pop()
            named.append(self._escaped() if head == "\\" else head)
        if self._left:
            self._left.pop()
        if not negated:
            return named[0] if named else ""
        spans = list(_spans(named))
        return next((each for each in _ALPHABET if not any(a <= each <= b for a, b in spans)), "a")

    def _escaped(self) -> str:
        kind = self._left.pop() if self._left else ""
        if kind in "AzbBZ":
            return ""
        return _CLASSES.get(kind, {"n": "\n", "t": "\t"}.get(kind, kind))

    def _repeated(self, piece: str) -> str:
        if not self._left or self._left[-1] not in "*+?{":
            return piece
        head = self._left.pop()
        times = {"*": self._repeats, "+": self._repeats, "?": 1}.get(head) or self._counted()
        if self._ahead("?"):
            self._left.pop()
        return piece * times

    def _counted(self) -> int:
        written = ""
        while self._left and (head := self._left.pop()) != "}":
            written += head
        least, _, most = written.partition(",")
        low = int(least) if least.isdigit() else 0
        if "," not in written:
            return low
        return max(low, min(self._repeats, int(most) if most.isdigit() else self._repeats))

    def _ahead(self, text: str) -> bool:
        return "".join(reversed(self._left[-len(text) :])) == text


def _spans(named: list[str]) -> Iterator[tuple[str, str]]:
    for at, each in enumerate(named):
        if each == "-" and 0 < at < len(named) - 1:
            yield named[at - 1], named[at + 1]
        else:
            yield each, each
