"""Caps on what may happen: the limit as it is written, how much of it is used, and what one call keeps of it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

LimitKind = Literal["rate", "budget", "concurrency"]


class Limit(Struct, frozen=True, kw_only=True):
    """A cap that holds at every instant. It says how much; it counts nothing (`kiff.gate.limits`).

    Args:
        id: the reason on the receipt, e.g. `spend_cap.daily`.
        kind: `rate` is calls over time, `budget` a sum in a window, `concurrency` operations in flight.
        max: of a rate or a concurrency a count; of a budget an amount in `unit`.
        per: of a rate a duration, e.g. `1h`; of a budget a duration (a window that slides) or `hour`, `day`, `week`
            or `month` (a window of the calendar); of a concurrency nothing.
        burst: of a rate: how many at once; `max` when None.
        timezone: of a calendar budget: where its day begins.
        amount: of a budget: an expression for what is added up, e.g. `parameters.amount`.
        unit: of a budget: an ISO 4217 code, for sums in integer minor units; empty for whole numbers of anything.
        key: an expression for whom it counts, e.g. `actor.id`; empty: one count for all.
        over: what a call over the cap gets: `deny`, or `require_approval`.
    """

    id: str
    kind: LimitKind
    max: int | float
    per: str = ""
    burst: int | None = None
    timezone: str = "UTC"
    amount: str = ""
    unit: str = ""
    key: str = ""
    over: Literal["deny", "require_approval"] = "deny"


class Usage(Struct, frozen=True, gc=False):
    """How much of one limit is used, for one key: a row.

    Args:
        id: made by `kiff.gate.limits.usage_id`: names the limit, what it counts in, and the key.
        state: canonical JSON of the count, bounded in size; what is in it depends on the kind.
    """

    tenant: str
    id: str
    kind: LimitKind
    state: bytes


class Hold(Struct, frozen=True, gc=False):
    """What a clearance or a pending approval keeps of one limit, until it is committed or released, once.

    Args:
        usage: id of the row it is counted in.
        limit: id of the limit.
        amount: minor units of a budget; a count otherwise.
        window: of a budget: the instant (ms) at which the window or the part of it begins that it is counted in.
        holder: of a concurrency: who takes the place.
    """

    usage: str
    limit: str
    kind: LimitKind
    amount: int
    window: int = 0
    holder: str = ""
