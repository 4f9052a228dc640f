"""The lanes of a runtime: one for all tenants where one process writes, one for each active tenant where many do.

A tenant's commands always go through one lane at a time, in the order they came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from kiff.errors import Closed, KiffError
from kiff.runtime.lane import Item, Lane


class Make(Protocol):
    def __call__(self, tenant: str | None, on_idle: Callable[[Lane], bool] | None) -> Lane:
        """A lane that was not started yet."""


class Lanes:
    """Finds the lane of a tenant; makes it when the tenant becomes active.

    Args:
        one: a single lane serves all.
    """

    def __init__(self, make: Make, *, one: bool) -> None:
        self._make = make
        self._one = make(None, None) if one else None
        self._of: dict[str, Lane] = {}
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> None:
        if self._one is not None:
            self._one.start()

    def put(self, item: Item, *, bounded: bool) -> None:
        """Queues a command.

        Raises:
            Overloaded: too many of its tenant are waiting. KiffError: why nothing is taken in any more.
        """
        if self._one is not None:
            self._one.queue.put(item.tenant, item, bounded=bounded)
            return
        with self._lock:  # a lane that ends has nothing in its queue, and takes nothing in any more
            self._lane(item.tenant).queue.put(item.tenant, item, bounded=bounded)

    def of(self, tenant: str) -> Lane:
        """The lane that serves a tenant now."""
        with self._lock:
            return self._one or self._lane(tenant)

    @property
    def failure(self) -> KiffError | None:
        """Why one of them takes nothing in, or cannot reach the store now."""
        return next((lane.failure for lane in self._all() if lane.failure is not None), None)

    def waiting(self) -> int:
        return sum(len(lane.queue) for lane in self._all())

    def close(self) -> None:
        with self._lock:
            self._closed = True
        for lane in self._all():
            lane.close()

    def _lane(self, tenant: str) -> Lane:
        lane = self._of.get(tenant)
        if lane is None:
            if self._closed:
                raise Closed("the runtime is closed")
            lane = self._of[tenant] = self._make(tenant, self._end)
            lane.start()
        return lane

    def _end(self, lane: Lane) -> bool:
        """Takes a lane out that was idle, unless something came for it meanwhile. It is asked in the lane's thread."""
        with self._lock:
            if len(lane.queue) or self._closed or lane.tenant is None:
                return False
            del self._of[lane.tenant]
        lane.retire()
        return True

    def _all(self) -> list[Lane]:
        with self._lock:
            return [self._one] if self._one is not None else list(self._of.values())
