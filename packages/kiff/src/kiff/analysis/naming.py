"""Which field of a changed record was changed.

The log kept the hash of the record as it was. Everything a record says is said elsewhere too: in its columns,
its receipt, the records of the same step, the rows. So each of those is put in the record's place, one at a
time, until the hash is the old one: that proves which field it was. Where nothing fits, a digest beside a value may
still tell that it was the value; otherwise it is the body.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, get_args

import orjson

from kiff.analysis.expected import event_digest
from kiff.analysis.history import Versions, beside, bytes_of, read_body, refolded
from kiff.analysis.replay import CALL
from kiff.canonical import digest
from kiff.errors import InvalidInput, StoreError
from kiff.gate.quorum import vote_json, votes_of
from kiff.ledger import Problem, leaf_hash
from kiff.ledger.binding import SHARED
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance, ClearanceStatus
from kiff.protocol.decision import SEVERITY
from kiff.protocol.record import KINDS
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Key, Store
from kiff.runtime.rows import CommandRow, RecordRow

Path = tuple[str | int, ...]
Twin = tuple[Path, object]
"""(where in the record, what it says elsewhere)"""

_MISSING = object()
_STEP: tuple[Path, ...] = (
    ("at",),
    ("trace_id",),
    ("causation_id",),
    ("actor", "id"),
    ("actor", "type"),
    ("versions", "domain"),
    ("versions", "policy"),
    ("entity",),
    ("data", "action"),
    ("data", "action_digest"),
    ("data", "approval_id"),
    ("data", "operation_id"),
    ("data", "fencing"),
)
"""What the records of one step, which stand side by side, usually all say."""
_CLOSED: tuple[tuple[Path, tuple[object, ...]], ...] = (
    (("kind",), KINDS),
    (("v",), (1,)),
    (("versions", "policy"), (None,)),
    (("actor", "type"), ("human", "agent", "service")),
    (("data", "outcome"), tuple(SEVERITY)),
    (("data", "status"), get_args(ClearanceStatus)),
    (("data", "by"), ("executor", "app", "event", "person", "deadline", "recovery")),
    (("data", "reason"), ("no_transition", "unknown_event", "guard_not_met", "invalid_payload", "policy_error")),
    (("data", "facts", "executor_ready"), (True, False)),
    (("data", "proposal", "mode"), ("execute", "decide")),
    (("data", "proposal", "settles"), (True, False)),
)
"""Fields with few possible values."""


def name_change(store: Store, tenant: str, seq: int, leaf: bytes) -> Problem:
    """The field of this record that was changed, as exactly as it can be told.

    Args:
        leaf: the hash its body had.
    """
    where = f"record {seq}"
    try:
        return _named(store, tenant, seq, leaf, where)
    except (StoreError, InvalidInput, KeyError, TypeError, ValueError):
        return Problem(where, "body", "was changed")


def _named(store: Store, tenant: str, seq: int, leaf: bytes, where: str) -> Problem:
    rows = {row.seq: row for row in store.records(tenant, after=seq - 3, limit=5)}
    value = read_body(rows[seq])
    if value is None:
        return Problem(where, "body", "was changed: it no longer reads as a record")
    for path, expected in _twins(store, tenant, rows, value):
        said = _at(value, path)
        if said is _MISSING or (said == expected and type(said) is type(expected)):
            continue
        if leaf_hash(bytes_of(_with(value, path, expected))) == leaf:
            path, said, expected = _narrowed(path, said, expected)
            message = f"was changed: it says `{said!s:.80}`, it said `{expected!s:.80}`"
            return Problem(where, ".".join(map(str, path)), message)
    field = _implied(store, tenant, value)
    if field:
        return Problem(where, field, "was changed: its digest beside it is of another value")
    return Problem(where, "body", "was changed, in a field that nothing else repeats")


def _implied(store: Store, tenant: str, value: dict[str, Any]) -> str:
    """The value that its digest does not fit; empty when there is none."""
    data = value["data"]
    proposal, event = data.get("proposal"), data.get("event")
    if isinstance(proposal, dict):
        if digest(bytes_of({name: proposal.get(name) for name in CALL})) != data.get("action_digest"):
            return "data.proposal.parameters"
        return "" if digest(bytes_of(proposal)) == data.get("proposal_digest") else "data.proposal"
    if isinstance(event, dict):
        key = (CommandRow, tenant, f"event:{event.get('id')}")
        row = store.load((), [key]).rows[key]
        payload = beside(store, tenant, event, "payload")
        if isinstance(row, CommandRow) and payload is not None:
            told = event_digest(event, str(value.get("entity")), payload)
            return "" if row.digest == told else "data.event"
    return ""


def _twins(store: Store, tenant: str, rows: dict[int, RecordRow], value: dict[str, Any]) -> Iterator[Twin]:
    seq = value.get("seq")
    own = next((row for row in rows.values() if read_body(row) == value), None)
    if own is not None:
        yield from ((("tenant",), own.tenant), (("seq",), own.seq), (("entity",), own.entity))
        seq = own.seq
    yield from _from_receipt(store, tenant, seq, value)
    yield from _from_itself(value)
    yield from _from_rows(store, tenant, value)
    yield from _from_fold(store, tenant, seq, value)
    for row in rows.values():
        neighbour = read_body(row) if row.seq != seq else None
        if neighbour is not None:
            yield from _from_neighbour(neighbour)
    for path, values in _CLOSED:
        if _at(value, path) is not _MISSING:
            yield from ((path, each) for each in values)


def _from_receipt(store: Store, tenant: str, seq: Any, value: dict[str, Any]) -> Iterator[Twin]:
    receipts = store.receipts(tenant, after=seq - 1, limit=1)
    if not receipts or receipts[0].seq != seq:
        return
    core = orjson.loads(receipts[0].core)
    for name, path in SHARED:
        if core.get(name) is not None and _at(value, path) is not _MISSING:
            yield path, core[name]
    yield ("data", "receipt", "digest"), digest(receipts[0].core)
    yield ("at",), core.get("issued_at")
    if "approval_id" in core:
        yield ("data", "approval_id"), core["approval_id"]
    if value.get("kind") == "decision_recorded":
        yield ("causation_id",), core.get("proposal_id")
        yield ("data", "proposal", "id"), core.get("proposal_id")


def _from_itself(value: dict[str, Any]) -> Iterator[Twin]:
    """A record says some things twice."""
    data = value["data"]
    proposal, event = data.get("proposal"), data.get("event")
    if isinstance(proposal, dict):
        pairs: tuple[tuple[Path, str], ...] = (
            (("entity",), "entity"),
            (("tenant",), "tenant"),
            (("data", "action"), "action"),
            (("causation_id",), "id"),
            (("actor", "id"), "principal"),
            (("actor", "type"), "principal_type"),
        )
        for path, name in pairs:
            yield ("data", "proposal", name), _at(value, path)
            yield path, proposal.get(name)
        call = {name: proposal.get(name) for name in CALL}
        yield ("data", "action_digest"), digest(bytes_of(call))
        yield ("data", "proposal_digest"), digest(bytes_of(proposal))
    if isinstance(event, dict):
        yield ("data", "event", "id"), value.get("causation_id")
        yield ("causation_id",), event.get("id")


def _from_rows(store: Store, tenant: str, value: dict[str, Any]) -> Iterator[Twin]:
    data, cause = value["data"], str(value.get("causation_id"))
    operation = data.get("operation_id") or data.get("clearance_id") or cause
    approval_id = data.get("approval_id") or cause
    keys: list[Key] = [
        (Clearance, tenant, str(operation)),
        (ApprovalRequest, tenant, str(approval_id)),
        (CommandRow, tenant, f"propose:{cause}"),
        (CommandRow, tenant, f"event:{cause}"),
        (CommandRow, tenant, str(data.get("command_id"))),
    ]
    rows = store.load((), keys).rows
    clearance, approval = rows[keys[0]], rows[keys[1]]
    if isinstance(clearance, Clearance):
        yield ("data", "operation_id"), clearance.id
        yield ("data", "fencing"), clearance.fencing
        yield ("data", "status"), clearance.status
        yield ("data", "action"), clearance.action
        yield ("data", "proposal", "mode"), clearance.mode
        command = CommandRow, tenant, clearance.command_id
        answered = store.load((), [command]).rows[command]
        if isinstance(answered, CommandRow) and answered.answer:
            answer = orjson.loads(answered.answer)
            yield ("data", "message"), answer.get("message")
            yield ("data", "output"), answer.get("output")
            yield ("data", "clearance_id"), clearance.id
    if isinstance(approval, ApprovalRequest):
        yield from _from_approval(approval)
    for key in keys[2:]:
        row = rows[key]
        if isinstance(row, CommandRow) and row.answer:
            answer = orjson.loads(row.answer)
            yield ("data", "reasons"), answer.get("reasons", [])
            yield ("data", "reason"), answer.get("reason")
            yield ("data", "still_needed"), answer.get("still_needed")
            yield ("data", "clearance_id"), answer.get("clearance_id")
            yield ("data", "receipt", "id"), answer.get("receipt_id")
            yield ("trace_id",), answer.get("trace_id")


def _from_approval(approval: ApprovalRequest) -> Iterator[Twin]:
    yield ("data", "proposal"), orjson.loads(approval.proposal)
    yield ("data", "approval_id"), approval.id
    yield ("data", "action_digest"), approval.action_digest
    yield ("data", "reviewers"), approval.reviewers.split(",")
    yield ("data", "reason"), approval.reason
    yield ("data", "facts", "version"), approval.entity_version
    yield ("data", "facts", "roles"), approval.roles.split(",")
    yield ("actor", "id"), approval.reviewed_by
    yield ("data", "demands"), orjson.loads(approval.demands)
    for name in ("human_only", "evidence", "binds_version"):
        yield ("data", name), getattr(approval, name)
    votes = [vote_json(vote) for vote in votes_of(approval)]
    yield ("data", "votes"), votes
    for vote in votes:
        yield ("data", "vote"), vote
        yield ("actor", "id"), vote["by"]


def _from_fold(store: Store, tenant: str, seq: Any, value: dict[str, Any]) -> Iterator[Twin]:
    """What the entity's earlier events led to, and what the last of them did."""
    entity = value.get("entity")
    if not isinstance(entity, str):
        return
    versions = Versions(store, tenant)
    before = state = EntityState(tenant, entity, "", None, 0)
    last: dict[str, Any] = {}
    after = -1
    while page := store.records(tenant, entity=entity, after=after, limit=1000):
        for record in (read_body(row) for row in page if row.seq < seq):
            if record is not None and record.get("kind") == "event_ingested":
                domain = versions.get(record["versions"].get("domain"))
                last = record["data"]["event"]
                before = state
                state = state if domain is None else refolded(store, tenant, domain, state, record).entity
        after = page[-1].seq
    yield ("data", "event_id"), last.get("id")
    yield ("data", "from"), before.state
    yield ("data", "to"), state.state
    yield ("data", "version"), state.version
    yield ("data", "state"), state.state
    yield ("data", "type"), last.get("type")
    yield ("data", "facts", "state"), state.state
    yield ("data", "facts", "version"), state.version
    domain = versions.get(value["versions"].get("domain"))
    if domain is not None:
        yield from ((("data", "event", "type"), name) for name in domain.events)
        yield from ((("data", "action"), name) for name in domain.actions)


def _from_neighbour(neighbour: dict[str, Any]) -> Iterator[Twin]:
    for path in _STEP:
        said = _at(neighbour, path)
        if said is not _MISSING:
            yield path, said
    operation = neighbour["data"].get("clearance_id")
    event = neighbour["data"].get("event")
    if operation is not None:
        yield ("data", "operation_id"), operation
    if neighbour["data"].get("operation_id") is not None:
        yield ("data", "clearance_id"), neighbour["data"]["operation_id"]
        yield ("causation_id",), neighbour["data"]["operation_id"]
    if isinstance(event, dict):
        yield ("data", "event_id"), event.get("id")
    if neighbour["data"].get("event_id") is not None:
        yield ("data", "event", "id"), neighbour["data"]["event_id"]


def _narrowed(path: Path, said: object, expected: object) -> tuple[Path, object, object]:
    """The one member of an object that differs, as deep as there is one."""
    while isinstance(said, dict) and isinstance(expected, dict) and said.keys() == expected.keys():
        differing = [name for name in said if said[name] != expected[name]]
        if len(differing) != 1:
            break
        path, said, expected = (*path, differing[0]), said[differing[0]], expected[differing[0]]
    return path, said, expected


def _at(value: Any, path: Path) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return _MISSING
    return value


def _with(value: dict[str, Any], path: Path, put: object) -> dict[str, Any]:
    """A copy that says something else at one place; unchanged when there is no such place."""
    changed = copy.deepcopy(value)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step] if isinstance(inner, dict) and step in inner else {}
    if isinstance(inner, dict) and path[-1] in inner:
        inner[path[-1]] = put
    return changed
