"""How a peer's process is asked: a line of JSON in, a line out, so that subjects can take turns without starting again.

Standard library only, and no KIFF: this runs in the peers' environment.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Job = Callable[..., float]
"""A job gives the seconds it took; `folder` is an empty one for its files."""


def serve(versions: dict[str, str], jobs: dict[str, Job]) -> None:
    """Answers until the questions end. What is printed meanwhile goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def say(answer: object) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    say({"versions": versions})
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        with tempfile.TemporaryDirectory(dir=asked.pop("folder")) as folder:
            say({"seconds": jobs[asked.pop("job")](folder=Path(folder), **asked)})


def from_threads(callers: int, count: int, call: Callable[[int], object]) -> float:
    """Seconds for `call(0)` to `call(count - 1)` from a number of threads; in this one when it is one."""
    numbers = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            call(number)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    started = time.perf_counter()
    if callers == 1:
        work()
        return time.perf_counter() - started
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def from_tasks(callers: int, count: int, call: Callable[[int], Awaitable[object]]) -> float:
    """Seconds for the same from a number of tasks of one event loop."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await call(number)

    async def all_of_them() -> float:
        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(callers)))
        return time.perf_counter() - started

    return asyncio.run(all_of_them())


def cpu_seconds(count: int, call: Callable[[int], object]) -> float:
    """Processor seconds for the same in this thread."""
    started = time.process_time()
    for number in range(count):
        call(number)
    return time.process_time() - started
