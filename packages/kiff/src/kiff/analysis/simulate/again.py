"""One recorded decision, made again under the draft; or why it cannot be."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import DecodeError, Struct, json, structs

from kiff.analysis.history import beside
from kiff.analysis.simulate.counted import Counted
from kiff.analysis.simulate.draft import Asks, Law, Laws
from kiff.analysis.simulate.entities import Entities
from kiff.analysis.simulate.past import Body, Decided, Decision
from kiff.analysis.vault import opened
from kiff.domain import Domain
from kiff.gate import decide
from kiff.gate.case import environment
from kiff.protocol.action import ActionContract
from kiff.protocol.actor import Principal
from kiff.protocol.approval import Demand
from kiff.protocol.decision import Decision as Verdict
from kiff.protocol.decision import Facts
from kiff.protocol.proposal import Proposal
from kiff.protocol.sealed import commitments
from kiff.runtime.ports import Store
from kiff.runtime.step.limits import Looked


class Ground(NamedTuple):
    """What all decisions have in common that were made on one action under one version.

    Args:
        concerns: whether the draft has a say in them.
        law: None when a version that was in force cannot be had.
        asks: None when the draft has no such action.
        contract: as it was in force.
        undecided: why none of them can be made again.
        told: whether a decision without attributes had none, and not only no use for them.
        unheard_of: the attributes that the draft reads and that there were not.
    """

    concerns: bool
    law: Law | None
    asks: Asks | None
    contract: ActionContract | None
    undecided: str | None
    told: bool
    unheard_of: frozenset[str]


class Again(NamedTuple):
    """A decision that was made again. `body`: the proposal as it is written."""

    ground: Ground
    law: Law
    body: Body
    proposal: Proposal
    facts: Facts
    looked: list[Looked]
    verdict: Verdict


class Undecided(Struct, frozen=True, gc=False):
    """`why`: see `kiff.analysis.simulate.tally.WHY`."""

    why: str


class Judge:
    """Makes decisions again.

    Args:
        entities: where entities would be; None leaves them where they were.
    """

    def __init__(self, store: Store, tenant: str, laws: Laws, counted: Counted, entities: Entities | None) -> None:
        self._store = store
        self._tenant = tenant
        self._laws = laws
        self._counted = counted
        self._entities = entities
        self._grounds: dict[tuple[str, str | None, str | None, str], Ground] = {}

    def again(self, record: Decision, ground: Ground, at: int, held: bytes) -> Again | Undecided:
        """The decision, made again.

        Args:
            at: its instant (ms).
            held: what limits keep for an approval of this very call.
        """
        data, law, asks = record.data, ground.law, ground.asks
        if law is None or ground.undecided is not None:
            return Undecided(ground.undecided or "version_missing")
        body = data.proposal or self._beside(data)
        if body is None:
            return Undecided("proposal_missing")
        proposal = self._proposal(data, body)
        if isinstance(proposal, Undecided):
            return proposal
        facts = self._facts(record, law, asks, at)
        looked: list[Looked] = []
        if asks is not None and facts.state is not None:
            if asks.attributes and not (data.facts.attributes or ground.told or self._entities is not None):
                return Undecided("attributes_not_recorded")
            if asks.terms.limits:
                looked = self._counted.look(at, asks.terms, environment(proposal, facts), held)
                facts = structs.replace(facts, usage={each.bound.code: each.facts for each in looked})
        verdict = decide(law.domain, proposal, facts, law.policy)
        if ground.unheard_of and self._entities is None and _misses(verdict, ground, facts):
            return Undecided("attributes_not_recorded")
        return Again(ground, law, body, proposal, facts, looked, verdict)

    def ground(self, record: Decision) -> Ground:
        """What it is made again on."""
        versions, action = record.versions, record.data.action
        key = (record.entity_type, versions.domain, versions.policy, action)
        found = self._grounds.get(key)
        if found is None:
            concerns = self._laws.concern(record)
            law = self._laws.of(record) if concerns else None
            found = self._grounds[key] = _ground(concerns, law, self._laws.recorded(record), action)
        return found

    def _beside(self, data: Decided) -> Body | None:
        if data.proposal_beside is None:
            return None
        reference = {"it_beside": {"digest": data.proposal_beside.digest}}
        told = beside(self._store, self._tenant, reference, "it")
        try:
            return None if told is None else _BODY.decode(told)
        except DecodeError:
            return None

    def _proposal(self, data: Decided, body: Body) -> Proposal | Undecided:
        proposal = Proposal(
            body.id,
            body.tenant,
            body.mode,
            body.domain,
            body.entity,
            body.entity.partition(":")[0],
            body.action,
            Principal(body.principal, body.principal_type, person=body.principal_person),
            data.facts.roles,
            body.parameters,
            body.settles,
            b"",
            data.action_digest,
            "",
        )
        if data.facts.erased or not (dict in map(type, body.parameters.values()) and commitments(body.parameters)):
            return proposal
        found = opened(self._store, self._tenant, proposal)
        if isinstance(found, str):
            return Undecided("sensitive_missing")
        return Undecided("sensitive_erased") if any(row.erased for row in found.sealed) else found

    def _facts(self, record: Decision, law: Law, asks: Asks | None, at: int) -> Facts:
        """What the decision was made from, with the draft's time windows, defaults and demands in place of the old."""
        facts = record.data.facts
        if self._entities is not None:
            facts = self._entities.facts(law, record.entity or "", facts)
        covers = facts.covers
        if covers and asks is not None:
            asked = asks.terms.demands.values()
            covers = tuple(each for each in asked if any(_is_met(each, was) for was in covers)) or covers
        return Facts(
            facts.state,
            facts.version,
            facts.roles,
            facts.holder,
            facts.approval,
            facts.approval_id,
            facts.operation_id,
            facts.operation_status,
            True if facts.executor_ready is None else facts.executor_ready,
            at,
            {**law.domain.defaults, **facts.attributes},
            {} if asks is None else asks.windows.at(at),
            {},
            covers,
            facts.erased,
        )


def _misses(verdict: Verdict, ground: Ground, facts: Facts) -> bool:
    """Whether an error comes from an attribute that there was not when the decision was made."""
    errs = any(each.code == "policy_error" for each in verdict.objections)
    return errs and not ground.unheard_of <= facts.attributes.keys()


def _ground(concerns: bool, law: Law | None, known: Domain | None, action: str) -> Ground:
    asks = None if law is None else law.asks(action)
    contract = None if known is None else known.actions.get(action)
    undecided = None
    if law is None:
        undecided = "version_missing"
    elif asks is None and contract is not None:
        undecided = "unknown_action"
    reads = known is not None and contract is not None and known.terms[action].reads
    told = known is not None and (reads or not known.attributes)
    unheard_of = frozenset(() if asks is None else asks.attributes) - set(() if known is None else known.attributes)
    return Ground(concerns, law, asks, contract, undecided, told, unheard_of)


def _is_met(demand: Demand, was: Demand) -> bool:
    """Whether a grant that was asked for one demand would have been asked for the other. Its wording may differ."""
    return (demand.rule, demand.roles) == (was.rule, was.roles) and demand.quorum <= was.quorum


_BODY = json.Decoder(Body)
