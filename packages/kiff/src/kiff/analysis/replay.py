"""Replay: fold the events again and compare; decide history again and compare (DESIGN invariants 5 and 6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
from msgspec import Struct, ValidationError, convert, to_builtins

from kiff.analysis.findings import Findings
from kiff.analysis.history import PAGE, Versions, beside, bytes_of, pages, read_body, subjects
from kiff.canonical import digest
from kiff.errors import InvalidInput
from kiff.gate import decide
from kiff.ledger import Problem
from kiff.protocol.actor import Principal
from kiff.protocol.decision import Decision, Facts
from kiff.protocol.proposal import Proposal
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Store
from kiff.runtime.rows import RecordRow
from kiff.runtime.step.fold import transition


class Replayed(Struct, frozen=True):
    """History run again beside what is kept.

    Args:
        entities, events, decisions: how many were replayed; refused events are among them.
        match: everything came out as it was recorded, and as the rows say.
    """

    entities: int
    events: int
    decisions: int
    problems: tuple[Problem, ...]

    @property
    def match(self) -> bool:
        return not self.problems


def replay_store(store: Store) -> Replayed:
    """Folds every entity's events under the version each record names, and decides every decision again.

    Raises:
        StoreError: the store cannot be read.
    """
    with closing(store.snapshot()) as still:
        replays = [_Replay(still, tenant) for tenant in still.tenants()]
        for replay in replays:
            replay.run()
    return Replayed(
        sum(replay.entities for replay in replays),
        sum(replay.events for replay in replays),
        sum(replay.decisions for replay in replays),
        tuple(problem for replay in replays for problem in replay.findings.problems()),
    )


class _Replay:
    """One tenant, one entity at a time: both the log and the rows come in the order of their references."""

    def __init__(self, store: Store, tenant: str) -> None:
        self.entities = self.events = self.decisions = 0
        self.findings = Findings()
        self._store = store
        self._tenant = tenant
        self._versions = Versions(store, tenant)

    def run(self) -> None:
        kept = _entities(self._store, self._tenant)
        row = next(kept, None)
        for entity in subjects(self._store, self._tenant):
            while row is not None and row.entity < entity:
                self._stray(row)
                row = next(kept, None)
            at_hand = row if row is not None and row.entity == entity else None
            self._compare(entity, at_hand, self._folded(entity))
            self.entities += 1
            row = next(kept, None) if at_hand is not None else row
        while row is not None:
            self._stray(row)
            row = next(kept, None)

    def _folded(self, entity: str) -> EntityState:
        state = EntityState(self._tenant, entity, "", None, 0)
        for page in pages(self._store, self._tenant, entity=entity):
            for row in page:
                record = read_body(row)
                if record is None:
                    self.findings.add(f"record {row.seq}", "body", "cannot be read")
                elif record.get("kind") == "event_ingested":
                    state = self._fold(state, record)
                elif record.get("kind") == "decision_recorded":
                    self._decide_again(state, record, row)
        return state

    def _fold(self, state: EntityState, record: dict[str, Any]) -> EntityState:
        self.events += 1
        version = record["versions"].get("domain")
        domain = self._versions.get(version)
        event = record["data"].get("event")
        if domain is None or not isinstance(event, dict) or not isinstance(event.get("type"), str):
            field = "versions.domain" if domain is None else "data.event"
            self.findings.add(f"record {record.get('seq')}", field, f"cannot be folded under `{version}`")
            return state
        return transition(domain, state, event["type"]) or state

    def _compare(self, entity: str, kept: EntityState | None, folded: EntityState) -> None:
        if kept is None:
            if folded.version:
                self.findings.add(f"entity {entity}", "", f"has no row; its events lead to `{folded.state}`")
            return
        for name in ("domain", "state", "version"):
            found, expected = getattr(kept, name), getattr(folded, name)
            if found != expected:
                message = f"the row says `{found}`, its events lead to `{expected}`"
                self.findings.add(f"entity {entity}", name, message)

    def _stray(self, row: EntityState) -> None:
        self.findings.add(f"entity {row.entity}", "", "has a row, and no record speaks of it")

    def _decide_again(self, state: EntityState, record: dict[str, Any], row: RecordRow) -> None:
        self.decisions += 1
        where, data = f"record {row.seq}", record["data"]
        body = beside(self._store, self._tenant, data, "proposal")
        if body is None:
            self.findings.add(where, "data.proposal", "the proposal beside the log is missing or was changed")
            return
        try:
            facts = convert(data.get("facts"), Facts)
            proposal = proposal_from(body, facts)
        except (ValidationError, InvalidInput, KeyError, TypeError, AttributeError) as error:
            self.findings.add(where, "data", f"cannot be decided again: {error}")
            return
        if (facts.state, facts.version) != (state.state, state.version):
            message = f"decided at `{facts.state}`, version {facts.version}; its events led to `{state.state}`"
            self.findings.add(where, "data.facts.state", f"{message}, version {state.version}")
        version = record["versions"].get("domain")
        domain = self._versions.get(version)
        if domain is None and version is not None:
            self.findings.add(where, "versions.domain", f"`{version}` is not in the store")
            return
        for field, found, expected in disagreements(data, decide(domain, proposal, facts)):
            self.findings.add(where, field, f"recorded `{found}`, decided again `{expected}`")


def proposal_from(body: bytes, facts: Facts) -> Proposal:
    """The proposal a record tells of.

    Args:
        body: its canonical bytes.
        facts: recorded beside it; they hold the roles it was made with.

    Raises:
        KeyError, TypeError, AttributeError, InvalidInput: this is not the body of a proposal.
    """
    said = orjson.loads(body)
    return Proposal(
        id=said["id"],
        tenant=said["tenant"],
        mode=said["mode"],
        domain=said["domain"],
        entity=said["entity"],
        entity_type=said["entity"].split(":", 1)[0],
        action=said["action"],
        principal=Principal(said["principal"], said["principal_type"]),
        roles=facts.roles,
        parameters=said["parameters"],
        settles=said["settles"],
        body=body,
        action_digest=digest(bytes_of({name: said[name] for name in CALL})),
        proposal_digest=digest(body),
    )


CALL = ("action", "domain", "entity", "parameters", "principal", "tenant")
"""What the action digest is made of (PROTOCOL "Names and numbers", DESIGN section 3)."""


def disagreements(data: dict[str, Any], decision: Decision) -> Iterator[tuple[str, object, object]]:
    """Where a recorded decision and a new one differ: (field, recorded, decided again)."""
    if data.get("outcome") != decision.outcome:
        yield "data.outcome", data.get("outcome"), decision.outcome
    reasons = to_builtins(decision.objections)
    if data.get("reasons") != reasons and bytes_of(data.get("reasons")) != bytes_of(reasons):
        yield "data.reasons", data.get("reasons"), reasons


def _entities(store: Store, tenant: str) -> Iterator[EntityState]:
    after = ""
    while page := store.entities(tenant, after=after, limit=PAGE):
        yield from page
        after = page[-1].entity
