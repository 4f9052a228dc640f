"""A till with limits: what a test needs to spend from it, hold, deny, fail, lose and count."""

from __future__ import annotations

import threading
from typing import Any

from lane_cases import AGENT, HUMAN, SIGNER, STRIPE, told

from kiff import ActionFailed, Caller, Operation, Principal, Runtime, load
from kiff.ledger.keys import PublicKeys, jwks, parse_jwks
from kiff.protocol.limit import Usage
from kiff.runtime.clock import SystemClock
from kiff.runtime.ports import Store
from kiff.stores.memory import MemoryStore

TRUSTED: PublicKeys = parse_jwks(jwks([SIGNER.public]))
START = 1_780_000_000_000
TILL = """
domain: till
version: v1
entity: Till
events: [OPENED, PAID_OUT]
states: [OPEN]
transitions:
  - {on: OPENED, to: OPEN}
  - {on: PAID_OUT, from: OPEN}
actions:
  - name: PAY
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [till.pay]
    risk: low
    approval: %(approval)s
    executor: till.pay
    emits: {success: [PAID_OUT], failure: []}
    parameters: {amount: {type: number, minimum: 0, maximum: 10000, unit: USD}}
    approval_policy: {expires: 1h}
    lock: none
    limits:
      - %(limit)s
%(rules)s
permissions:
  roles: {ops_agent: [till.pay], ops_operator: [till.approve], event_source: [events.ingest]}
"""
BUDGET = "{id: daily, kind: budget, max: 100, per: day, amount: parameters.amount, key: actor.id}"
RATE = "{id: calls, kind: rate, max: 3, per: 1h, key: actor.id}"
FLIGHT = "{id: flying, kind: concurrency, max: 2}"


class SetClock(SystemClock):
    """A wall clock that stands where it was put."""

    def __init__(self, at: int = START) -> None:
        self.at = at

    def now(self) -> int:
        return self.at


class Payer:
    """The executor: pays, fails, is silent, or waits at a door."""

    def __init__(self) -> None:
        self.paid: list[float] = []
        self.behaviour = "pay"
        self.door = threading.Event()

    def __call__(self, operation: Operation) -> Any:
        if self.behaviour == "wait":
            assert self.door.wait(20), "nobody opened the door"
        if self.behaviour == "fail":
            raise ActionFailed("no money")
        if self.behaviour == "lose":
            raise ConnectionError("the line went dead")
        self.paid.append(operation.parameters["amount"])
        return {"status": "succeeded"}


class TillRuntime:
    """A runtime over one till, with its clock and its payer."""

    def __init__(
        self, limit: str = BUDGET, *, approval: str = "never", rules: str = "", store: Store | None = None
    ) -> None:
        self.clock, self.payer = SetClock(), Payer()
        self.store = store or MemoryStore(self.clock)
        text = TILL % {"limit": limit, "approval": approval, "rules": rules}
        self.runtime = Runtime(
            self.store, SIGNER, domains=[load(text)], executors={"till.pay": self.payer}, clock=self.clock
        )
        told(self.runtime.ingest(STRIPE, type="OPENED", entity="till:t1"))

    def pay(self, amount: float = 1, *, who: Caller = AGENT, **more: Any) -> Any:
        return told(self.runtime.execute(who, entity="till:t1", action="PAY", parameters={"amount": amount}, **more))

    def grant(self, held: Any) -> Any:
        return told(self.runtime.grant(HUMAN, held.approval_id, "seen"))

    def deny(self, held: Any) -> Any:
        return told(self.runtime.deny(HUMAN, held.approval_id, "no"))

    def usages(self) -> list[bytes]:
        return [row.state for row in self.store.rows(Usage, "default")]


OTHER = Caller(Principal("other-agent", "agent"), ("ops_agent",))
