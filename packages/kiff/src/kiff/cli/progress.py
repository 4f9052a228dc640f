"""A sign of life while something takes long: on a terminal only, on stderr, and only after half a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 0.5
EVERY_SECONDS = 0.2
_CLEAR = "\r\x1b[K"


@contextmanager
def progress(doing: str) -> Iterator[None]:
    """Shows what is being done and for how long; nothing is left on the screen.

    Args:
        doing: `verifying kiff.db`.
    """
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    shown = threading.Thread(target=_show, args=(doing, done), name="kiff-progress", daemon=True)
    shown.start()
    try:
        yield
    finally:
        done.set()
        shown.join()


def _show(doing: str, done: threading.Event) -> None:
    began = time.monotonic()
    if done.wait(PATIENCE_SECONDS):
        return
    while not done.wait(EVERY_SECONDS):
        sys.stderr.write(f"{_CLEAR}{doing} … {time.monotonic() - began:.0f} s")
        sys.stderr.flush()
    sys.stderr.write(_CLEAR)
    sys.stderr.flush()
