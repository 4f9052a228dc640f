"""Strict YAML 1.2: text in, plain values with line numbers out.

The one rule: whatever two readers of the same file could disagree about is refused, and nothing is ever built
that the text does not spell out. So no aliases, no tags, no repeated keys, one document; `yes`, `on` and
`1:30` are text (YAML 1.2.2, section 10.3, the core schema). Values are built from the parser's events, one by
one and without recursion, so the limits on depth and number apply before anything deep or large exists.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from kiff.canonical import MAX_BYTES, MAX_DEPTH, MAX_INT
from kiff.domain.issue import Finding, Path, refused, shown

MAX_NODES = 10_000


class Document(NamedTuple):
    """What a text says.

    `value` holds dict, list, str, int, float, bool and None only; `lines` maps the path of every value to the
    line of its key, counted from 1; `findings` are the places that were refused, where `value` holds null or
    nothing.
    """

    value: Any
    lines: dict[Path, int]
    findings: list[Finding]


def read(raw: bytes | str) -> Document:
    """Read one YAML text.

    Raises:
        InvalidDomain: not UTF-8, not YAML, more than one document, larger than 256 KiB, deeper than 32
            levels, or more than 10,000 values. What can be stepped over is in `Document.findings` instead.
    """
    # Imported here because it takes longer than everything else `import kiff` does.
    from kiff.domain.yaml_events import events

    text = _decode(raw)
    builder = _Builder()
    for event in events(text):
        builder.take(event)
    return Document(builder.root, builder.lines, builder.findings)


def _decode(raw: bytes | str) -> str:
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_BYTES:
        raise refused("too_large", 1, f"expected at most {MAX_BYTES} bytes, found {len(raw)}")
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise refused("not_utf8", line, "expected UTF-8 text", "save the file as UTF-8") from None


_DROPPED = object()  # stands for a key whose value is read and thrown away


class _Open:
    """A list or mapping whose end has not been seen."""

    __slots__ = ("key", "path", "value")

    def __init__(self, value: Any, path: Path) -> None:
        self.value = value
        self.path = path
        self.key: Any = None


class _Builder:
    """Takes the parser's events in order. INVARIANT: `opened` leads from the root to where the text is."""

    def __init__(self) -> None:
        self.root: Any = None
        self.lines: dict[Path, int] = {(): 1}
        self.findings: list[Finding] = []
        self.opened: list[_Open] = []
        self.nodes = 0
        self.documents = 0
        self.steps = {
            "DocumentStartEvent": self._document,
            "ScalarEvent": self._scalar,
            "AliasEvent": self._alias,
            "SequenceStartEvent": self._sequence,
            "MappingStartEvent": self._mapping,
            "SequenceEndEvent": self._close,
            "MappingEndEvent": self._close,
        }

    def take(self, event: Any) -> None:
        step = self.steps.get(type(event).__name__)
        if step is not None:
            step(event, event.start_mark.line + 1)

    def _document(self, event: Any, line: int) -> None:
        self.documents += 1
        if self.documents > 1:
            raise refused("many_documents", line, "expected one document, found another", "remove `---`")
        if event.version or event.tags:
            raise refused("directive", line, "expected no directive", "remove the line that starts with `%`")

    def _scalar(self, event: Any, line: int) -> None:
        if self._expects_key():
            self._key(event, line)
            return
        path = self._place(line)
        self._plain(event, path, line)
        value, problem = _resolved(event)
        if problem:
            self.findings.append(Finding(path, *problem, line=line))
        self._put(value)

    def _alias(self, event: Any, line: int) -> None:
        if self._expects_key():
            raise refused("alias", line, "expected a name, found an alias", "write the key out")
        path = self._place(line)
        message = f"expected a value, found the alias {shown(f'*{event.anchor}')}"
        self.findings.append(Finding(path, "alias", message, "write the value out", line=line))
        self._put(None)

    def _sequence(self, event: Any, line: int) -> None:
        self._collection(event, line, [])

    def _mapping(self, event: Any, line: int) -> None:
        self._collection(event, line, {})

    def _collection(self, event: Any, line: int, value: Any) -> None:
        if self._expects_key():
            raise refused("key_not_text", line, "expected a text as key, found a list or mapping")
        if len(self.opened) == MAX_DEPTH:
            raise refused("too_deep", line, f"expected at most {MAX_DEPTH} levels of nesting")
        path = self._place(line)
        self._plain(event, path, line)
        self._put(value)
        self.opened.append(_Open(value, path))

    def _close(self, event: Any, line: int) -> None:
        self.opened.pop()

    def _expects_key(self) -> bool:
        return bool(self.opened) and type(self.opened[-1].value) is dict and self.opened[-1].key is None

    def _key(self, event: Any, line: int) -> None:
        """Take a key; one that is refused is stepped over together with its value."""
        around = self.opened[-1]
        key, problem = _resolved(event)
        path = (*around.path, event.value)
        self._plain(event, path, line)
        if problem or type(key) is not str:
            message = f"expected a text as key, found {shown(event.value)}"
            self.findings.append(Finding(path, "key_not_text", message, "put it in quotes", line=line))
            around.key = _DROPPED
        elif key in around.value:
            message = f"the key {shown(key)} is already in this mapping"
            first = self.lines[path]
            self.findings.append(Finding(path, "duplicate_key", message, f"first on line {first}", line=line))
            around.key = _DROPPED
        else:
            self.lines[path] = line
            around.key = key

    def _place(self, line: int) -> Path:
        """Count one value; where it goes."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise refused("too_many_values", line, f"expected at most {MAX_NODES} values")
        if not self.opened:
            return ()
        around = self.opened[-1]
        if type(around.value) is dict:
            return (*around.path, "…" if around.key is _DROPPED else around.key)
        path = (*around.path, len(around.value))
        self.lines.setdefault(path, line)
        return path

    def _put(self, value: Any) -> None:
        if not self.opened:
            self.root = value
            return
        around = self.opened[-1]
        if type(around.value) is list:
            around.value.append(value)
            return
        if around.key is not _DROPPED:
            around.value[around.key] = value
        around.key = None

    def _plain(self, event: Any, path: Path, line: int) -> None:
        """Refuse what asks the reader to build something that is not written here."""
        if event.tag is not None:
            message = f"expected a plain value, found the tag {shown(str(event.tag))}"
            self.findings.append(Finding(path, "tag", message, "remove the tag", line=line))
        if event.anchor is not None:
            message = f"expected a plain value, found the anchor {shown(f'&{event.anchor}')}"
            self.findings.append(Finding(path, "anchor", message, "remove the anchor", line=line))


# The core schema. Order matters only in that text is what is left.
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", re.ASCII)
_DIGITS = 400  # more than any number in range needs, few enough to convert at once

Problem = tuple[str, str]


def _resolved(event: Any) -> tuple[Any, Problem | None]:
    """A scalar's value, or null and what is wrong with it."""
    text = event.value
    if not event.implicit[0] or event.style:
        return _text(text)
    if text in _NULL:
        return None, None
    if text in _BOOL:
        return _BOOL[text], None
    if _NOT_FINITE.fullmatch(text):
        return None, ("not_finite", f"expected a finite number, found {shown(text)}")
    if _INT.fullmatch(text) or _FLOAT.fullmatch(text):
        return _number(text)
    return _text(text)


def _text(text: str) -> tuple[Any, Problem | None]:
    if any("\ud800" <= c <= "\udfff" for c in text):
        return None, ("lone_surrogate", "expected whole characters, found half of a surrogate pair")
    return text, None


def _number(text: str) -> tuple[Any, Problem | None]:
    out_of_range = None, ("number_out_of_range", f"expected a number within ±(2^53-1), found {shown(text)}")
    if len(text) > _DIGITS:
        return out_of_range
    if _INT.fullmatch(text):
        number: int | float = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    else:
        number = float(text)
    return out_of_range if abs(number) > MAX_INT else (number, None)
