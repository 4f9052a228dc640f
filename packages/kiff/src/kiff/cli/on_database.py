"""A command's place on a database of this machine, which the process that opens it owns."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, Literal

from msgspec import json, to_builtins

from kiff.analysis.history import Versions, receipts
from kiff.cli.database import Database, open_database, snapshot, writable, writing
from kiff.cli.domain_file import read_domain
from kiff.cli.place import Call, Executors, Governed, Looked, PolicyVersion, Trial, Version, decided_by, startable
from kiff.cli.policy_file import read_policy
from kiff.client.nouns import Approval, Operation, Rehearsed, State, Yes
from kiff.domain import Domain
from kiff.embedded import open_runtime, vault_path
from kiff.errors import Conflict, InvalidInput, NotFound
from kiff.gate import explain
from kiff.gate.quorum import asked_for, demands_of, lasting, missing, votes_of
from kiff.ledger import compact_jws
from kiff.ledger.receipts import signature_bytes
from kiff.protocol.action import ActionContract
from kiff.protocol.actor import Caller
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.decision import Decision
from kiff.protocol.ids import split_ref
from kiff.protocol.instant import rfc3339
from kiff.protocol.proposal import Mode
from kiff.protocol.sealed import Sealed, commitments
from kiff.protocol.state import EntityState
from kiff.runtime import Activated, Decided, Erased, Ingested, Rebuilt, Reviewed, Settled
from kiff.runtime.answers import PolicyActivated, Shadowed
from kiff.runtime.clock import SystemClock
from kiff.runtime.ports import Store
from kiff.runtime.reading import Reading as StoreReading
from kiff.runtime.rehearsal import Rehearsal
from kiff.runtime.rounds import active_domains
from kiff.runtime.rows import ActiveDomain, Runway
from kiff.stores.keyfile import load_secret
from kiff.stores.memory import MemoryStore

PAGE = 1000
COLUMNS = ("receipt_id", "issued_at", "entity", "action", "decision", "reason", "trace_id")


class OnDatabase:
    """Reads a snapshot; writes with a runtime of its own.

    Args:
        who: acts; None for a command that only reads.
    """

    def __init__(self, database: Database, tenant: str, who: Caller | None) -> None:
        self._database = database
        self._tenant = tenant
        self._caller = who

    @property
    def whose(self) -> str:
        return f"the tenant `{self._tenant}`"

    @property
    def hints(self) -> Mapping[str, str]:
        return {}

    @contextmanager
    def reading(self) -> Iterator[DatabaseReading]:
        with snapshot(self._database) as still:
            yield DatabaseReading(still, self._tenant)

    @contextmanager
    def watching(self) -> Iterator[DatabaseReading]:
        with closing(open_database(self._database)) as store:
            yield DatabaseReading(store, self._tenant)

    def put(self, mode: Mode, call: Call, executors: Executors, *, settles: bool) -> tuple[Decided, str | None]:
        # What executors print is no data of ours.
        with redirect_stdout(sys.stderr), writing(self._database, executors()) as runtime:
            if mode == "execute":
                answer: Decided = runtime.execute(self._who, **_named(call)).result()
            else:
                answer = runtime.propose(self._who, **_named(call), settles=settles).result()
            receipt = runtime.read.receipt(answer.receipt_id, tenant=self._tenant)
        return answer, decided_by(receipt)

    def rehearse(self, mode: Mode, call: Call, executors: Executors, *, settles: bool) -> Rehearsed:
        with redirect_stdout(sys.stderr):
            names = executors()
        with snapshot(self._database) as still:
            rehearsal = Rehearsal(still, names, vault=self._vault())
            change = rehearsal.take(rehearsal.edge.propose(mode, self._who, **_named(call), settles=settles))
        records = tuple(record.kind for record in change.records)
        if change.answer is None and not records:
            raise Conflict(f"this call is in flight as `{change.wait}`", operation_id=change.wait)
        # An allowed execute is answered when its operation has ended, and a rehearsal has none.
        told = change.answer if isinstance(change.answer, Decided) else None
        allowed = Rehearsed(
            "", "allowed", call.action, call.entity, explain(Decision("allowed")), "", "", records=records
        )
        if told is None:
            return allowed
        return Rehearsed(
            "",
            told.outcome,
            told.action,
            told.entity,
            told.message,
            "",
            "",
            told.reasons,
            told.approval_id,
            records=records,
        )

    def ingest(self, event: Mapping[str, Any], *, dry_run: bool) -> Ingested:
        if dry_run:
            with snapshot(self._database) as still:
                rehearsal = Rehearsal(still)
                answer: Ingested = rehearsal.take(rehearsal.edge.ingest(self._who, **event)).answer
                return answer
        with writing(self._database) as runtime:
            return runtime.ingest(self._who, **event).result()

    def settle(self, operation_id: str, status: Any, said: Mapping[str, Any], *, dry_run: bool) -> Settled:
        if dry_run:
            with snapshot(self._database) as still:
                rehearsal = Rehearsal(still)
                command = rehearsal.edge.settle(self._who, operation_id, status, **said)
                answer: Settled = rehearsal.take(command).answer
                return answer
        with writing(self._database) as runtime:
            return runtime.settle(self._who, operation_id, status, **said).result()

    def review(
        self,
        verdict: Literal["grant", "deny"],
        approval_id: str,
        reason: str,
        key: str,
        executors: Executors,
        *,
        dry_run: bool,
    ) -> Reviewed:
        with redirect_stdout(sys.stderr):
            functions = executors()
            if dry_run:
                with snapshot(self._database) as still:
                    rehearsal = Rehearsal(still, functions)
                    command = rehearsal.edge.review(self._who, approval_id, verdict, reason, key)
                    answer: Reviewed = rehearsal.take(command).answer
                    return answer
            with writing(self._database, functions) as runtime:
                review = runtime.grant if verdict == "grant" else runtime.deny
                return review(self._who, approval_id, reason, key=key).result()

    def activate(self, file: Path, *, dry_run: bool) -> Activated:
        domain = read_domain(file)
        answer = self._rehearsed(domain)  # what is refused leaves no database behind
        if dry_run:
            return answer
        with open_runtime(writable(self._database)) as runtime:
            return runtime.activate(self._who, domain).result()

    def activate_policy(self, file: Path | None, published: str | None, *, dry_run: bool) -> PolicyActivated:
        policy = None if file is None else read_policy(file)
        with snapshot(self._database) as still:
            reading, tenant = StoreReading(still, {}), self._who.tenant
            if published is not None:
                policy = reading.policy_version(published, tenant=tenant)
            rehearsal, waiting = Rehearsal(still), reading.pending(tenant=tenant)
            command = rehearsal.edge.activate_policy(self._who, policy, pending=waiting)
            answer: PolicyActivated = rehearsal.take(command).answer
        if dry_run:
            return answer
        with writing(self._database) as runtime:
            return runtime.activate_policy(self._who, policy).result()

    def shadow(self, file: Path | None, slug: str) -> Shadowed:
        domain = None if file is None else read_domain(file)
        with writing(self._database) as runtime:
            return runtime.shadow(self._who, domain, of=slug).result()

    def erase(self, what: str) -> Erased:
        with writing(self._database) as runtime:
            return runtime.erase(self._who, what).result()

    def _vault(self) -> bytes | None:
        """The secret that calls are sealed with here; a rehearsal makes none."""
        file = vault_path(self._database)
        return load_secret(file) if file.exists() else None

    @property
    def _who(self) -> Caller:
        assert self._caller is not None, "the command takes --as"
        return self._caller

    def _rehearsed(self, domain: Domain) -> Activated:
        store = nullcontext(MemoryStore()) if _is_new(self._database) else snapshot(self._database)
        with store as still:
            rehearsal = Rehearsal(still)
            reading, tenant = StoreReading(still, {}), self._who.tenant
            seen = reading.in_use(domain, tenant=tenant)
            waiting = reading.pending(tenant=tenant, domain=domain.name)
            command = rehearsal.edge.activate(self._who, domain, seen, pending=waiting)
            answer: Activated = rehearsal.take(command).answer
            return answer


def _is_new(database: Database) -> bool:
    return isinstance(database, Path) and not database.is_file()


class DatabaseReading:
    """What a store says of one tenant."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant
        self._reading = StoreReading(store, {})
        self._versions = Versions(store, tenant)

    def state(self, entity: str, at: int | None) -> State | None:
        size = next((head.size for head in self._store.heads() if head.tenant == self._tenant), 0)
        if at is not None and at >= size:
            raise InvalidInput(f"the log of `{self._tenant}` holds {size} records, numbered from 0", field="--at")
        reading, tenant = self._reading, self._tenant
        found = reading.state(entity, tenant=tenant) if at is None else reading.state_at(entity, at, tenant=tenant)
        return None if found is None else _state(found)

    def entities(self, type: str | None, after: str) -> Iterator[State]:
        while page := self._store.entities(self._tenant, after=after, limit=PAGE):
            yield from (_state(each) for each in page if type is None or each.entity.startswith(f"{type.lower()}:"))
            after = page[-1].entity

    def entity(self, entity: str) -> Governed:
        ref = ":".join(split_ref(entity))
        found = self._reading.state(ref, tenant=self._tenant)
        if found is None:
            raise NotFound(f"nothing has happened to `{entity}`", entity=entity, tenant=self._tenant)
        domain = self._governing(ref)
        runway = self._store.row(Runway, self._tenant, ref)
        return Governed(
            entity=found.entity,
            state=found.state,
            version=found.version,
            domain=None if domain is None else domain.version,
            held_by=None if runway is None else runway.holder,
            waiting=[a.id for a in self._store.approvals(self._tenant, status="pending") if a.entity == ref],
            startable=[]
            if domain is None
            else [_said(c) for c in domain.actions.values() if found.state in c.allowed_states],
        )

    def timeline(self, entity: str, after: int) -> Iterator[dict[str, Any]]:
        while page := self._reading.timeline(entity, tenant=self._tenant, after=after):
            yield from page
            after = page[-1]["seq"]

    def risk(self, record: Mapping[str, Any]) -> str | None:
        contract = self._versions.contract(record["versions"]["domain"], record["data"].get("action"))
        return None if contract is None else str(contract.risk)

    def rebuild(self, entity: str) -> Rebuilt:
        return self._reading.rebuild(entity, tenant=self._tenant)

    def approvals(self, status: Any, limit: int) -> list[Approval]:
        rows = self._store.approvals(self._tenant, status=status, limit=limit)
        return [_approval(row, self._opened(row)) for row in rows]

    def approval(self, approval_id: str) -> Approval:
        row = self._store.row(ApprovalRequest, self._tenant, approval_id)
        if row is None:
            hint = "kiff approvals list --status all"
            raise NotFound(f"there is no approval `{approval_id}`", approval_id=approval_id, hint=hint)
        return _approval(row, self._opened(row))

    def look(self, approval: Approval) -> Looked:
        domain = self._governing(approval.entity)
        contract = None if domain is None else domain.actions.get(approval.action)
        row = self._store.row(EntityState, self._tenant, approval.entity)
        moved = row is not None and row.version != approval.entity_version
        return Looked(None if contract is None else str(contract.risk), None if row is None else row.state, moved)

    def operations(self, status: Any, limit: int) -> list[Operation]:
        return [_operation(row) for row in self._store.clearances(self._tenant, status=status, limit=limit)]

    def operation(self, operation_id: str) -> Operation | None:
        """Closing the runtime waited for its end."""
        row = self._store.row(Clearance, self._tenant, operation_id)
        return None if row is None else _operation(row)

    def receipts(self, entity: str | None, after: int) -> Iterator[dict[str, Any]]:
        for receipt in receipts(self._store, self._tenant, after=after):
            core = json.decode(receipt.core)
            if entity in (None, core["entity"]):
                yield {"seq": receipt.seq} | {name: core.get(name) for name in COLUMNS}

    def receipt(self, receipt_id: str, *, proof: bool = False) -> dict[str, Any]:
        return self._reading.receipt(receipt_id, tenant=self._tenant, proof=proof)

    def bundle(self, receipt_id: str) -> dict[str, Any]:
        return self._reading.bundle(receipt_id, tenant=self._tenant)

    def jws(self, receipt_id: str) -> str:
        receipt = self._store.receipt(self._tenant, receipt_id)
        if receipt is None:
            raise NotFound(f"there is no receipt `{receipt_id}`", receipt_id=receipt_id)
        signature = signature_bytes(receipt.signature)
        if signature is None:
            raise InvalidInput(
                f"`{receipt_id}` was signed together with others, which has no JWS form",
                hint="use --proof: its path in the batch is among the proofs",
            )
        return compact_jws(receipt.core, str(json.decode(receipt.core)["kid"]), signature)

    def versions(self) -> list[Version]:
        rows = self._store.active_domains()
        own = [row for row in rows if row.tenant == self._tenant]
        governs, shadows = {row.version: row.entity_type for row in own}, {row.shadow_version for row in own}
        return [
            Version(row.version, row.domain, row.digest, governs.get(row.version), row.version in shadows)
            for row in self._store.domain_versions()
            if row.tenant == self._tenant
        ]

    def content(self, version: str) -> bytes:
        rows = self._store.domain_versions()
        found = [row for row in rows if (row.tenant, row.version) == (self._tenant, version)]
        if not found:
            raise NotFound(f"no version `{version}` is published", version=version, hint="kiff domains list")
        return found[0].content

    def explain(self, id: str) -> dict[str, Any]:
        from kiff.analysis.explain import explain as explained  # other commands do without the gate's reasons

        told: dict[str, Any] = to_builtins(explained(self._store, id, tenant=self._tenant))
        return told

    def simulate(self, trial: Trial) -> dict[str, Any]:
        from kiff.analysis.simulate import Draft, Question, simulate
        from kiff.analysis.simulate.window import since

        draft = Draft(
            None if trial.file is None else read_domain(trial.file),
            None if trial.policy is None else read_policy(trial.policy),
        )
        question = Question(
            since_ms=None if trial.since is None else since(trial.since, SystemClock().now()),
            action=trial.action,
            sequential=trial.sequential,
            examples=trial.examples,
            minutes=trial.minutes,
        )
        told: dict[str, Any] = to_builtins(simulate(self._store, draft, question, tenant=self._tenant))
        return told

    def policies(self) -> list[PolicyVersion]:
        active = self._reading.policy(self._tenant)
        return [
            PolicyVersion(row.version, row.policy, row.digest, active is not None and row.version == active.version)
            for row in self._reading.policies(self._tenant)
        ]

    def policy(self, version: str | None) -> bytes:
        if version is not None:
            return self._reading.policy_version(version, tenant=self._tenant).content
        active = self._reading.policy(self._tenant)
        if active is None:
            raise NotFound("no policy holds", hint="kiff policies list shows which versions are published")
        return active.content

    def _opened(self, row: ApprovalRequest) -> dict[str, Any]:
        """The sealed values of a held call: whoever reads the database reads its vault."""
        ids = commitments(json.decode(row.proposal)["parameters"])
        found = {name: self._store.row(Sealed, self._tenant, id) for name, id in ids.items()}
        return {n: json.decode(each.value) for n, each in found.items() if each is not None and each.value is not None}

    def _governing(self, ref: str) -> Domain | None:
        row = self._store.row(ActiveDomain, self._tenant, ref.partition(":")[0])
        return None if row is None else active_domains(self._store)[row.digest]


def _named(call: Call) -> dict[str, Any]:
    """A call as the runtime and the edge take it."""
    return {
        "entity": call.entity,
        "action": call.action,
        "parameters": call.parameters,
        "id": call.id,
        "approval_id": call.approval_id,
        "reasoning_summary": call.reasoning,
    }


def _said(contract: ActionContract) -> str:
    return startable(contract.name, str(contract.risk), str(contract.approval_requirement))


def _state(row: EntityState) -> State:
    return State(row.entity, row.state, row.version, row.domain, json.decode(row.data))


def _approval(row: ApprovalRequest, opened: Mapping[str, Any]) -> Approval:
    proposal = json.decode(row.proposal)
    said = proposal.get("reasoning_summary")
    demands, votes = demands_of(row), votes_of(row)
    if row.status == "pending":
        votes = lasting(votes, SystemClock().now())
    return Approval(
        id=row.id,
        status=row.status,
        entity=row.entity,
        proposal_id=row.proposal_id,
        parameters={**proposal["parameters"], **opened},
        reviewers=tuple(row.reviewers.split(",")),
        opened_at=rfc3339(row.opened_at),
        expires_at=rfc3339(row.expires_at),
        receipt_id=row.receipt_id,
        trace_id=row.trace_id,
        on_grant=row.on_grant,
        entity_version=row.entity_version,
        action_digest=row.action_digest,
        action=row.action,
        proposer=row.proposer,
        reasoning_summary=said if isinstance(said, str) else None,
        reviewed_by=row.reviewed_by,
        reviewed_at=_time(row.reviewed_at),
        reason=row.reason,
        use_by=_time(row.use_by),
        quorum=asked_for(demands),
        demands=demands,
        votes=tuple(Yes(vote.by, rfc3339(vote.at), _time(vote.use_by)) for vote in votes),
        still_needed=missing(demands, votes) if row.status == "pending" else (),
        human_only=row.human_only,
        evidence=row.evidence,
        binds_version=row.binds_version,
        consumed_by=row.consumed_by,
    )


def _operation(row: Clearance) -> Operation:
    return Operation(
        id=row.id,
        status=row.status,
        mode=row.mode,
        entity=row.entity,
        proposal_id=row.proposal_id,
        principal=row.principal,
        cleared_at=rfc3339(row.cleared_at),
        deadline=rfc3339(row.deadline),
        receipt_id=row.receipt_id,
        trace_id=row.trace_id,
        action=row.action,
        approval_id=row.approval_id,
        settled_by=row.settled_by,
        settled_at=_time(row.settled_at),
        disputed=row.disputed,
    )


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
