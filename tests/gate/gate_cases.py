"""A domain, a proposal that nothing speaks against, and facts that allow it; each test changes one thing."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from kiff import Caller, Domain, Principal, load
from kiff.canonical import admit
from kiff.gate import decide
from kiff.protocol.decision import Decision, Facts
from kiff.protocol.proposal import Proposal, draw_up

DOMAIN: Domain = load("""
domain: shop
version: v1
entity: Order
events: [PAID]
states: [OPEN, PAID]
transitions:
  - {on: PAID, to: PAID}
actions:
  - name: REFUND
    allowed_states: [PAID]
    required_parameters: [amount, reason]
    required_permissions: [orders.refund, orders.see]
    risk: low
    approval: never
    executor: shop.refund
    parameters:
      amount: {type: number, maximum: 100}
      reason: {type: string, maxLength: 20}
  - name: REFUND_MUCH
    allowed_states: [PAID]
    required_permissions: [orders.refund]
    risk: high
    approval: required
    executor: shop.refund
  - name: REFUND_PERHAPS
    allowed_states: [PAID]
    required_permissions: [orders.refund]
    risk: high
    approval: conditional
    executor: shop.refund
  - name: LOOK
    allowed_states: [PAID]
    required_permissions: [orders.see]
    risk: low
    approval: never
    executor: shop.look
    lock: none
permissions:
  roles:
    agent: [orders.refund]
    viewer: [orders.see]
""")
AGENT = Caller(Principal("ops-agent", "agent"), ("agent", "viewer"))
FACTS = Facts(state="PAID", version=1, roles=AGENT.roles, executor_ready=True)


def proposal(action: str = "REFUND", parameters: dict[str, Any] | None = None, mode: str = "execute") -> Proposal:
    given = {"amount": 49, "reason": "asked"} if parameters is None and action == "REFUND" else parameters or {}
    admitted = admit(given)
    return draw_up(
        AGENT,
        id="prop_1",
        mode=mode,  # type: ignore[arg-type]  # execute | decide
        domain="shop",
        entity="order:ord_1",
        action=action,
        parameters=admitted.value,
        parameters_json=admitted.data,
        about={},
        settles=False,
    )


def asked(what: Proposal | None = None, domain: Domain | None = DOMAIN, **facts: Any) -> Decision:
    """The decision about this proposal, with these facts other than those that allow it."""
    return decide(domain, proposal() if what is None else what, replace(FACTS, **facts))


def codes(decision: Decision) -> list[str]:
    return [objection.code for objection in decision.objections]
