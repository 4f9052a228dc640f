"""A database that comes out the same on every machine: fixed key, fixed ids, a clock that only we move."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kiff import Caller, Domain, Operation, Principal, Runtime, load
from kiff.ledger import Ed25519Signer, jwks
from kiff.stores.sqlite import SqliteStore

TESTS = Path(__file__).resolve().parents[1]
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = Ed25519Signer(PRIVATE)
STRIPE = Caller(Principal("stripe", "service"), ("adapter",))
AGENT = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
HUMAN = Caller(Principal("ops-human", "human"), ("ops_operator",))
SMALL = {"amount": 49.0, "reason": "customer request"}
LARGE = {"amount": 999.0, "reason": "customer request"}


class SteadyClock:
    def __init__(self) -> None:
        self.at = 1_779_616_435_011

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        """Stands still, so heads are signed when we ask and at the end, never because a second went by."""
        return 0.0


class CountedIds:
    def __init__(self, first: int = 1) -> None:
        self._numbers = itertools.count(first)

    def draw(self) -> str:
        return f"{next(self._numbers):026d}"


def domain_text() -> str:
    text = (TESTS / "domain" / "documents" / "refund_ops.yaml").read_text()
    return text.replace("    admin:", "    adapter: [events.ingest]\n    admin:")


def domain() -> Domain:
    return load(domain_text())


def refund(operation: Operation) -> object:
    if operation.parameters["reason"] == "lose the answer":
        raise ConnectionError("the bank did not answer")
    return {"status": "succeeded", "message": f"refund of ${operation.parameters['amount']:.2f} issued"}


class Shop:
    """One runtime; each call is a moment later than the one before."""

    def __init__(self, path: Path) -> None:
        self.clock = SteadyClock()
        store = SqliteStore(path, clock=self.clock)
        executors = {"refund.issue_refund": refund}
        self.runtime = Runtime(
            store, SIGNER, domains=[domain()], executors=executors, clock=self.clock, ids=CountedIds()
        )

    def later(self, milliseconds: int) -> Runtime:
        self.clock.at += milliseconds
        return self.runtime

    def paid(self, *orders: str) -> None:
        for order in orders:
            self.placed(order)
            self.later(900).ingest(STRIPE, type="ORDER_PAID", entity=f"order:{order}", source="stripe").result()

    def placed(self, order: str) -> None:
        self.later(12_000).ingest(STRIPE, type="ORDER_PLACED", entity=f"order:{order}", source="stripe").result()

    def five_endings(self) -> None:
        self.paid("ord_001", "ord_002", "ord_004")
        self.placed("ord_003")
        self.refund("ord_001", "AUTO_REFUND", SMALL)
        held = self.refund("ord_002", "REFUND_ORDER", LARGE)
        self.later(80_000).grant(HUMAN, held.approval_id, "verified with customer").result()
        self.refund("ord_002", "REFUND_ORDER", LARGE, approval_id=held.approval_id, id=held.proposal_id)
        held = self.refund("ord_004", "REFUND_ORDER", LARGE)
        self.later(80_000).deny(HUMAN, held.approval_id, "order disputed").result()
        self.refund("ord_003", "AUTO_REFUND", SMALL)

    def refund(self, order: str, action: str, parameters: dict[str, object], **more: object):  # type: ignore[no-untyped-def]
        call = self.later(3_000).execute
        return call(AGENT, entity=f"order:{order}", action=action, parameters=parameters, **more).result()


def make_database(path: Path) -> bytes:
    """The five endings, closed, with the key set beside it. Returns a head signed when all had happened."""
    shop = Shop(path)
    shop.five_endings()
    head = shop.runtime.checkpoint().result()
    shop.runtime.close()
    publish(path)
    return head


PRINCIPALS = """[ops-agent]
type = "agent"
roles = ["ops_agent"]

[ops-human]
type = "human"
roles = ["ops_operator"]

[stripe]
type = "service"
roles = ["adapter"]

[ada]
type = "human"
roles = ["tenant_owner"]
"""
ACTIONS = '''"""What cleared actions run."""

from kiff import Unfinished


def issue_refund(operation):
    return {"status": "succeeded", "message": f"refund of ${operation.parameters['amount']:.2f} issued"}


def mark_paid(operation):
    raise Unfinished("orders.mark_paid is not written yet")


EXECUTORS = {"refund.issue_refund": issue_refund, "orders.mark_paid": mark_paid}
'''


HOUSE = """policy: house-v1
rules:
  - id: large
    when: has(parameters.amount) && parameters.amount > 40
    then: require_approval
    match: {risk: medium}
  - id: at_night
    when: entity.timezone == "UTC"
    then: deny
    match: {action: REFUND_ORDER}
"""


def wider_text() -> str:
    """The same domain, with larger refunds that nobody looks at, by one more role."""
    text = domain_text().replace("version: v2", "version: v3").replace("maximum: 100,", "maximum: 250,")
    return text.replace("    admin:", "    shop: [orders.refund]\n    admin:")


CASES = """domain: refund-ops
actors:
  agent: {id: ops-agent, type: agent, roles: [ops_agent]}
  human: {id: ops-human, type: human, roles: [ops_operator]}
entities:
  paid: {state: PAID}
cases:
  - name: a small refund runs
    propose: {action: AUTO_REFUND, as: agent, on: paid, parameters: {amount: 49, reason: customer request}}
    expect: {outcome: allowed, state: REFUNDED}
  - name: what is not small is no small refund
    propose: {action: AUTO_REFUND, as: agent, on: paid, parameters: {amount: 101, reason: customer request}}
    expect: {outcome: invalid, reasons: [invalid_parameter]}
  - name: a large refund waits
    propose: {action: REFUND_ORDER, as: agent, on: paid, parameters: {amount: 999, reason: customer request}}
    expect: {outcome: approval_required}
    then:
      - {grant: human}
      - {propose: again, expect: {outcome: allowed, state: REFUNDED}}
"""


def make_project(folder: Path) -> None:
    """Domain files, a test file, principals.toml, actions.py; and `shop.db`, where a call is held and one was lost."""
    (folder / "kiff.yaml").write_text(domain_text())
    renamed = domain_text().replace("states: [CREATED, PAID,", "states: [CREATED, SETTLED,")
    (folder / "renamed.yaml").write_text(renamed)
    (folder / "wider.yaml").write_text(wider_text())
    (folder / "orders_test.yaml").write_text(CASES)
    (folder / "house.yaml").write_text(HOUSE)
    (folder / "principals.toml").write_text(PRINCIPALS)
    (folder / "actions.py").write_text(ACTIONS)
    pem = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name in ("kiff.db", "shop.db"):
        key = folder / f"{name}.key.pem"
        key.touch(0o600)
        key.write_bytes(pem)
    shop = Shop(folder / "shop.db")
    shop.paid("ord_001", "ord_002", "ord_003")
    shop.refund("ord_002", "REFUND_ORDER", LARGE)
    shop.refund("ord_003", "AUTO_REFUND", SMALL | {"reason": "lose the answer"})
    shop.runtime.close()
    publish(folder / "shop.db")


def publish(database: Path) -> None:
    """The key set beside a database."""
    database.with_name(f"{database.name}.key.jwks.json").write_bytes(msgspec.json.encode(jwks([SIGNER.public])))


def edited_copy(path: Path, name: str, sql: str) -> Path:
    copied = Path(shutil.copyfile(path, path.with_name(name)))
    shutil.copyfile(f"{path}.key.jwks.json", f"{copied}.key.jwks.json")
    with closing(sqlite3.connect(copied, isolation_level=None)) as connection:
        assert connection.execute(sql).rowcount
    return copied
