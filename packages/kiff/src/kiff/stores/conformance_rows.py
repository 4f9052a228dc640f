"""The rows that the conformance checks write: one of each kind, and a commit around them.

They are what the columns allow and no more; the root of a head here is the root of nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.authority import Credential, Member, Tenant
from kiff.protocol.clearance import Clearance
from kiff.protocol.limit import Usage
from kiff.protocol.receipt import Receipt
from kiff.protocol.sealed import Sealed
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Append, Key, Store
from kiff.runtime.rows import (
    KEYS,
    ActiveDomain,
    ActivePolicy,
    Blob,
    CheckpointRow,
    CommandRow,
    Delivery,
    DomainVersion,
    Hooks,
    LastApproval,
    LogHead,
    NoteRow,
    PolicyVersion,
    RecordRow,
    Row,
    Runway,
    SealedKey,
    TileRow,
    TimerRow,
    delivery_id,
)

ACME, ZEBRA = "acme", "zebra"
ORDER = "order:ord_1"


def write(store: Store, tenant: str, *, records: list[RecordRow] | None = None, **parts: Any) -> LogHead:
    """Appends on top of what is there, one record when none are given; returns the new head."""
    old = store.load([tenant], []).heads[tenant]
    new = batch(tenant, old, records=records or [record(tenant, old.size if old else 0)], **parts)
    store.append(new)
    return new.heads[0][1]


def batch(
    tenant: str,
    old: LogHead | None,
    *,
    records: list[RecordRow],
    rows: Iterable[Row] = (),
    receipts: Iterable[Receipt] = (),
    tiles: Iterable[TileRow] = (),
    checkpoints: Iterable[CheckpointRow] = (),
    at: int | None = None,
    log_id: str | None = None,
) -> Append:
    size = at or (0 if old is None else old.size) + len(records)
    new = head(tenant, size, log_id or (old.log_id if old else f"log_{tenant}"))
    return Append([(old, new)], list(rows), records, receipts, list(tiles), list(checkpoints))


def head(tenant: str, size: int, log_id: str = "log") -> LogHead:
    return LogHead(tenant, log_id, size, size.to_bytes(32), b"\x01" * 64, 1_000 + size)


def record(tenant: str, seq: int, entity: str | None = ORDER) -> RecordRow:
    return RecordRow(tenant, seq, entity, seq.to_bytes(32), b'{"seq":%d}' % seq)


def receipt(tenant: str, id: str, seq: int) -> Receipt:
    return Receipt(tenant, id, seq, b'{"receipt_id":"%s"}' % id.encode(), "kiff_sig_" + "0" * 128, b"{}")


def approval(id: str, *, tenant: str = ACME, **fields: Any) -> ApprovalRequest:
    texts = "action_digest domain entity action proposal_id proposer proposer_type roles command_id trace_id receipt_id"
    values: dict[str, Any] = dict.fromkeys(texts.split(), "text") | {
        "status": "pending",
        "entity_version": 0,
        "proposal": b"{}",
        "proposer_person": None,
        "reviewers": "orders.approve",
        "on_grant": "wait",
        "opened_at": 1,
        "expires_at": 1_000,
        "use_within_ms": 10,
        "due_at": 1_000,
    }
    return ApprovalRequest(tenant=tenant, id=id, **(values | fields))


def clearance(id: str, *, tenant: str = ACME, **fields: Any) -> Clearance:
    texts = "proposal_id command_id domain_version domain_digest action action_digest principal principal_type owner"
    values: dict[str, Any] = dict.fromkeys(f"{texts} receipt_id trace_id".split(), "text") | {
        "status": "open",
        "mode": "execute",
        "entity": ORDER,
        "principal_person": None,
        "fencing": 1,
        "holds_runway": True,
        "settles": False,
        "cleared_at": 1,
        "deadline": 1_000,
        "due_at": 1_000,
    }
    values |= fields
    return Clearance(tenant=tenant, id=id, **({"runway": values["entity"]} | values))


def timer(id: str, *, tenant: str = ACME, due_at: int | None = 1_000) -> TimerRow:
    return TimerRow(tenant, id, id.rpartition("/")[0], "ORDER_EXPIRED", "CREATED", 1, due_at)


def delivery(seq: int, endpoint: str = "whk_9", *, tenant: str = ACME, **fields: Any) -> Delivery:
    values: dict[str, Any] = {"entity": ORDER, "status": "due", "attempts": 0, "due_at": 1_000}
    return Delivery(tenant, delivery_id(endpoint, seq), endpoint, seq=seq, **(values | fields))


def rows(tenant: str) -> list[Row]:
    """One of each kind, the same ids for every tenant."""
    return [
        EntityState(tenant, ORDER, "refunds", "PAID", 2, b'{"total":49.5}', 1),
        approval("appr_9", tenant=tenant, proposer_person="eve", proposal=b'{"a":1}'),
        clearance("clr_9", tenant=tenant, approval_id="appr_9", disputed=True),
        CommandRow(tenant, "propose:1", "sha256:1", "running", b"", "clr_9"),
        ActiveDomain(tenant, "order", "refunds", "refunds-v1", "sha256:1"),
        DomainVersion(tenant, "refunds-v1", "refunds", "sha256:1", b"{}"),
        Runway(tenant, ORDER, None, 3),
        LastApproval(tenant, "sha256:1", "appr_9"),
        Blob(tenant, "sha256:9", b"\x00\xff"),
        Tenant(tenant, "tenant", True, 1),
        Member(tenant, "ops-agent", "agent", "eve", None, "ops_agent,reader", True),
        Credential(tenant, "key_9", "key", b"\x09" * 32, "ci", "ops-agent", "", None, "eve", 1, 9, None),
        NoteRow(tenant, "draft:refunds", b"domain: refunds", 1, 2, 3),
        ActivePolicy(tenant, "policy", "house-rules", "house-rules-v1", "sha256:2"),
        PolicyVersion(tenant, "house-rules-v1", "house-rules", "sha256:2", b"{}"),
        Usage(tenant, "refunds:refunds_per_agent:ops-agent", "rate", b'{"tat":1}'),
        timer("order:ord_9/0", tenant=tenant),
        Sealed(tenant, "sha256:8", ORDER, "reason", b"\x00\xff", b'"late"'),
        SealedKey(tenant, "signing", b"\x08" * 32, b"\x00\xff"),
        Hooks(tenant, "webhooks", b"[]"),
        delivery(9, tenant=tenant),
    ]


def key(row: Row) -> Key:
    return (type(row), row.tenant, getattr(row, KEYS[type(row)]))


def load(store: Store, row: Row) -> Row | None:
    return store.load([], [key(row)]).rows[key(row)]
