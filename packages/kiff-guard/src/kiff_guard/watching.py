"""What a tool gives back, handed on unchanged and watched until it ends: a value at once, a coroutine, a stream later.

The receipt is settled when the tool is done, not when it has begun.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from hashlib import sha256
from typing import Any

from kiff_guard import garbage
from kiff_guard.admission import still_stands
from kiff_guard.arguments import digest
from kiff_guard.attempts import Attempt
from kiff_guard.core import Core
from kiff_guard.ending import MISSING, End, ended
from kiff_guard.receipt import CANCELLED, FAILED, NOT_RUN, SUCCEEDED, UNKNOWN
from kiff_guard.steps import Steps, adrive, detach, drive

Failed = Callable[[Any], Any]
"""(result) -> false for a success, else the error or a text that says why not: for errors that are told as results."""


class Told(Exception):
    """An error that was told as a result."""


class GoesOn(Told):
    """Told as a result: what was called goes on elsewhere, and nobody will say how it ends."""


class NotRun(Told):
    """Told as a result: something else answered, and the tool did not run."""


class Watch:
    """One attempt whose tool runs.

    Args:
        core: settles it.
        attempt: which.
        failed: reads a result that may stand for an error.
    """

    def __init__(self, core: Core, attempt: Attempt, failed: Failed | None = None) -> None:
        self._core = core
        self._attempt = attempt
        self._failed = failed

    def run(self, run: Callable[[], Any]) -> Any:
        """Runs it; the kind of thing that it gives back is given back."""
        try:
            result = run()
        except BaseException as error:
            self._settle(self._raised(error))
            raise
        handed_on = self._handed_on(result)
        if handed_on is None and hasattr(type(result), "__await__"):
            handed_on = self._lazily(self._awaited(result))
        if handed_on is None:
            self._settle(self._end(result))
            return result
        return handed_on

    async def arun(self, run: Callable[[], Any]) -> Any:
        """The same in a loop: what can be awaited is."""
        try:
            result = run()
            if hasattr(type(result), "__await__"):
                result = await result
        except BaseException as error:
            await self._asettle(self._raised(error))
            raise
        handed_on = self._handed_on(result)
        if handed_on is None:
            await self._asettle(self._end(result))
            return result
        return handed_on

    def _handed_on(self, result: Any) -> Any:
        """The same kind of thing, watched, if it ends later; None for a value. Its class says: objects may lie."""
        if hasattr(type(result), "add_done_callback"):
            result.add_done_callback(self._done)
            return result
        if isinstance(result, types.GeneratorType):
            return self._lazily(self._stream(result))
        if isinstance(result, types.AsyncGeneratorType):
            return self._lazily(self._astream(result))
        return None

    def _lazily(self, handed_out: Any) -> Any:
        """What nobody may ever begin. Thrown away it is only noted: a collector may come in the midst of anything."""
        garbage.watch()
        weakref.finalize(handed_out, _thrown_away, self._core.dropped, self._attempt).atexit = False
        return handed_out

    def _done(self, future: Any) -> None:
        """A task or future that was handed on has ended; nobody may wait here."""
        error: BaseException | None
        try:
            error = future.exception()
        except BaseException as cancelled:  # noqa: BLE001  # that is how a future says it
            error = cancelled
        detach(self._core.settle(self._attempt, self._end(future.result()) if error is None else self._raised(error)))

    def _raised(self, error: BaseException) -> End:
        return ended(self._attempt, None, MISSING, error)

    async def _awaited(self, result: Any) -> Any:
        try:
            await adrive(self._begin())
        except BaseException:
            if hasattr(type(result), "close"):
                result.close()  # a coroutine that nobody will await
            raise
        return await self.arun(lambda: result)

    def _begin(self) -> Steps[None]:
        """What the tool gave begins to run only now, which may be long after it was decided on.

        Raises:
            Hold: it does not begin: the decision has ended, or is about other arguments.
        """
        yield from still_stands(self._core, self._attempt)
        self._attempt.begun = True

    def _stream(self, chunks: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        drive(self._begin())
        seen, sent, result = sha256(), None, MISSING
        try:
            chunk = next(chunks)
            while True:
                seen.update(digest(chunk).encode())
                try:
                    sent = yield chunk
                except GeneratorExit:
                    chunks.close()
                    raise
                except BaseException as thrown:  # noqa: BLE001  # the consumer's, for the tool to see
                    chunk = chunks.throw(thrown)
                else:
                    chunk = chunks.send(sent)
        except StopIteration as end:
            result = end.value
        except BaseException as error:
            self._settle(self._raised(error))
            raise
        self._settle(_streamed(seen))
        return result

    async def _astream(self, chunks: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
        await adrive(self._begin())
        seen = sha256()
        try:
            chunk = await chunks.__anext__()
            while True:
                seen.update(digest(chunk).encode())
                try:
                    sent = yield chunk
                except GeneratorExit:
                    await chunks.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001
                    chunk = await chunks.athrow(thrown)
                else:
                    chunk = await chunks.asend(sent)
        except StopAsyncIteration:
            pass
        except BaseException as error:
            await self._asettle(self._raised(error))
            raise
        await self._asettle(_streamed(seen))

    def _end(self, result: Any) -> End:
        why = self._why_failed(result)
        if isinstance(why, NotRun):
            return End(NOT_RUN)
        if isinstance(why, GoesOn):
            return ended(self._attempt, UNKNOWN, result, None)
        if why:
            return ended(self._attempt, FAILED, result, why if isinstance(why, BaseException) else Told(why))
        return ended(self._attempt, None, result, None)

    def _why_failed(self, result: Any) -> Any:
        if self._failed is None:
            return None
        try:
            return self._failed(result)
        except Exception as error:  # noqa: BLE001  # an adapter that cannot read the result has seen no success
            return f"the result cannot be read: {type(error).__name__}"

    def _settle(self, end: End) -> None:
        if end.status == CANCELLED and garbage.is_collected_now():
            self._core.dropped.append((self._attempt, end))
            return
        drive(self._core.settle(self._attempt, end))

    async def _asettle(self, end: End) -> None:
        steps = self._core.settle(self._attempt, end)
        if end.status == CANCELLED:
            detach(steps)  # whoever is cancelled must not wait
        else:
            await adrive(steps)


def _thrown_away(dropped: Any, attempt: Attempt) -> None:
    if not attempt.closed:
        dropped.append((attempt, End(UNKNOWN if attempt.begun else NOT_RUN)))


def _streamed(seen: Any) -> End:
    return End(SUCCEEDED, result_hash=f"stream-sha256:{seen.hexdigest()}")
