"""The attempts a guard knows of: which are open, how the last one of each call id ended, and which calls are held.

Everything here is bounded. What is forgotten is never remembered as something better than it was: an open attempt
that has to go is settled as unknown by whoever is told of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from kiff_guard.decision import ALLOWED, ERROR, Decision
from kiff_guard.errors import ConfigurationError
from kiff_guard.newest import Newest
from kiff_guard.receipt import CANCELLED, FAILED, NOT_RUN, SUCCEEDED, UNKNOWN, Receipt

OPEN_LIMIT = 10_000
ENDED_LIMIT = 10_000
RESULTS_LIMIT = 256
HELD_LIMIT = 10_000
UNDER_WAY = "under way"
OVER = "over"
FRESH_SECONDS = 60.0
"""How long a clearance of KIFF's is good for, counted from the question."""


class Attempt:
    """One try at one call, from the question to the receipt.

    It is a plain class: it stands in the way of every call and of every start, where dataclasses take their time.

    Attributes:
        given: the arguments as the framework holds them, to see whether they change.
        looked: a snapshot of them, taken when they were frozen.
        args: the same, frozen.
        kept: the same, as the receipt keeps them.
        refused: what enforce answers without asking, if they can be neither frozen nor kept.
        number: which receipt of this call it is, counted from 1.
        tries: how often this call was let go before and did not succeed: a retry is a new question to KIFF.
        previous: the receipt before this one, of the same call.
        reports: KIFF will be told how it ended.
        once: the session is known, so the same call id is the same call, whoever asks again.
        asked: its decision is there.
        asked_at: when KIFF was asked, by the clock that nobody sets.
        released: somebody was told to run it.
        running: the guard itself runs the tool; else the framework does.
        begun: somebody awaits the coroutine or reads the stream that the tool gave.
        settles: somebody will say how it ended.
        closed: somebody has, or another process will.
        question: where the question to KIFF stands: `""`, `under way` or `over`.
        answer, abandoned: what KIFF said, and that nobody waits for it any more.
        lock: of the words that only one may say first.
        writing: held while the ledger writes of it.
    """

    receipt_id: str
    agent: str
    tool: str
    given: Any
    looked: bytes
    args: dict[str, Any]
    args_hash: str
    ts: float
    kept: dict[str, Any] = {}  # noqa: RUF012  # of all that keep none; nobody writes into it
    refused: Decision | None = None
    call_id: str = ""
    session: str = ""
    number: int = 1
    tries: int = 0
    previous: str = ""
    trace: str = ""
    adapter: str = ""
    fail_closed: bool = True
    settles: bool = True
    once: bool = False
    reports: bool = False
    asked: bool = False
    asked_at: float = 0.0
    released: bool = False
    running: bool = False
    begun: bool = False
    started_at: float = 0.0
    decision: Decision = Decision(ERROR)
    question: str = ""
    answer: Decision | None = None
    abandoned: bool = False
    closed: bool = False

    def __init__(self, **known: Any) -> None:
        self.__dict__.update(known)
        self.lock = Lock()
        self.writing = Lock()

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Attempt:
        """The attempt that `as_dict` of another process told of.

        Raises:
            ConfigurationError: it is none.
        """
        try:
            told = Decision(**dict(kept["decision"], reasons=tuple(kept["decision"]["reasons"])))
            known = {name: kept[name] for name in _KEPT}
            let_go = {"asked": True, "released": True, "decision": told}
            return cls(given=None, looked=b"", args={}, **let_go, **known)
        except (KeyError, TypeError) as error:
            raise ConfigurationError(f"kept: expected what `Guard.keep` gave: {error}") from error

    def as_dict(self) -> dict[str, Any]:
        """What it takes to settle it, as JSON: no argument is in it, only their digest."""
        decision = {each.name: getattr(self.decision, each.name) for each in fields(Decision)}
        return {name: getattr(self, name) for name in _KEPT} | {"decision": decision}

    @property
    def key(self) -> tuple[str, str] | None:
        """What makes it the same call again. Without an id of the framework's no two calls are the same."""
        return (self.session, self.call_id) if self.call_id else None

    @property
    def is_stale(self) -> bool:
        """KIFF cleared it, and the clearance has ended since: what was frozen or revoked in between was not asked."""
        return self.decision.outcome == ALLOWED and monotonic() - self.asked_at > FRESH_SECONDS

    def is_good_for(self, other: Attempt) -> bool:
        """May its decision let the other go, which is the same call in time?"""
        return self.stands_for(other) and not self.is_stale

    def stands_for(self, other: Attempt) -> bool:
        """Is this the same call? Without a session a call id may be that of two calls, once it was let go."""
        return self.tool == other.tool and self.args_hash == other.args_hash and (other.once or not self.released)

    def close(self) -> bool:
        """Whoever is told True settles it, and nobody else does."""
        with self.lock:
            first, self.closed = not self.closed, True
            return first

    def start(self, by: Attempt | None = None, *, running: bool = False) -> bool:
        """Whoever is told True runs it, with the arguments that `by` has, and nobody else does."""
        with self.lock:
            if self.released or self.closed:
                return False
            self.released, self.running = True, running
            if by is not None:
                self.given, self.looked = by.given, by.looked
            return True

    def give_up(self, *, running: bool) -> str:
        """How it ended, if nobody will say; "" for one that the guard runs, which will. Nobody starts it after this."""
        with self.lock:
            if self.running and not running:
                return ""
            was_released, self.released = self.released, True
            return UNKNOWN if was_released else NOT_RUN

    def ask(self) -> bool:
        """Whoever is told True asks KIFF; else nobody waits for the answer any more, and nobody is asked."""
        with self.lock:
            if not self.abandoned:
                self.question = UNDER_WAY
            return not self.abandoned

    def answered(self, answer: Decision | None) -> bool:
        """The question is over: with an answer, or with None. Is anybody still waiting for it?"""
        with self.lock:
            self.question, self.answer = OVER, answer
            return not self.abandoned

    def abandon(self) -> bool:
        """Nobody waits any more. Is the question over? One under way is seen to by whoever asks it."""
        with self.lock:
            self.abandoned = True
            return self.question == OVER

    def write_open(self, write: Callable[[Receipt], Any], receipt: Receipt) -> None:
        """Writes down that it begins, unless it has ended: whoever waited for this may be gone meanwhile."""
        with self.writing:
            if not self.closed:
                write(receipt)

    def write_end(self, write: Callable[[Receipt], Any], receipt: Receipt) -> None:
        """Writes down how it ended: never before an opening that another thread still writes."""
        with self.writing:
            write(receipt)


_KEPT = (
    "receipt_id", "agent", "tool", "args_hash", "ts", "call_id", "session", "number", "tries", "previous", "trace",
    "adapter", "settles", "reports",
)  # fmt: skip


class Last(NamedTuple):
    """The newest receipt of a call id, and how often the call has failed."""

    receipt: Receipt
    tries: int


class Ran(NamedTuple):
    """A call, with these arguments, that was let go and did not fail, and its result if that is still here."""

    receipt: Receipt
    has_result: bool = False
    result: Any = None


class Held(NamedTuple):
    """The review that a call waits for, and the receipt of the attempt that was held."""

    approval_id: str
    receipt_id: str


class Attempts:
    """The book of one guard; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: OrderedDict[str, Attempt] = OrderedDict()
        self._by_call: dict[tuple[str, str], Attempt] = {}
        self._numbers: Newest[tuple[str, str], int] = Newest(ENDED_LIMIT)
        self._last: Newest[tuple[str, str], Last] = Newest(ENDED_LIMIT)
        self._ran: Newest[tuple[str, ...], Receipt] = Newest(ENDED_LIMIT)
        self._results: Newest[tuple[str, ...], Any] = Newest(RESULTS_LIMIT)
        self._held: Newest[tuple[str, ...], Held] = Newest(HELD_LIMIT)

    def enter(self, attempt: Attempt) -> Attempt | None:
        """Before it is asked about: makes it the attempt at its call, and gives it its number.

        Returns:
            The open one that had this call id. If it stands for the same call it stays, and the new one has no place.
        """
        with self._lock:
            known = self._by_call.get(attempt.key) if attempt.key else None
            if known is None or not known.stands_for(attempt):
                if attempt.key:
                    self._by_call[attempt.key] = attempt
                self._draw(attempt)
            return known

    def number(self, attempt: Attempt) -> None:
        """Gives a number to an attempt that has no place: it leaves a receipt all the same."""
        with self._lock:
            self._draw(attempt)

    def _draw(self, attempt: Attempt) -> None:
        if not attempt.key:
            return
        attempt.number = self._numbers[attempt.key] = self._numbers.get(attempt.key, 0) + 1
        last = self._last.get(attempt.key)
        if last is not None:
            attempt.previous = last.receipt.receipt_id
            attempt.tries = last.tries + _is_a_new_question_after(last.receipt)

    def add(self, attempt: Attempt) -> Attempt | None:
        """Keeps an attempt that may run. When there are too many, the oldest that the guard does not run has to go."""
        with self._lock:
            self._open[attempt.receipt_id] = attempt
            if len(self._open) <= OPEN_LIMIT:
                return None
            return next((each for each in self._open.values() if not each.running), None)

    def find(self, which: str, session: str = "") -> Attempt | None:
        """The open attempt of a receipt's or a call's id. Of several it is none: nobody can say which is meant."""
        with self._lock:
            found = self._open.get(which)
            if found is not None:
                return found
            fitting = [each for each in self._open.values() if each.call_id == which and session in ("", each.session)]
            return fitting[0] if len(fitting) == 1 else None

    def all(self) -> list[Attempt]:
        with self._lock:
            return list(self._open.values())

    def ended(self, attempt: Attempt, receipt: Receipt, result: Any, has_result: bool) -> None:
        """The attempt is settled."""
        with self._lock:
            self._open.pop(attempt.receipt_id, None)
            if not attempt.key:
                return
            if self._by_call.get(attempt.key) is attempt:
                del self._by_call[attempt.key]
            self._last[attempt.key] = Last(receipt, attempt.tries)
            if attempt.once and receipt.executed and receipt.execution in (SUCCEEDED, UNKNOWN):
                self._ran[_this_call(attempt)] = receipt
                if has_result:
                    self._results[_this_call(attempt)] = result

    def left(self, attempt: Attempt) -> None:
        """The attempt is another process's from now on."""
        with self._lock:
            self._open.pop(attempt.receipt_id, None)
            if attempt.key and self._by_call.get(attempt.key) is attempt:
                del self._by_call[attempt.key]

    def after_fork(self) -> None:
        """What the parent let run, the parent settles; a lock of another thread's never opens here."""
        self._lock = Lock()
        for attempt in self._open.values():
            attempt.lock, attempt.writing, attempt.closed = Lock(), Lock(), True
        self._open.clear()
        self._by_call.clear()

    def ran(self, attempt: Attempt) -> Ran | None:
        """Whether this very call, with these very arguments, has run."""
        with self._lock:
            call = _this_call(attempt)
            receipt = self._ran.get(call)
            if receipt is None:
                return None
            return Ran(receipt, call in self._results, self._results.get(call))

    def hold(self, attempt: Attempt, approval_id: str) -> None:
        """The call waits for a person."""
        with self._lock:
            self._held[_same_call(attempt)] = Held(approval_id, attempt.receipt_id)

    def held(self, attempt: Attempt) -> Held | None:
        """What this very call, with these very arguments, waits for."""
        if not self._held:
            return None
        with self._lock:
            return self._held.get(_same_call(attempt))

    def forget(self, attempt: Attempt) -> None:
        """The call waits no more."""
        if not self._held:
            return
        with self._lock:
            self._held.pop(_same_call(attempt), None)


def _is_a_new_question_after(receipt: Receipt) -> bool:
    """KIFF has an answer to the last one, and it is used up: the call failed, or its clearance was given back."""
    given_back = receipt.execution == NOT_RUN and receipt.outcome == ALLOWED
    return given_back or receipt.execution in (FAILED, CANCELLED) or receipt.outcome == ERROR


def _this_call(attempt: Attempt) -> tuple[str, ...]:
    return (attempt.session, attempt.call_id, attempt.tool, attempt.args_hash)


def _same_call(attempt: Attempt) -> tuple[str, ...]:
    return (attempt.agent, attempt.tool, attempt.args_hash)
