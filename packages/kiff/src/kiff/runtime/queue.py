"""The bounded queue in front of a lane: fair between tenants, and it says no before anything is recorded."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Generic, TypeVar

from kiff.errors import Closed, KiffError, Overloaded

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items wait per tenant; `take` goes round the tenants, so one tenant's storm is one tenant's wait.

    Args:
        bound: how many items of one tenant may wait, besides what belongs to work already accepted.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._waiting: dict[str, deque[tuple[T, bool]]] = {}
        self._bounded: Counter[str] = Counter()
        self._count = 0
        self._closed: KiffError | None = None
        self._ready = threading.Condition(threading.Lock())

    def put(self, tenant: str, item: T, *, bounded: bool = True) -> None:
        """Queues an item.

        Args:
            bounded: False for what belongs to work already accepted (an operation's outcome, a deadline); it takes no
                room from what callers ask.

        Raises:
            Overloaded: the tenant has as many waiting as it may.
            KiffError: the queue was closed, with this.
        """
        with self._ready:
            if self._closed is not None:
                raise self._closed.with_traceback(None)  # one error for all: it must not gather their frames
            line = self._waiting.get(tenant)
            if line is None:
                line = self._waiting[tenant] = deque()
            if bounded and self._bounded[tenant] >= self._bound:
                raise Overloaded(f"{self._bound} commands are waiting; try again shortly", waiting=len(line))
            line.append((item, bounded))
            self._bounded[tenant] += bounded
            self._count += 1
            if self._count == 1:
                self._ready.notify()

    def take(self, limit: int, timeout: float | None) -> list[T] | None:
        """Everything that waits, up to `limit`, one of each tenant in turn.

        Args:
            timeout: seconds to wait for the first item; None waits until there is one.

        Returns:
            An empty list when the time was up; None when the queue is closed and empty.
        """
        with self._ready:
            if not self._count and self._closed is None:
                self._ready.wait(timeout)
            if not self._count:
                return [] if self._closed is None else None
            if self._count <= limit:
                lines = self._waiting.values()
                taken = [item for line in lines for item, _ in line] if len(lines) == 1 else None
                if taken is not None:
                    self._waiting.clear()
                    self._bounded.clear()
                    self._count = 0
                    return taken
            return self._round(limit)

    def _round(self, limit: int) -> list[T]:
        taken: list[T] = []
        while self._waiting and len(taken) < limit:
            for tenant in list(self._waiting):
                line = self._waiting.pop(tenant)
                item, bounded = line.popleft()
                taken.append(item)
                self._bounded[tenant] -= bounded
                if line:
                    self._waiting[tenant] = line
                else:
                    del self._bounded[tenant]
                if len(taken) == limit:
                    break
        self._count -= len(taken)
        return taken

    def close(self, error: KiffError | None = None) -> None:
        """Takes nothing in from now on; what waits can still be taken."""
        with self._ready:
            if self._closed is None:
                self._closed = error or Closed("the runtime is closed")
            self._ready.notify_all()

    def __len__(self) -> int:
        return self._count
