"""Reading the log and the rows: values, no side effects, nothing through a lane."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Any

from msgspec import Struct, json

from kiff.canonical import MAX_DEPTH
from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.errors import NotFound
from kiff.ledger.receipts import flat
from kiff.ledger.tiles import WIDTH, TileHashes
from kiff.ledger.tree import consistency_proof, inclusion_proof
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.ids import require_id, split_ref
from kiff.protocol.instant import parse_rfc3339
from kiff.protocol.sealed import Sealed, commitments
from kiff.protocol.state import EntityState
from kiff.runtime.in_use import InUse, look
from kiff.runtime.ports import Store
from kiff.runtime.rows import (
    POLICY,
    ActiveDomain,
    ActivePolicy,
    Blob,
    CheckpointRow,
    DomainVersion,
    PolicyVersion,
    RecordRow,
)
from kiff.runtime.step.fold import transition

PAGE = 1000
MOST_PENDING = 10_000
AROUND = 3
"""How many objects and arrays a bundle has around a record."""


class Rebuilt(Struct, frozen=True):
    """An entity as it is kept, beside the same events folded again.

    Args:
        match: state, version and attributes are the same.
        events: how many events were folded, refused ones included.
    """

    entity: str
    materialized: str | None
    replayed: str | None
    match: bool
    events: int


class Reading:
    """What can be asked of a runtime's store.

    Args:
        domains, policies: compiled versions by digest; versions met for the first time are added.
    """

    def __init__(self, store: Store, domains: dict[str, Domain], policies: dict[str, Policy] | None = None) -> None:
        self._store = store
        self._domains = domains
        self._policies: dict[str, Policy] = {} if policies is None else policies

    def state(self, entity: str, *, tenant: str = "default") -> EntityState | None:
        """Where an entity is now; None when nothing has happened to it."""
        ref = ":".join(split_ref(entity))
        return self._store.row(EntityState, tenant, ref)

    def timeline(
        self, entity: str, *, tenant: str = "default", after: int = -1, limit: int = PAGE
    ) -> list[dict[str, Any]]:
        """An entity's records, oldest first, as JSON objects.

        Args:
            after: only records with a greater seq; the last one's seq is the cursor of the next page.
        """
        ref = ":".join(split_ref(entity))
        return [json.decode(row.body) for row in self._store.records(tenant, entity=ref, after=after, limit=limit)]

    def domains(self, tenant: str = "default") -> dict[str, Domain]:
        """The domains that govern now, by entity type."""
        rows = self._store.rows(ActiveDomain, tenant)
        return {row.entity_type: self._version(tenant, row.version) for row in rows}

    def in_use(self, domain: Domain, *, tenant: str = "default") -> InUse:
        """Which of the states that this version would drop entities are in. It takes as long as there are entities."""
        active = self._store.row(ActiveDomain, tenant, domain.entity_type)
        states = () if active is None else self._version(tenant, active.version).states
        return look(self._store, tenant, domain.entity_type, frozenset(states) - set(domain.states))

    def activations(self, domain: str, *, tenant: str = "default", shadows: bool = False) -> list[dict[str, Any]]:
        """The records that made a version of this domain govern, oldest first.

        Args:
            shadows: also those that let one be asked beside it, or none any more.
        """
        kinds = ("domain_activated", "domain_shadowed") if shadows else ("domain_activated",)
        return [each for each in self._of_kinds(tenant, *kinds) if each["data"]["domain"] == domain]

    def _of_kinds(self, tenant: str, *kinds: str) -> list[dict[str, Any]]:
        """The records about the tenant of these kinds, oldest first."""
        found: list[dict[str, Any]] = []
        after = -1
        while rows := self._store.records(tenant, entity="", after=after, limit=PAGE):
            told = [json.decode(row.body) for row in rows if any(kind.encode() in row.body for kind in kinds)]
            found += [each for each in told if each["kind"] in kinds]
            after = rows[-1].seq
        return found

    def pending(self, *, tenant: str = "default", domain: str | None = None) -> int:
        """How many approvals wait for an answer now, of one domain or of all; 10,000 stands for that many and more."""
        waiting = self._store.approvals(tenant, status="pending", limit=MOST_PENDING)
        return sum(domain in (None, each.domain) for each in waiting)

    def policy(self, tenant: str = "default") -> Policy | None:
        """The policy that holds for every domain now."""
        active = self._store.row(ActivePolicy, tenant, POLICY)
        return None if active is None or not active.version else self._policy(tenant, active.version)

    def policies(self, tenant: str = "default") -> list[PolicyVersion]:
        """The published policy versions, in the order of their names."""
        return list(self._policy_rows(tenant))

    def policy_version(self, version: str, *, tenant: str = "default") -> Policy:
        """A published policy version.

        Raises:
            NotFound: it is not.
        """
        return self._policy(tenant, version)

    def policy_activations(self, *, tenant: str = "default") -> list[dict[str, Any]]:
        """The records that changed the policy, oldest first."""
        return self._of_kinds(tenant, "policy_activated", "policy_deactivated")

    def _policy_rows(self, tenant: str) -> Iterator[PolicyVersion]:
        after = ""
        while page := self._store.rows(PolicyVersion, tenant, after=after, limit=PAGE):
            yield from page
            after = page[-1].version

    def _policy(self, tenant: str, version: str) -> Policy:
        row = self._store.row(PolicyVersion, tenant, version)
        if row is None:
            raise NotFound(f"the policy version `{version}` is not in the store", version=version)
        if row.digest not in self._policies:
            self._policies[row.digest] = Policy.from_content(row.content)
        return self._policies[row.digest]

    def sealed(self, entity: str, *, tenant: str = "default", limit: int = PAGE) -> list[Sealed]:
        """What the vault still holds of an entity's calls, the oldest first: the values its records commit to."""
        found: dict[str, Sealed] = {}
        for row in self._rows(tenant, ":".join(split_ref(entity))):
            for id in self._commitments(row) if b'"decision_recorded"' in row.body else ():
                kept = None if id in found else self._store.row(Sealed, tenant, id)
                if kept is not None and kept.value is not None:
                    found[id] = kept
            if len(found) >= limit:
                break
        return list(found.values())[:limit]

    def _commitments(self, row: RecordRow) -> Iterable[str]:
        data = json.decode(row.body)["data"]
        if "proposal" not in data and "proposal_beside" in data:
            blob = self._store.row(Blob, row.tenant, data["proposal_beside"]["digest"])
            data["proposal"] = {} if blob is None else json.decode(blob.data)
        return commitments(data.get("proposal", {}).get("parameters", {})).values()

    def approvals(self, *, tenant: str = "default", status: str | None = None) -> list[ApprovalRequest]:
        return self._store.approvals(tenant, status=status)

    def operations(self, *, tenant: str = "default", status: str | None = None) -> list[Clearance]:
        """Operations, oldest first. `unknown` ones wait for a person."""
        return self._store.clearances(tenant, status=status)

    def receipt(self, receipt_id: str, *, tenant: str = "default", proof: bool = False) -> dict[str, Any]:
        """A receipt as the flat JSON of the seed.

        Args:
            proof: add the decision's record, its inclusion proof and the newest signed head that covers it.

        Raises:
            NotFound: no such receipt; or, with `proof`, no head covers it yet (one is signed within a second).
        """
        receipt = self._store.receipt(tenant, require_id(receipt_id, "receipt_id"))
        if receipt is None:
            raise NotFound(f"there is no receipt `{receipt_id}`", receipt_id=receipt_id)
        proofs: dict[str, Any] = {} if receipt.batch is None else {"batch": json.decode(receipt.batch)}
        proofs |= {"seq": receipt.seq}
        if proof:
            proofs |= self._proofs(tenant, receipt.seq)
        return flat(receipt.core, receipt.signature, proofs)

    def bundle(self, receipt_id: str, *, tenant: str = "default") -> dict[str, Any]:
        """A receipt with every record of its trace, each with its proof: what an auditor takes away.

        Raises:
            NotFound: as in `receipt`.
        """
        receipt = self.receipt(receipt_id, tenant=tenant, proof=True)
        proofs = receipt["proofs"]  # a newer head may be signed meanwhile: all of it is under this one
        size = proofs["inclusion"]["size"]
        hashes = self._hashes(tenant, size)
        records = [
            {"record": _shown(row.body), "inclusion": _path(row.seq, size, hashes)}
            for row in self._of_trace(tenant, receipt["entity"], receipt["trace_id"], size)
        ]
        return {"kiff_bundle": 1, "receipt": receipt, "records": records, "checkpoint": proofs["checkpoint"]}

    def head(self, *, tenant: str = "default") -> CheckpointRow | None:
        """The newest signed head of the tenant's log."""
        return self._store.checkpoint(tenant)

    def rebuild(self, entity: str, *, tenant: str = "default") -> Rebuilt:
        """Folds an entity's events again, each under the domain version in its own record, and compares."""
        ref = ":".join(split_ref(entity))
        kept = self.state(ref, tenant=tenant)
        state, events = self._folded(tenant, ref)
        now = EntityState(tenant, ref, "", None, 0) if kept is None else kept
        match = (now.state, now.version, now.data) == (state.state, state.version, state.data)
        return Rebuilt(ref, now.state, state.state, match, events)

    def state_at(self, entity: str, seq: int, *, tenant: str = "default") -> EntityState | None:
        """Where an entity was once the record `seq` of the tenant's log was written; None when nothing had happened."""
        ref = ":".join(split_ref(entity))
        state, _ = self._folded(tenant, ref, last=seq)
        return state if state.version else None

    def _folded(self, tenant: str, ref: str, *, last: float = inf) -> tuple[EntityState, int]:
        state, events = EntityState(tenant, ref, "", None, 0), 0
        for row in self._rows(tenant, ref):
            if row.seq > last:
                break
            state, events = self._fold(state, row, events)
        return state, events

    def _fold(self, state: EntityState, row: RecordRow, events: int) -> tuple[EntityState, int]:
        record = json.decode(row.body)
        if record["kind"] != "event_ingested":
            return state, events
        domain, event = self._version(row.tenant, record["versions"]["domain"]), record["data"]["event"]
        payload = self._payload(row.tenant, event) if event["type"] in domain.payloads else {}
        at = parse_rfc3339(record["at"], field="at")
        return transition(domain, state, event["type"], payload, at).entity, events + 1

    def _payload(self, tenant: str, event: dict[str, Any]) -> dict[str, Any]:
        """What an event's record says it held, in place or beside the log."""
        if "payload" in event:
            return dict(event["payload"])
        blob = self._store.row(Blob, tenant, event["payload_beside"]["digest"])
        return {} if blob is None else json.decode(blob.data, type=dict[str, Any])

    def _version(self, tenant: str, version: str) -> Domain:
        row = self._store.row(DomainVersion, tenant, version)
        if row is None:
            raise NotFound(f"the domain version `{version}` is not in the store", version=version)
        if row.digest not in self._domains:
            self._domains[row.digest] = Domain.from_content(row.content)
        return self._domains[row.digest]

    def _proofs(self, tenant: str, seq: int) -> dict[str, Any]:
        note = self._store.checkpoint(tenant)
        if note is None or note.size <= seq:
            raise NotFound("no signed head covers this receipt yet; one is signed within a second", seq=seq)
        [row] = self._store.records(tenant, after=seq - 1, limit=1)
        origin = note.note.split(b"\n", 1)[0].decode()
        return {
            "log": origin,
            "record": _shown(row.body),
            "inclusion": self.inclusion(tenant, seq, note.size),
            "checkpoint": note.note.decode(),
        }

    def inclusion(self, tenant: str, seq: int, size: int) -> dict[str, Any]:
        """The audit path of a record under the head of that size, as it travels in JSON."""
        return _path(seq, size, self._hashes(tenant, size))

    def consistency(self, old: int, new: int, *, tenant: str = "default") -> dict[str, Any]:
        """What shows that the log only grew from one size to another, as it travels in JSON.

        Raises:
            InvalidInput: `old` is 0 or beyond `new`, so there is nothing to show.
        """
        path = consistency_proof(old, new, self._hashes(tenant, new))
        return {"from": old, "to": new, "hashes": [node.hex() for node in path]}

    def _hashes(self, tenant: str, size: int) -> TileHashes:
        """The tree's nodes as they were when the log had that size."""
        start = size - size % WIDTH
        rows = self._store.records(tenant, after=start - 1, limit=size - start) if size > start else []
        return TileHashes(lambda level, number: self._store.tile(tenant, level, number), size, [r.leaf for r in rows])

    def _of_trace(self, tenant: str, entity: str, trace: str, size: int) -> list[RecordRow]:
        """The first records of a trace on an entity, among the first `size` of the log; at most a page of them."""
        needle = trace.encode()
        found: list[RecordRow] = []
        for row in self._rows(tenant, entity):
            if row.seq >= size or len(found) == PAGE:
                break
            if needle in row.body and json.decode(row.body)["trace_id"] == trace:
                found.append(row)
        return found

    def _rows(self, tenant: str, ref: str) -> Iterator[RecordRow]:
        """Every record of an entity, read page by page."""
        after = -1
        while rows := self._store.records(tenant, entity=ref, after=after, limit=PAGE):
            yield from rows
            after = rows[-1].seq


def _shown(body: bytes) -> dict[str, Any] | str:
    """A record as evidence holds it: its object, or its exact text where that would be nested too deeply to read."""
    record: dict[str, Any] = json.decode(body)
    return record if _depth(record) + AROUND <= MAX_DEPTH else body.decode()


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


def _path(seq: int, size: int, hashes: TileHashes) -> dict[str, Any]:
    path = inclusion_proof(seq, size, hashes)
    return {"index": seq, "size": size, "hashes": [node.hex() for node in path]}
