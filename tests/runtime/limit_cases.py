"""A till with limits: what a test needs to spend from it, hold, deny, fail, lose and count."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lane_cases import AGENT, HUMAN, SIGNER, STRIPE, told

from kiff import ActionFailed, Caller, Operation, Principal, Runtime, load
from kiff.analysis.replay import replay_store
from kiff.analysis.verify import verify_store
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
MOVES = TILL.replace(
    "events: [OPENED, PAID_OUT]",
    "attributes: {region: {type: string, maxLength: 20, default: a}}\n"
    "events: [OPENED, MOVED, SHUT, PAID_OUT]\n"
    "payloads: {MOVED: {to: {type: string, maxLength: 20}}}",
).replace(
    "states: [OPEN]\ntransitions:",
    "states: [OPEN, CLOSED]\ntransitions:\n"
    "  - {on: MOVED, from: OPEN, set: {region: event.to}}\n"
    "  - {on: SHUT, from: OPEN, to: CLOSED}\n"
    "  - {on: OPENED, from: CLOSED, to: OPEN}",
)
"""A till that moves between regions, and is shut and opened again."""
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
        self,
        limit: str = BUDGET,
        *,
        approval: str = "never",
        rules: str = "",
        store: Store | None = None,
        text: str = TILL,
    ) -> None:
        self.clock, self.payer = SetClock(), Payer()
        self.store = store or MemoryStore(self.clock)
        self.text = text % {"limit": limit, "approval": approval, "rules": rules}
        self.runtime = Runtime(
            self.store, SIGNER, domains=[load(self.text)], executors={"till.pay": self.payer}, clock=self.clock
        )
        told(self.runtime.ingest(STRIPE, type="OPENED", entity="till:t1"))

    def pay(self, amount: float = 1, *, who: Caller = AGENT, **more: Any) -> Any:
        return told(self.runtime.execute(who, entity="till:t1", action="PAY", parameters={"amount": amount}, **more))

    def grant(self, held: Any, who: Caller = HUMAN) -> Any:
        return told(self.runtime.grant(who, held.approval_id, "seen"))

    def deny(self, held: Any) -> Any:
        return told(self.runtime.deny(HUMAN, held.approval_id, "no"))

    def told(self, type: str, **payload: Any) -> Any:
        return told(self.runtime.ingest(STRIPE, type=type, entity="till:t1", payload=payload))

    def change(self, *edits: tuple[str, str]) -> Any:
        """Activates the next version of its domain, edited."""
        text = self.text.replace("version: v1", "version: v2")
        for old, new in edits:
            assert old in text, f"`{old}` is not in the domain"
            text = text.replace(old, new)
        return told(self.runtime.activate(OWNER, load(text)))

    def usages(self) -> list[bytes]:
        return [row.state for row in self.store.rows(Usage, "default")]


@contextmanager
def till(limit: str = BUDGET, **options: Any) -> Iterator[TillRuntime]:
    """A till whose log and rows are verified, and whose history is decided again, at the end."""
    opened = TillRuntime(limit, **options)
    try:
        yield opened
    finally:
        opened.payer.door.set()
        opened.runtime.close()
    assert verify_store(opened.store, TRUSTED).problems == ()
    assert replay_store(opened.store).problems == ()


OTHER = Caller(Principal("other-agent", "agent"), ("ops_agent",))
OWNER = Caller(Principal("root", "human"), ("tenant_owner",))
