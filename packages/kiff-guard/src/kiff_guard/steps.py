"""One logic for threads and for event loops: a generator of steps, and what drives it runs each where it may wait.

A step is work that may block: asking KIFF, writing a receipt to a disk. `drive` runs steps here and now, `adrive` in
threads of its own, so that no loop of asyncio or trio ever stands still. What a step returns or raises goes back into
the generator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from kiff_guard.notice import warn

Answer = TypeVar("Answer")
Step = Callable[[], Any]
Steps = Generator[Step, Any, Answer]

THREADS = 32
"""How many steps of one process wait at the same time; more of them queue."""

_making = Lock()
_pool: Any = None
_has_warned = False


def drive(steps: Steps[Answer]) -> Answer:
    """Takes all steps in this thread."""
    walk = _Walk(steps)
    while walk.step is not None:
        walk.take(walk.step)
    return walk.answer  # type: ignore[no-any-return]  # what the generator returned


async def adrive(steps: Steps[Answer]) -> Answer:
    """Takes each step in a thread. A caller that is cancelled goes at once; what has to be finished is, in a thread."""
    walk = _Walk(steps)
    while walk.step is not None:
        await _atake(walk, walk.step)
    return walk.answer  # type: ignore[no-any-return]


def detach(steps: Steps[Any]) -> None:
    """Begins, and leaves what may block to a thread: for a caller that must not wait and must not be asked to."""
    _finish_later(_Walk(steps))


class StepFailed(RuntimeError):
    """A step raised what ends a generator, or has a loop wait for ever."""


class _Walk:
    """Where the generator stands: at a step to take, or at its end with an answer."""

    def __init__(self, steps: Steps[Any]) -> None:
        self._steps = steps
        self.answer: Any = None
        self.step: Step | None = None
        self.went(None)

    def take(self, step: Step) -> None:
        try:
            value = step()
        except BaseException as error:  # noqa: BLE001  # it is the generator's to judge
            self.failed(error)
        else:
            self.went(value)

    def went(self, value: Any) -> None:
        self.step = None
        try:
            self.step = self._steps.send(value)
        except StopIteration as end:
            self.answer = end.value

    def failed(self, error: BaseException) -> None:
        self.step = None
        if isinstance(error, (GeneratorExit, StopIteration)):  # words of generators', which this one must not hear
            error = StepFailed(f"{type(error).__name__}: {error}")
        try:
            self.step = self._steps.throw(error)
        except StopIteration as end:
            self.answer = end.value


async def _atake(walk: _Walk, step: Step) -> None:
    import asyncio

    wait, gone = _loop()
    try:
        begun = None if wait is None else _threads().submit(_whole, step)
    except RuntimeError:  # the interpreter ends and begins no more threads: there is only this one
        begun = None
    if begun is None or wait is None:
        walk.take(step)
        return
    try:
        value = await wait(begun)
    except (gone, GeneratorExit):  # the caller was cancelled, or thrown away
        with suppress(asyncio.CancelledError):
            walk.failed(asyncio.CancelledError())
        if begun.cancelled():  # it waited for a thread, and would be lost
            _later(step)
        _finish_later(walk)
        raise
    except BaseException as error:  # noqa: BLE001
        walk.failed(error)
    else:
        walk.went(value)


def _loop() -> tuple[Callable[[Any], Any] | None, type[BaseException]]:
    """What waits for a future in the loop that runs here, and what it raises in a caller that is cancelled."""
    import asyncio

    with suppress(RuntimeError):
        return partial(asyncio.wrap_future, loop=asyncio.get_running_loop()), asyncio.CancelledError
    trio = sys.modules.get("trio")
    if trio is not None:
        with suppress(RuntimeError):
            return partial(_wait_in_trio, trio, trio.lowlevel.current_trio_token()), trio.Cancelled
    _warn_of_no_loop()
    return None, asyncio.CancelledError


async def _wait_in_trio(trio: Any, loop: Any, future: Any) -> Any:
    """Waits for a future in trio, which knows none: as asyncio does, it is cancelled with whoever waits."""
    over = trio.Event()

    def wake(_: Any) -> None:
        with suppress(trio.RunFinishedError):
            loop.run_sync_soon(over.set)

    future.add_done_callback(wake)
    try:
        await over.wait()
    except BaseException:
        future.cancel()
        raise
    return future.result()


def _warn_of_no_loop() -> None:
    global _has_warned
    if not _has_warned:
        _has_warned = True
        warn("no loop of asyncio or trio runs here: what awaits a guard stands still while it asks KIFF and writes")


def _whole(step: Step) -> Any:
    """Takes a step. With a `StopIteration` in a future whoever awaits it never wakes; a `GeneratorExit` closes it."""
    try:
        return step()
    except (GeneratorExit, StopIteration) as error:
        raise StepFailed(f"{type(error).__name__}: {error}") from error


def _finish_later(walk: _Walk) -> None:
    if walk.step is not None:
        _later(partial(_rest, walk))


def _later(step: Step) -> None:
    try:
        _threads().submit(step)
    except RuntimeError:  # the interpreter ends
        step()


def _rest(walk: _Walk) -> None:
    try:
        while walk.step is not None:
            walk.take(walk.step)
    except BaseException:  # noqa: BLE001  # nobody waits for it: the generator has written down what there is to know
        return


def _threads() -> Any:
    global _pool
    with _making:
        if _pool is None:
            from concurrent.futures import ThreadPoolExecutor

            _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="kiff-guard")
        return _pool


def _forget() -> None:
    """A fork has none of its parent's threads."""
    global _pool, _making
    _pool, _making = None, Lock()


try:
    from os import register_at_fork
except ImportError:  # no fork here
    pass
else:
    register_at_fork(after_in_child=_forget)
