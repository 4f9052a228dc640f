"""A desk whose refunds have a reason and an account that are `sensitive`; its executor keeps what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lane_cases import AGENT, SIGNER, STRIPE

from kiff import Caller, Domain, Operation, Principal, Runtime, load
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.sealed import Sealed
from kiff.runtime.ports import Store
from kiff.stores.memory import MemoryStore

CANARY = "canary-5d41402abc4b2a76"
SECRET = b"\x05" * 32
OWNER = Caller(Principal("olga", "human"), ("tenant_owner",))
REVIEWER = Caller(Principal("ops-human", "human"), ("ops_operator",))
ORDER = "order:o_1"

DESK = """
domain: desk
version: v1
entity: Order
events: [PLACED, REFUNDED]
states: [OPEN, REFUNDED]
transitions:
  - {on: PLACED, to: OPEN}
  - {on: REFUNDED, from: OPEN, to: REFUNDED}
actions:
  - {name: NOTE, allowed_states: [OPEN], required_permissions: [orders.refund], risk: low, approval: never, lock: none}
ACTIONS
permissions:
  roles: {ops_agent: [orders.refund], ops_operator: [orders.approve], event_source: [events.ingest]}
"""
ACTION = """
  - name: NAME
    allowed_states: [OPEN]
    required_parameters: [amount, reason]
    required_permissions: [orders.refund]
    risk: low
    approval: conditional
    executor: desk.refund
    emits: [REFUNDED]
    parameters:
      amount: {type: integer, minimum: 1, maximum: 1000}
      reason: {type: string, minLength: 5, sensitive: true}
      account: {type: object, properties: {iban: {type: string}}, sensitive: true}
    rules:
      - {id: fraud, when: 'parameters.reason == "stolen"', then: deny}
      - {id: much, when: parameters.amount > 50, then: require_approval}
    approval_policy: {permissions: [orders.approve], on_grant: WAY}
"""


def desk(version: str = "v1", *, marked: bool = True) -> Domain:
    """REFUND waits for its caller when it was held, RUN runs at once; in other versions perhaps without the marks."""
    ways = (("REFUND", "wait"), ("RUN", "run"))
    actions = "".join(ACTION.replace("NAME", name).replace("WAY", way) for name, way in ways)
    text = DESK.replace("ACTIONS", actions).replace("version: v1", f"version: {version}")
    return load(text if marked else text.replace(", sensitive: true", ""))


class Desk:
    """A runtime with an order, and what its executor was given."""

    def __init__(self, store: Store | None = None, **options: Any) -> None:
        self.store = store or MemoryStore()
        self.given: list[dict[str, Any]] = []
        options = {"vault": SECRET, "domains": [desk()]} | options
        self.runtime = Runtime(self.store, SIGNER, executors={"desk.refund": self._refund}, **options)

    def place(self, entity: str = ORDER) -> Desk:
        self.runtime.ingest(STRIPE, type="PLACED", entity=entity).result()
        return self

    def refund(self, amount: int = 49, reason: Any = CANARY, action: str = "REFUND", **more: Any) -> Any:
        """The answer, or what was raised instead."""
        named = {"entity": ORDER} | more
        parameters = {"amount": amount, "reason": reason} | named.pop("parameters", {})
        try:
            return self.runtime.execute(AGENT, action=action, parameters=parameters, **named).result(20)
        except Exception as error:  # noqa: BLE001  whatever came is what the test looks at
            return error

    def grant(self, approval_id: str, who: Caller = REVIEWER) -> Any:
        return self.runtime.grant(who, approval_id, "looked at it").result(20)

    def kept(self) -> dict[str, Sealed]:
        """What the vault has, by parameter."""
        return {row.name: row for row in self.store.rows(Sealed, "default")}

    def approval(self, approval_id: str) -> ApprovalRequest:
        row = self.store.row(ApprovalRequest, "default", approval_id)
        assert row is not None
        return row

    def records(self, kind: str) -> list[dict[str, Any]]:
        found = self.runtime.timeline(OWNER, ORDER)
        return [record["data"] for record in found if record["kind"] == kind]

    def _refund(self, operation: Operation) -> dict[str, Any]:
        self.given.append(operation.parameters)
        return {"status": "succeeded"}


@contextmanager
def opened(store: Store | None = None, **options: Any) -> Iterator[Desk]:
    desk = Desk(store, **options)
    with desk.runtime:
        yield desk
