"""How an attempt is decided and how it is settled: the rules of a guard, once, for every adapter, thread and loop.

In enforce whatever is uncertain withholds. In observe nothing that fails here stops a tool.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from functools import partial
from hashlib import sha256
from typing import Any, Literal

from kiff_guard import receipt as words
from kiff_guard.attempts import Attempt, Attempts
from kiff_guard.catalog import Catalog
from kiff_guard.decision import (
    ALLOWED,
    APPROVAL_REQUIRED,
    BLOCKED,
    ERROR,
    FAILED_OPEN,
    INVALID,
    OBSERVED,
    UNMAPPED,
    WITHHELD,
    Decision,
)
from kiff_guard.ending import MISSING, End
from kiff_guard.errors import LedgerError
from kiff_guard.notice import alarm, warn
from kiff_guard.outcomes import Outcomes
from kiff_guard.receipt import Receipt
from kiff_guard.redaction import Redact, redact_secrets
from kiff_guard.steps import Steps
from kiff_guard.taint import Taint

Mode = Literal["observe", "enforce"]

UNWRITTEN_LIMIT = 10_000
_STATES = {OBSERVED: words.OBSERVED_STATE, UNMAPPED: words.UNGOVERNED, FAILED_OPEN: words.UNGOVERNED}
_UNMAPPED = {"allow": UNMAPPED, "observe": OBSERVED}
_ENDS_A_HOLD = {"approval_denied", "approval_expired", "approval_used", "approval_mismatch"}


class Core:
    """What a guard decides and settles with.

    Args:
        client: asks KIFF.
        ledger: keeps receipts: anything with `append(receipt)`; with `open(receipt)` too it also keeps what began, and
            with a true `blocking` it is given time in a thread.
        asks: names of what the client's `decide` takes beside what every client takes.
        errors: what KIFF is told when a tool raised.
    """

    def __init__(
        self,
        mode: Mode,
        client: Any,
        tenant: str,
        ledger: Any,
        catalog: Catalog,
        redact: Redact | None,
        unmapped: str | None,
        asks: frozenset[str],
        errors: str,
        taint: Taint,
    ) -> None:
        self.mode: Mode = mode
        self.client = client
        self.tenant = tenant
        self.ledger = ledger
        self.catalog = catalog
        self.redact = redact
        self.unmapped = unmapped
        self.asks = asks
        self.taint = taint
        self._opens = getattr(ledger, "open", None)
        self._blocks = bool(getattr(ledger, "blocking", False))
        lets_run = _UNMAPPED.get(str(unmapped or getattr(client, "unmapped", "")), ALLOWED)
        self._words = frozenset((ALLOWED, *WITHHELD, lets_run))
        self.attempts = Attempts()
        self.dropped: deque[tuple[Attempt, End]] = deque()
        self.outcomes = Outcomes(client, errors)
        self.unwritten: deque[Receipt] = deque(maxlen=UNWRITTEN_LIMIT)

    # Deciding

    def decide(self, attempt: Attempt, run_context: Any, approval_id: str) -> Steps[Decision]:
        """Asks, unless the answer is known. The attempt is open if the answer lets the tool run; else it is settled."""
        if self.mode == "observe":
            return (yield from self._observed(attempt))
        decision = self._before_asking(attempt)
        if decision is not None:
            return (yield from self.withheld(attempt, decision))
        try:
            told = yield partial(self._ask, attempt, run_context, self._approval_of(attempt, approval_id))
            answer = self._read(told)
        except Exception as error:  # noqa: BLE001  # whatever a client raises is one thing: KIFF was not asked
            answer = self._unasked(attempt, error)
        except BaseException as error:
            yield from self._interrupted(attempt, error)
            raise
        return (yield from self._answered(attempt, answer))

    def _approval_of(self, attempt: Attempt, given: str) -> str:
        """The review this call waits for: as the caller says, or as the guard remembers of this very call."""
        held = self.attempts.held(attempt)
        if held is not None:
            attempt.previous = attempt.previous or held.receipt_id
        return given or ("" if held is None else held.approval_id)

    def _observed(self, attempt: Attempt) -> Steps[Decision]:
        attempt.decision = self._named(attempt, Decision(OBSERVED))
        self.learn(attempt)
        try:
            yield from self._opened(attempt)
        except Exception as error:  # noqa: BLE001  # observe never blocks
            warn("the opening of `%s` could not be written down: %r", attempt.receipt_id, error)
        yield from self._room_for(attempt)
        return attempt.decision

    def learn(self, attempt: Attempt) -> None:
        try:
            args = attempt.args if type(self.catalog) is Catalog else _copied(attempt.args)
            self.catalog.record(attempt.agent, attempt.tool, args)
        except Exception as error:  # noqa: BLE001  # a catalog of the user's own
            warn("the catalog could not learn `%s`: %r", attempt.tool, error)

    def _before_asking(self, attempt: Attempt) -> Decision | None:
        """What withholds a call that KIFF need not be asked about."""
        self.learn(attempt)
        if attempt.refused is not None:
            return Decision(INVALID, f"arguments_refused: {attempt.refused}", reasons=("arguments_refused",))
        try:
            attempt.kept = self.kept(attempt.tool, attempt.args)
        except Exception as error:  # noqa: BLE001  # a redaction of the user's own
            attempt.kept = {}
            return Decision(ERROR, f"redaction_failed: {type(error).__name__}", reasons=("redaction_failed",))
        return None

    def kept(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments as a receipt keeps them."""
        if self.redact is None:
            return args
        kept = self.redact(tool, args if self.redact is redact_secrets else _copied(args))
        if not isinstance(kept, dict):
            raise TypeError("a redaction answers with arguments")
        return kept

    def _ask(self, attempt: Attempt, run_context: Any, approval_id: str) -> Any:
        if self.outcomes.are_likely_heard:
            self.outcomes.tell_waiting()  # what KIFF was not told yet may be what this call would have to wait for
        more = {
            "run_context": run_context,
            "proposal_id": _proposal_id(attempt),
            "approval_id": approval_id or None,
            "trace": attempt.trace or None,
            "unmapped": self.unmapped,
            "settles": attempt.settles,
        }
        known = {name: value for name, value in more.items() if name in self.asks and value is not None}
        answer = self.client.decide(self.tenant, attempt.agent, attempt.tool, _copied(attempt.args), **known)
        if not self.outcomes.are_likely_heard:
            self.outcomes.are_likely_heard = True
            self.outcomes.tell_waiting()
        if isinstance(answer, Decision) and not attempt.answered(answer) and answer.outcome == ALLOWED:
            self.outcomes.give_back(attempt, answer.proposal_id)
        return answer

    def _unasked(self, attempt: Attempt, error: Exception) -> Decision:
        code = str(getattr(error, "code", "") or type(error).__name__)
        warn("KIFF could not be asked about `%s`: %r", attempt.tool, error)
        if attempt.fail_closed:
            self._give_back_later(attempt)
            return Decision(ERROR, f"{code}: {error}", reasons=(code,))
        proposal_id = _proposal_id(attempt) if "proposal_id" in self.asks else ""
        return Decision(FAILED_OPEN, f"{code}: {error}", proposal_id, reasons=(code,))

    def _give_back_later(self, attempt: Attempt) -> None:
        """KIFF may have cleared a call whose answer was lost."""
        if "proposal_id" in self.asks:
            self.outcomes.give_back_later(attempt, _proposal_id(attempt))

    def _interrupted(self, attempt: Attempt, error: BaseException) -> Steps[None]:
        """Whoever asked is gone. An answer that comes, or came, in between is given back."""
        answer = attempt.abandon()
        reason = f"interrupted: {type(error).__name__} while KIFF was asked"
        attempt.decision = self._named(attempt, Decision(ERROR, reason, reasons=("interrupted",)))
        yield from self.settle(attempt, End(words.NOT_RUN, error))
        if answer is None:
            self._give_back_later(attempt)
        elif answer.outcome == ALLOWED:
            yield partial(self.outcomes.give_back, attempt, answer.proposal_id)

    def _read(self, told: Any) -> Decision:
        """The answer, if it is one. Anything else withholds."""
        answer = told if isinstance(told, Decision) else _alike(told)
        if answer is None or answer.outcome not in self._words:
            return Decision(ERROR, "unknown_outcome: the answer is none of KIFF's", reasons=("unknown_outcome",))
        if answer.outcome == ALLOWED and answer.replayed:
            reason = "already_cleared: KIFF cleared this very call before, and whether it ran is not known here"
            return answer.but(outcome=BLOCKED, reason=reason, reasons=("already_cleared",))
        return answer

    def _answered(self, attempt: Attempt, answer: Decision) -> Steps[Decision]:
        attempt.decision = self._named(attempt, answer)
        if answer.outcome == APPROVAL_REQUIRED and answer.approval_id:
            self.attempts.hold(attempt, answer.approval_id)
        elif answer.outcome == ALLOWED or _ENDS_A_HOLD.intersection(answer.reasons):
            self.attempts.forget(attempt)
        if attempt.decision.withheld:
            return (yield from self.withheld(attempt, attempt.decision))
        attempt.reports = (
            answer.outcome in (ALLOWED, FAILED_OPEN) and bool(answer.proposal_id) and self.outcomes.are_heard(attempt)
        )
        try:
            yield from self._opened(attempt)
        except Exception as error:  # noqa: BLE001  # a ledger of the user's own
            alarm("`%s` is withheld, because its receipt cannot be kept: %r", attempt.tool, error)
            decision = answer.but(outcome=ERROR, reason=f"ledger_failed: {error}", reasons=("ledger_failed",))
            return (yield from self.withheld(attempt, decision))
        except BaseException as error:
            yield from self.settle(attempt, End(words.NOT_RUN, error))
            raise
        yield from self._room_for(attempt)
        return attempt.decision

    def _opened(self, attempt: Attempt) -> Steps[None]:
        """The attempt is written down before the tool runs, where the ledger keeps such things."""
        if self._opens is None:
            return
        receipt = _receipt(attempt, End(words.UNKNOWN), executed=True)
        if self._blocks:
            yield partial(self._opens, receipt)
        else:
            self._opens(receipt)

    def _room_for(self, attempt: Attempt) -> Steps[None]:
        oldest = self.attempts.opened(attempt)
        if oldest is not None:
            warn("`%s` was never settled, and too many are open: its end is unknown", oldest.receipt_id)
            yield from self._swept(oldest)
        yield from self._dropped()

    def _swept(self, attempt: Attempt) -> Steps[Receipt | None]:
        """Nobody will settle it any more. What was only looked at did not run."""
        return (yield from self.settle(attempt, End(words.UNKNOWN if attempt.released else words.NOT_RUN)))

    def _dropped(self) -> Steps[None]:
        """What the collector of garbage found: coroutines and streams that were thrown away."""
        while self.dropped:
            attempt, end = self.dropped.popleft()
            yield from self.settle(attempt, end)

    def withheld(self, attempt: Attempt, decision: Decision) -> Steps[Decision]:
        attempt.decision = self._named(attempt, decision)
        yield from self.settle(attempt, End(words.NOT_RUN))
        return attempt.decision

    def _named(self, attempt: Attempt, decision: Decision) -> Decision:
        return decision.but(receipt_id=attempt.receipt_id, args_hash=attempt.args_hash, tool=attempt.tool)

    # Settling

    def settle(self, attempt: Attempt, end: End) -> Steps[Receipt | None]:
        """Writes the receipt and tells KIFF, once. Whoever comes second is told None."""
        if not attempt.close():
            return None
        executed = not attempt.decision.withheld and end.status != words.NOT_RUN
        receipt = _receipt(attempt, end, executed=executed)
        if executed:
            self.taint.ran(receipt.tool)
        self.attempts.ended(attempt, receipt, end.result, end.result is not MISSING)
        try:
            yield from self._written(receipt)
        except Exception as error:  # noqa: BLE001  # it ran, or it is withheld: raising would only make it be tried again
            if not self.unwritten:
                alarm("the receipt of `%s` could not be written down, and waits: %r", receipt.tool, error)
            if len(self.unwritten) == UNWRITTEN_LIMIT:
                alarm("too many receipts wait to be written down; lost is `%s`", self.unwritten[0].receipt_id)
            self.unwritten.append(receipt)
        if attempt.reports:
            yield partial(self.outcomes.tell, attempt, end, receipt.result_hash)
        return receipt

    def _written(self, receipt: Receipt) -> Steps[None]:
        if self._blocks:
            yield partial(self.ledger.append, receipt)
        else:
            self.ledger.append(receipt)

    def flush(self, attempts: Iterable[Attempt]) -> Steps[None]:
        """Settles what nobody will settle any more, and tries again what could not be written or reported.

        Raises:
            LedgerError: receipts still cannot be written down; they stay.
        """
        yield from self._dropped()
        for attempt in attempts:
            yield from self._swept(attempt)
        for _ in range(self.outcomes.waiting):
            yield self.outcomes.tell_waiting
        for _ in range(len(self.unwritten)):
            receipt = self.unwritten.popleft()
            try:
                yield from self._written(receipt)
            except Exception as error:
                self.unwritten.appendleft(receipt)
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
        state=_STATES.get(decision.outcome, words.GOVERNED),
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
        trace_id=attempt.trace_id,
        adapter=attempt.adapter,
        previous_receipt=attempt.previous,
        integrity_violation=end.violation,
        replayed=decision.replayed,
        schema_version=words.SCHEMA_VERSION,
    )


def _proposal_id(attempt: Attempt) -> str:
    """One id for one attempt at one call, in this process and in every other that resumes it."""
    if not (attempt.call_id and attempt.once):
        return f"prop_{attempt.receipt_id.rpartition('_')[2]}"
    parts = (attempt.agent, attempt.session, attempt.call_id, str(attempt.tries), attempt.tool, attempt.args_hash)
    return f"prop_{sha256(chr(0).join(parts).encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _alike(answer: Any) -> Decision | None:
    """The decision of a client that has its own class for it (v1's, a test's): its outcome, reason and id."""
    try:
        outcome = getattr(answer, "outcome", None)
        text = {name: str(getattr(answer, name, "") or "") for name in ("reason", "proposal_id", "approval_id")}
    except Exception:  # noqa: BLE001  # an object of anybody's
        return None
    if not isinstance(outcome, str):
        return None
    return Decision(outcome, text["reason"], text["proposal_id"], text["approval_id"])


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value
