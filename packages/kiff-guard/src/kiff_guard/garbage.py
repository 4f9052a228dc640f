"""Whether garbage is collected in this thread now. That may be while any lock is held, so that what ends by it must
take none: it is noted, and settled later."""

from __future__ import annotations

import gc
from threading import get_ident

_threads: set[int] = set()


def watch() -> None:
    """From now on."""
    if _note not in gc.callbacks:
        gc.callbacks.append(_note)


def is_collected_now() -> bool:
    return get_ident() in _threads


def _note(phase: str, info: dict[str, int]) -> None:
    if phase == "start":
        _threads.add(get_ident())
    else:
        _threads.discard(get_ident())
