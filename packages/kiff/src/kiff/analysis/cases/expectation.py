"""What came of a step, held against what must come of it: every difference, in the words of the test file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec import Struct

from kiff.analysis.cases.document import Expectation, Json

_SEEN = {"message": "messages"}
"""What is called otherwise in `Seen`."""
_UNORDERED = ("matched", "shadow", "roles")
SAME_CODE = {"proposer_is_approver": "proposer_is_reviewer"}
"""Another name that a test file may give a code -> the code."""


class Seen(Struct, frozen=True):
    """What came of a step.

    Args:
        outcome, reasons: of the gate; reasons are those of the outcome's severity. None where it was not asked.
        milder: reasons of lesser severity.
        quorum, roles: of the approval that is asked for.
        messages: what was said, first by the answer, then by its reasons.
        error: the code of a step that was refused.
        status: of the operation, or of the approval.
        state, attributes: of the entity afterwards.
    """

    outcome: str | None = None
    reasons: tuple[str, ...] = ()
    milder: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()
    quorum: int | None = None
    roles: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    error: str | None = None
    status: str | None = None
    state: str | None = None
    attributes: Json = {}


class Difference(NamedTuple):
    """Something that is not as expected.

    Args:
        what: `outcome`, or `attributes.total`.
        expected, found: JSON values; None for nothing.
    """

    what: str
    expected: Any
    found: Any


def differences(expected: Expectation, seen: Seen) -> list[Difference]:
    """Everything that is not as expected. A step that is refused without being expected to be is only that."""
    found = list(_of_error(expected, seen))
    if found:
        return found  # nothing else came of it
    for name in expected.__struct_fields__:
        wanted, got = getattr(expected, name), getattr(seen, _SEEN.get(name, name))
        if name in ("error", "attributes") or wanted is None or _fits(name, wanted, got):
            continue
        found.append(Difference(name, wanted, "; ".join(got) if name == "message" else got))
    for name, value in (expected.attributes or {}).items():
        if not _same(value, seen.attributes.get(name)):
            found.append(Difference(f"attributes.{name}", value, seen.attributes.get(name)))
    return found


def _of_error(expected: Expectation, seen: Seen) -> Iterator[Difference]:
    wanted = None if expected.error is None else SAME_CODE.get(expected.error, expected.error)
    if wanted != seen.error:
        told = None if seen.error is None else ": ".join((seen.error, *seen.messages[:1]))
        yield Difference("error", expected.error, told)


def _fits(name: str, wanted: Any, found: Any) -> bool:
    if name == "message":
        return any(wanted in each for each in found)
    return sorted(wanted) == sorted(found) if name in _UNORDERED else bool(wanted == found)


def _same(expected: Any, found: Any) -> bool:
    """As JSON tells values apart: 1 is 1.0, and it is not true."""
    return (type(expected) is bool) == (type(found) is bool) and bool(expected == found)
