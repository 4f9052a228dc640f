"""How an attempt ended, in the words of its receipt."""

from __future__ import annotations

from typing import Any, NamedTuple

from kiff_guard.arguments import digest, same
from kiff_guard.attempts import Attempt
from kiff_guard.receipt import CANCELLED, EXECUTIONS, FAILED, SUCCEEDED, UNKNOWN

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "no result"})()
"""Stands for a result that nobody gave: None is a result."""


class End(NamedTuple):
    """How an attempt ended."""

    status: str
    error: BaseException | None = None
    result: Any = MISSING
    result_hash: str = ""
    violation: bool = False

    @property
    def why(self) -> str:
        """What KIFF is told of an error: its class, and no word of its message, which may hold anything."""
        return "" if self.error is None else type(self.error).__name__


def ended(attempt: Attempt, status: str | None, result: Any, error: BaseException | None, args: Any = MISSING) -> End:
    """How an attempt ended, from what its adapter knows."""
    if status is None:
        status = SUCCEEDED if error is None else _of(error)
    if status not in EXECUTIONS:
        status = UNKNOWN
    violation = args is not MISSING and bool(attempt.args_hash) and not same(args, attempt.args_hash)
    result_hash = "" if result is MISSING else digest(result)
    kept = result if status == SUCCEEDED else MISSING
    return End(status, error, kept, result_hash, violation)


def _of(error: BaseException) -> str:
    name = type(error).__name__
    gone = isinstance(error, GeneratorExit) or name in ("CancelledError", "Cancelled", "KeyboardInterrupt")
    return CANCELLED if gone else FAILED
