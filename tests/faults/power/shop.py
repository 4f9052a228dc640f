"""The shop that loses its power: refunds with a reason that is sealed, a budget, holds, and a folder of its own.

shop.db, shop.db-wal, shop.db.lock    the store
key.pem, key.jwks.json                the signing key
vault.key                             the secret of what is sealed
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from kiff import Caller, Domain, Operation, Principal, Runtime, load
from kiff.runtime.pending import Pending
from kiff.stores.keyfile import load_or_create, vault_secret
from kiff.stores.sqlite import SqliteStore

TENANT = "default"
STRIPE = Caller(Principal("stripe", "service"), ("event_source",))
AGENT = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
HUMAN = Caller(Principal("ops-human", "human"), ("ops_operator",))
OWNER = Caller(Principal("olga", "human"), ("tenant_owner",))

_ACTION = """
  - name: NAME
    allowed_states: [PAID]
    required_parameters: [amount, reason]
    required_permissions: [orders.refund]
    risk: low
    approval: APPROVAL
    executor: refund.issue
    emits: [REFUNDED]
    parameters:
      amount: {type: integer, minimum: 1, maximum: 1000}
      reason: {type: string, minLength: 1, sensitive: true}
    limits:
      - {id: daily, kind: budget, max: 1000000, per: day, amount: parameters.amount}
"""
_DOMAIN = f"""
domain: powered
version: v1
entity: Order
events: [PLACED, PAID_FOR, NOTED, REFUNDED]
states: [CREATED, PAID, REFUNDED]
transitions:
  - {{on: PLACED, to: CREATED}}
  - {{on: PAID_FOR, from: CREATED, to: PAID}}
  - {{on: NOTED, from: PAID, to: PAID}}
  - {{on: REFUNDED, from: PAID, to: REFUNDED}}
actions:
{_ACTION.replace("NAME", "REFUND").replace("APPROVAL", "never")}
{_ACTION.replace("NAME", "REFUND_LARGE").replace("APPROVAL", "required")}
permissions:
  roles: {{ops_agent: [orders.refund], ops_operator: [orders.approve], event_source: [events.ingest]}}
"""


@cache
def domain() -> Domain:
    return load(_DOMAIN)


def open_shop(
    data: Path, executor: Callable[[Operation], Any], *, made: Callable[[SqliteStore], Any] = lambda store: store
) -> Runtime:
    """The runtime on its folder, which may be empty, or not be there.

    Args:
        made: what becomes of the store before it is used: the place of a mutant.
    """
    store = SqliteStore(data / "shop.db")
    try:
        signer = load_or_create(data / "key.pem")
    except BaseException:
        store.close()
        raise
    secret = vault_secret(data / "vault.key", store)
    return Runtime(made(store), signer, domains=[domain()], executors={"refund.issue": executor}, vault=secret)


def event(runtime: Runtime, type: str, entity: str) -> Pending[Any]:
    return runtime.ingest(STRIPE, type=type, entity=entity, source="stripe")


def refund(runtime: Runtime, entity: str, *, large: bool = False, **more: Any) -> Pending[Any]:
    parameters = {"amount": 7 if large else 3, "reason": f"secret of {entity}"}
    action = "REFUND_LARGE" if large else "REFUND"
    return runtime.execute(AGENT, entity=entity, action=action, parameters=parameters, **more)
