"""Where entities would be: their events folded under the draft, without those of calls that it would have stopped."""

from __future__ import annotations

from typing import Any

from msgspec import json, structs

from kiff.analysis.history import beside
from kiff.analysis.simulate.draft import Law, Laws
from kiff.analysis.simulate.past import Event, Happening, kind_of, past
from kiff.domain import Domain
from kiff.errors import Overloaded
from kiff.protocol.action import ActionContract
from kiff.protocol.decision import Facts
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Store
from kiff.runtime.step.fold import transition
from kiff.runtime.step.payload import payloads_of
from kiff.runtime.step.timer import SOURCE

MOST = 1_000_000
"""How many entities are kept in memory."""


class Entities:
    """The entities of a tenant, as far as they were met.

    Args:
        first: the place in the log from which events are told; what was before is read when it is needed.

    Attributes:
        skipped: events that are effects of calls that would not have run.
        untold: events whose payload is gone, so that nothing of it could be read.
    """

    def __init__(self, store: Store, tenant: str, laws: Laws, first: int) -> None:
        self._store = store
        self._tenant = tenant
        self._laws = laws
        self._first = first
        self._known: dict[str, EntityState] = {}
        self._stopped: dict[str, dict[str, frozenset[str] | None]] = {}
        self._stopped_operations: set[str] = set()
        self.skipped = self.untold = 0

    def facts(self, law: Law, entity: str, facts: Facts) -> Facts:
        """The facts of a decision with what the draft makes of them."""
        now = self._at_hand(entity, law.domain)
        return structs.replace(
            facts,
            state=now.state,
            version=now.version,
            attributes={**law.domain.defaults, **json.decode(now.data)},
            holder=None if facts.holder in self._stopped_operations else facts.holder,
        )

    def happened(self, law: Law, record: Happening) -> None:
        """Folds an event, unless it is the effect of a call that would not have run."""
        entity, event = record.entity or "", record.data.event
        if self._is_stopped(record, entity, event):
            self.skipped += 1
            return
        now = self._at_hand(entity, law.domain)
        if event.source == SOURCE and not self._is_timed(law.domain, now, event.type):
            self.skipped += 1
            return
        self._known[entity] = transition(law.domain, now, event.type, self._payload(law, event), record.at_ms).entity

    def ran(self, law: Law, contract: ActionContract, entity: str, parameters: dict[str, Any], at: int) -> None:
        """A call that would have run: the first event that it declares for a success, and that leads somewhere."""
        payloads = json.decode(payloads_of(law.domain, contract, parameters))
        now = self._at_hand(entity, law.domain)
        for event in contract.emits.success:
            folded = transition(law.domain, now, event, payloads.get(event, {}), at)
            if folded.refusal is None:
                self._known[entity] = folded.entity
                return

    def stop(self, operation: str, entity: str, contract: ActionContract | None) -> None:
        """An operation that would not have run, or not then: what it led to did not happen.

        Args:
            contract: as it was in force.
        """
        emits = None if contract is None else contract.emits
        events = None if emits is None or not emits.declared else frozenset((*emits.success, *emits.failure))
        self._stopped_operations.add(operation)
        self._stopped.setdefault(entity, {})[operation] = events

    def ended(self, operation: str, entity: str) -> None:
        """Whatever happens from now on is no effect of it, unless its own report says so."""
        waiting = self._stopped.get(entity, {})
        waiting.pop(operation, None)
        if not waiting:
            self._stopped.pop(entity, None)

    def _is_stopped(self, record: Happening, entity: str, event: Event) -> bool:
        if record.causation_id in self._stopped_operations:
            return True
        waiting = self._stopped.get(entity, {})
        return any(emits is None or event.type in emits for emits in waiting.values())

    def _is_timed(self, domain: Domain, now: EntityState, event: str) -> bool:
        return any(each.event == event for each in domain.timeouts.get(now.state or "", ()))

    def _payload(self, law: Law, event: Event) -> dict[str, Any]:
        if event.type not in law.domain.payloads or event.payload is not None:
            return event.payload or {}
        if event.payload_beside is None:
            return {}
        reference = {"payload_beside": {"digest": event.payload_beside.digest}}
        told = beside(self._store, self._tenant, reference, "payload")
        self.untold += told is None
        return {} if told is None else json.decode(told, type=dict[str, Any])

    def _at_hand(self, entity: str, domain: Domain) -> EntityState:
        found = self._known.get(entity)
        if found is None:
            if len(self._known) >= MOST:
                raise Overloaded(f"there are more than {MOST} entities to follow; begin later, with `since`")
            nowhere = EntityState(self._tenant, entity, domain.name, None, 0)
            found = self._known[entity] = self._before(nowhere) if self._first else nowhere
        return found

    def _before(self, state: EntityState) -> EntityState:
        """As it was where the window begins."""
        after = -1
        while rows := self._store.records(self._tenant, entity=state.entity, after=after, limit=100):
            for row in rows:
                if row.seq >= self._first:
                    return state
                record = past(row) if kind_of(row.body) == b"event_ingested" else None
                if isinstance(record, Happening):
                    law = self._laws.of(record)
                    event = record.data.event
                    if law is not None:
                        payload = self._payload(law, event)
                        state = transition(law.domain, state, event.type, payload, record.at_ms).entity
            after = rows[-1].seq
        return state
