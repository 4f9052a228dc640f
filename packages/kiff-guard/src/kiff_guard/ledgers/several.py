"""Receipts in more than one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiff_guard.errors import LedgerError


class Ledgers:
    """Hands every receipt to each of several ledgers, in order. One that fails keeps it from none of the others.

    Args:
        ledgers: whatever has `append`; `open` and `close` are called where there are any.

    Attributes:
        blocking: any of them waits for something.
    """

    def __init__(self, *ledgers: Any) -> None:
        self._ledgers = ledgers
        self.blocking = any(getattr(each, "blocking", False) for each in ledgers)

    def __iter__(self) -> Any:
        """The receipts of the first one that gives any back."""
        return iter(next((each for each in self._ledgers if hasattr(each, "__iter__")), ()))

    def open(self, receipt: Any) -> None:
        """Keep that a call is about to run.

        Raises:
            LedgerError: one of them could not.
        """
        self._each("open", receipt)

    def append(self, receipt: Any) -> None:
        """Keep what became of a call.

        Raises:
            LedgerError: one of them could not.
        """
        self._each("append", receipt)

    def close(self) -> None:
        """Close those that can be closed.

        Raises:
            LedgerError: one of them could not.
        """
        self._each("close")

    def _each(self, verb: str, *given: Any) -> None:
        failures = [failure for each in self._ledgers if (failure := _tried(getattr(each, verb, None), given))]
        if failures:
            raise LedgerError("; ".join(map(str, failures))) from failures[0]


def _tried(call: Callable[..., Any] | None, given: tuple[Any, ...]) -> Exception | None:
    if call is None:
        return None
    try:
        call(*given)
    except Exception as error:  # noqa: BLE001  # a ledger may be anybody's
        return error
    return None
