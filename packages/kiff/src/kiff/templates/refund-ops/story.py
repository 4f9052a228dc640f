"""The five endings and the retry storm, as promises and as calls. Each ending is compared with its promise.

Everything that is shown was read back: from the answers, from the log, and from the outside ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from threading import Barrier
from typing import Any

from agent import Agent, Ticket
from ledger_process import LedgerProcess
from screen import Screen

from kiff import Caller, Principal, Runtime
from kiff.runtime.answers import Executed

MOVED = ("event_ingested", "state_changed")
PAID = MOVED + MOVED
RAN = ("decision_recorded", "action_validated", "action_executed", *MOVED)
HELD = ("decision_recorded", "approval_required")
REFUSED = ("decision_recorded", "action_blocked")
WORD = {"allowed": "allowed", "approval_required": "held"}
AT_ONCE = 10


@dataclass(frozen=True)
class Promise:
    """What must come of a scenario.

    Args:
        outcome: the gate's last word.
        reasons: the reason codes that may be given with it.
        state: of the order, afterwards.
        debits: at the outside ledger, for this order, ever.
        receipts: how many the scenario issues.
        trail: kinds of the records it leaves, call by call.
    """

    outcome: str
    reasons: tuple[str, ...]
    state: str
    debits: int
    receipts: int
    trail: tuple[str, ...]


PROMISES = {
    "Small refund": Promise("allowed", ("allowed",), "REFUNDED", 1, 1, PAID + RAN),
    "Large refund": Promise("held", ("approval_required",), "PAID", 0, 1, PAID + HELD),
    "Approval granted": Promise("allowed", ("allowed",), "REFUNDED", 1, 1, ("approval_granted", *RAN)),
    "Approval denied": Promise(
        "blocked",
        ("state_not_allowed", "approval_denied"),
        "PAID",
        0,
        3,
        (*PAID, *HELD, "approval_denied", "action_blocked", *REFUSED),
    ),
    "Unpaid order": Promise("blocked", ("state_not_allowed",), "CREATED", 0, 1, MOVED + REFUSED),
    "Retries, one id": Promise("allowed", ("allowed",), "REFUNDED", 1, 1, PAID + RAN),
    "Retries, all at once": Promise(
        "allowed", ("allowed",), "REFUNDED", 1, AT_ONCE, PAID + RAN + REFUSED * (AT_ONCE - 1)
    ),
}


@dataclass
class Ending:
    """What came of a scenario, as it was read back."""

    title: str
    action: str
    order: str
    amount: str
    outcome: str
    reasons: list[str]
    state: str | None
    debits: int
    receipts: list[str]
    note: str
    trail: list[dict[str, Any]]


@dataclass
class Stage:
    """Where the scenarios play.

    Args:
        run: 0 for the first run on these data; orders of one run are never those of another.
        deviations: whatever was not as promised.
    """

    runtime: Runtime
    ledger: LedgerProcess
    screen: Screen
    run: int
    endings: list[Ending] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.agent = Agent(self.runtime)
        self.stripe = Caller(Principal("stripe", "service"), ("event_source",))
        self.person = Caller(Principal("ops-human", "human"), ("ops_operator",))
        self._seen: dict[str, int] = {}

    def play(self) -> None:
        for scenario in ENDINGS:
            scenario(self)
        self.screen.blank()
        for storm in (one_id, all_at_once):
            storm(self)

    def ticket(self, number: int, amount: float) -> Ticket:
        return Ticket(order_id(self.run, number), amount)

    def placed(self, ticket: Ticket, *, paid: bool) -> None:
        """The events that the shop's payment provider sends."""
        for event in ("ORDER_PLACED", "ORDER_PAID")[: 1 + paid]:
            self.runtime.ingest(self.stripe, type=event, entity=ticket.entity, source="stripe").result()

    def begin(self, title: str, ticket: Ticket) -> None:
        amount = f"${ticket.amount:,.2f}"
        self.screen.begin(len(self.endings) + 1, title, ticket.action, ticket.order, amount)

    def end(self, title: str, ticket: Ticket, answer: Executed, receipts: Iterable[tuple[str, str]]) -> None:
        """Reads back what happened, shows it, and compares it with the promise.

        Args:
            receipts: (what it is about, its id), each for one line.
        """
        lines = list(receipts)
        records = self._new_records(ticket.entity)
        state = self.runtime.read.state(ticket.entity)
        ending = Ending(
            title=title,
            action=ticket.action,
            order=ticket.order,
            amount=f"{ticket.amount:.2f}",
            outcome=WORD.get(answer.outcome, "blocked"),
            reasons=[each.code for each in answer.reasons] or ["allowed"],
            state=None if state is None else state.state,
            debits=self.debits(ticket),
            receipts=[r["data"]["receipt"]["id"] for r in records if "receipt" in r["data"]],
            note="; ".join(text for text, _ in lines),
            trail=[{"seq": r["seq"], "kind": r["kind"], "actor": r["actor"]["id"]} for r in records],
        )
        self.endings.append(ending)
        self.screen.end(ending.outcome)
        for text, receipt in lines:
            self.screen.note(text, receipt)
        self._show_trail(records)
        self._compare(ending, [record["kind"] for call in by_trace(records) for record in call])

    def debits(self, ticket: Ticket) -> int:
        """How often the outside ledger paid for this order."""
        return sum(debit["order"] == ticket.order for debit in self.ledger.debits())

    def deviates(self, what: str, expected: object, found: object) -> None:
        self.deviations.append(f"{what}: expected {expected}, found {found}")

    def _new_records(self, entity: str) -> list[dict[str, Any]]:
        records = self.runtime.read.timeline(entity, after=self._seen.get(entity, -1))
        self._seen[entity] = records[-1]["seq"]
        return records

    def _show_trail(self, records: list[dict[str, Any]]) -> None:
        """What came before a call goes on its line; further calls have their own, equal ones are counted."""
        calls = Counter(tuple(steps(call)) for call in by_trace(records))
        lines: list[list[str]] = [[]]
        for (first, *rest), times in calls.items():
            if lines[-1] and lines[-1][-1] not in NAMES.values():
                lines.append([])
            lines[-1] += [f"{times} × {first}" if times > 1 else first, *rest]
        self.screen.trail(records[0]["seq"], records[-1]["seq"], lines)

    def _compare(self, ending: Ending, kinds: list[str]) -> None:
        promised = asdict(PROMISES[ending.title])
        found = asdict(ending) | {"trail": tuple(kinds), "receipts": len(set(ending.receipts))}
        found["reasons"] = tuple(ending.reasons)
        for name, value in promised.items():
            if found[name] != value:
                self.deviates(f"{ending.title}: {name}", value, found[name])


def small(stage: Stage) -> None:
    title, ticket = "Small refund", stage.ticket(1, 49.0)
    stage.begin(title, ticket)
    stage.placed(ticket, paid=True)
    answer = stage.agent.propose(ticket).result()
    stage.end(title, ticket, answer, [(f"{answer.message}, nobody asked", answer.receipt_id)])


def large_and_granted(stage: Stage) -> None:
    title, ticket = "Large refund", stage.ticket(2, 999.0)
    stage.begin(title, ticket)
    stage.placed(ticket, paid=True)
    held = stage.agent.propose(ticket).result()
    stage.end(title, ticket, held, [(f"{held.message}; waits for a person", held.receipt_id)])

    if held.approval_id is None:
        stage.deviates("Approval granted", "an approval to grant", held.outcome)
        return
    title = "Approval granted"
    stage.begin(title, ticket)
    review = stage.runtime.grant(stage.person, held.approval_id, "verified with customer").result()
    answer = stage.agent.propose(ticket, id=held.proposal_id, approval_id=held.approval_id).result()
    said = f"{review.reviewed_by} {review.status}; {answer.message}"
    stage.end(title, ticket, answer, [(said, answer.receipt_id)])


def denied(stage: Stage) -> None:
    title, ticket = "Approval denied", stage.ticket(4, 1450.0)
    stage.begin(title, ticket)
    stage.placed(ticket, paid=True)
    held = stage.agent.propose(ticket).result()
    if held.approval_id is None:
        stage.end(title, ticket, held, [(held.message, held.receipt_id)])
        return
    review = stage.runtime.deny(stage.person, held.approval_id, "order disputed").result()
    same = stage.agent.propose(ticket, id=held.proposal_id, approval_id=held.approval_id).result()
    fresh = stage.agent.propose(ticket).result()
    if (same.outcome, same.executed) != ("blocked", False):
        stage.deviates("Approval denied: the same call again", "blocked", same.outcome)
    lines = [
        (f"{review.reviewed_by} {review.status}: {review.reason}", same.receipt_id),
        (f"again: {', '.join(each.code for each in fresh.reasons)}", fresh.receipt_id),
    ]
    stage.end(title, ticket, fresh, lines)


def unpaid(stage: Stage) -> None:
    title, ticket = "Unpaid order", stage.ticket(3, 49.0)
    stage.begin(title, ticket)
    stage.placed(ticket, paid=False)
    answer = stage.agent.propose(ticket).result()
    said = answer.message
    if answer.reason == "state_not_allowed":
        facts = answer.reasons[0].detail
        said = f"{answer.reason}: {facts['current_state']}, needs {', '.join(facts['allowed_states'])}"
    stage.end(title, ticket, answer, [(said, answer.receipt_id)])


ENDINGS = (small, large_and_granted, denied, unpaid)
FIVE = tuple(PROMISES)[:5]
"""Their titles: what was held has an ending of its own, and so has what came of it."""


def one_id(stage: Stage) -> None:
    title, ticket = "Retries, one id", stage.ticket(5, 20.0)
    stage.begin(title, ticket)
    stage.placed(ticket, paid=True)
    answers = [stage.agent.propose(ticket, id=f"ticket-{ticket.order}").result() for _ in range(AT_ONCE)]
    same = sum(answer == answers[0] for answer in answers)
    if same != AT_ONCE:
        stage.deviates("Retries, one id: equal answers", AT_ONCE, same)
    said = f"{AT_ONCE} calls, {same} equal answers, {stage.debits(ticket)} debit"
    stage.end(title, ticket, answers[0], [(said, answers[0].receipt_id)])


def all_at_once(stage: Stage) -> None:
    title, ticket = "Retries, all at once", stage.ticket(6, 30.0)
    stage.begin(title, ticket)
    stage.placed(ticket, paid=True)
    start = Barrier(AT_ONCE)

    def call(_: int) -> Executed:
        start.wait()
        return stage.agent.propose(ticket).result()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(call, range(AT_ONCE)))
    ran = [answer for answer in answers if answer.executed]
    why = Counter(answer.reason for answer in answers if not answer.executed)
    if len(ran) != 1 or not why.keys() <= {"entity_busy", "state_not_allowed"}:
        stage.deviates("Retries, all at once: answers", "1 executed, 9 that say why", f"{len(ran)}, {dict(why)}")
    told = ", ".join(f"{times} {code}" for code, times in why.items())
    said = f"{len(ran)} ran, {told}, {stage.debits(ticket)} debit"
    winner = ran[0] if ran else answers[0]
    stage.end(title, ticket, winner, [(said, winner.receipt_id)])


NAMES = {"ORDER_PLACED": "placed", "ORDER_PAID": "paid"}


def order_id(run: int, number: int) -> str:
    """`ord_001` in the first run, `ord_101` in the second."""
    return f"ord_{run * 100 + number:03d}"


def by_trace(records: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The records call by call: calls at the same time leave theirs in turns."""
    traces = dict.fromkeys(record["trace_id"] for record in records)
    return [[record for record in records if record["trace_id"] == trace] for trace in traces]


def steps(records: list[dict[str, Any]]) -> Iterator[str]:
    """The kinds; the two records of an event from outside are shown as `placed` or `paid`."""
    named = [r["data"]["event"]["id"] for r in records if _name(r)]
    for record in records:
        if _name(record):
            yield _name(record)
        elif record["data"].get("event_id") not in named:
            yield record["kind"]


def _name(record: dict[str, Any]) -> str:
    return NAMES.get(record["data"]["event"]["type"], "") if record["kind"] == "event_ingested" else ""
