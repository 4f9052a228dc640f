"""Tills where anything happens, for tests of simulation: rules, limits of every kind, grants, denials, lost answers."""

from __future__ import annotations

import random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiff import ActionFailed, Caller, Domain, KiffError, Operation, Principal, Runtime, load
from kiff.analysis.simulate import Draft, Question, Simulated, simulate
from kiff.ledger import Ed25519Signer
from kiff.runtime.clock import SystemClock
from kiff.stores.memory import MemoryStore

SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
START = 1_780_000_000_000
HOUR = 3_600_000
TILL = """
domain: till
version: v1
entity: Till
attributes:
  paid: {type: number, minimum: 0, default: 0, unit: USD}
  note: {type: string, optional: true}
events: [OPENED, PAID_OUT, CLOSED]
payloads: {PAID_OUT: {amount: {type: number, unit: USD}}}
states: [OPEN, SHUT]
transitions:
  - {on: OPENED, to: OPEN}
  - {on: OPENED, from: SHUT, to: OPEN}
  - {on: PAID_OUT, from: OPEN, set: {paid: entity.paid + event.amount}}
  - {on: CLOSED, from: OPEN, to: SHUT}
schedules:
  office: {timezone: America/New_York, days: [mon, tue, wed, thu, fri], hours: "08:00-20:00"}
actions:
  - name: PAY
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [till.pay]
    risk: low
    approval: conditional
    executor: till.pay
    emits: {success: [PAID_OUT], failure: []}
    parameters:
      amount: {type: number, exclusiveMinimum: 0, maximum: 10000, unit: USD}
      for: {type: string, maxLength: 100, sensitive: true}
    approval_policy: {permissions: [till.approve], expires: 6h, use_within: 1h}
    lock: none
    rules:
      - {id: large, when: parameters.amount > 50, then: require_approval}
      - {id: two_people, when: parameters.amount > 500, then: require_approval, quorum: 2}
      - {id: much_paid, when: entity.paid > 20000, then: deny}
      - {id: off_hours, when: "!schedule.office", then: require_approval, mode: shadow}
    limits:
      - {id: calls, kind: rate, max: 8, per: 96h, key: actor.id}
      - {id: daily, kind: budget, max: 1500, per: day, amount: parameters.amount, key: actor.id}
      - {id: rolling, kind: budget, max: 800, per: 6h, amount: parameters.amount, over: require_approval}
      - {id: flying, kind: concurrency, max: 3}
  - name: CLOSE
    allowed_states: [OPEN]
    required_permissions: [till.pay]
    risk: medium
    approval: required
    executor: till.pay
    emits: {success: [CLOSED], failure: []}
    approval_policy: {permissions: [till.approve], expires: 6h, use_within: 1h, on_grant: run}
permissions:
  roles: {ops_agent: [till.pay], ops_operator: [till.approve], event_source: [events.ingest], nobody: []}
"""
AGENT = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
OTHER = Caller(Principal("other-agent", "agent"), ("ops_agent",))
NOBODY = Caller(Principal("nobody", "agent"), ("nobody",))
HUMAN = Caller(Principal("ops-human", "human"), ("ops_operator",))
SECOND = Caller(Principal("olga", "human"), ("ops_operator",))
OWNER = Caller(Principal("ada", "human"), ("tenant_owner",))
SOURCE = Caller(Principal("source", "service"), ("event_source",))


class SetClock(SystemClock):
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return 0.0


class Till:
    """A runtime over tills, whose executor does what it is told."""

    def __init__(self, text: str = TILL) -> None:
        self.clock = SetClock()
        self.store = MemoryStore(self.clock)
        self.behaviour = "pay"
        self.runtime = Runtime(
            self.store,
            SIGNER,
            domains=[load(text)],
            executors={"till.pay": self._run},
            clock=self.clock,
            vault=b"v" * 32,
        )
        self.open("t1")

    def _run(self, operation: Operation) -> Any:
        if self.behaviour == "fail":
            raise ActionFailed("no money")
        if self.behaviour == "lose":
            raise ConnectionError("the line went dead")
        return {"status": "succeeded"}

    def open(self, till: str) -> None:
        self.runtime.ingest(SOURCE, type="OPENED", entity=f"till:{till}").result()

    def pay(self, amount: float, till: str = "t1", *, who: Caller = AGENT, secret: str = "rent", **more: Any) -> Any:
        parameters = {"amount": amount, "for": secret}
        return self.runtime.execute(who, entity=f"till:{till}", action="PAY", parameters=parameters, **more).result()

    def grant(self, approval_id: str, who: Caller = HUMAN) -> Any:
        return self.runtime.grant(who, approval_id, "seen").result()

    def deny(self, approval_id: str) -> Any:
        return self.runtime.deny(HUMAN, approval_id, "no").result()

    def settle_as(self, lost: Any, status: Any) -> None:
        self.runtime.settle(HUMAN, lost.operation_id, status, message="seen").result()

    def later(self, milliseconds: int) -> None:
        self.clock.at += milliseconds
        self.runtime._sweeper._due()

    def simulate(self, draft: Domain | str | Draft, **question: Any) -> Simulated:
        if isinstance(draft, str):
            draft = load(draft)
        if isinstance(draft, Domain):
            draft = Draft(draft)
        return simulate(self.store, draft, Question(**question))


class Life:
    """Random deeds at three tills."""

    def __init__(self, seed: int, text: str = TILL) -> None:
        self.random = random.Random(seed)
        self.till = Till(text)
        self.calls: list[tuple[str, float, str, Caller]] = []
        for name in ("t2", "t3"):
            self.till.open(name)

    def live(self, deeds: int) -> Till:
        for _ in range(deeds):
            self.till.clock.at += self.random.choice((0, 0, 1, 90_000, 600_000, HOUR, 7 * HOUR))
            self.till.behaviour = self.random.choice(("pay", "pay", "pay", "pay", "fail", "lose"))
            try:
                self.random.choice(self._deeds())()
            except KiffError:
                continue  # a refusal that raises is as good a deed as any
        self.till.runtime.close()
        return self.till

    def _deeds(self) -> list[Any]:
        often = [self._pay] * 5 + [self._decide] * 2 + [self._grant] * 3
        return [*often, self._deny, self._use, self._settle, self._close, self._sweep, self._reopen]

    def _amount(self) -> float:
        return self.random.choice((5, 20.5, 49.99, 50, 50.01, 55, 60, 75, 200, 499.5, 700, 1500, 0, 20000))

    def _pay(self) -> None:
        till, amount = self.random.choice(("t1", "t2", "t3")), self._amount()
        who = self.random.choice((AGENT, AGENT, AGENT, OTHER, NOBODY))
        told = self.till.pay(amount, till, who=who)
        if told.outcome == "approval_required":
            self.calls.append((told.approval_id, amount, till, who))

    def _decide(self) -> None:
        parameters = {"amount": self._amount(), "for": "tea"}
        entity, settles = f"till:{self.random.choice(('t1', 't2'))}", self.random.random() < 0.5
        self.till.runtime.propose(AGENT, entity=entity, action="PAY", parameters=parameters, settles=settles).result()

    def _grant(self) -> None:
        waiting = self.till.runtime.read.approvals(status="pending")
        if waiting:
            self.till.grant(self.random.choice(waiting).id, self.random.choice((HUMAN, SECOND)))

    def _deny(self) -> None:
        waiting = self.till.runtime.read.approvals(status="pending")
        if waiting:
            self.till.deny(self.random.choice(waiting).id)

    def _use(self) -> None:
        if self.calls:
            approval, amount, till, who = self.random.choice(self.calls)
            self.till.pay(amount, till, who=who, approval_id=approval)

    def _settle(self) -> None:
        operations = [
            *self.till.runtime.read.operations(status="unknown"),
            *self.till.runtime.read.operations(status="open"),
        ]
        if operations:
            status = self.random.choice(("succeeded", "failed"))
            operation = self.random.choice(operations)
            who = AGENT if operation.mode == "decide" else HUMAN
            self.till.runtime.settle(who, operation.id, status, message="seen").result()

    def _close(self) -> None:
        entity = f"till:{self.random.choice(('t1', 't2', 't3'))}"
        self.till.runtime.execute(AGENT, entity=entity, action="CLOSE").result()

    def _reopen(self) -> None:
        self.till.open(self.random.choice(("t1", "t2", "t3")))

    def _sweep(self) -> None:
        self.till.runtime._sweeper._due()
