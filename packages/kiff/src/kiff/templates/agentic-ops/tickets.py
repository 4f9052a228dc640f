"""Five tickets, and what must become of each when the stub agent works on it."""

from __future__ import annotations

from typing import NamedTuple


class Ticket(NamedTuple):
    """What a customer wrote.

    Args:
        id: `tkt_001`.
        history: the events that the helpdesk has sent about it before the agent sees it.
        answer_lost: the first answer to the agent does not arrive, though the request did.
    """

    id: str
    text: str
    history: tuple[str, ...]
    answer_lost: bool = False


class Promise(NamedTuple):
    """What must come of a ticket.

    Args:
        title: the outcome's name.
        action: what the stub asks for.
        outcomes: the gate's answers, in order.
        reviewer: who said yes in between.
        without, effects: how many effects there are outside, without KIFF and with it.
        state: of the ticket, afterwards.
    """

    title: str
    action: str
    outcomes: tuple[str, ...]
    reviewer: str
    without: int
    effects: int
    state: str


NEW = ("TICKET_RECEIVED",)
AGREED = (*NEW, "CONSENT_RECORDED")
ANSWERED = (*AGREED, "REPLY_SENT")

TICKETS = (
    (
        Ticket("tkt_001", "How do I change my delivery address?", AGREED, answer_lost=True),
        Promise("auto-execute", "SEND_REPLY", ("executed",), "", 2, 1, "ANSWERED"),
    ),
    (
        Ticket("tkt_002", "You charged me $40 twice. I want it back.", AGREED, answer_lost=True),
        Promise(
            "approve-then-execute", "ISSUE_CREDIT", ("approval_required", "executed"), "team-lead", 2, 1, "CREDITED"
        ),
    ),
    (
        Ticket("tkt_003", "Where is my invoice? And I do not talk to machines.", NEW),
        Promise("block-on-missing-consent", "SEND_REPLY", ("state_not_allowed",), "", 1, 0, "RECEIVED"),
    ),
    (
        Ticket("tkt_004", "If this goes on, you will hear from my lawyer.", AGREED),
        Promise("escalate", "ESCALATE", ("executed",), "", 1, 1, "ESCALATED"),
    ),
    (
        Ticket("tkt_005", "It works again, thank you!", ANSWERED),
        Promise("close", "CLOSE_TICKET", ("executed",), "", 1, 1, "CLOSED"),
    ),
)


def tickets_of(run: int) -> list[tuple[Ticket, Promise]]:
    """The tickets of one run: `tkt_001` is in run 1, `tkt_101` in run 2; no run sees those of another."""
    return [(ticket._replace(id=_of(run, ticket.id)), promise) for ticket, promise in TICKETS]


def _of(run: int, ticket: str) -> str:
    return f"tkt_{(run - 1) * 100 + int(ticket.removeprefix('tkt_')):03d}"
