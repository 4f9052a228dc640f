"""Everything that keeps a document from loading, or from governing: its text, its shape, and how its parts fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiff.domain.issue import Finding, Path
from kiff.domain.loader import Document
from kiff.domain.schema import SCHEMA
from kiff.domain.shape import shape
from kiff.domain.structure import structure
from kiff.domain.unfounded import founded


def problems(
    document: Document,
    schema: dict[str, Any] = SCHEMA,
    structure: Callable[[dict[str, Any]], list[Finding]] = structure,
) -> tuple[list[Finding], Any]:
    """What keeps the document from loading or governing, and what is left of it.

    Args:
        schema: what it must look like.
        structure: is asked about what is left when everything of the wrong shape is taken out.
    """
    refused = {finding.path for finding in document.findings}
    findings = document.findings + [f for f in shape(document.value, schema) if f.path not in refused]
    broken = {finding.path for finding in findings if finding.code != "missing_key"}
    left = _without(document.value, broken)
    if isinstance(left, dict):
        findings += [f for f in structure(left) if not _touches(f, broken)]
    return founded(findings, left), left


def _without(value: Any, broken: set[Path], path: Path = ()) -> Any:
    """A copy without what is broken; a broken item leaves an empty text, so the others keep their places."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if (*path, key) not in broken}
        return {key: _without(item, broken, (*path, key)) for key, item in kept.items()}
    if isinstance(value, list):
        places = [((*path, index), item) for index, item in enumerate(value)]
        return ["" if place in broken else _without(item, broken, place) for place, item in places]
    return value


def _touches(finding: Finding, broken: set[Path]) -> bool:
    """Whether a finding is about something that was taken out or lost a part; a schema is one thing."""
    path = finding.path[:-1] if finding.code == "bad_schema" else finding.path
    return any(path[: len(b)] == b or b[: len(path)] == path for b in broken)
