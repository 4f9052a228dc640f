"""What the tests of verification share: a database in which everything happened, and ways to tamper with it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from kiff import ActionContract, Approval, Caller, Domain, Emits, Operation, Principal, Risk, Runtime, Transition
from kiff.analysis import StoreVerdict, verify_store
from kiff.errors import KiffError
from kiff.ledger import Ed25519Signer, PublicKeys, parse_jwks
from kiff.stores.keyfile import load_or_create
from kiff.stores.sqlite import SqliteStore

DOMAIN = Domain(
    name="refund-ops",
    version="v2",
    entity="Order",
    events=["ORDER_PLACED", "ORDER_PAID", "ORDER_NOTED", "ORDER_REFUNDED"],
    states=["CREATED", "PAID", "REFUNDED"],
    transitions=[
        Transition(on="ORDER_PLACED", to="CREATED"),
        Transition(on="ORDER_PAID", from_="CREATED", to="PAID", set={"paid_as": "entity.version"}),
        Transition(on="ORDER_NOTED", from_="PAID", to="PAID"),
        Transition(on="ORDER_REFUNDED", from_="PAID", to="REFUNDED"),
    ],
    actions=[
        ActionContract(
            "AUTO_REFUND",
            ["PAID"],
            ["amount", "reason"],
            ["orders.refund"],
            Risk.MEDIUM,
            Approval.NEVER,
            "refund.issue",
            parameters={
                "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
                "reason": {"type": "string"},
            },
            emits=Emits(success=["ORDER_REFUNDED"]),
        ),
        ActionContract(
            "REFUND_ORDER",
            ["PAID"],
            ["amount", "reason"],
            ["orders.refund"],
            Risk.HIGH,
            Approval.REQUIRED,
            "refund.issue",
            emits=Emits(success=["ORDER_REFUNDED"]),
        ),
    ],
    attributes={"paid_as": {"type": "integer", "optional": True}},
    timeouts=[{"in": "CREATED", "after": "72h", "emit": "ORDER_PAID"}],
    roles={
        "adapter": ["events.ingest"],
        "ops_agent": ["orders.refund"],
        "ops_operator": ["orders.approve"],
    },
)
STRIPE = Caller(Principal("stripe", "service"), ("adapter",))
AGENT = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
HUMAN = Caller(Principal("ops-human", "human"), ("ops_operator",))
SMALL = {"amount": 49.0, "reason": "customer request"}
LARGE = {"amount": 999.0, "reason": "customer request"}


def refund(operation: Operation) -> object:
    if operation.parameters["reason"] == "lose the answer":
        raise RuntimeError("the connection was reset")
    return {
        "status": "succeeded",
        "message": f"refund of ${operation.parameters['amount']:.2f} issued",
        "output": {"reference": operation.id, "slip": "x" * int(operation.parameters.get("slip", 0))},
    }


def open_shop(path: Path, **options: object) -> Runtime:
    store = SqliteStore(path)
    signer = options.pop("signer", None) or load_or_create(Path(f"{path}.key.pem"))
    assert isinstance(signer, Ed25519Signer)
    return Runtime(store, signer, domains=[DOMAIN], executors={"refund.issue": refund}, **options)  # type: ignore[arg-type]


def pay(runtime: Runtime, *orders: str) -> None:
    for order in orders:
        runtime.ingest(STRIPE, type="ORDER_PLACED", entity=f"order:{order}", source="stripe").result()
        runtime.ingest(
            STRIPE, type="ORDER_PAID", entity=f"order:{order}", source="stripe", payload={"cents": 4900}
        ).result()


def five_endings(runtime: Runtime) -> None:
    """Executed, held, granted and run, denied, blocked (seed 001)."""
    pay(runtime, "ord_001", "ord_002", "ord_004")
    runtime.ingest(STRIPE, type="ORDER_PLACED", entity="order:ord_003").result()
    refund_of(runtime, "ord_001", "AUTO_REFUND", SMALL)
    held = refund_of(runtime, "ord_002", "REFUND_ORDER", LARGE)
    runtime.grant(HUMAN, held.approval_id, "verified with customer").result()
    refund_of(runtime, "ord_002", "REFUND_ORDER", LARGE, approval_id=held.approval_id, id=held.proposal_id)
    held = refund_of(runtime, "ord_004", "REFUND_ORDER", LARGE)
    runtime.deny(HUMAN, held.approval_id, "order disputed").result()
    refund_of(runtime, "ord_004", "REFUND_ORDER", LARGE)
    refund_of(runtime, "ord_003", "AUTO_REFUND", SMALL)


def everything_else(runtime: Runtime) -> None:
    """The other kinds of records, values beside the log, and rows left open."""
    pay(runtime, *(f"ord_{number:03d}" for number in range(5, 13)))
    runtime.ingest(STRIPE, type="ORDER_NOTED", entity="order:ord_005", payload={"note": "n" * 5000}).result()
    runtime.ingest(STRIPE, type="ORDER_PLACED", entity="order:ord_005").result()
    runtime.ingest(STRIPE, type="ORDER_BURNT", entity="order:ord_005").result()
    refund_of(runtime, "ord_005", "AUTO_REFUND", {**SMALL, "surprise": 1})
    refund_of(runtime, "ord_005", "AUTO_REFUND", SMALL, evidence={"photo": "p" * 5000})
    refund_of(runtime, "ord_006", "REFUND_ORDER", {**LARGE, "slip": 5000})
    refused(runtime.grant(AGENT, "appr_none", "mine"))
    [held] = runtime.read.approvals(status="pending")
    refused(runtime.grant(AGENT, held.id, "mine"))
    unknown = refund_of(runtime, "ord_007", "AUTO_REFUND", {**SMALL, "reason": "lose the answer"})
    refund_of(runtime, "ord_007", "AUTO_REFUND", SMALL)
    runtime.settle(HUMAN, unknown.operation_id, "succeeded", message="seen at the bank").result()
    decided = runtime.propose(AGENT, entity="order:ord_008", action="AUTO_REFUND", parameters=SMALL).result()
    runtime.settle(AGENT, decided.clearance_id, "failed", message="card closed", events=[]).result()
    refused(runtime.settle(HUMAN, decided.clearance_id, "succeeded", message="the bank says it went through"))
    decided = runtime.propose(AGENT, entity="order:ord_009", action="AUTO_REFUND", parameters=SMALL).result()
    runtime.ingest(STRIPE, type="ORDER_REFUNDED", entity="order:ord_009").result()
    runtime.propose(AGENT, entity="order:ord_010", action="AUTO_REFUND", parameters=SMALL, settles=True).result()
    lost = refund_of(runtime, "ord_011", "AUTO_REFUND", {**SMALL, "reason": "lose the answer"})
    assert lost.status == "unknown"
    held = refund_of(runtime, "ord_012", "REFUND_ORDER", {**LARGE, "slip": 5000})
    runtime.grant(HUMAN, held.approval_id, "verified").result()
    refund_of(runtime, "ord_012", "REFUND_ORDER", {**LARGE, "slip": 5000}, approval_id=held.approval_id)
    refund_of(runtime, "ord_099", "NO_SUCH_ACTION", {})
    runtime.execute(AGENT, entity="invoice:1", action="PAY", parameters={}).result()


def refund_of(runtime: Runtime, order: str, action: str, parameters: dict[str, object], **more: object):  # type: ignore[no-untyped-def]
    return runtime.execute(AGENT, entity=f"order:{order}", action=action, parameters=parameters, **more).result()


def refused(pending: object) -> None:
    try:
        pending.result()  # type: ignore[attr-defined]
    except KiffError:
        return
    raise AssertionError("expected a refusal")


def keys_of(path: Path) -> PublicKeys:
    return parse_jwks(path.with_name(f"{path.name}.key.jwks.json").read_bytes())


def verify(path: Path, keys: PublicKeys, saved: Iterable[bytes] = ()) -> StoreVerdict:
    with closing(SqliteStore(path, read_only=True)) as store:
        return verify_store(store, keys, saved)


def copy_of(path: Path, folder: Path, name: str = "copy.db") -> Path:
    """A copy of a closed database: it is one file then."""
    assert not path.with_name(path.name + "-wal").exists() or not path.with_name(path.name + "-wal").stat().st_size
    for suffix in ("", "-wal", "-shm"):
        folder.joinpath(name + suffix).unlink(missing_ok=True)
    return Path(shutil.copyfile(path, folder / name))


def tamper(path: Path, sql: str, *args: object) -> int:
    """What somebody with the file can do: write past every check of the schema. Returns how many rows changed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA synchronous = OFF")  # nobody cuts the power, and thousands of edits wait for no disk
        return connection.execute(sql, args).rowcount


def read(path: Path, sql: str, *args: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, args).fetchall()
