"""A small shop over a store that a test can hold up, break, or have somebody else write to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiff import Caller, Domain, Operation, Principal, Runtime, load
from kiff.ledger.keys import Ed25519Signer
from kiff.runtime.ports import Append, Store
from kiff.stores.memory import MemoryStore

SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
STRIPE = Caller(Principal("stripe", "service"), ("event_source",))
AGENT = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
HUMAN = Caller(Principal("ops-human", "human"), ("ops_operator",))
POISON = "order:poison"
PATIENCE_SECONDS = 20.0

SHOP = """
domain: shop
version: v1
entity: Order
events: [PLACED, REFUNDED]
states: [OPEN, REFUNDED]
transitions:
  - {on: PLACED, to: OPEN}
  - {on: REFUNDED, from: OPEN, to: REFUNDED}
actions:
  - name: REFUND
    allowed_states: [OPEN]
    required_permissions: [orders.refund]
    risk: low
    approval: never
    executor: shop.refund
    emits: [REFUNDED]
  - name: REFUND_MUCH
    allowed_states: [OPEN]
    required_permissions: [orders.refund]
    risk: high
    approval: required
    executor: shop.refund
    emits: [REFUNDED]
    approval_policy: {permissions: [orders.approve], on_grant: run}
permissions:
  roles: {ops_agent: [orders.refund], ops_operator: [orders.approve], event_source: [events.ingest]}
"""


def shop() -> Domain:
    return load(SHOP)


class Spied:
    """A store in front of another one. `before` and `after` see every batch on its way in."""

    exclusive = True

    def __init__(self, store: Store | None = None) -> None:
        self.inner = store or MemoryStore()
        self.before: Callable[[Append], None] = lambda batch: None
        self.after: Callable[[Append], None] = lambda batch: None
        self.batches: list[int] = []

    def append(self, batch: Append) -> None:
        self.before(batch)
        self.inner.append(batch)
        self.batches.append(len(batch.records))
        self.after(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Door:
    """Keeps whoever comes through waiting until it is opened."""

    def __init__(self) -> None:
        self._someone = threading.Event()
        self._open = threading.Event()

    def __call__(self, batch: object) -> None:
        self._someone.set()
        assert self._open.wait(PATIENCE_SECONDS), "nobody opened the door"

    def wait_for_someone(self) -> None:
        assert self._someone.wait(PATIENCE_SECONDS), "nobody came"

    def open(self) -> None:
        self._open.set()


class Refunds:
    """The executor, and how often it ran."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, operation: Operation) -> dict[str, Any]:
        self.made.append(operation.entity_id)
        return {"status": "succeeded"}


def opened(store: Any, refunds: Refunds | None = None, **options: Any) -> Runtime:
    return Runtime(store, SIGNER, domains=[shop()], executors={"shop.refund": refunds or Refunds()}, **options)


def place(runtime: Runtime, entity: str, **more: Any) -> Any:
    return runtime.ingest(STRIPE, type="PLACED", entity=entity, **more)


def told(pending: Any) -> Any:
    """The answer, or what was raised instead."""
    try:
        return pending.result(timeout=PATIENCE_SECONDS)
    except Exception as error:  # noqa: BLE001  whatever came is what the test looks at
        return error
