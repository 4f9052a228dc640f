"""How a call becomes an attempt: its arguments are frozen, and the same call that comes again is known as such."""

from __future__ import annotations

import time
from os import urandom
from typing import Any, NamedTuple, NoReturn

from kiff_guard import receipt as words
from kiff_guard.arguments import freeze, same, snapshot
from kiff_guard.attempts import Attempt, Ran
from kiff_guard.core import Core
from kiff_guard.decision import BLOCKED, ERROR, Decision, Hold
from kiff_guard.ending import End
from kiff_guard.errors import ArgumentsRefused
from kiff_guard.steps import Steps, drive
from kiff_guard.taint import Taint
from kiff_guard.tracing import trace_id, traceparent


class Call(NamedTuple):
    """A call as an adapter tells of it. What is None or "" it does not know."""

    tool: str
    args: Any
    call_id: str | None = None
    session: str | None = None
    trace: str | None = None
    fail_closed: bool | None = None
    settles: bool = True
    adapter: str = ""


class Admission:
    """Stands before the core.

    Args:
        session: what call ids belong to, if the calls themselves do not say.
        fail_closed: of calls that do not say.
        adapter: of calls that do not say.
    """

    def __init__(self, core: Core, taint: Taint, session: str, fail_closed: bool, adapter: str) -> None:
        self._core = core
        self._taint = taint
        self._session = session
        self._own_session = f"sess_{urandom(16).hex()}"
        self._fail_closed = fail_closed
        self._adapter = adapter

    @property
    def session(self) -> str:
        """What call ids belong to, if the calls do not say; "" if nobody said."""
        return self._session or self._taint.run_id

    def attempt(self, agent: str, call: Call) -> Attempt:
        """The call as it is now: what changes later changes nothing of it."""
        observes = self._core.mode == "observe"
        looked = b"" if observes else snapshot(call.args)  # before it is frozen: never newer than its digest
        try:
            args, args_hash, _ = freeze(call.args)
            refused = None
        except ArgumentsRefused as error:
            args, args_hash, refused = {}, "", error
        except Exception as error:  # noqa: BLE001  # objects of others, whose own methods may raise anything
            args, args_hash, refused = {}, "", ArgumentsRefused(f"reading them raised {type(error).__name__}")
        tool = call.tool if isinstance(call.tool, str) else str(call.tool)
        trace = traceparent(call.trace)
        known_session = call.session or self.session
        return Attempt(
            receipt_id=f"gr_{urandom(16).hex()}",
            agent=agent,
            tool=tool,
            given=call.args,
            looked=looked,
            args=args,
            kept=self.kept(tool, args) if observes else {},
            args_hash=args_hash,
            refused=refused,
            ts=time.time(),
            call_id=str(call.call_id) if call.call_id else "",
            session=str(known_session or self._own_session),
            trace=trace,
            trace_id=trace_id(trace),
            adapter=call.adapter or self._adapter,
            fail_closed=self._fail_closed if call.fail_closed is None else call.fail_closed,
            settles=call.settles,
            once=bool(call.call_id and known_session),
        )

    def kept(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments as a receipt keeps them; none, where a redaction fails and nothing may be stopped by it."""
        try:
            return self._core.kept(tool, args)
        except Exception:  # noqa: BLE001  # a redaction of the user's own
            return {}

    def decide(
        self, attempt: Attempt, approval_id: str | None, *, to_run: bool = False, peek: bool = False
    ) -> Steps[tuple[Attempt, Decision]]:
        """The same call again is answered from what is known of it; every other is decided.

        Returns:
            The attempt to go on with, which is the one that is open already if a look came before, and its decision.
        """
        enforces = self._core.mode == "enforce" and attempt.refused is None
        known = self._core.attempts.enter(attempt)
        if known is not None and enforces:
            if known.stands_for(attempt):
                if known.asked and (peek or known.start()):
                    known.given, known.looked, known.running = attempt.given, attempt.looked, to_run
                    return known, known.decision
                return (yield from self._again(attempt, "already_running: this very call was let go already"))
            if known.asked and not known.released:
                yield from self._core.settle(known, End(words.NOT_RUN))  # it was only looked at
        ran = self._core.attempts.ran(attempt) if enforces and attempt.once else None
        if ran is not None:
            how = f"{ran.receipt.execution}: receipt {ran.receipt.receipt_id}"
            return (yield from self._again(attempt, f"already_executed: this very call ran before and ended {how}"))
        attempt.released, attempt.running = not peek, to_run
        decision = yield from self._core.decide(attempt, self._taint.context(), approval_id or "")
        attempt.asked = True
        if not attempt.settles and not decision.withheld:
            yield from self._core.settle(attempt, End(words.UNKNOWN))  # nobody will ever say how it ended
        return attempt, decision

    def _again(self, attempt: Attempt, reason: str) -> Steps[tuple[Attempt, Decision]]:
        self._core.attempts.number(attempt)
        code = reason.partition(":")[0]
        decision = yield from self._core.withheld(attempt, Decision(BLOCKED, reason, reasons=(code,)))
        return attempt, decision

    def answered(self, attempt: Attempt) -> Ran | None:
        """The same call, with the same arguments, whose result is still here: it is answered and not run again."""
        if self._core.mode == "observe" or not attempt.once:
            return None
        ran = self._core.attempts.ran(attempt)
        return ran if ran is not None and ran.has_result else None

    def let_go(self, attempt: Attempt, decision: Decision) -> None:
        """The last look before the tool runs.

        Raises:
            Hold: it does not run.
        """
        if decision.withheld:
            raise Hold(decision)
        enforces = self._core.mode == "enforce" and attempt.args_hash
        if enforces and not same(attempt.given, attempt.args_hash, attempt.looked):
            self._changed(attempt)
        attempt.started_at = time.time()

    def _changed(self, attempt: Attempt) -> NoReturn:
        drive(self._core.settle(attempt, End(words.NOT_RUN, violation=True)))
        reason = "integrity_violation: the arguments were changed after they were decided on"
        raise Hold(attempt.decision.but(outcome=ERROR, reason=reason, reasons=("integrity_violation",)))

    def open(self, which: Decision | str, session: str | None) -> Attempt | None:
        """The open attempt of a decision, a receipt's id or a call id."""
        name = which.receipt_id if isinstance(which, Decision) else which
        return self._core.attempts.open(name, session or "") if name else None

    def fill(self, attempt: Attempt, args: Any) -> None:
        """A call that was decided elsewhere came without its arguments: here they are."""
        if not attempt.kept and same(args, attempt.args_hash):
            attempt.kept = self.kept(attempt.tool, freeze(args).args)
