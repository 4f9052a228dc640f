"""A few threads for work that waits, so that what reads messages never does."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable
from threading import Lock, Thread
from typing import Any

THREADS = 32
WAITING_LIMIT = 1_024


class Workers:
    """Threads that are made when they are needed. They end with the process, whatever they wait for.

    Args:
        threads: how many work at the same time.
        waiting: how much work may wait.
    """

    def __init__(self, name: str, threads: int = THREADS, waiting: int = WAITING_LIMIT) -> None:
        self._name = name
        self._limit = threads
        self._queue: queue.Queue[Callable[[], Any]] = queue.Queue(waiting)
        self._threads = 0
        self._undone = 0
        self._lock = Lock()

    def submit(self, work: Callable[[], Any]) -> bool:
        """Has it done by some thread. False if there is too much to do already."""
        with self._lock:
            try:
                self._queue.put_nowait(work)
            except queue.Full:
                return False
            self._undone += 1
            more = self._threads < min(self._undone, self._limit)
            self._threads += more
        if more:
            Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        return True

    def join(self, seconds: float) -> bool:
        """Waits until all is done, or the time is up."""
        waiting = Thread(target=self._queue.join, daemon=True)
        waiting.start()
        waiting.join(seconds)
        return not waiting.is_alive()

    def _work(self) -> None:
        while True:
            work = self._queue.get()
            try:
                work()
            except Exception as error:  # noqa: BLE001  # a fault of ours: the others still have work to do
                print(f"kiff-mcp: a thread failed: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
            finally:
                with self._lock:
                    self._undone -= 1
                self._queue.task_done()
