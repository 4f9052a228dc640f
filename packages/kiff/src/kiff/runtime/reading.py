"""Reading the log and the rows: values, no side effects, nothing through a lane."""

from __future__ import annotations

from math import inf
from typing import Any

from msgspec import Struct, json

from kiff.domain import Domain
from kiff.errors import NotFound
from kiff.ledger.receipts import flat
from kiff.ledger.tiles import WIDTH, TileHashes
from kiff.ledger.tree import inclusion_proof
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.ids import require_id, split_ref
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Store
from kiff.runtime.rows import CheckpointRow, DomainVersion, RecordRow
from kiff.runtime.step.fold import transition

PAGE = 1000


class Rebuilt(Struct, frozen=True):
    """An entity as it is kept, beside the same events folded again.

    Args:
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
        domains: compiled versions by digest; versions met for the first time are added.
    """

    def __init__(self, store: Store, domains: dict[str, Domain]) -> None:
        self._store = store
        self._domains = domains

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
        note = self._store.checkpoint(tenant)
        assert note is not None, "the proof of the receipt found a head"
        records = [
            {"record": record, "inclusion": self.inclusion(tenant, record["seq"], note.size)}
            for record in self.timeline(receipt["entity"], tenant=tenant)
            if record["trace_id"] == receipt["trace_id"] and record["seq"] < note.size
        ]
        return {"kiff_bundle": 1, "receipt": receipt, "records": records, "checkpoint": note.note.decode()}

    def head(self, *, tenant: str = "default") -> CheckpointRow | None:
        """The newest signed head of the tenant's log."""
        return self._store.checkpoint(tenant)

    def rebuild(self, entity: str, *, tenant: str = "default") -> Rebuilt:
        """Folds an entity's events again, each under the domain version in its own record, and compares."""
        ref = ":".join(split_ref(entity))
        kept = self.state(ref, tenant=tenant)
        state, events = self._folded(tenant, ref)
        now = EntityState(tenant, ref, "", None, 0) if kept is None else kept
        match = (now.state, now.version) == (state.state, state.version)
        return Rebuilt(ref, now.state, state.state, match, events)

    def state_at(self, entity: str, seq: int, *, tenant: str = "default") -> EntityState | None:
        """Where an entity was once the record `seq` of the tenant's log was written; None when nothing had happened."""
        ref = ":".join(split_ref(entity))
        state, _ = self._folded(tenant, ref, last=seq)
        return state if state.version else None

    def _folded(self, tenant: str, ref: str, *, last: float = inf) -> tuple[EntityState, int]:
        state, events, after = EntityState(tenant, ref, "", None, 0), 0, -1
        while rows := self._store.records(tenant, entity=ref, after=after, limit=PAGE):
            for row in rows:
                if row.seq > last:
                    return state, events
                state, events = self._fold(state, row, events)
            after = rows[-1].seq
        return state, events

    def _fold(self, state: EntityState, row: RecordRow, events: int) -> tuple[EntityState, int]:
        record = json.decode(row.body)
        if record["kind"] != "event_ingested":
            return state, events
        domain = self._version(row.tenant, record["versions"]["domain"])
        return transition(domain, state, record["data"]["event"]["type"]) or state, events + 1

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
            "record": json.decode(row.body),
            "inclusion": self.inclusion(tenant, seq, note.size),
            "checkpoint": note.note.decode(),
        }

    def inclusion(self, tenant: str, seq: int, size: int) -> dict[str, Any]:
        """The audit path of a record under the head of that size, as it travels in JSON."""
        start = size - size % WIDTH
        rows = self._store.records(tenant, after=start - 1, limit=size - start) if size > start else []
        hashes = TileHashes(lambda level, number: self._store.tile(tenant, level, number), size, [r.leaf for r in rows])
        path = inclusion_proof(seq, size, hashes)
        return {"index": seq, "size": size, "hashes": [node.hex() for node in path]}
