"""A shop whose refunds are made somewhere else: over HTTPS, or by a tool of an MCP server."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiff import Caller, Domain, Operation, Principal, Runtime, load
from kiff.ledger.keys import Ed25519Signer
from kiff.protocol.clearance import Clearance
from kiff.runtime.clock import SystemClock
from kiff.server.egress import Egress, policy_of
from kiff.server.remote_executors import RemoteExecutors
from kiff.server.remote_settings import HttpsExecutor, McpServer, RemoteSettings
from kiff.stores.memory import MemoryStore

SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
SECRET = "whsec_" + b64encode(b"k" * 32).decode()
OLD_SECRET = "whsec_" + b64encode(b"o" * 32).decode()
STRIPE = Caller(Principal("stripe", "service"), ("event_source",))
AGENT = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
HUMAN = Caller(Principal("ops-human", "human"), ("ops_operator",))
PATIENCE_SECONDS = 20.0

SHOP = """
domain: shop
version: v1
entity: Order
events: [PLACED, REFUNDED]
states: [OPEN, REFUNDED]
transitions:
  - {{on: PLACED, to: OPEN}}
  - {{on: REFUNDED, from: OPEN, to: REFUNDED}}
actions:
  - name: REFUND
    allowed_states: [OPEN]
    required_permissions: [orders.refund]
    risk: low
    approval: never
    executor: {address}
    emits: [REFUNDED]
    timeout: {timeout}
  - name: REFUND_MUCH
    allowed_states: [OPEN]
    required_permissions: [orders.refund]
    risk: high
    approval: required
    executor: {address}
    emits: [REFUNDED]
    timeout: {timeout}
    approval_policy: {{permissions: [orders.approve], on_grant: run}}
permissions:
  roles: {{ops_agent: [orders.refund], ops_operator: [orders.approve], event_source: [events.ingest]}}
"""


def shop(address: str, timeout: str = "20s") -> Domain:
    return load(SHOP.format(address=address, timeout=timeout))


class Desk:
    """A runtime over the shop, and what a test asks it.

    Args:
        address: the executor's.
        options: of the runtime.
    """

    def __init__(self, address: str, remote: RemoteExecutors, timeout: str = "20s", **options: Any) -> None:
        self.remote = remote
        self.store = MemoryStore()
        self.runtime = Runtime(self.store, SIGNER, domains=[shop(address, timeout)], remote=remote, **options)

    def place(self, *orders: str) -> None:
        for order in orders:
            self.runtime.ingest(STRIPE, type="PLACED", entity=f"order:{order}").result(PATIENCE_SECONDS)

    def ask(self, order: str, **more: Any) -> Any:
        return self.runtime.execute(AGENT, entity=f"order:{order}", action="REFUND", **more)

    def refund(self, order: str = "ord_1", **more: Any) -> Any:
        """Places an order, and refunds it."""
        self.place(order)
        return self.ask(order, **more).result(PATIENCE_SECONDS)

    def operation(self, answer: Any) -> Clearance:
        """The operation of an answer, as the store has it."""
        row = self.store.row(Clearance, "default", answer.operation_id)
        assert row is not None
        return row

    def state(self, order: str = "ord_1") -> str | None:
        found = self.runtime.read.state(f"order:{order}")
        return None if found is None else found.state


def operation(id: str, tenant: str = "default") -> Operation:
    """One that no runtime knows of."""
    return Operation(id, tenant, "order", "ord_1", "REFUND", {}, "ops-agent", 0, 1, None, "rcpt_1", "trace_1")


@contextmanager
def desk(
    address: str,
    *,
    https: HttpsExecutor | None = None,
    mcp: McpServer | None = None,
    timeout: str = "20s",
    context: ssl.SSLContext | None = None,
    allow: tuple[str, ...] = ("127.0.0.1:*",),
    resolve: Callable[[str, int], list[str]] | None = None,
    clock: Any = None,
) -> Iterator[Desk]:
    """A desk whose operator allows loopback, signs with SECRET, and names the MCP server `payments`."""
    host = address.removeprefix("https://").partition("/")[0]
    settings = RemoteSettings(
        {f"default/{host}": https or HttpsExecutor((SECRET,))} if address.startswith("https") else {},
        {} if mcp is None else {"payments": mcp},
    )
    egress = Egress(policy_of(allow), context=context, resolve=resolve)
    remote = RemoteExecutors(settings, egress, clock or SystemClock())
    made = Desk(address, remote, timeout)
    try:
        yield made
    finally:
        made.runtime.close()
