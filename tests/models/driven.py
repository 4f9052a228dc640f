"""A runtime's clock, ids, lane and executors, in the hands of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tills import START

from kiff import Operation
from kiff.runtime.executors import Slots
from kiff.runtime.lane import Item, Lane


class SetClock:
    """Time that a test moves, also backwards; the steady clock never goes back."""

    def __init__(self) -> None:
        self.wall = START
        self.steady_ms = 0

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.steady_ms / 1000

    def pass_time(self, milliseconds: int) -> None:
        self.wall += milliseconds
        self.steady_ms += max(0, milliseconds)


class Counted:
    """Ids in the order they are drawn; `next` is the one that comes."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def next(self) -> str:
        return f"{self._count + 1:026d}"

    def draw(self) -> str:
        self._count += 1
        return f"{self._count:026d}"


class DrivenLane(Lane):
    """A lane that serves in the caller's thread: each command alone, or those of one `gathered` block as one batch."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.queue = self  # type: ignore[assignment]
        self._gathered: list[Item] | None = None

    def start(self) -> None:
        pass

    def close(self) -> None:
        for waiting in self._waiters.values():
            for future in waiting:
                future.cancel()
        self._sealer.close()

    def put(self, tenant: str, item: Item, *, bounded: bool = True) -> None:
        if self._gathered is None:
            self._serve([item])
        else:
            self._gathered.append(item)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        self._gathered = []
        yield
        batch, self._gathered = self._gathered, None
        if batch:
            self._serve(batch)


class Hands(Slots):
    """Executors that have taken their work and answer when they are told to. Which operations came, and how often."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._threads = self._size  # none is started

    def begun(self) -> list[str]:
        with self._lock:
            return [operation.id for _, operation in self._work]

    def finish(self, operation_id: str, said: Callable[[Operation], Any]) -> None:
        with self._lock:
            [work] = [each for each in self._work if each[1].id == operation_id]
            self._work.remove(work)
        outcome = self._run(said, work[1])
        self.release(outcome.tenant)
        self._report(outcome)
        with self._lock:
            self._running.pop(operation_id, None)
            self._gone.discard(operation_id)


def _succeed(_: Operation) -> Any:
    return {"status": "succeeded"}


def _fail(_: Operation) -> Any:
    return {"status": "failed"}


def _lose(_: Operation) -> Any:
    raise ConnectionError("the line went dead")


def _garbage(_: Operation) -> Any:
    return {"status": "succeeded", "events": ["SHUT"]}


SAID = {"succeed": (_succeed, "succeeded"), "fail": (_fail, "failed"), "lose": (_lose, "unknown")}
SAID["garbage"] = (_garbage, "unknown")
