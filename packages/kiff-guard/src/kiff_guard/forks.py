"""What has to be made anew in a child after a fork: a thread of the parent's that held a lock never opens it there."""

from __future__ import annotations

import os
import weakref
from typing import Any

_alive: weakref.WeakSet[Any] = weakref.WeakSet()


def renew_after_fork(thing: Any) -> None:
    """Has `after_fork` of the thing called in every child, before anything else there."""
    _alive.add(thing)


def _renew() -> None:
    for each in list(_alive):
        each.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
