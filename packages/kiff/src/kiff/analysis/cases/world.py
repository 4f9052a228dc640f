"""A world for one case: KIFF's own edge and step over a store in memory, with a clock that only steps move.

What a lane does with a command is done here by itself, one after the other and without a log: load, step, keep the
rows. Nothing reaches outside: where an executor would run, a stand-in answers.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from msgspec import structs

from kiff.analysis.cases.document import Call, Happening, Report, Thing
from kiff.analysis.cases.source import Subject
from kiff.canonical import admit
from kiff.domain.measure import amount_of
from kiff.domain.terms import BoundLimit
from kiff.errors import NotFound
from kiff.gate import limits
from kiff.gate.case import Env, environment
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.approval import ApprovalRequest
from kiff.protocol.clearance import Clearance
from kiff.protocol.decision import Facts
from kiff.protocol.proposal import Proposal
from kiff.protocol.record import Record
from kiff.protocol.state import EntityState
from kiff.runtime.commands import Command, Expire, Propose, Settle
from kiff.runtime.edge import Edge
from kiff.runtime.executors import read_events
from kiff.runtime.governed import Governed
from kiff.runtime.ports import Append
from kiff.runtime.recovery import KINDS
from kiff.runtime.rounds import rounds, with_moves
from kiff.runtime.rows import ActiveDomain, ActivePolicy, Row, Runway
from kiff.runtime.step.fold import timers_of
from kiff.runtime.step.ingest import INGEST
from kiff.runtime.step.told import runway_of, terms_for, told
from kiff.runtime.vault import Vault
from kiff.runtime.world import Change, Context
from kiff.runtime.world import World as Loaded
from kiff.stores.memory import MemoryStore

TENANT = "default"
OUTSIDE = Principal("outside", "service")
"""Who brings an event that no actor brings."""
ANOTHER = "clr_another"
"""The operation that is in the way of a case."""
_SECRET = b"a test keeps nothing, so this is no secret"


class World:
    """One tenant, the domain and the policy that govern it, and what happens to it.

    Args:
        now: the instant (ms) at which it begins.

    Attributes:
        records: what the log would say, the oldest first.
        approval, operation: the last that were opened.
    """

    def __init__(self, subject: Subject, now: int) -> None:
        domain, policy = subject.domain, subject.policy
        self.subject = subject
        self.records: list[Record] = []
        self.approval: str | None = None
        self.operation: str | None = None
        self._clock = _Clock(now)
        self._ids = _Counted()
        self._store = MemoryStore(self._clock)
        self._load = with_moves(self._store.load, self._store)
        self._domains = {domain.digest: domain}
        self._policies = {} if policy is None else {policy.digest: policy}
        names = frozenset(contract.executor_name for contract in domain.actions.values()) - {""}
        self._context = Context("test", names, self._domains, self._policies)
        self.edge = Edge(self._ids, Governed({(TENANT, domain.entity_type): domain}), Vault(_SECRET))
        self._keep(ActiveDomain(TENANT, domain.entity_type, domain.name, domain.version, domain.digest))
        if policy is not None:
            self._keep(ActivePolicy(TENANT, "policy", policy.name, policy.version, policy.digest))

    @property
    def now(self) -> int:
        return self._clock.at

    def place(self, thing: Thing) -> None:
        """Puts an entity where a case finds it."""
        if thing.state is not None:
            domain, data = self.subject.domain, admit(thing.attributes).data
            row = EntityState(TENANT, self.reference(thing), domain.name, thing.state, thing.version, data)
            timers = timers_of(domain, row, self.now)
            self._keep(structs.replace(row, timers=len(timers)), *timers)

    def entity(self, thing: Thing) -> EntityState | None:
        return self._store.row(EntityState, TENANT, self.reference(thing))

    def reference(self, thing: Thing) -> str:
        return f"{self.subject.domain.entity_type}:{thing.id}"

    def proposed(self, call: Call, *, id: str | None = None, approval_id: str | None = None) -> Propose:
        """The command of a call.

        Raises:
            InvalidInput: the edge does not let it in.
        """
        contract = self.subject.domain.actions.get(call.action)
        runs = contract is None or contract.executor_name != ""
        return self.edge.propose(
            call.mode or ("execute" if runs else "decide"),
            call.caller,
            entity=self.reference(call.thing),
            action=call.action,
            parameters=call.parameters,
            id=id,
            approval_id=approval_id,
        )

    def occupy(self, proposal: Proposal) -> None:
        """Another operation holds what this call takes."""
        domain = self.subject.domain
        terms = terms_for(domain, self.subject.policy, proposal)
        name = runway_of(domain, terms, proposal, self._seen(proposal))
        if name:
            self._keep(Runway(TENANT, name, ANOTHER, 1))

    def use(self, bound: BoundLimit, proposal: Proposal, used: int | float) -> None:
        """So much counts already towards a limit, for the key of a call.

        Raises:
            ValueError, EvaluationError: that is no amount, or the limit has no key for the call.
        """
        limit = bound.limit
        key = "" if bound.key is None else str(bound.key(self._seen(proposal)))
        row = limits.unused(limit, TENANT, limits.usage_id(bound.scope, limit, key))
        amount = amount_of(limit, used)
        if limit.kind == "concurrency":
            for number in range(amount):
                row = limits.reserve(limit, row, self.now, holder=f"{ANOTHER}{number}", force=True).usage
        else:
            row = limits.reserve(limit, row, self.now, amount, force=True).usage
        self._keep(row)

    def take(self, command: Command, report: Report | None = None) -> Any:
        """What the command is answered with; what it started is over then.

        Args:
            report: how the executor answers; that it succeeded, when not given.

        Raises:
            KiffError: the answer is one.
        """
        change = self._stepped(command)
        answer = change.answer
        if change.run is not None:
            ended = self._stepped(self._ended(change.run[0], report or Report()))
            if change.wait is not None and ended.resolved is not None:
                answer = ended.resolved[1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def happen(self, thing: Thing, event: Happening) -> Any:
        """What an event is answered with. It is brought by somebody who may, unless it says by whom."""
        caller, source = self._bringer() if event.by is None else (event.by, "api")
        entity = self.reference(thing)
        return self.take(self.edge.ingest(caller, type=event.type, entity=entity, payload=event.payload, source=source))

    def pass_to(self, at: int) -> None:
        """Time goes on, never back; what is due on the way is written down when it is."""
        seen = set()
        while due := [row for row in self._store.due(at) if (type(row), row.id, row.due_at) not in seen]:
            row = due[0]
            seen.add((type(row), row.id, row.due_at))
            self._clock.at = max(self._clock.at, row.due_at or 0)
            self._stepped(Expire(TENANT, KINDS[type(row)], row.id, self._ids.draw()))
        self._clock.at = max(self._clock.at, at)

    def asked(self) -> ApprovalRequest:
        """The last approval that was opened.

        Raises:
            NotFound: there was none.
        """
        row = None if self.approval is None else self._store.row(ApprovalRequest, TENANT, self.approval)
        if row is None:
            raise NotFound("there is no approval: no call of this case was held")
        return row

    def cleared(self) -> Clearance:
        """The last operation. Raises as `asked` does."""
        row = None if self.operation is None else self._store.row(Clearance, TENANT, self.operation)
        if row is None:
            raise NotFound("there is no operation: no call of this case was cleared")
        return row

    def _stepped(self, command: Command) -> Change:
        loaded = Loaded(self._context, self._store.load((TENANT,), command.reads()))
        change = rounds(self._load, self._domains, loaded, command)
        self._keep(*change.rows.values())
        self.records += change.records
        for record in change.records:
            if record.kind == "approval_required":
                self.approval = record.data["approval_id"]
            elif record.kind == "action_validated":
                self.operation = record.data["operation_id"]
        return change

    def _ended(self, clearance: Clearance, report: Report) -> Settle:
        """What the stand-in of an executor reports."""
        return Settle(
            tenant=TENANT,
            operation_id=clearance.id,
            status=report.status,
            by="executor",
            suffix=self._ids.draw(),
            entity=clearance.entity,
            message=report.message,
            events=None if report.events is None else read_events(list(report.events)),
        )

    def _seen(self, proposal: Proposal) -> Env:
        """What conditions would read of a call now."""
        entity = self._store.row(EntityState, TENANT, proposal.entity)
        version, state = (0, None) if entity is None else (entity.version, entity.state)
        facts = Facts(state, version, roles=proposal.roles, at=self.now)
        known = told(self.subject.domain, self.subject.policy, entity, self.now)
        return environment(proposal, structs.replace(facts, **known))

    def _bringer(self) -> tuple[Caller, str]:
        """Somebody who may bring events, and from which source: whoever has the permission, or an adapter."""
        domain = self.subject.domain
        roles = tuple(role for role, held in domain.roles.items() if INGEST in held)
        adapter = next((each for each in domain.adapters.values() if each.map is not None), None)
        if roles or adapter is None:
            return Caller(OUTSIDE, roles), "api"
        return Caller(OUTSIDE, adapter=adapter.name), adapter.source

    def _keep(self, *rows: Row) -> None:
        self._store.append(Append([], list(rows), [], (), [], []))


class _Clock:
    def __init__(self, at: int) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / 1000


class _Counted:
    """Ids in the order they are drawn: the same case always has the same ones."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def draw(self) -> str:
        return f"{next(self._numbers):026d}"
