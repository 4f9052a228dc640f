"""How a call becomes an attempt: its arguments are frozen, and the same call that comes again is known as such."""

from __future__ import annotations

import time
from os import urandom
from typing import Any, NamedTuple, NoReturn

from kiff_guard.arguments import freeze, same, snapshot
from kiff_guard.attempts import Attempt, Ran
from kiff_guard.core import Core
from kiff_guard.decision import BLOCKED, ERROR, INVALID, Decision, Hold
from kiff_guard.ending import MISSING, End, ended
from kiff_guard.errors import ArgumentsRefused
from kiff_guard.receipt import NOT_RUN, UNKNOWN, Receipt
from kiff_guard.steps import Steps
from kiff_guard.tracing import traceparent


class Call(NamedTuple):
    """A call as an adapter tells of it. What is None or "" it does not know."""

    tool: str
    args: Any
    call_id: str | None = None
    session: str | None = None
    trace: str | None = None
    fail_closed: bool | None = None
    adapter: str = ""
    settles: bool = True


class Admission:
    """Stands before the core.

    Args:
        session: what call ids belong to, if the calls themselves do not say.
        fail_closed: of calls that do not say.
        adapter: of calls that do not say.
    """

    def __init__(self, core: Core, session: str, fail_closed: bool, adapter: str) -> None:
        self._core = core
        self._session = session
        self._own_session = f"sess_{urandom(16).hex()}"
        self._fail_closed = fail_closed
        self._adapter = adapter

    @property
    def session(self) -> str:
        """What call ids belong to, if the calls do not say; "" if nobody said."""
        return self._session or self._core.taint.run_id

    def attempt(self, agent: str, call: Call) -> Attempt:
        """The call as it is now: what changes later changes nothing of it."""
        looked = b"" if self._core.mode == "observe" else snapshot(call.args)  # before its digest, and never newer
        args, args_hash, refused = _frozen(call.args)
        call_id, known_session = _text(call.call_id), _text(call.session) or self.session
        attempt = Attempt(
            receipt_id=f"gr_{urandom(16).hex()}",
            agent=agent,
            tool=_text(call.tool),
            given=call.args,
            looked=looked,
            args=args,
            args_hash=args_hash,
            refused=refused,
            ts=time.time(),
            call_id=call_id,
            session=known_session or self._own_session,
            trace=traceparent(call.trace),
            adapter=call.adapter or self._adapter,
            fail_closed=self._fail_closed if call.fail_closed is None else call.fail_closed,
            settles=call.settles,
            once=bool(call_id and known_session),
        )
        self._core.keep_arguments(attempt)
        return attempt

    def to_run(self, attempt: Attempt, approval_id: str | None) -> Steps[Attempt | Ran]:
        """May the guard run it? The attempt to run; or how the same call ended, if its result is still here.

        Raises:
            Hold: it does not run.
        """
        if self._core.mode == "enforce" and attempt.once:
            ran = self._core.attempts.ran(attempt)
            if ran is not None and ran.has_result:
                return ran
        attempt = yield from self.decide(attempt, approval_id, to_run=True)
        if attempt.decision.withheld:
            raise Hold(attempt.decision)
        yield from still_stands(self._core, attempt)
        attempt.started_at = time.time()
        return attempt

    def decide(
        self, attempt: Attempt, approval_id: str | None, *, to_run: bool = False, peek: bool = False
    ) -> Steps[Attempt]:
        """The same call again is answered from what is known of it; every other is decided.

        Returns:
            The attempt that has the decision: the one that is open already, if a look came before.
        """
        if self._core.mode == "observe" or attempt.refused is not None:
            self._core.attempts.number(attempt)
        else:
            known = yield from self._known(attempt)
            if known is not None and known.asked and (peek or known.start(attempt, running=to_run)):
                return known
            if known is not None:
                self._core.attempts.number(attempt)
                return (yield from self._again(attempt, "already_running: this very call was let go already"))
            ran = self._core.attempts.ran(attempt) if attempt.once else None
            if ran is not None:
                how = f"{ran.receipt.execution}: receipt {ran.receipt.receipt_id}"
                return (yield from self._again(attempt, f"already_executed: this very call ran before and ended {how}"))
        attempt.released, attempt.running = not peek, to_run
        yield from self._core.decide(attempt, approval_id or "")
        attempt.asked = True
        if not attempt.settles and not attempt.decision.withheld:
            yield from self._core.settle(attempt, End(UNKNOWN))  # nobody will ever say how it ended
        return attempt

    def _known(self, attempt: Attempt) -> Steps[Attempt | None]:
        """The open attempt at this very call. A look that was followed by another call, or too late, did not run."""
        known = self._core.attempts.enter(attempt)
        while known is not None and known.asked and not known.is_good_for(attempt) and known.start():
            yield from self._core.settle(known, End(NOT_RUN))
            known = self._core.attempts.enter(attempt)
        return known if known is not None and known is not attempt and known.stands_for(attempt) else None

    def _again(self, attempt: Attempt, reason: str) -> Steps[Attempt]:
        code = reason.partition(":")[0]
        yield from self._core.withheld(attempt, Decision(BLOCKED, reason, reasons=(code,)))
        return attempt

    def find(self, which: Decision | str, session: str | None) -> Attempt | None:
        """The open attempt of a decision, a receipt's id or a call id."""
        name = which.receipt_id if isinstance(which, Decision) else which
        return self._core.attempts.find(name, session or "") if name else None

    def settle(
        self,
        attempt: Attempt | None,
        status: str | None,
        result: Any = MISSING,
        error: BaseException | None = None,
        args: Any = MISSING,
    ) -> Steps[Receipt | None]:
        """What somebody outside says of its end; None for what is not open."""
        if attempt is None:
            return None
        if args is not MISSING:
            self.fill(attempt, args)
        return (yield from self._core.settle(attempt, ended(attempt, status, result, error, args)))

    def fill(self, attempt: Attempt, args: Any) -> None:
        """A call that was decided elsewhere came without its arguments: here they are."""
        if not attempt.kept and same(args, attempt.args_hash):
            attempt.args = freeze(args).args
            self._core.keep_arguments(attempt)


def still_stands(core: Core, attempt: Attempt) -> Steps[None]:
    """Is what begins now what was decided on, and in time? Else it is settled, and does not run.

    Raises:
        Hold: it does not run.
    """
    if core.mode == "observe":
        return
    if attempt.args_hash and not same(attempt.given, attempt.args_hash, attempt.looked):
        yield from core.settle(attempt, End(NOT_RUN, violation=True))
        _refuse(attempt, "integrity_violation", "the arguments were changed after they were decided on")
    if attempt.is_stale:
        yield from core.settle(attempt, End(NOT_RUN))
        _refuse(attempt, "decision_expired", "KIFF's clearance had ended before it began")


def _refuse(attempt: Attempt, code: str, why: str) -> NoReturn:
    raise Hold(attempt.decision.but(outcome=ERROR, reason=f"{code}: {why}", reasons=(code,)))


def _frozen(args: Any) -> tuple[dict[str, Any], str, Decision | None]:
    """(arguments, digest, None), or what is answered where no decision can be bound to them."""
    try:
        frozen = freeze(args)
        return frozen.args, frozen.digest, None
    except ArgumentsRefused as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001  # objects of others, whose own methods may raise anything
        why = f"reading them raised {type(error).__name__}"
    return {}, "", Decision(INVALID, f"arguments_refused: {why}", reasons=("arguments_refused",))


def _text(value: Any) -> str:
    """What names a call, as text; "" for what names nothing, and for what cannot even be asked."""
    try:
        text = str(value) if value else ""
    except Exception:  # noqa: BLE001  # objects of others
        return ""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()  # halves of pairs are no UTF-8
