"""How an attempt is decided and how it is settled: the rules of a guard, once, for every adapter, thread and loop.

In enforce whatever is uncertain withholds. In observe nothing that fails here stops a tool.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from kiff_guard.arguments import copied
from kiff_guard.asking import Asking, proposal_id, told_of
from kiff_guard.attempts import Attempt, Attempts
from kiff_guard.catalog import Catalog
from kiff_guard.decision import (
    ALLOWED,
    APPROVAL_REQUIRED,
    ERROR,
    FAILED_OPEN,
    OBSERVED,
    UNMAPPED,
    Decision,
)
from kiff_guard.ending import MISSING, End
from kiff_guard.errors import LedgerError
from kiff_guard.forks import renew_after_fork
from kiff_guard.notice import alarm, warn
from kiff_guard.outcomes import Outcomes
from kiff_guard.receipt import GOVERNED, NOT_RUN, OBSERVED_STATE, SCHEMA_VERSION, UNGOVERNED, UNKNOWN, Receipt
from kiff_guard.redaction import Redact, redact_secrets
from kiff_guard.steps import Steps
from kiff_guard.taint import Taint
from kiff_guard.tracing import trace_id

Mode = Literal["observe", "enforce"]

UNWRITTEN_LIMIT = 10_000
_STATES = {OBSERVED: OBSERVED_STATE, UNMAPPED: UNGOVERNED, FAILED_OPEN: UNGOVERNED}
_ENDS_A_HOLD = {"approval_denied", "approval_expired", "approval_used", "approval_mismatch"}


class Core:
    """What a guard decides and settles with.

    Args:
        asking: asks KIFF.
        outcomes: tells KIFF how calls ended.
        ledger: keeps receipts: anything with `append(receipt)`; with `open(receipt)` too it also keeps what began, and
            with a true `blocking` it is given time in a thread.
        catalog: learns every call.
        redact: takes out of arguments what receipts must not keep.
        taint: what the run has touched.
    """

    def __init__(
        self,
        mode: Mode,
        asking: Asking,
        outcomes: Outcomes,
        ledger: Any,
        catalog: Catalog,
        redact: Redact | None,
        taint: Taint,
    ) -> None:
        self.mode: Mode = mode
        self.taint = taint
        self.attempts = Attempts()
        self.dropped: deque[tuple[Attempt, End]] = deque()
        self.unwritten: deque[Receipt] = deque(maxlen=UNWRITTEN_LIMIT)
        self._asking = asking
        self._outcomes = outcomes
        self._ledger = ledger
        self._opens = getattr(ledger, "open", None)
        self._blocks = bool(getattr(ledger, "blocking", False))
        self._catalog = catalog
        self._redact = redact
        renew_after_fork(self)

    def after_fork(self) -> None:
        """What the parent has open, and has still to write and to tell, is the parent's."""
        self.attempts.after_fork()
        self._outcomes.after_fork()
        if isinstance(self._catalog, Catalog):
            self._catalog.after_fork()
        self.dropped.clear()
        self.unwritten.clear()

    # Deciding

    def decide(self, attempt: Attempt, approval_id: str) -> Steps[None]:
        """Asks, unless the answer is known. The attempt is open if the answer lets the tool run; else it is settled."""
        self.learn(attempt)
        try:
            if self.mode == "observe":
                attempt.decision = self._named(attempt, Decision(OBSERVED))
                yield from self._open(attempt)
            elif attempt.refused is not None:
                yield from self.withheld(attempt, attempt.refused)
            else:
                yield from self._asked(attempt, approval_id)
        except BaseException as error:
            yield from self.settle(attempt, End(NOT_RUN, error))  # whoever asked is gone
            raise

    def _asked(self, attempt: Attempt, approval_id: str) -> Steps[None]:
        run_context, approval_id = self.taint.context(), self._approval_of(attempt, approval_id)
        attempt.asked_at = time.monotonic()
        try:
            answer = yield partial(self._ask, attempt, run_context, approval_id)
        except Exception as error:  # noqa: BLE001  # whatever a client raises is one thing: KIFF was not asked
            answer = self._unasked(attempt, error)
        except BaseException as error:
            yield from self._interrupted(attempt, error)
            raise
        yield from self._answered(attempt, answer)

    def learn(self, attempt: Attempt) -> None:
        try:
            args = attempt.args if type(self._catalog) is Catalog else copied(attempt.args)
            self._catalog.record(attempt.agent, attempt.tool, args)
        except Exception as error:  # noqa: BLE001  # a catalog of the user's own
            warn("the catalog could not learn `%s`: %r", attempt.tool, error)

    def keep_arguments(self, attempt: Attempt) -> None:
        """Puts down the arguments as the receipt keeps them: none, if the redaction fails, which enforce withholds."""
        try:
            attempt.kept = self._redacted(attempt.tool, attempt.args)
        except Exception as error:  # noqa: BLE001  # a redaction of the user's own
            reason = f"redaction_failed: {type(error).__name__}"
            attempt.refused = attempt.refused or Decision(ERROR, reason, reasons=("redaction_failed",))

    def _redacted(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
        if self._redact is None:
            return args
        kept = self._redact(tool, args if self._redact is redact_secrets else copied(args))
        if not isinstance(kept, dict):
            raise TypeError("a redaction answers with arguments")
        return kept

    def _approval_of(self, attempt: Attempt, given: str) -> str:
        """The review this call waits for: as the caller says, or as the guard remembers of this very call."""
        held = self.attempts.held(attempt)
        if held is not None:
            attempt.previous = attempt.previous or held.receipt_id
        return given or ("" if held is None else held.approval_id)

    def _ask(self, attempt: Attempt, run_context: Any, approval_id: str) -> Decision | None:
        if not attempt.ask():  # given up before a thread was free for it: KIFF never hears of it
            return None
        answer: Decision | None = None
        try:
            self._outcomes.before_asking()
            answer = self._asking.read(attempt, self._asking.ask(attempt, run_context, approval_id))
            self._outcomes.after_answer()
        finally:
            if not attempt.answered(answer):
                self._give_back(attempt)
        return answer

    def _give_back(self, attempt: Attempt) -> None:
        """The question is over and nobody waits for its answer."""
        if attempt.answer is None:
            self._give_back_later(attempt)
        elif attempt.answer.outcome == ALLOWED:
            self._outcomes.give_back(attempt, attempt.answer.proposal_id)

    def _unasked(self, attempt: Attempt, error: Exception) -> Decision:
        code, why = told_of(error)
        warn("KIFF could not be asked about `%s`: %s", attempt.tool, why)
        if attempt.fail_closed:
            self._give_back_later(attempt)
            return Decision(ERROR, why, reasons=(code,))
        return Decision(FAILED_OPEN, why, proposal_id(attempt) if self._asking.knows_our_ids else "", reasons=(code,))

    def _give_back_later(self, attempt: Attempt) -> None:
        """KIFF may have cleared a call whose answer was lost."""
        if self._asking.knows_our_ids:
            self._outcomes.give_back_later(attempt, proposal_id(attempt))

    def _interrupted(self, attempt: Attempt, error: BaseException) -> Steps[None]:
        """Whoever asked is gone. A clearance that came is given back here; one that comes, by the thread that asks."""
        is_over = attempt.abandon()
        reason = f"interrupted: {type(error).__name__} while KIFF was asked"
        attempt.decision = self._named(attempt, Decision(ERROR, reason, reasons=("interrupted",)))
        yield from self.settle(attempt, End(NOT_RUN, error))
        if is_over:
            yield partial(self._give_back, attempt)

    def _answered(self, attempt: Attempt, answer: Decision) -> Steps[None]:
        if answer.outcome == APPROVAL_REQUIRED and answer.approval_id:
            self.attempts.hold(attempt, answer.approval_id)
        elif answer.outcome == ALLOWED or _ENDS_A_HOLD.intersection(answer.reasons):
            self.attempts.forget(attempt)
        if answer.withheld:
            yield from self.withheld(attempt, answer)
            return
        attempt.decision = self._named(attempt, answer)
        asked = answer.outcome in (ALLOWED, FAILED_OPEN)
        attempt.reports = asked and bool(answer.proposal_id) and self._outcomes.are_heard(attempt)
        yield from self._open(attempt)

    def _open(self, attempt: Attempt) -> Steps[None]:
        """It may run, and is open until it is settled: written down first, where the ledger keeps such things."""
        try:
            yield from self._write_open(attempt)
        except Exception as error:  # noqa: BLE001  # a ledger of the user's own
            if self.mode == "enforce":
                alarm("`%s` is withheld, because its receipt cannot be kept: %r", attempt.tool, error)
                reason = f"ledger_failed: {error}"
                failed = attempt.decision.but(outcome=ERROR, reason=reason, reasons=("ledger_failed",))
                yield from self.withheld(attempt, failed)
                return
            warn("the opening of `%s` could not be written down: %r", attempt.receipt_id, error)
        yield from self.opened(attempt)

    def _write_open(self, attempt: Attempt) -> Steps[None]:
        if self._opens is None:
            return
        write = partial(attempt.write_open, self._opens, _receipt(attempt, End(UNKNOWN), executed=True))
        if self._blocks:
            yield write
        else:
            write()

    def opened(self, attempt: Attempt) -> Steps[None]:
        """One more is open, decided here or adopted. When too many are, the oldest is settled."""
        oldest = self.attempts.add(attempt)
        if oldest is not None:
            warn("`%s` was never settled, and too many are open: its end is unknown", oldest.receipt_id)
            yield from self._swept(oldest)
        yield from self._dropped()

    def withheld(self, attempt: Attempt, decision: Decision) -> Steps[None]:
        attempt.decision = self._named(attempt, decision)
        yield from self.settle(attempt, End(NOT_RUN))

    def _named(self, attempt: Attempt, decision: Decision) -> Decision:
        return decision.but(receipt_id=attempt.receipt_id, args_hash=attempt.args_hash, tool=attempt.tool)

    # Settling

    def settle(self, attempt: Attempt, end: End, *, tell_later: bool = False) -> Steps[Receipt | None]:
        """Writes the receipt and tells KIFF, once. Whoever comes second is told None."""
        if not attempt.close():
            return None
        executed = not attempt.decision.withheld and end.status != NOT_RUN
        receipt = _receipt(attempt, end, executed=executed)
        if executed:
            self.taint.ran(receipt.tool)
        self.attempts.ended(attempt, receipt, end.result, end.result is not MISSING)
        tell = self._outcomes.tell_later if tell_later else self._outcomes.tell
        then = partial(tell, attempt, end, receipt.result_hash) if attempt.reports else None
        if self._blocks:
            yield partial(self._write, attempt, receipt, then)  # one step: whoever waits for it may be gone after it
        else:
            self._write(attempt, receipt)
            if then is not None:
                yield then
        return receipt

    def _write(self, attempt: Attempt, receipt: Receipt, then: Callable[[], None] | None = None) -> None:
        """The ledger's failures are not the call's: it ran, or it is withheld, and would only be tried again."""
        try:
            attempt.write_end(self._ledger.append, receipt)
        except BaseException as error:
            if not self.unwritten:
                alarm("the receipt of `%s` could not be written down, and waits: %r", receipt.tool, error)
            if len(self.unwritten) == UNWRITTEN_LIMIT:
                alarm("too many receipts wait to be written down; lost is `%s`", self.unwritten[0].receipt_id)
            self.unwritten.append(receipt)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
        else:
            if self.unwritten:  # the ledger takes receipts again
                with suppress(Exception):
                    self._write_unwritten(1)
        finally:
            if then is not None:
                then()

    def _write_unwritten(self, most: int) -> None:
        """Those that the ledger did not take, oldest first."""
        for _ in range(most):
            try:
                receipt = self.unwritten.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                self._ledger.append(receipt)
            except BaseException:
                self.unwritten.appendleft(receipt)
                raise

    def _swept(self, attempt: Attempt, *, running: bool = False) -> Steps[None]:
        """Nobody will settle it any more. What was only looked at did not run."""
        status = attempt.give_up(running=running)
        if status:
            yield from self.settle(attempt, End(status), tell_later=True)

    def _dropped(self) -> Steps[None]:
        """What the collector of garbage found: coroutines and streams that were thrown away."""
        while self.dropped:
            attempt, end = self.dropped.popleft()
            yield from self.settle(attempt, end)

    def flush(self, *, running: bool = False) -> Steps[None]:
        """Settles what nobody will settle any more, and tries again what could not be written or reported.

        Args:
            running: nor those that the guard itself runs.

        Raises:
            LedgerError: receipts still cannot be written down; they stay.
        """
        yield from self._dropped()
        for attempt in self.attempts.all():
            yield from self._swept(attempt, running=running)
        yield self._outcomes.tell_all_waiting
        try:
            yield partial(self._write_unwritten, len(self.unwritten))
        except Exception as error:
            raise LedgerError(f"{len(self.unwritten)} receipts cannot be written down: {error}") from error


def _receipt(attempt: Attempt, end: End, *, executed: bool) -> Receipt:
    decision = attempt.decision
    return Receipt.of(
        ts=attempt.ts,
        agent=attempt.agent,
        tool=attempt.tool,
        args=attempt.kept,
        outcome=decision.outcome,
        reason=decision.reason,
        executed=executed,
        state=_STATES.get(decision.outcome, GOVERNED),
        proposal_id=decision.proposal_id,
        receipt_id=attempt.receipt_id,
        call_id=attempt.call_id,
        session=attempt.session,
        attempt=attempt.number,
        args_hash=attempt.args_hash,
        result_hash=end.result_hash,
        execution=end.status,
        error_type=end.why,
        started_at=attempt.started_at or (attempt.ts if executed else 0.0),
        ended_at=time.time(),
        approval_id=decision.approval_id,
        clearance_id=decision.clearance_id,
        trace_id=trace_id(attempt.trace) if attempt.trace else "",
        adapter=attempt.adapter,
        previous_receipt=attempt.previous,
        integrity_violation=end.violation,
        replayed=decision.replayed,
        schema_version=SCHEMA_VERSION,
    )
