"""The arithmetic of limits: does one more fit, and what is the row then. Pure; the caller loads and stores rows.

The life of a hold: `reserve` counts an amount, at the clearance or when an approval is opened. Then exactly one of
`commit` (it happened) and `release` (it failed, was denied or expired) is called, once; while the outcome is unknown
neither is, and it stays counted. INVARIANT, kept by the caller: once. A tenant's commands are stepped one after the
other and a clearance or an approval ends once, so rows need not remember which holds are open. A second call cannot
make a count negative, nor spend what was not held; a second `release` could free what another holds.

A proposal that is decided again releases its budget hold first, and reserves anew: it fits in what it held, and
counts in the window it runs in. Its token of a rate is taken already.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

import msgspec

from kiff.canonical import encode
from kiff.domain.measure import Measure, measure_of, whole
from kiff.gate.counts import EMPTY, Calendar, Count, Holders
from kiff.protocol.limit import Hold, Limit, LimitKind, Usage


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a limit says to one proposal, and all that it says it from: `Verdict(**facts)` says the same again.

    Args:
        limit: its id.
        amount: what is asked for; of a budget in minor units of `unit`.
        used: what counts already: spent and held of a budget, calls not paid for yet of a rate, holders.
        cap: what both together may be; of a rate: how many at once.
        window_start, window_end: of a calendar budget (ms).
        retry_after_ms: when it fits at the latest, if nothing else comes; None where it fits, where nobody knows,
            and where it never will.
    """

    limit: str
    kind: LimitKind
    amount: int
    used: int
    cap: int
    unit: str | None = None
    window_start: int | None = None
    window_end: int | None = None
    retry_after_ms: int | None = None

    @property
    def fits(self) -> bool:
        return self.used + self.amount <= self.cap

    @property
    def remaining(self) -> int:
        """What would still fit; nothing, where a grant let more through than the cap."""
        return max(0, self.cap - self.used)

    @property
    def facts(self) -> dict[str, Any]:
        """Plain JSON for the decision's record; what does not apply is left out."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


class Reserved(NamedTuple):
    """The row that counts it, and what settles it."""

    usage: Usage
    hold: Hold


def look(limit: Limit, usage: Usage | None, now_ms: int, amount: int = 1) -> Verdict:
    """Does this amount fit now?

    Args:
        usage: the row; None: nothing was counted yet.
        amount: of a budget from `kiff.domain.measure.amount_of`; otherwise a count.

    Raises:
        ValueError: a negative or broken amount, a limit that means nothing, a row of something else.
    """
    measure = measure_of(limit)
    return _verdict(limit, measure, _count(usage, measure).at(measure, now_ms), now_ms, whole(limit, amount))


def reserve(
    limit: Limit, usage: Usage, now_ms: int, amount: int = 1, *, holder: str = "", force: bool = False
) -> Reserved:
    """Count this amount.

    Args:
        usage: the row, or `unused`.
        amount: as in `look`.
        holder: of a concurrency: who takes a place. One that has a place takes no second one.
        force: a person let it over the cap.

    Raises:
        ValueError: as in `look`, it does not fit, or a concurrency without exactly one holder.
    """
    measure = measure_of(limit)
    count = _count(usage, measure).at(measure, now_ms)
    verdict = _verdict(limit, measure, count, now_ms, whole(limit, amount))
    if measure.way == "holders" and (amount != 1 or not holder):
        raise ValueError(f"expected one named holder for the limit `{limit.id}`")
    held = isinstance(count, Holders) and holder in count.holders
    if not (verdict.fits or force or held):
        raise ValueError(f"the limit `{limit.id}` has no room: ask `look` first")
    whole(limit, verdict.used + amount)
    count, window = count.add(measure, now_ms, amount, holder)
    return Reserved(_with(usage, count), Hold(usage.id, limit.id, limit.kind, amount, window, holder))


def commit(usage: Usage, hold: Hold) -> Usage:
    """It happened: what was held is spent. Once per hold; the row itself where nothing changes.

    Raises:
        ValueError: the hold is counted in another row.
    """
    return _with(usage, _of(usage, hold).commit(hold))


def release(usage: Usage, hold: Hold) -> Usage:
    """It did not happen: what was held is free again; a rate keeps its token. Otherwise as `commit`."""
    return _with(usage, _of(usage, hold).release(hold))


def hold_again(usage: Usage, hold: Hold) -> Usage:
    """It was released as what did not happen, and somebody says that it did: it counts again, also over the cap."""
    return _with(usage, _of(usage, hold).again(hold))


def unused(limit: Limit, tenant: str, id: str) -> Usage:
    """The row of a limit that nothing was counted towards. `id` is from `usage_id`."""
    return Usage(tenant, id, limit.kind, _encoded(EMPTY[measure_of(limit).way]))


def usage_id(scope: str, limit: Limit, key: str) -> str:
    """The name of the row in which a limit counts for one key.

    It says what is counted (kind, window, unit, zone), so a limit that is written anew as something else begins a
    new row; with another `max`, `burst` or `over` it goes on with the row it has.

    Args:
        scope: whose limit it is: limits of one id in two domains count apart.
        key: what the limit's `key` came to; any text.

    Returns:
        At most 300 characters out of A-Z a-z 0-9 _ . : @ , ~ + - and /, another one for every other input. A part
        that is long or has other characters stands as its SHA-256.
    """
    return "/".join(map(_part, (scope, limit.id, _counted(limit), key)))


def _verdict(limit: Limit, measure: Measure, count: Count, now_ms: int, amount: int) -> Verdict:
    used = count.used(measure, now_ms)
    can_fit = amount <= measure.cap < used + amount
    start_ms, end_ms = (count.start_ms, count.end_ms) if isinstance(count, Calendar) else (None, None)
    return Verdict(
        limit.id,
        limit.kind,
        amount,
        used,
        measure.cap,
        unit=limit.unit or None,
        window_start=start_ms,
        window_end=end_ms,
        retry_after_ms=count.wait(measure, now_ms, amount) if can_fit else None,
    )


_DECODER: msgspec.json.Decoder[Count] = msgspec.json.Decoder(Count)
_PLAIN = re.compile(r"[A-Za-z0-9_.:@,~+-]{0,64}")  # INVARIANT: shorter than a hash, so none looks like one


def _count(usage: Usage | None, measure: Measure) -> Count:
    if usage is None:
        return EMPTY[measure.way]
    count = _DECODER.decode(usage.state)
    if type(count) is not type(EMPTY[measure.way]):
        raise ValueError(f"the row `{usage.id}` counts in another way than its limit: `usage_id` names its own row")
    return count


def _of(usage: Usage, hold: Hold) -> Count:
    if usage.id != hold.usage:
        raise ValueError(f"the hold is counted in the row `{hold.usage}`, found the row `{usage.id}`")
    return _DECODER.decode(usage.state)


def _with(usage: Usage, count: Count) -> Usage:
    state = _encoded(count)
    return usage if state == usage.state else Usage(usage.tenant, usage.id, usage.kind, state)


def _encoded(count: Count) -> bytes:
    return encode(msgspec.to_builtins(count))


def _counted(limit: Limit) -> str:
    """What a row counts, e.g. `budget,day,USD,America~New_York`; `60m` and `1h` are one window."""
    measure = measure_of(limit)
    unit = limit.unit if limit.kind == "budget" else ""
    per = measure.per or (f"{measure.span_ms // 1000}s" if measure.span_ms else "")
    return ",".join((limit.kind, per, unit, measure.timezone.replace("/", "~")))


def _part(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return "sha256-" + hashlib.sha256(text.encode()).hexdigest()
