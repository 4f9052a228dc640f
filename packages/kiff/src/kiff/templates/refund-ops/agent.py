"""The agent: a deterministic stub that turns tickets into proposals. A model can take its place; KIFF cannot tell.

It is confident and careless: it never looks whether an order is paid, and it asks again when it is told no.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kiff import Caller, Pending, Principal, Runtime
from kiff.runtime.answers import Executed

SMALL = 100
"""US dollars; above it the agent knows that it has to ask for the larger action."""


class Ticket(NamedTuple):
    """What a customer wants.

    Args:
        order: `ord_001`.
        amount: US dollars.
    """

    order: str
    amount: float
    reason: str = "customer request"

    @property
    def entity(self) -> str:
        return f"order:{self.order}"

    @property
    def action(self) -> str:
        return "AUTO_REFUND" if self.amount <= SMALL else "REFUND_ORDER"


class Agent:
    """Proposes through the runtime. It holds no key to anything else."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._caller = Caller(Principal("ops-agent", "agent"), ("ops_agent",))

    def propose(self, ticket: Ticket, **again: Any) -> Pending[Executed]:
        """Asks for the refund of one ticket.

        Args:
            again: `id` and `approval_id`, when this repeats an earlier call.
        """
        return self._runtime.execute(
            self._caller,
            entity=ticket.entity,
            action=ticket.action,
            parameters={"amount": ticket.amount, "reason": ticket.reason},
            reasoning_summary=f"the customer of {ticket.order} asks for ${ticket.amount:,.2f} back",
            **again,
        )
