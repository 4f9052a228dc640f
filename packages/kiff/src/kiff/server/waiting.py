"""How a coroutine waits for the lane: a whole batch's waiters are woken with one call into the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Waiting:
    """The bridge from a lane's thread to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._done: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._called = False

    async def answer(self, pending: Future[T]) -> T:
        """The pending answer, or what it failed with. Whoever stops waiting cancels nothing."""
        if pending.done():
            return pending.result()
        waiter: asyncio.Future[T] = self._loop.create_future()
        pending.add_done_callback(lambda done: self._later(waiter, done))
        return await waiter

    def _later(self, waiter: asyncio.Future[Any], done: Future[Any]) -> None:
        """In the lane's thread. The flag may be seen late, which costs a call too many and loses none."""
        self._done.append((waiter, done))
        if not self._called:
            self._called = True
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                self._done.clear()  # the loop is closed, so nobody waits any more

    def _wake(self) -> None:
        self._called = False
        while self._done:
            waiter, done = self._done.popleft()
            if waiter.done():
                continue  # its client went away
            error = done.exception()
            if error is None:
                waiter.set_result(done.result())
            else:
                waiter.set_exception(error)
