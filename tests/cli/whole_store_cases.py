"""A whole store with its keys, and everything that can be asked of it: to see whether a copy is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli_cases import AGENT, HUMAN, LARGE, SMALL, STRIPE, CountedIds, SteadyClock, domain, refund
from msgspec import structs

from kiff import Caller, Principal, Runtime, open_runtime
from kiff.ledger import compact_jws
from kiff.ledger.receipts import signature_bytes
from kiff.runtime.ports import Store
from kiff.runtime.reading import Reading
from kiff.runtime.rows import KEYS, SealedKey
from kiff.stores.keyfile import KeyFolder
from kiff.stores.sqlite import SqliteStore

Kiff = Callable[..., Any]
"""Runs a command line; brings its code, out and err."""
MORE_THAN_A_TILE = 300
EXECUTORS = {"refund.issue_refund": refund}


@contextmanager
def embedded(path: Path, **options: Any) -> Iterator[Runtime]:
    """The shop in one file, with its key and its memory beside it."""
    with open_runtime(path, domains=[domain()], executors=EXECUTORS, **options) as runtime:
        yield runtime


def five_endings(runtime: Runtime, tenant: str = "default") -> None:
    """Refunded, held and granted, held and denied, refused, and enough events for a full tile."""
    agent, human, stripe = (_of(caller, tenant) for caller in (AGENT, HUMAN, STRIPE))
    for order in ("ord_001", "ord_002", "ord_004"):
        for event in ("ORDER_PLACED", "ORDER_PAID"):
            runtime.ingest(stripe, type=event, entity=f"order:{order}", source="stripe").result()
    runtime.ingest(stripe, type="ORDER_PLACED", entity="order:ord_003", source="stripe").result()
    call: dict[str, Any] = {"action": "REFUND_ORDER", "parameters": LARGE}
    runtime.execute(agent, entity="order:ord_001", action="AUTO_REFUND", parameters=SMALL, id="prop_first").result()
    held = runtime.execute(agent, entity="order:ord_002", **call).result()
    runtime.grant(human, held.approval_id, "verified").result()
    runtime.execute(agent, entity="order:ord_002", **call, approval_id=held.approval_id, id=held.proposal_id).result()
    held = runtime.execute(agent, entity="order:ord_004", **call).result()
    runtime.deny(human, held.approval_id, "disputed").result()
    runtime.execute(agent, entity="order:ord_003", action="AUTO_REFUND", parameters=SMALL).result()
    runtime.note(human, "draft:shop", b"kept beside the log").result()
    several = [
        runtime.ingest(stripe, type="ORDER_PLACED", entity=f"order:{number}", source="stripe")
        for number in range(MORE_THAN_A_TILE)
    ]
    for each in several:
        each.result()
    runtime.checkpoint(tenant).result()


def _of(caller: Caller, tenant: str) -> Caller:
    return structs.replace(caller, tenant=tenant)


def make_embedded(path: Path) -> None:
    with embedded(path, clock=SteadyClock(), ids=CountedIds()) as runtime:
        five_endings(runtime)


def make_served(data: Path, *tenants: str) -> Path:
    """A server's data folder: a key for each tenant. Returns its database."""
    database = data / "kiff.db"
    keys = KeyFolder(data / "keys", data / "kiff.db.key.jwks.json")
    store = SqliteStore(database)
    runtime = Runtime(store, keys, executors=EXECUTORS, vault=keys.vault(store))
    keys.vault(store)()
    for tenant in tenants:
        keys.create(tenant)
        owner = Caller(Principal("ada", "human"), ("tenant_owner",), tenant)
        runtime.activate(owner, domain()).result()
        five_endings(runtime, tenant)
    runtime.close()
    return database


def everything(store: Store) -> dict[str, Any]:
    """Every row there is, but for sealed keys, which belong to the place."""
    found: dict[str, Any] = {"heads": store.heads()}
    for tenant in store.tenants():
        size = next(head.size for head in store.heads() if head.tenant == tenant)
        found[f"{tenant} records"] = store.records(tenant, limit=10_000)
        found[f"{tenant} receipts"] = store.receipts(tenant, limit=10_000)
        found[f"{tenant} checkpoints"] = store.checkpoints(tenant, limit=10_000)
        found[f"{tenant} tiles"] = [
            store.tile(tenant, level, at) for level in (0, 1, 2) for at in range(size // 256 + 1)
        ]
        for kind in KEYS:
            if kind is not SealedKey:
                found[f"{tenant} {kind.__name__}"] = store.rows(kind, tenant, limit=10_000)
    return found


def evidence(store: Store) -> dict[str, tuple[dict[str, Any], dict[str, Any], str]]:
    """Of every receipt: its JSON with proofs, its bundle, and itself as a JWS."""
    reading = Reading(store, {})
    found: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {}
    for tenant in store.tenants():
        for receipt in store.receipts(tenant, limit=10_000):
            flat = reading.receipt(receipt.id, tenant=tenant, proof=True)
            signature = signature_bytes(receipt.signature)
            assert signature is not None
            jws = compact_jws(receipt.core, flat["kid"], signature)
            found[f"{tenant}/{receipt.id}"] = (flat, reading.bundle(receipt.id, tenant=tenant), jws)
    return found
