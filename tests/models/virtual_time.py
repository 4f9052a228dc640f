"""Virtual time: what happens is a heap of moments, and code that waits is a fiber which gives up its turn.

A fiber is a thread, so that any code can be held up in the middle of a call; only one of them, or the scheduler, runs
at a time. Nothing depends on the machine: one seed, one interleaving.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from heapq import heappop, heappush


class Killed(BaseException):
    """What a fiber that is killed raises where it waits: no `except Exception` sees it."""


class Moments:
    """What is to happen, in the order of its time; at one time in the order in which it was said."""

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, milliseconds: int, do: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._heap, (self.now + milliseconds, self._count, do))

    def run(self, until: Callable[[], bool], *, most: int) -> None:
        """Lets things happen until it is said that it is enough.

        Raises:
            AssertionError: it is never enough.
        """
        for _ in range(most):
            if until() or not self._heap:
                return
            self.now, _, do = heappop(self._heap)
            do()
        raise AssertionError(f"after {most} moments, at {self.now} ms, it is not over")


class Fiber:
    """Code that runs when it is given a turn."""

    def __init__(self, target: Callable[[], None]) -> None:
        self._target = target
        self._turn, self._back = threading.Lock(), threading.Lock()  # locks, because a turn is given thousands of times
        self._turn.acquire()
        self._back.acquire()
        self._killed = False
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def turn(self) -> None:
        """From the scheduler: lets it run until it waits."""
        self._turn.release()
        self._back.acquire()
        if self.failure is not None:
            raise self.failure

    def wait(self) -> None:
        """From the fiber: gives the turn back."""
        self._back.release()
        self._turn.acquire()
        if self._killed:
            raise Killed

    def kill(self) -> None:
        """It ends where it waits."""
        self._killed = True
        if self.failure is None:
            self.turn()
        self._thread.join()

    def _run(self) -> None:
        self._turn.acquire()
        try:
            if not self._killed:
                self._target()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  raised again where the scheduler runs
            self.failure = error
        finally:
            self._back.release()
