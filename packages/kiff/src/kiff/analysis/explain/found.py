"""Where a decision stands in the log: the record of a receipt, or of what was proposed under an id."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import json

from kiff.analysis.history import read_body
from kiff.errors import NotFound, StoreCorrupt
from kiff.protocol.clearance import Clearance
from kiff.protocol.receipt import Receipt
from kiff.runtime.ports import Store
from kiff.runtime.rows import CommandRow


class Found(NamedTuple):
    """A receipt with the record that binds it, and the decision that it is about.

    Args:
        core: what the receipt says.
        record: the record of the decision: its own, or of the hold whose end it tells.
        decision_receipt_id: of that record.
    """

    core: dict[str, Any]
    record: dict[str, Any]
    decision_receipt_id: str


def found(store: Store, tenant: str, receipt_id: str) -> Found:
    """The decision of a receipt.

    Raises:
        NotFound: there is no such receipt.
        StoreCorrupt: its record cannot be read.
    """
    core, record = _read(store, tenant, receipt_id)
    if record["kind"] == "decision_recorded":
        return Found(core, record, receipt_id)
    opened = core.get("previous_receipt") or ""
    return Found(core, _read(store, tenant, opened)[1], opened)


def receipt_of(store: Store, tenant: str, id: str) -> str:
    """The receipt that an id means: its own, or the last one of a proposal.

    Raises:
        NotFound: it is neither's.
    """
    if id.startswith("rcpt_") and store.receipt(tenant, id) is not None:
        return id
    last = last_receipt(store, tenant, id)
    if last is None:
        raise NotFound(f"there is no receipt and no proposal `{id}`", id=id)
    return last


def last_receipt(store: Store, tenant: str, proposal_id: str) -> str | None:
    """The receipt of the last decision about a proposal; None when there is none."""
    row = store.row(CommandRow, tenant, f"propose:{proposal_id}")
    if row is None:
        return None
    receipt_id = (json.decode(row.answer) if row.answer else {}).get("receipt_id")
    if receipt_id is None and row.operation_id is not None:
        operation = store.row(Clearance, tenant, row.operation_id)
        receipt_id = None if operation is None else operation.receipt_id
    return receipt_id if isinstance(receipt_id, str) else None


def _read(store: Store, tenant: str, receipt_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    receipt = store.receipt(tenant, receipt_id)
    if receipt is None:
        raise NotFound(f"there is no receipt `{receipt_id}`", receipt_id=receipt_id)
    record = _record(store, receipt)
    if record is None:
        raise StoreCorrupt(f"the record {receipt.seq} of the receipt `{receipt_id}` cannot be read", seq=receipt.seq)
    return json.decode(receipt.core), record


def _record(store: Store, receipt: Receipt) -> dict[str, Any] | None:
    rows = store.records(receipt.tenant, after=receipt.seq - 1, limit=1)
    return read_body(rows[0]) if rows and rows[0].seq == receipt.seq else None
