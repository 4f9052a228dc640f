"""History decided again under a draft, from what the records of the decisions say.

Nothing is looked up that a decision was not made from. Limits depend on the order of calls, so the draft's limits are
counted again from the window's start; with `sequential` the state of entities follows the draft as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from msgspec import Struct

from kiff.analysis.simulate.again import Again, Judge, Undecided
from kiff.analysis.simulate.answer import Simulated, Window
from kiff.analysis.simulate.consequences import Consequences
from kiff.analysis.simulate.counted import Counted
from kiff.analysis.simulate.draft import Draft
from kiff.analysis.simulate.entities import Entities
from kiff.analysis.simulate.past import (
    Decision,
    Ending,
    Happening,
    Opening,
    Past,
    Settling,
    Unreadable,
    first_since,
    pages,
    past,
    when,
)
from kiff.analysis.simulate.tally import Tally, receipt_of
from kiff.gate import quorum
from kiff.protocol.instant import rfc3339
from kiff.runtime.ports import Store
from kiff.runtime.rows import RecordRow

DAY_MS = 86_400_000
GoOn = Callable[[int], bool]
"""Asked between pages with how many records were read: whether to go on."""


class Question(Struct, frozen=True, kw_only=True):
    """What is asked about history.

    Args:
        since_ms: only decisions from this instant on count; all, when None.
        action: only decisions on it are told about.
        sequential: what is decided otherwise changes what comes after it.
        examples: how many decisions of each kind are shown.
        minutes: of human time that one yes to an approval takes.
        most_records: only the newest so many records are read.
    """

    since_ms: int | None = None
    action: str | None = None
    sequential: bool = False
    examples: int = 3
    minutes: float | None = None
    most_records: int | None = None


def simulate(
    store: Store, draft: Draft, question: Question, *, tenant: str = "default", go_on: GoOn | None = None
) -> Simulated:
    """Decides the recorded decisions of a tenant again.

    Args:
        go_on: where the answer is not complete when time is up, ends the reading.

    Raises:
        StoreError: the store cannot be read.
    """
    with closing(store.snapshot()) as still:
        return _Simulation(still, tenant, draft, question).run(go_on or (lambda records: True))


class _Simulation:
    """One pass over a log."""

    def __init__(self, store: Store, tenant: str, draft: Draft, question: Question) -> None:
        self._store = store
        self._tenant = tenant
        self._draft = draft
        self._question = question
        self._laws = draft.laws(store, tenant)
        self._tally = Tally(question.examples)
        self._opened: str | None = None
        self._first: int | None = None
        self._since: int | None = None
        self._until: int | None = None
        self._records = 0
        head = store.load((tenant,), ()).heads[tenant]
        self._begin, self._count_from = self._places(0 if head is None else head.size)
        counted = Counted(tenant)
        self._entities = Entities(store, tenant, self._laws, self._begin) if question.sequential else None
        self._judge = Judge(store, tenant, self._laws, counted, self._entities)
        self._then = Consequences(counted, self._entities)

    def _places(self, size: int) -> tuple[int, int]:
        """Where reading begins, so that limits remember what they would, and where decisions begin to count."""
        since, most = self._question.since_ms, self._question.most_records
        oldest = 0 if most is None else max(0, size - most)
        if since is None:
            return oldest, oldest
        counts = max(oldest, first_since(self._store, self._tenant, size, since))
        return max(oldest, first_since(self._store, self._tenant, counts, since - self._draft.longest_ms)), counts

    def run(self, go_on: GoOn) -> Simulated:
        complete = True
        for page in pages(self._store, self._tenant, self._begin):
            self._see(page)
            for row in page:
                record = past(row)
                if record is not None:
                    self._take(record)
            if not go_on(self._records):
                complete = False
                break
        return self._answer(complete)

    def _see(self, page: list[RecordRow]) -> None:
        """How far the window reaches with this page."""
        if self._first is None:
            self._first = when(page[0])
        if self._since is None:
            self._since = next((when(row) for row in page if row.seq >= self._count_from), None)
        self._until = when(page[-1])
        self._records += len(page)

    def _take(self, record: Past | Unreadable) -> None:
        if isinstance(record, Decision):
            self._decision(record)
        elif isinstance(record, Opening):
            self._opening(record)
        elif isinstance(record, Settling):
            self._then.settled(record)
        elif isinstance(record, Ending):
            self._then.ended(record.data.approval_id)
        elif isinstance(record, Unreadable):
            if record.seq >= self._count_from:
                self._tally.undecided("unreadable", None)
        elif isinstance(record, Happening) and self._entities is not None and self._laws.concern(record):
            law = self._laws.of(record)
            if law is not None:
                self._entities.happened(law, record)

    def _decision(self, record: Decision) -> None:
        ground, data = self._judge.ground(record), record.data
        if not ground.concerns:
            return
        at = record.at_ms
        self._then.expire(at)
        counts = record.seq >= self._count_from and self._question.action in (None, data.action)
        if self._then.is_moot(data):
            self._then.moot(record, ground)
            self._tally.is_moot(counts)
            return
        again = self._judge.again(record, ground, at, self._then.held_for(data))
        if isinstance(again, Undecided):
            if counts:
                self._tally.undecided(again.why, receipt_of(record))
            return
        opens = self._then.follow(record, again)
        if counts:
            self._tally.decided(record, again.ground.asks, again.verdict, again.body.parameters)
            self._ask(record, again, opens)

    def _ask(self, record: Decision, again: Again, opens: bool) -> None:
        data = record.data
        opened = data.outcome == "approval_required" and data.approval_id != data.facts.approval_id
        self._opened = data.approval_id if opened else None
        if opened or opens:
            self._tally.asked(before=opened, after=opens, people=quorum.asked_for(again.verdict.demands))

    def _opening(self, record: Opening) -> None:
        """Right after its decision: what that asked for."""
        if self._opened is not None and record.data.approval_id == self._opened:
            self._tally.people_before += quorum.asked_for(record.data.demands)
            self._opened = None

    def _answer(self, complete: bool) -> Simulated:
        draft, question, tally = self._draft, self._question, self._tally
        span = 0 if self._since is None or self._until is None else self._until - self._since
        window = Window(
            since=_time(self._since),
            until=_time(self._until),
            limits_since=_time(self._first) if draft.longest_ms else None,
            days=round(max(1.0, span / DAY_MS), 3),
            records=self._records,
            complete=complete,
        )
        return Simulated(
            domain=None if draft.domain is None else draft.domain.version,
            policy=None if draft.policy is None else draft.policy.version,
            mode="sequential" if question.sequential else "independent",
            window=window,
            decisions=tally.decisions,
            same=tally.same,
            flipped=tally.flipped,
            undecided=tally.undecided_count,
            moot=tally.moot,
            other_reasons=tally.other_reasons,
            new_allows=tally.new_allows,
            outcomes=tally.moved(),
            flips=tally.flips(),
            undecided_because=tally.because(),
            approvals=tally.approvals(window, question.minutes),
            assumptions=list(self._assumptions()),
        )

    def _assumptions(self) -> Iterator[str]:
        if self._entities is None:
            yield "every decision keeps the state, the attributes and the approval that it was made with"
        else:
            yield "the state follows the events that would still have happened; timeouts come when they came"
        yield "a grant covers what it was asked for: the same rule, the same roles, no more people"
        if self._draft.longest_ms:
            start = "the beginning of the log" if not self._begin else f"{_time(self._first)}, from nothing"
            yield f"the draft's limits count from {start}, with operations and approvals ending as they did"
        if self._then.runs:
            yield f"newly allowed calls ({self._then.runs}) are taken to have succeeded at once"
        if self._then.waits:
            yield f"new approvals ({self._then.waits}) are taken to stay unanswered, so that nothing runs"
        if self._tally.moot:
            moot = self._tally.moot
            yield f"decisions about approvals that would not have been asked for ({moot}) are not compared"
        if self._entities is not None and self._entities.skipped:
            yield f"events that nothing would have brought ({self._entities.skipped}) are left out"
        if self._entities is not None and self._entities.untold:
            yield f"events whose payload is gone ({self._entities.untold}) are folded without one"


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
