"""Findings about an expression that may only follow from something else: what it reads is to be put right first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kiff.domain.issue import Finding, Path

RESTING = frozenset(("may_be_missing", "not_in_enum", "too_costly", "type_mismatch", "unknown_name", "wrong_unit"))
"""Codes of what is wrong with an expression that may be due to what it reads."""


def founded(findings: Iterable[Finding], document: Any) -> list[Finding]:
    """The findings without those about an expression that reads what is wrong itself.

    Args:
        document: what the expressions stand in.
    """
    findings = list(findings)
    broken = [each for f in findings if f.level == "error" and (each := _broken(f.path)) is not None]
    return [
        f for f in findings if f.code not in RESTING or not any(_is_read(each, f.path, document) for each in broken)
    ]


class _Broken(NamedTuple):
    """Something wrong that expressions read.

    Args:
        name: as it stands in an expression; empty when it is not known any more.
        action: the action whose parameter it is; None for what every expression may read.
    """

    name: str
    action: int | None = None


def _broken(path: Path) -> _Broken | None:
    match path:
        case ("attributes", str(name), *_) | ("schedules", str(name)) | ("payloads", _, str(name), *_):
            return _Broken(name)
        case ("actions", int(action), "parameters", str(name), *_):
            return _Broken(name, action)
        case ("actions", int(action), "parameters" | "required_parameters", *_):
            return _Broken("", action)
        case ("attributes",) | ("schedules",) | ("payloads", *_):
            return _Broken("")
    return None


def _is_read(broken: _Broken, path: Path, document: Any) -> bool:
    """Whether the expression at this path may read it. A grant is asked about the calls of several actions."""
    near = broken.action is None or path[0] == "permissions" or path[:2] == ("actions", broken.action)
    return near and broken.name in _at(document, path)


def _at(value: Any, path: Path) -> str:
    for step in path:
        value = value[step]
    return str(value)
