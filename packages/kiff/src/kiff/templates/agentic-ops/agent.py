"""The agent: it reads a ticket, picks one action, and asks for it until it gets an answer.

It is confident and careless: it never looks whether the customer agreed, nor who should be asked. `choose` is a
deterministic stub; `model.py` puts a real model in its place. KIFF cannot tell, and need not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from outside import Outside
from tickets import Ticket

Answer = tuple[int, dict[str, Any]]
"""An HTTP status, and the body."""

Post = Callable[[str, str, dict[str, Any]], Answer]
"""(path, key, body) -> answer."""

AGENT = {"id": "support-agent", "type": "agent"}
TRIES = 3


class Call(NamedTuple):
    """What an agent wants to do about a ticket."""

    action: str
    parameters: dict[str, Any]


class NoCall(Exception):
    """Whoever chooses did not choose an action; the text says why."""


Choose = Callable[[Ticket], Call]
Tool = Callable[[Ticket, Call, str | None], Answer]
"""Does what a call says, or asks for it; the third argument is the approval it was given."""


def choose(ticket: Ticket) -> Call:
    """The stub: a few words of the ticket decide."""
    if money := re.search(r"\$(\d+)", ticket.text):
        return Call("ISSUE_CREDIT", {"amount": int(money[1]), "reason": ticket.text})
    if "lawyer" in ticket.text:
        return Call("ESCALATE", {"reason": ticket.text})
    if "thank" in ticket.text:
        return Call("CLOSE_TICKET", {})
    return Call("SEND_REPLY", {"text": f"Dear customer, about your question: {ticket.text} Please see our help page."})


def work(tool: Tool, ticket: Ticket, call: Call, approval_id: str | None = None) -> Answer:
    """Asks until there is an answer, as agents do.

    Raises:
        TimeoutError: there was none, every time.
    """
    for _ in range(TRIES - 1):
        try:
            return tool(ticket, call, approval_id)
        except TimeoutError:
            continue
    return tool(ticket, call, approval_id)


def through_kiff(post: Post, key: str) -> Tool:
    """The agent's only tool with KIFF: it asks. Give it another `post`, and it asks a server.

    A repeated call has the same id, so KIFF answers it as it did the first time.
    """

    def ask(ticket: Ticket, call: Call, approval_id: str | None) -> Answer:
        body = {"entity_type": "ticket", "actor": AGENT, "parameters": call.parameters, "id": f"call-{ticket.id}"}
        if approval_id is not None:
            body["approval_id"] = approval_id
        return post(f"/v1/entities/{ticket.id}/actions/{quote(call.action, safe='')}/execute", key, body)

    return ask


def straight_out(world: Outside, actions: set[str]) -> Tool:
    """The agent's tools without KIFF: it has the keys to everything, and every call is an effect.

    Args:
        actions: the tools that there are.
    """

    def do(ticket: Ticket, call: Call, _: str | None) -> Answer:
        if call.action not in actions:
            return 404, {"error": "no such tool", "code": "unknown_action"}
        world.do(call.action, ticket.id, call.parameters, key=f"call-{ticket.id}")
        return 200, {"result": {"executed": True}}

    return do


def over_a_bad_line(tool: Tool) -> Tool:
    """Every request arrives. Of some tickets, the first answer that something was done does not."""
    lost = set()

    def call(ticket: Ticket, call: Call, approval_id: str | None) -> Answer:
        answer = tool(ticket, call, approval_id)
        if ticket.answer_lost and answer[0] == 200 and ticket.id not in lost:
            lost.add(ticket.id)
            raise TimeoutError("no answer")
        return answer

    return call
