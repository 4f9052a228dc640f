"""The four ways to count towards a limit, in whole numbers: a rate, two kinds of window, and a set of holders.

Each is a frozen value that answers the same six questions. A count is first brought to an instant with `at`; the
others are asked about what that gave. Where a clock steps back, a count stays at the latest instant it has seen.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from kiff.domain.calendar import window, zone
from kiff.domain.measure import Measure, Way
from kiff.protocol.limit import Hold

PARTS = 64  # of a window that slides; an amount counts for at most this part of it too long


class Rate(Struct, frozen=True, gc=False, tag_field="way", tag="rate"):
    """GCRA, the cell rate of ITU-T I.371: the instant at which all that was let through is paid for.

    A call costs `span_ms / tokens`, which is rarely whole milliseconds, so instants are counted in `1 / tokens` ms
    and nothing is ever rounded: the instant is `tat_ms + part / tokens`.

    Args:
        tokens: what `part` is counted in; another number means that the limit was changed since.
    """

    tat_ms: int = 0
    part: int = 0
    tokens: int = 1

    def at(self, measure: Measure, now_ms: int) -> Self:
        """In the units of this measure (rounded up: never earlier), and not in the past."""
        exact = (self.tat_ms * self.tokens + self.part) * measure.tokens
        return self._of(max(-(-exact // self.tokens), now_ms * measure.tokens), measure.tokens)

    def used(self, measure: Measure, now_ms: int) -> int:
        """How many calls are not paid for yet; one that is paid for in part counts."""
        return -(-self._ahead(now_ms) // measure.span_ms)

    def wait(self, measure: Measure, now_ms: int, amount: int) -> int:
        """Milliseconds until so many fit."""
        over = self._ahead(now_ms) + (amount - measure.cap) * measure.span_ms
        return -(-over // self.tokens)

    def add(self, measure: Measure, now_ms: int, amount: int, holder: str) -> tuple[Self, int]:
        return self._of(self.tat_ms * self.tokens + self.part + amount * measure.span_ms, self.tokens), 0

    def commit(self, hold: Hold) -> Self:
        return self

    def release(self, hold: Hold) -> Self:
        """Nothing comes back: asking is what a rate counts."""
        return self

    def again(self, hold: Hold) -> Self:
        return self

    def _ahead(self, now_ms: int) -> int:
        return (self.tat_ms - now_ms) * self.tokens + self.part

    def _of(self, instant: int, tokens: int) -> Self:
        tat_ms, part = divmod(instant, tokens)
        return type(self)(tat_ms, part, tokens)


class Calendar(Struct, frozen=True, gc=False, tag_field="way", tag="calendar"):
    """A sum in an hour, a day, a week or a month.

    The row says how long its window lasts, so other zone data, or a clock that steps back, change nothing in it.
    """

    start_ms: int = 0
    end_ms: int = 0
    spent: int = 0
    held: int = 0

    def at(self, measure: Measure, now_ms: int) -> Self:
        """The same window, or an empty one that begins no earlier than the last one ended."""
        if now_ms < self.end_ms:
            return self
        start_ms, end_ms = window(measure.per, zone(measure.timezone), now_ms)
        return type(self)(max(start_ms, self.end_ms), end_ms)

    def used(self, measure: Measure, now_ms: int) -> int:
        return self.spent + self.held

    def wait(self, measure: Measure, now_ms: int, amount: int) -> int:
        return self.end_ms - now_ms

    def add(self, measure: Measure, now_ms: int, amount: int, holder: str) -> tuple[Self, int]:
        return replace(self, held=self.held + amount), self.start_ms

    def commit(self, hold: Hold) -> Self:
        """What was held is spent; of a window that has ended, nothing is left to change."""
        moved = min(hold.amount, self.held) if hold.window == self.start_ms else 0
        return replace(self, spent=self.spent + moved, held=self.held - moved)

    def release(self, hold: Hold) -> Self:
        freed = min(hold.amount, self.held) if hold.window == self.start_ms else 0
        return replace(self, held=self.held - freed)

    def again(self, hold: Hold) -> Self:
        """What was let go of is held again; in a window that has ended there is nothing to change."""
        return replace(self, held=self.held + (hold.amount if hold.window == self.start_ms else 0))


class Bucket(Struct, frozen=True, gc=False, array_like=True):
    """What was added between two instants (ms) that are at most a part of the window apart."""

    first_ms: int
    last_ms: int
    spent: int
    held: int


class Sliding(Struct, frozen=True, gc=False, tag_field="way", tag="sliding"):
    """A sum in the last hour, or whatever `span_ms` is.

    INVARIANT: an amount counts for `span_ms`, and for up to 1/64 of it longer; never shorter. It stands in a bucket,
    which counts as long as the youngest amount in it. Buckets begin more than 1/64 of the window apart, so at most
    65 of them count: 64 in a row and the one that is being filled.
    """

    buckets: tuple[Bucket, ...] = ()

    def at(self, measure: Measure, now_ms: int) -> Self:
        """Without the buckets that no longer count."""
        since = now_ms - measure.span_ms
        if not self.buckets or self.buckets[0].last_ms > since:
            return self
        return type(self)(tuple(b for b in self.buckets if b.last_ms > since))

    def used(self, measure: Measure, now_ms: int) -> int:
        return sum(b.spent + b.held for b in self.buckets)

    def wait(self, measure: Measure, now_ms: int, amount: int) -> int:
        """Milliseconds until enough buckets have left, the oldest first."""
        over = self.used(measure, now_ms) + amount - measure.cap
        leaving = zip(self.buckets, accumulate(b.spent + b.held for b in self.buckets), strict=True)
        return next(b.last_ms for b, left in leaving if left >= over) + measure.span_ms - now_ms

    def add(self, measure: Measure, now_ms: int, amount: int, holder: str) -> tuple[Self, int]:
        newest = self.buckets[-1] if self.buckets else None
        now_ms = max(now_ms, newest.last_ms) if newest else now_ms
        if newest and now_ms - newest.first_ms <= measure.span_ms // PARTS:
            filled = replace(newest, last_ms=now_ms, held=newest.held + amount)
            return type(self)((*self.buckets[:-1], filled)), newest.first_ms
        return type(self)((*self.buckets, Bucket(now_ms, now_ms, 0, amount))), now_ms

    def commit(self, hold: Hold) -> Self:
        return self._moved(hold, spend=True)

    def release(self, hold: Hold) -> Self:
        return self._moved(hold, spend=False)

    def again(self, hold: Hold) -> Self:
        def with_it(bucket: Bucket) -> Bucket:
            return replace(bucket, held=bucket.held + hold.amount) if bucket.first_ms == hold.window else bucket

        return type(self)(tuple(map(with_it, self.buckets)))

    def _moved(self, hold: Hold, *, spend: bool) -> Self:
        def without(bucket: Bucket) -> Bucket:
            moved = min(hold.amount, bucket.held) if bucket.first_ms == hold.window else 0
            return replace(bucket, spent=bucket.spent + moved * spend, held=bucket.held - moved)

        return type(self)(tuple(map(without, self.buckets)))


class Holders(Struct, frozen=True, gc=False, tag_field="way", tag="holders"):
    """Who has a place now. As long as the row has places, or more where grants forced it."""

    holders: tuple[str, ...] = ()

    def at(self, measure: Measure, now_ms: int) -> Self:
        return self

    def used(self, measure: Measure, now_ms: int) -> int:
        return len(self.holders)

    def wait(self, measure: Measure, now_ms: int, amount: int) -> None:
        """Nobody knows when one lets go."""

    def add(self, measure: Measure, now_ms: int, amount: int, holder: str) -> tuple[Self, int]:
        return type(self)(tuple(sorted({*self.holders, holder}))), 0

    def commit(self, hold: Hold) -> Self:
        """An operation that has ended needs no place, however it ended."""
        return self.release(hold)

    def release(self, hold: Hold) -> Self:
        return type(self)(tuple(h for h in self.holders if h != hold.holder))

    def again(self, hold: Hold) -> Self:
        return type(self)(tuple(sorted({*self.holders, hold.holder})))


Count = Rate | Calendar | Sliding | Holders

EMPTY: dict[Way, Count] = {
    "rate": Rate(),
    "calendar": Calendar(),
    "sliding": Sliding(),
    "holders": Holders(),
}
"""What each counts from."""
