"""The five tickets as calls: without KIFF, with KIFF, and what came of each beside its promise.

What is counted is read from the outside files; who allowed it is read from KIFF's answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent import Answer, Call, Choose, NoCall, Post, over_a_bad_line, straight_out, through_kiff, work
from outside import Outside
from screen import Screen
from tickets import Promise, Ticket, tickets_of

from kiff.runtime.reading import Reading

GLYPH = {"executed": "allowed", "approval_required": "held"}
"""Everything else is blocked."""


@dataclass
class Ending:
    """What came of a ticket with KIFF.

    Args:
        outcomes: the answers in order: `executed`, how it ended otherwise, or the code of the refusal.
        reviewer: who said yes in between.
        receipts: one for each answer.
    """

    outcomes: list[str] = field(default_factory=list)
    reviewer: str = ""
    receipts: list[str] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    def heard(self, answer: Answer) -> None:
        status, body = answer
        self.last = body
        result = body.get("result", body)
        ended = "executed" if result.get("executed") else result.get("status")
        self.outcomes.append(ended or body.get("code", f"status {status}"))
        self.receipts.append(result.get("receipt_id", ""))


@dataclass
class Stage:
    """Where the tickets are worked on.

    Args:
        post: how KIFF is asked: a path, a key, a body.
        keys: one for each principal.
        actions: the names that kiff.yaml has.
        chooses: the agent's mind.
        world, ungoverned: the outside, with KIFF and without.
        promises: whether the endings are promised; those of a real model are not.
        deviations: whatever is not as promised.
        allowed: the operations that KIFF gave receipts for.
    """

    post: Post
    keys: Mapping[str, str]
    read: Reading
    actions: set[str]
    chooses: Choose
    screen: Screen
    world: Outside
    ungoverned: Outside
    promises: bool = True
    deviations: list[str] = field(default_factory=list)
    allowed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.run = 1
        while self.read.state(f"ticket:{tickets_of(self.run)[0][0].id}") is not None:
            self.run += 1
        self.tickets = tickets_of(self.run)
        self.first = self.tickets[0][0].id
        self.direct = over_a_bad_line(straight_out(self.ungoverned, self.actions))
        self.governed = over_a_bad_line(through_kiff(self.post, self.keys["support-agent"]))

    def play(self) -> None:
        for ticket, _ in self.tickets:
            self._receive(ticket)
        for number, (ticket, promise) in enumerate(self.tickets, 1):
            self.screen.text()
            self._ticket(number, ticket, promise)
        self.screen.text()
        self._sum()

    def _receive(self, ticket: Ticket) -> None:
        """What the helpdesk has to tell about a ticket."""
        for event in ticket.history:
            body = {"type": event, "source": "helpdesk", "entity_type": "ticket", "entity_id": ticket.id}
            status, said = self.post("/v1/events", self.keys["helpdesk"], body)
            if status != 201:
                self.deviations.append(f"{ticket.id}: {event} was not taken: {said['error']}")

    def _ticket(self, number: int, ticket: Ticket, promise: Promise) -> None:
        title = promise.title if self.promises else "the model's choice"
        try:
            call = self.chooses(ticket)
        except NoCall as why:
            self.screen.ticket(number, title, ticket.id, "no call", "skipped")
            self.screen.text(f'"{ticket.text}"')
            self.screen.fact("skipped", f"{why}; the ticket waits for a person")
            return
        work(self.direct, ticket, call)
        ending = self._governed(ticket, call)
        self.allowed |= {ending.last["result"]["operation_id"]} if "result" in ending.last else set()
        self._show(number, title, ticket, call, ending)
        if self.promises:
            self._compare(ticket, promise, call, ending)

    def _governed(self, ticket: Ticket, call: Call) -> Ending:
        """With KIFF. A held call goes to a person, and if they say yes the agent asks again."""
        ending = Ending()
        ending.heard(work(self.governed, ticket, call))
        approval = ending.last.get("approval_id")
        if ending.outcomes == ["approval_required"] and approval is not None:
            verb, reason = _looked_at(ticket, call)
            body = {"actor": {"id": "team-lead", "type": "human"}, "reason": reason}
            status, said = self.post(f"/v1/approvals/{approval}/{verb}", self.keys["team-lead"], body)
            if status == 200 and verb == "grant":
                ending.reviewer = said["approval"]["reviewed_by"]
            ending.heard(work(self.governed, ticket, call, approval))
        return ending

    def _show(self, number: int, title: str, ticket: Ticket, call: Call, ending: Ending) -> None:
        self.screen.ticket(number, title, ticket.id, _shown(call), GLYPH.get(ending.outcomes[-1], "blocked"))
        self.screen.text(f'"{ticket.text}"')
        without, effects = len(self.ungoverned.effects(ticket.id)), len(self.world.effects(ticket.id))
        more = _more(self.ungoverned, self.world, ticket.id)
        self.screen.fact("without", counted(without) + (f", {more} that nobody allowed" if more else ""))
        for outcome, receipt in zip(ending.outcomes[:-1], ending.receipts, strict=False):
            self.screen.fact("held" if outcome == "approval_required" else outcome, "a person is asked", receipt)
        self.screen.fact("with", f"{counted(effects)}{_why(ending)}", ending.receipts[-1])

    def _compare(self, ticket: Ticket, promise: Promise, call: Call, ending: Ending) -> None:
        state = self.read.state(f"ticket:{ticket.id}")
        found = Promise(
            title=promise.title,
            action=call.action,
            outcomes=tuple(ending.outcomes),
            reviewer=ending.reviewer,
            without=len(self.ungoverned.effects(ticket.id)),
            effects=len(self.world.effects(ticket.id)),
            state=state.state if state is not None and state.state is not None else "nowhere",
        )
        for name, expected, is_so in zip(Promise._fields, promise, found, strict=True):
            if expected != is_so:
                what = f"{promise.title} ({ticket.id}): {name}"
                self.deviations.append(f"{what}: expected {_told(expected)}, found {_told(is_so)}")

    def _sum(self) -> None:
        """The difference, over this run."""
        ids = [ticket.id for ticket, _ in self.tickets]
        without = sum(len(self.ungoverned.effects(ticket)) for ticket in ids)
        effects = [effect["key"] for ticket in ids for effect in self.world.effects(ticket)]
        bare = sum(key not in self.allowed for key in effects)
        more = sum(_more(self.ungoverned, self.world, ticket) for ticket in ids)
        self.screen.fact("without", f"{counted(without)}, {more} that nobody allowed; nothing says who, or why")
        self.screen.fact("with", f"{counted(len(effects))}, {f'{bare} without' if bare else 'each with its'} receipt")


def _looked_at(ticket: Ticket, call: Call) -> tuple[str, str]:
    """The person: yes to the amount that the customer wrote, no to any other."""
    amount = call.parameters.get("amount")
    if isinstance(amount, int | float) and f"${amount:g} " in ticket.text:
        return "grant", "the charge is there twice"
    return "deny", "the customer did not ask for that"


def counted(effects: int) -> str:
    return f"{effects} effect{'s' * (effects != 1)}"


def _more(ungoverned: Outside, world: Outside, ticket: str) -> int:
    """How many effects there are without KIFF that there are not with it."""
    without, effects = (Counter(each["action"] for each in side.effects(ticket)) for side in (ungoverned, world))
    return (without - effects).total()


def _why(ending: Ending) -> str:
    """Who allowed it, or what refused it."""
    body = ending.last
    if ending.outcomes[-1] == "executed":
        return f", {ending.reviewer} granted it" if ending.reviewer else ", nobody had to be asked"
    if ending.outcomes[-1] == "state_not_allowed" and "current_state" in body:
        return f", state_not_allowed: {body['current_state']}, needs {' or '.join(body['allowed_states'])}"
    return f", {ending.outcomes[-1]}: {body.get('message') or body.get('error') or body['result']['message']}"


def _shown(call: Call) -> str:
    amount = call.parameters.get("amount")
    return f"{call.action} ${amount:,.2f}" if isinstance(amount, int | float) else call.action


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
