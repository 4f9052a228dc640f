"""The machine's clock and randomness, behind the ports."""

from __future__ import annotations

import os
import time
from functools import lru_cache

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SHIFTS = range(70, -1, -10)
_AT_ONCE = 128
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


class SystemClock:
    """The wall clock, which may step forward, but neither back nor to a halt while the process lives.

    A log's time never goes back, so after a step back it would stand still, and nothing would expire, until the
    wall clock has caught up. Here time goes on at the monotonic clock's pace instead.
    """

    def __init__(self) -> None:
        self._ahead_ns = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        # The wall clock is read first: a pause between the two readings can only make the difference smaller.
        wall = time.time_ns()
        monotonic = time.monotonic_ns()
        self._ahead_ns = max(self._ahead_ns, wall - monotonic)
        return (monotonic + self._ahead_ns) // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class Ulids:
    """ULIDs: 48 bits of time and 80 of randomness in 26 characters, so ids sort by when they were drawn.

    Randomness is fetched for many ids at a time; a forked child starts with none of its parent's.
    """

    def __init__(self) -> None:
        self._drawn: list[int] = []
        os.register_at_fork(after_in_child=self._drawn.clear)

    def draw(self) -> str:
        """A fresh ULID."""
        try:
            entropy = self._drawn.pop()
        except IndexError:
            block = os.urandom(10 * _AT_ONCE)
            self._drawn += [int.from_bytes(block[at : at + 10]) for at in range(10, len(block), 10)]
            entropy = int.from_bytes(block[:10])
        low = [_PAIRS[(entropy >> shift) & 1023] for shift in _SHIFTS]
        return _time_part(time.time_ns() // 1_000_000) + "".join(low)


@lru_cache(maxsize=4)
def _time_part(at_ms: int) -> str:
    """The ten characters that stand for the instant: the same for every id of one millisecond."""
    return "".join(_PAIRS[(at_ms >> shift) & 1023] for shift in range(40, -1, -10))
