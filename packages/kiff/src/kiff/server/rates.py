"""Token buckets: how often a key or a tenant may ask. Kept in this process; they decide nothing but when to wait."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from kiff.errors import RateLimited

MOST = 65_536
"""How many buckets are remembered; the one that was used longest ago is forgotten, and is full again."""


class Rates:
    """One bucket a name.

    Args:
        rate: tokens a second; 0 lets everything through.
        burst: how many a full bucket holds.
    """

    def __init__(self, rate: float, burst: int, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._what = what
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> None:
        """Takes one token.

        Raises:
            RateLimited: the bucket is empty; `retry_after_seconds` says when it is not.
        """
        if not self._rate:
            return
        now = self._clock()
        tokens, at = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        refused = tokens < 1.0
        if len(self._buckets) >= MOST:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[name] = (tokens if refused else tokens - 1.0, now)
        if refused:
            wait = math.ceil((1.0 - tokens) / self._rate)
            raise RateLimited(f"this {self._what} asks too often; wait", retry_after_seconds=wait)
