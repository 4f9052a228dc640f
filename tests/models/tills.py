"""One domain with everything that the models know about: locks, quorums, runs on grant, limits of each kind.

`plain.py` states the same domain once more, as numbers of its own: neither is read from the other.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiff import Caller, Domain, Principal, load
from kiff.ledger import PublicKeys
from kiff.ledger.keys import Ed25519Signer

START = 1_800_000_000_000  # on the hour
SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
TRUSTED = PublicKeys([SIGNER.public])

DOMAIN: Domain = load("""
domain: tills
version: v1
entity: Till
events: [OPENED, PAID_OUT, NOT_PAID, SHUT]
states: [OPEN, CLOSED]
transitions:
  - {on: OPENED, to: OPEN}
  - {on: OPENED, from: CLOSED, to: OPEN}
  - {on: PAID_OUT, from: OPEN}
  - {on: NOT_PAID, from: OPEN}
  - {on: SHUT, from: OPEN, to: CLOSED}
actions:
  - name: PAY
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [tills.pay]
    risk: low
    approval: never
    executor: till.pay
    parameters: {amount: {type: integer, minimum: 1, maximum: 100}}
    approval_policy: {permissions: [tills.approve]}
    limits: [{id: hourly, kind: budget, max: 10, per: hour, amount: parameters.amount, key: actor.id}]
    emits: {success: [PAID_OUT], failure: [NOT_PAID]}
    timeout: 30s
  - name: ASK
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [tills.pay]
    risk: high
    approval: required
    executor: till.pay
    parameters: {amount: {type: integer, minimum: 1, maximum: 100}}
    approval_policy: {permissions: [tills.approve], expires: 10m, use_within: 2m}
    limits: [{id: hourly, kind: budget, max: 10, per: hour, amount: parameters.amount, key: actor.id}]
    emits: {success: [PAID_OUT], failure: [NOT_PAID]}
    timeout: 30s
  - name: ASK_TWO
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [tills.pay]
    risk: high
    approval: required
    executor: till.pay
    parameters: {amount: {type: integer, minimum: 1, maximum: 100}}
    approval_policy:
      {permissions: [tills.approve], quorum: 2, expires: 10m, use_within: 2m, binds: [parameters, entity.version]}
    emits: {success: [PAID_OUT], failure: [NOT_PAID]}
    lock: {key: "'safe'", ttl: 90s}
    timeout: 30s
  - name: SEND
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [tills.pay]
    risk: high
    approval: required
    executor: till.pay
    parameters: {amount: {type: integer, minimum: 1, maximum: 100}}
    approval_policy: {permissions: [tills.approve], expires: 10m, use_within: 2m, on_grant: run}
    limits: [{id: sending, kind: concurrency, max: 1, over: require_approval}]
    emits: {success: [PAID_OUT], failure: [NOT_PAID]}
    lock: none
    timeout: 30s
  - name: PEEK
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [tills.pay]
    risk: low
    approval: conditional
    executor: till.pay
    parameters: {amount: {type: integer, minimum: 1, maximum: 100}}
    approval_policy: {permissions: [tills.approve], expires: 10m, use_within: 2m}
    limits:
      - {id: looks, kind: rate, max: 3, per: 10m, burst: 2, key: actor.id, over: require_approval}
      - {id: looking, kind: concurrency, max: 2}
    emits: {success: [PAID_OUT], failure: [NOT_PAID]}
    lock: none
    timeout: 30s
permissions:
  roles: {teller: [tills.pay], manager: [tills.approve], feed: [events.ingest], nobody: []}
""")

CALLERS = {
    "agent": Caller(Principal("agent", "agent", person="olga"), ("teller",)),
    "bot": Caller(Principal("bot", "service", person="mary"), ("teller", "manager")),
    "mary": Caller(Principal("mary", "human"), ("teller", "manager")),
    "mary-too": Caller(Principal("mary-too", "human", person="mary"), ("manager",)),
    "nils": Caller(Principal("nils", "human"), ("manager",)),
    "olga": Caller(Principal("olga", "human"), ("manager",)),
    "passer-by": Caller(Principal("passer-by", "human"), ("nobody",)),
    "feed": Caller(Principal("feed", "service"), ("feed",)),
}
