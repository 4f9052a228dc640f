"""Tells KIFF how the calls it cleared ended. What cannot be told now waits, and is told with the next call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from kiff_guard.attempts import Attempt
from kiff_guard.ending import End
from kiff_guard.errors import ActionFailed, Refused
from kiff_guard.notice import alarm, warn
from kiff_guard.receipt import CANCELLED, FAILED, NOT_RUN, SUCCEEDED, UNKNOWN

WAITING_LIMIT = 10_000
_FOR_GOOD = frozenset(range(400, 500)) - {401, 403, 408, 429}
"""Statuses of a request that will not be taken another time either."""


class Outcomes:
    """What KIFF is told, and what it is not told yet. No verb of it raises.

    Args:
        client: has `settle`, or never hears anything.
        errors: what is told of a tool that raised: `unknown` or `failed`.
    """

    def __init__(self, client: Any, errors: str) -> None:
        self._client = client
        self._errors = errors
        self._waiting: deque[Callable[[], Any]] = deque(maxlen=WAITING_LIMIT)
        self._is_likely_heard = True
        """KIFF answered last, be it with a no: else a call would wait for two timeouts."""

    def after_fork(self) -> None:
        """What waits is told by the parent."""
        self._waiting.clear()
        self._is_likely_heard = True

    def are_heard(self, attempt: Attempt) -> bool:
        """Was KIFF promised an outcome, and can it be told?"""
        return attempt.settles and hasattr(self._client, "settle")

    def tell(self, attempt: Attempt, end: End, result_hash: str) -> None:
        self._send(self._ended(attempt, end, result_hash))

    def tell_later(self, attempt: Attempt, end: End, result_hash: str) -> None:
        """With the next call, or at a flush."""
        self._wait(self._ended(attempt, end, result_hash))

    def _ended(self, attempt: Attempt, end: End, result_hash: str) -> Callable[[], Any]:
        why = "integrity_violation" if end.violation else end.why
        return partial(self._report, attempt.decision.proposal_id, self._as_told(end), result_hash, why, attempt.trace)

    def _as_told(self, end: End) -> str:
        """An error is no failure (ADR 0002): the money may have left before it was raised."""
        if end.status == NOT_RUN:
            return CANCELLED
        if end.status == FAILED and (self._errors == FAILED or isinstance(end.error, ActionFailed)):
            return FAILED
        return SUCCEEDED if end.status == SUCCEEDED else UNKNOWN

    def give_back(self, attempt: Attempt, proposal_id: str) -> None:
        """A clearance that nobody will use: KIFF frees what it held for it."""
        if self.are_heard(attempt):
            self._send(self._cancelled(attempt, proposal_id))

    def give_back_later(self, attempt: Attempt, proposal_id: str) -> None:
        """The same for one whose answer was lost: KIFF may have cleared the call, and cannot be reached now."""
        if self.are_heard(attempt):
            self._wait(self._cancelled(attempt, proposal_id))

    def before_asking(self) -> None:
        """What KIFF was not told yet may be what the next call would have to wait for."""
        if self._is_likely_heard:
            self._tell_oldest()

    def after_answer(self) -> None:
        """KIFF is there."""
        if not self._is_likely_heard:
            self._is_likely_heard = True
            self._tell_oldest()

    def _tell_oldest(self) -> None:
        """Tells one of those that wait, if there is one."""
        if self._waiting:
            with suppress(IndexError):  # another thread was faster
                self._send(self._waiting.popleft())

    def tell_all_waiting(self) -> None:
        """Each of them, until one is not heard: every other would be waited for as long."""
        for _ in range(len(self._waiting)):
            self._tell_oldest()
            if not self._is_likely_heard:
                return

    def _cancelled(self, attempt: Attempt, proposal_id: str) -> Callable[[], Any]:
        return partial(self._report, proposal_id, CANCELLED, "", "", attempt.trace)

    def _report(self, proposal_id: str, status: str, result_hash: str, error: str, trace: str) -> None:
        self._client.settle(
            proposal_id, status, result_hash=result_hash or None, error=error or None, trace=trace or None
        )

    def _send(self, report: Callable[[], Any]) -> None:
        try:
            report()
            self._is_likely_heard = True
        except Exception as error:  # noqa: BLE001  # whatever a client raises
            self._is_likely_heard = isinstance(error, Refused)
            if isinstance(error, Refused) and error.status in _FOR_GOOD:
                warn("KIFF does not take an outcome: %s", error)
            else:
                warn("an outcome could not be reported, and waits: %r", error)
                self._wait(report)
        except BaseException:  # an interrupt: KIFF takes the same once more
            self._wait(report)
            raise

    def _wait(self, report: Callable[[], Any]) -> None:
        if len(self._waiting) == WAITING_LIMIT:
            alarm("too many outcomes wait to be told; the oldest is lost, and KIFF takes it for unknown")
        self._waiting.append(report)
