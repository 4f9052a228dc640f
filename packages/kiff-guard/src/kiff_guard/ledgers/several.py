"""Receipts in more than one place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from kiff_guard.errors import LedgerError

REMEMBERED = 10_000
"""Of how many receipts that failed somewhere it is known where they did not."""


class Ledgers:
    """Hands every receipt to each of several ledgers, in order. One that fails keeps it from none of the others, and
    when the receipt comes again, it goes only where it is not yet.

    Args:
        ledgers: whatever has `append`; `open` and `close` are called where there are any.

    Attributes:
        blocking: any of them waits for something.
    """

    def __init__(self, *ledgers: Any) -> None:
        self._ledgers = ledgers
        self._had: OrderedDict[str, frozenset[int]] = OrderedDict()
        self.blocking = any(getattr(each, "blocking", False) for each in ledgers)

    def __iter__(self) -> Any:
        """The receipts of the first one that gives any back."""
        return iter(next((each for each in self._ledgers if hasattr(each, "__iter__")), ()))

    def open(self, receipt: Any) -> None:
        """Keep that a call is about to run.

        Raises:
            LedgerError: one of them could not.
        """
        _raise(self._tried("open", (receipt,)))

    def append(self, receipt: Any) -> None:
        """Keep what became of a call.

        Raises:
            LedgerError: one of them could not.
        """
        name = str(getattr(receipt, "receipt_id", ""))
        had = self._had.pop(name, frozenset())
        failures = self._tried("append", (receipt,), had)
        if failures and name:
            self._had[name] = frozenset(range(len(self._ledgers))) - failures.keys()
            if len(self._had) > REMEMBERED:
                self._had.popitem(last=False)
        _raise(failures)

    def close(self) -> None:
        """Close those that can be closed.

        Raises:
            LedgerError: one of them could not.
        """
        _raise(self._tried("close", ()))

    def _tried(self, verb: str, given: tuple[Any, ...], had: frozenset[int] = frozenset()) -> dict[int, Exception]:
        """Which of them failed, and how."""
        tried = {
            number: _failure(getattr(each, verb, None), given)
            for number, each in enumerate(self._ledgers)
            if number not in had
        }
        return {number: failure for number, failure in tried.items() if failure is not None}


def _raise(failures: dict[int, Exception]) -> None:
    if failures:
        first, *_ = failures.values()
        raise LedgerError("; ".join(map(str, failures.values()))) from first


def _failure(call: Callable[..., Any] | None, given: tuple[Any, ...]) -> Exception | None:
    if call is None:
        return None
    try:
        call(*given)
    except Exception as error:  # noqa: BLE001  # a ledger may be anybody's
        return error
    return None
