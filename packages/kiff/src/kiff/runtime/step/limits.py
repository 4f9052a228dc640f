"""Limits while a batch is stepped: looked at, reserved, spent and let go of, in the commit of the decision itself.

INVARIANT: a hold is settled once. Whoever settles it drops it from the row that kept it, in the same change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from msgspec import json

from kiff.canonical import fragment
from kiff.domain.expr import EvaluationError
from kiff.domain.measure import amount_of
from kiff.domain.terms import BoundLimit, Terms
from kiff.gate import limits
from kiff.gate.case import Env
from kiff.gate.limits import Verdict
from kiff.protocol.limit import Hold, Usage
from kiff.runtime.world import Change

NO_HOLDS = b"[]"


class Looked(NamedTuple):
    """One limit as it stands for one call.

    Args:
        usage: the row without what this call's own approval keeps of it; None where it cannot be told.
        kept: a token that the approval took already: it is not taken twice.
    """

    bound: BoundLimit
    usage: Usage | None
    verdict: Verdict | None
    error: str = ""
    kept: Hold | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What the decision was made from, for its record."""
        return {"error": self.error} if self.verdict is None else self.verdict.facts


def look(change: Change, terms: Terms, env: Env, holds: bytes = NO_HOLDS) -> list[Looked]:
    """How every limit of an action stands for one call.

    Args:
        env: what the keys and amounts of the limits read.
        holds: what the call's own approval keeps.

    Raises:
        NotLoaded: rows that the slice lacks, all at once.
    """
    if not terms.limits:
        return []
    own = {hold.usage: hold for hold in holds_of(holds)}
    asked = [(bound, *_asked(bound, env)) for bound in terms.limits]
    change.need(*((Usage, change.tenant, id) for _, id, _, _ in asked if id))
    return [_looked(change, bound, id, amount, error, own.get(id)) for bound, id, amount, error in asked]


def reserve(change: Change, looked: Sequence[Looked], holder: str) -> bytes:
    """Counts a call towards every limit: for a clearance, or for a pending approval.

    An approval takes no place in flight, and keeps nothing over a cap: only a grant lets a call go over it.

    Args:
        holder: the clearance that takes a place in flight; empty for an approval.

    Returns:
        What it keeps, as the row of the clearance or the approval holds it.
    """
    kept: list[Hold] = []
    for each in looked:
        if each.kept is not None:
            kept.append(each.kept)
        elif each.usage is not None and each.verdict is not None and (holder or _waits(each, each.verdict)):
            limit, place = each.bound.limit, holder if each.bound.limit.kind == "concurrency" else ""
            reserved = limits.reserve(limit, each.usage, change.at, each.verdict.amount, holder=place, force=True)
            change.put(reserved.usage)
            kept.append(reserved.hold)
    return json.encode(kept) if kept else NO_HOLDS


def let_go(change: Change, before: bytes, after: bytes) -> None:
    """Releases what an approval kept and whoever takes over from it does not: a key moved, a limit is gone or full."""
    taken = {hold.usage for hold in holds_of(after)}
    left = [hold for hold in holds_of(before) if hold.usage not in taken]
    if left:
        release(change, json.encode(left))


def _waits(each: Looked, verdict: Verdict) -> bool:
    return verdict.fits and each.bound.limit.kind != "concurrency"


def spend(change: Change, holds: bytes) -> None:
    """What was held happened, or may have."""
    for hold in _held(change, holds):
        change.put(limits.commit(_row(change, hold), hold))


def release(change: Change, holds: bytes) -> None:
    """What was held did not happen."""
    for hold in _held(change, holds):
        change.put(limits.release(_row(change, hold), hold))


def hold_again(change: Change, holds: bytes) -> None:
    """What was let go of as something that did not happen may have happened after all."""
    for hold in _held(change, holds):
        change.put(limits.hold_again(_row(change, hold), hold))


def counted(change: Change) -> dict[str, Any]:
    """How the limits stand that this step changed, for its record: the rows must say what the log says."""
    rows = {row.id: fragment(row.state) for row in change.rows.values() if isinstance(row, Usage)}
    return {"counted": dict(sorted(rows.items()))} if rows else {}


def holds_of(holds: bytes) -> tuple[Hold, ...]:
    return () if holds == NO_HOLDS else json.decode(holds, type=tuple[Hold, ...])


def reads(holds: Iterable[bytes], tenant: str) -> list[tuple[type, str, str]]:
    """The keys of the rows in which something is held."""
    return [(Usage, tenant, hold.usage) for each in holds for hold in holds_of(each)]


def _asked(bound: BoundLimit, env: Env) -> tuple[str, int, str]:
    """The row that counts this call, how much it asks for, and why that cannot be told."""
    try:
        key = "" if bound.key is None else str(bound.key(env))
        amount = 1 if bound.amount is None else amount_of(bound.limit, bound.amount(env))
    except EvaluationError as error:
        return "", 0, error.message
    except ValueError as error:
        return "", 0, str(error)
    return limits.usage_id(bound.scope, bound.limit, key), amount, ""


def _looked(change: Change, bound: BoundLimit, id: str, amount: int, error: str, own: Hold | None) -> Looked:
    if error:
        return Looked(bound, None, None, error)
    usage = change.get(Usage, id) or limits.unused(bound.limit, change.tenant, id)
    try:
        if own is not None and own.kind == "rate":
            return Looked(bound, usage, limits.look(bound.limit, usage, change.at, 0), kept=own)
        usage = usage if own is None else limits.release(usage, own)
        return Looked(bound, usage, limits.look(bound.limit, usage, change.at, amount))
    except ValueError as wrong:
        return Looked(bound, None, None, str(wrong))


def _held(change: Change, holds: bytes) -> tuple[Hold, ...]:
    """What is held, with the rows that count it asked for all at once: one by one, it would take a round for each."""
    change.need(*reads([holds], change.tenant))
    return holds_of(holds)


def _row(change: Change, hold: Hold) -> Usage:
    row = change.get(Usage, hold.usage)
    assert row is not None, "what is held was counted in a row"
    return row
