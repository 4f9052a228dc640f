"""The answer on its way: `.result()` for code that waits, `await` for code that does not. One API, no twins."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Pending(Future[T]):
    """A future of an answer. It resolves after the commit that made the answer true.

    Use `.result(timeout_seconds)` from a thread, or `await` it from a coroutine.
    """

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        return asyncio.wrap_future(self).__await__()
