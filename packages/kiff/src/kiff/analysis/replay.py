"""Replay: fold the events again and compare; decide history again and compare (DESIGN invariants 5 and 6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
from msgspec import Struct, ValidationError, to_builtins

from kiff.analysis.findings import Findings
from kiff.analysis.history import PAGE, Versions, beside, bytes_of, pages, read_body, refolded, subjects
from kiff.analysis.vault import opened
from kiff.canonical import digest
from kiff.errors import InvalidInput
from kiff.gate import decide
from kiff.ledger import Problem
from kiff.protocol.actor import Principal
from kiff.protocol.decision import Decision, Facts, facts_from
from kiff.protocol.instant import parse_rfc3339
from kiff.protocol.proposal import Proposal
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Store
from kiff.runtime.rows import RecordRow


class Replayed(Struct, frozen=True):
    """History run again beside what is kept.

    Args:
        entities, events, decisions: how many were replayed; refused events are among them.
        erased: decisions that were not decided again, because a sensitive value that they read was erased.
        match: everything came out as it was recorded, and as the rows say.
    """

    entities: int
    events: int
    decisions: int
    problems: tuple[Problem, ...]
    erased: int = 0

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
        sum(replay.erased for replay in replays),
    )


class _Replay:
    """One tenant, one entity at a time: both the log and the rows come in the order of their references."""

    def __init__(self, store: Store, tenant: str) -> None:
        self.entities = self.events = self.decisions = self.erased = 0
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
        version, where = record["versions"].get("domain"), f"record {record.get('seq')}"
        domain = self._versions.get(version)
        try:
            folded = None if domain is None else refolded(self._store, self._tenant, domain, state, record)
        except (KeyError, TypeError, AttributeError, InvalidInput):
            self.findings.add(where, "data.event", f"cannot be folded under `{version}`")
            return state
        if folded is None:
            self.findings.add(where, "versions.domain", f"cannot be folded under `{version}`")
            return state
        told = beside(self._store, self._tenant, record["data"], "set")
        if (told or b"") != folded.set:
            expected = folded.set.decode() or "nothing"
            self.findings.add(where, "data.set", f"recorded `{(told or b'').decode()}`, folded again `{expected}`")
        return folded.entity

    def _compare(self, entity: str, kept: EntityState | None, folded: EntityState) -> None:
        if kept is None:
            if folded.version:
                self.findings.add(f"entity {entity}", "", f"has no row; its events lead to `{folded.state}`")
            return
        for name in ("domain", "state", "version", "data", "timers"):
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
            facts = facts_from(data["facts"], parse_rfc3339(record["at"], field="at"))
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
        policy_version = record["versions"].get("policy")
        policy = self._versions.policy(policy_version)
        if policy is None and policy_version is not None:
            self.findings.add(where, "versions.policy", f"`{policy_version}` is not in the store")
            return
        if facts.attributes and domain is not None:
            attributes = {**domain.defaults, **orjson.loads(state.data)}
            if facts.attributes != attributes:
                message = f"decided with {facts.attributes}; its events led to {attributes}"
                self.findings.add(where, "data.facts.attributes", message)
        whole = proposal if facts.erased else opened(self._store, self._tenant, proposal)
        if isinstance(whole, str):
            self.findings.add(where, "data.proposal.parameters", whole)
            return
        if any(row.erased for row in whole.sealed):
            self.decisions, self.erased = self.decisions - 1, self.erased + 1
            return
        try:
            decision = decide(domain, whole, facts, policy)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.findings.add(where, "data.facts", f"cannot be decided again: {error}")
            return
        for field, found, expected in disagreements(data, decision):
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
    for name in ("matched", "shadow"):
        recorded, again = data.get(name, []), list(getattr(decision, name))
        if recorded != again:
            yield f"data.{name}", recorded, again


def _entities(store: Store, tenant: str) -> Iterator[EntityState]:
    after = ""
    while page := store.entities(tenant, after=after, limit=PAGE):
        yield from page
        after = page[-1].entity
