"""The result of a run as JUnit XML, which CI systems show case by case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as Xml

from msgspec import Struct

from kiff.analysis.cases.run import Played


class Timed(Struct, frozen=True):
    """A case that was played, and how long that took."""

    played: Played
    seconds: float


def junit(results: Sequence[tuple[Path, Sequence[Timed]]]) -> bytes:
    """One test suite for each file, one test case for each of its cases."""
    root = Xml.Element("testsuites", name="kiff test")
    for file, timed in results:
        failed = [each for each in timed if each.played.failure is not None]
        told = {"name": str(file), "tests": str(len(timed)), "failures": str(len(failed)), "errors": "0"}
        suite = Xml.SubElement(root, "testsuite", told, time=_seconds(sum(each.seconds for each in timed)))
        for each in timed:
            _add(suite, file, each)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root) + b"\n"


def _add(suite: Xml.Element, file: Path, timed: Timed) -> None:
    case, failure = timed.played.case, timed.played.failure
    told = {"name": _text(case.name), "classname": file.stem, "file": str(file), "line": str(case.line)}
    element = Xml.SubElement(suite, "testcase", told, time=_seconds(timed.seconds))
    if failure is not None:
        first, lines = failure.differences[0], failure.lines
        message = f"{first.what} is not as expected"
        Xml.SubElement(element, "failure", message=_text(message), type="failed").text = _text("\n".join(lines))


def _seconds(seconds: float) -> str:
    return f"{seconds:.6f}"


def _text(text: str) -> str:
    """What XML 1.0 cannot hold (section 2.2) stands as its escape."""
    return "".join(
        c if c in "\t\n" or (" " <= c < "\ufffe" and not "\ud800" <= c <= "\udfff") or c > "\uffff" else ascii(c)[1:-1]
        for c in text
    )
