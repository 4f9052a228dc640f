"""What must hold of a database after a fault: its own verification, and what the outside ledger says beside it.

`problems` answers with sentences, so that a control can show that it sees.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from outside import Book

from kiff import Runtime
from kiff.analysis import verify_store
from kiff.errors import KiffError
from kiff.ledger import parse_jwks
from kiff.runtime.ports import Key, Store
from kiff.runtime.rows import Runway
from kiff.stores.sqlite import SqliteStore

TENANT = "default"


def problems(folder: Path, runtime: Runtime, book: Book, acknowledged: list[dict[str, Any]]) -> list[str]:
    """Everything that is wrong after a fault, once the runtime runs again on the folder.

    Args:
        acknowledged: what a process that is gone had been answered: {"event": id, "entity": ref} or
            {"receipt": id, "operation": id or None, "status": status or None}.
    """
    with suppress(KiffError):  # a lane that has stopped signs no more; the head it left is judged then
        runtime.checkpoint(TENANT).result(30)
    store = SqliteStore(folder / "shop.db", read_only=True)
    try:
        verdict = verify_store(store, parse_jwks((folder / "key.jwks.json").read_bytes()))
        found = [f"{problem.where} {problem.field}: {problem.message}" for problem in verdict.problems]
        found += [] if verdict.status == "valid" else [f"the database is {verdict.status}"]
        found += _effect_problems(runtime, book)
        found += _operation_problems(runtime, store)
        found += _lost(runtime, store, acknowledged)
        for entity in store.entities(TENANT):
            if not runtime.read.rebuild(entity.entity).match:
                found.append(f"{entity.entity}: kept and replayed differ")
        return found
    finally:
        store.close()


def _effect_problems(runtime: Runtime, book: Book) -> list[str]:
    """No effect without a durable clearance, and never two of one clearance or on one order."""
    cleared = {operation.id for operation in runtime.read.operations()}
    debits = book.debits()
    found = []
    for operation_id, count in Counter(debit["operation_id"] for debit in debits).items():
        if operation_id not in cleared:
            found.append(f"effect without a clearance: {operation_id}")
        if count > 1:
            found.append(f"{count} effects of one clearance: {operation_id}")
    for order, count in Counter(debit["order"] for debit in debits).items():
        if count > 1:
            found.append(f"{count} effects on one order: {order}")
    return found


def _operation_problems(runtime: Runtime, store: Store) -> list[str]:
    """Nothing is left in flight by a process that is gone, and what is unknown keeps its runway closed."""
    here = {running.operation.id for running in runtime.running()}
    left = [c for c in store.clearances(TENANT, status="open") if c.mode == "execute" and c.id not in here]
    found = [f"{clearance.id} is open, and nobody runs it" for clearance in left]
    unknown = {c.entity: c.id for c in store.clearances(TENANT, status="unknown") if c.holds_runway}
    keys: list[Key] = [(Runway, TENANT, entity.entity) for entity in store.entities(TENANT)]
    rows = store.load((), keys).rows
    for entity, operation_id in unknown.items():
        runway = rows[Runway, TENANT, entity]
        if not isinstance(runway, Runway) or runway.holder is None:
            found.append(f"{entity} is free, though {operation_id} is unknown")
    return found


def _lost(runtime: Runtime, store: Store, acknowledged: list[dict[str, Any]]) -> list[str]:
    found = []
    statuses = {operation.id: operation.status for operation in runtime.read.operations()}
    for said in acknowledged:
        if "event" in said:
            events = (r["data"].get("event", {}).get("id") for r in runtime.read.timeline(said["entity"]))
            if said["event"] not in events:
                found.append(f"acknowledged and lost: event {said['event']}")
        elif store.receipt(TENANT, said["receipt"]) is None:
            found.append(f"acknowledged and lost: receipt {said['receipt']}")
        elif said["operation"] is not None and statuses.get(said["operation"]) != said["status"]:
            found.append(f"acknowledged as {said['status']}: {said['operation']}")
    return found
