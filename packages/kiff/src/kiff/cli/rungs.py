"""The ladder of a whole database, each rung with what it leaves unchecked."""

from __future__ import annotations

from typing import Any

from kiff.analysis import LeavesVerdict, Replayed, StoreVerdict
from kiff.ledger import Problem

_SIGNED = ("receipt ",)
_INCLUDED = ("checkpoint ", "database", "head of ", "record ", "records ", "tenant ", "tile/", "tiles")
_CONSISTENT = ("saved head ",)


def store_rungs(verdict: StoreVerdict, replayed: Replayed, further: tuple[Problem, ...]) -> list[dict[str, Any]]:
    """SIGNED < INCLUDED < CONSISTENT < REPLAYED, as {name, ok, detail}.

    Args:
        further: what replay found besides.
    """
    found = verdict.problems
    rows = tuple(each for each in found if not each.where.startswith(_SIGNED + _INCLUDED + _CONSISTENT))
    signed = f"{verdict.receipts} receipts, each by a known key, each in the record that holds its digest"
    counted = f"{replayed.events} events folded, {replayed.decisions} decisions decided again, every row compared"
    if replayed.erased:
        counted += f"; {replayed.erased} decisions not, because what they read was erased"
    return [
        _rung("SIGNED", signed, _of(found, _SIGNED)),
        *_of_the_log(verdict),
        _rung("REPLAYED", counted, rows + further),
    ]


def log_rungs(verdict: LeavesVerdict) -> list[dict[str, Any]]:
    """The same ladder when only the log was looked at."""
    receipts = {"name": "SIGNED", "ok": None, "detail": "not checked: --log-only leaves the receipts aside"}
    rows = {"name": "REPLAYED", "ok": None, "detail": "not checked: --log-only leaves the rows aside"}
    return [receipts, *_of_the_log(verdict), rows]


def _of_the_log(verdict: StoreVerdict | LeavesVerdict) -> list[dict[str, Any]]:
    tail = sum(verdict.unsigned_tail.values())
    included = f"{verdict.records} records under {verdict.checkpoints} signed heads; {tail} after the last one"
    consistent = f"the log continues {verdict.saved_heads} saved heads; others may have seen another"
    compared = _rung("CONSISTENT", consistent, _of(verdict.problems, _CONSISTENT))
    if not verdict.saved_heads and compared["ok"]:
        detail = "not checked: without a saved head (--head), a log cut short with its heads looks the same"
        compared = {"name": "CONSISTENT", "ok": None, "detail": detail}
    return [_rung("INCLUDED", included, _of(verdict.problems, _INCLUDED)), compared]


def _of(problems: tuple[Problem, ...], places: tuple[str, ...]) -> tuple[Problem, ...]:
    return tuple(problem for problem in problems if problem.where.startswith(places))


def _rung(name: str, detail: str, problems: tuple[Problem, ...]) -> dict[str, Any]:
    if not problems:
        return {"name": name, "ok": True, "detail": detail}
    wrong = [problem for problem in problems if not problem.undecidable]
    first = (wrong or list(problems))[0]
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    told = f"{first.where} {first.field}".rstrip()
    return {"name": name, "ok": False if wrong else None, "detail": f"{told}: {first.message}{more}"}
