"""What can be wrong with a limit beyond its shape: whatever makes it count something else than it says, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kiff.domain.calendar import PERIODS, zone_problems
from kiff.domain.compiled import compile
from kiff.domain.document import Json
from kiff.domain.entries import written_actions, written_parts
from kiff.domain.expr import Decimal, ExpressionError
from kiff.domain.issue import Finding, Path, shown
from kiff.domain.measure import UnfitLimit, measure_of
from kiff.domain.scope import action_scope
from kiff.protocol.limit import Limit

_TAKES = {"rate": ("per", "burst"), "budget": ("per", "amount", "timezone"), "concurrency": ()}
_NEEDS = {
    "rate": {"per": "write over how long, such as `per: 1h`"},
    "budget": {
        "per": "write over how long, such as `per: day`",
        "amount": "write what is added up, such as `amount: parameters.amount`",
    },
    "concurrency": {},
}
_SAME = {"kind": None, "max": None, "per": "", "burst": None, "timezone": "UTC", "key": ""}
"""What every limit of one id says alike, and what it says when it says nothing."""


def unfit_limits(document: Json) -> Iterator[Finding]:
    """Does every limit say what its kind needs, and only what its kind reads?"""
    for path, action in written_actions(document):
        for where, limit in written_parts(path, action, "limits"):
            found = list(unfit_words(limit, where)) if {"id", "kind", "max"} <= limit.keys() else []
            yield from found or _unmeasured(document, action, limit, where)


def unfit_words(limit: Json, path: Path) -> Iterator[Finding]:
    """What a limit with an id, a kind and a max does not say, or says for nothing."""
    kind = limit["kind"]
    for word, fix in _NEEDS[kind].items():
        if word not in limit:
            yield Finding((*path, word), "missing_key", f"expected the key `{word}` in this {kind}", fix)
    for word in ("per", "burst", "timezone", "amount"):
        if word in limit and word not in _TAKES[kind]:
            yield Finding((*path, word), "bad_limit", f"`{word}` says nothing about a {kind}", "remove it")
    if "timezone" in limit:
        yield from zone_problems(limit["timezone"], (*path, "timezone"))
        if kind == "budget" and limit.get("per", "day") not in PERIODS:
            message = f"`timezone` says nothing about a window of {shown(limit['per'])}, which slides"
            fix = f"remove it, or write one of {', '.join(PERIODS)} as `per`"
            yield Finding((*path, "timezone"), "bad_limit", message, fix)


def _unmeasured(document: Json, action: Json, limit: Json, path: Path) -> Iterator[Finding]:
    """What only its whole numbers tell."""
    if not {"id", "kind", "max"} <= limit.keys():
        return
    try:
        measure_of(Limit(**limit, unit=_unit(document, action, limit)))
    except ExpressionError:
        return  # said where expressions are looked at
    except ValueError as error:
        field = error.field if isinstance(error, UnfitLimit) else "max"
        yield Finding((*path, field), "bad_limit", str(error))


def _unit(document: Json, action: Json, limit: Json) -> str:
    """The currency a budget counts in.

    Raises:
        ExpressionError: its amount cannot be read.
    """
    if "amount" not in limit:
        return ""
    type_ = compile(limit["amount"], action_scope(document, action), None).type
    return type_.unit if isinstance(type_, Decimal) else ""


def conflicting_limits(document: Json) -> Iterator[Finding]:
    """Do limits of one id, which count in one place, say the same in every action?"""
    first: dict[str, tuple[Json, Json]] = {}
    for path, action in written_actions(document):
        for where, limit in written_parts(path, action, "limits"):
            if {"id", "kind", "max"} <= limit.keys() and "name" in action:
                other, its = first.setdefault(limit["id"], (limit, action))
                for word, here, there in _unlike(limit, other):
                    message = (
                        f"{shown(limit['id'])} counts together with that of {shown(its['name'])}, which says "
                        f"{_said(word, there)}, not {_said(word, here)}"
                    )
                    fix = "say the same in both, or give one of them another id"
                    yield Finding((*where, word), "limit_conflict", message, fix)


def _unlike(limit: Json, other: Json) -> Iterator[tuple[str, Any, Any]]:
    for word, default in _SAME.items():
        here, there = limit.get(word, default), other.get(word, default)
        if here != there and not (word in _NEEDS[limit["kind"]] and "" in (here, there)):
            yield word, here, there


def _said(word: str, value: Any) -> str:
    return shown(f"{word}: {value}") if value not in (None, "") else f"no `{word}`"
