"""Names of functions for executors: what stands last in the executor's name, made a name of Python."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

_TAKEN = frozenset((*dir(builtins), *keyword.kwlist, "I", "O", "l"))  # the last are read as digits


def function_names(executors: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """One function name per executor: `refund.issue_refund` is `issue_refund`.

    The first to come keeps the short name; another `pos.issue_refund` gets the long one, `pos_issue_refund`. So
    adding an executor at the end renames nothing.

    Args:
        taken: names the module uses for something else.
    """
    used = _TAKEN | frozenset(taken)
    names: dict[str, str] = {}
    for executor in executors:
        names[executor] = next(name for name in _candidates(executor) if name not in used)
        used |= {names[executor]}
    return names


def _candidates(executor: str) -> Iterable[str]:
    words = [word for part in re.split(r"[.:]", executor) if (word := part.replace("-", "_").strip("_"))]
    long = "_".join(words) or "executor"
    for name in (words[-1] if words else long, long):
        yield name if name.isidentifier() else f"_{name}"
    number = 2
    while True:
        yield f"_{long}_{number}" if long[0].isdigit() else f"{long}_{number}"
        number += 1
