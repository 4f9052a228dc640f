"""One attempt: facts in, a decision out, and what the decision changes.

Allowed gives a clearance, a hold opens an approval, a refusal changes nothing but the log. Every attempt
is recorded and gets one receipt.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, json, structs, to_builtins

from kiff.canonical import admit, digest, fragment
from kiff.domain import Domain
from kiff.domain.terms import Terms
from kiff.errors import Conflict, IdempotencyConflict
from kiff.gate import decide, explain, quorum, standing
from kiff.gate.case import Env, environment
from kiff.protocol.action import ActionContract, Lock
from kiff.protocol.actor import Principal
from kiff.protocol.approval import ApprovalRequest, Demand
from kiff.protocol.clearance import Clearance
from kiff.protocol.decision import Decision, Facts, Objection, Standing, facts_json
from kiff.protocol.instant import rfc3339
from kiff.protocol.proposal import Proposal
from kiff.protocol.receipt import ReceiptDraft
from kiff.protocol.sealed import opened
from kiff.protocol.state import EntityState
from kiff.runtime.answers import Decided, Executed
from kiff.runtime.commands import Propose
from kiff.runtime.rows import ActiveDomain, CommandRow, LastApproval, Runway
from kiff.runtime.step import limits, vault
from kiff.runtime.step.limits import Looked
from kiff.runtime.step.payload import payloads_of
from kiff.runtime.step.settle import expire_clearance
from kiff.runtime.step.shadowed import shadow_decision
from kiff.runtime.step.told import executor_ready, runway_of, terms_for, told
from kiff.runtime.world import Change

DECIDE_SECONDS = 60
"""How long a clearance is good when the app runs the tool (DESIGN section 5)."""
GRACE_MS = 5_000
"""How long after its deadline a sweep gives a clearance up."""
NOT_FINAL = frozenset({"concurrency_exceeded", "entity_busy", "rate_limited", "overloaded"})
"""Refusals that a retry with the same id may get past (DESIGN invariant 12)."""


class Attempt(Struct, frozen=True, gc=False):
    """One pass of a proposal through the gate.

    Args:
        command_id, digest: the command row that this attempt answers.
        suffix: what its ids end in.
        asks: only open the approval it takes.
        trace: the trace it is part of, when the caller named one.
    """

    proposal: Proposal
    approval_id: str | None
    command_id: str
    digest: str
    suffix: str
    asks: bool = False
    trace: str | None = None


def propose(change: Change, command: Propose) -> None:
    """Answers from the command row when the same id was answered before; otherwise makes an attempt."""
    row = change.get(CommandRow, command.id)
    is_known = row is not None and row.digest == command.digest and row.status != "open"
    changed = None if is_known else vault.drawn_otherwise(change, command.proposal)
    if changed is not None:
        change.answer = changed
    elif row is not None and row.digest != command.digest:
        message = f"`{command.proposal.id}` was used before for another call; draw a new id"
        change.answer = IdempotencyConflict(message, proposal_id=command.proposal.id)
    elif row is not None and row.status == "final":
        change.answer = _answered(row.answer, command)
    elif row is not None and row.status == "running":
        change.wait = row.operation_id
        resume(change, row.operation_id, command.proposal, command.suffix)
    else:
        this = Attempt(
            command.proposal,
            command.approval_id,
            command.id,
            command.digest,
            command.suffix,
            command.asks,
            command.trace,
        )
        attempt(change, this)


def _answered(answer: bytes, command: Propose) -> Decided:
    """The final answer that is on record. It is a replay, unless this very command wrote it, in a commit whose reply
    was lost."""
    if command.proposal.mode == "execute":
        return json.decode(answer, type=Executed)
    found = json.decode(answer, type=Decided)
    return structs.replace(found, replayed=found.receipt_id != f"rcpt_{command.suffix}")


def resume(change: Change, operation_id: str | None, proposal: Proposal, suffix: str) -> None:
    """Runs what this very command cleared in a commit whose reply was lost.

    INVARIANT: a command is stepped again only until it was delivered, so an operation that bears its suffix has
    not been handed to an executor.
    """
    if operation_id != f"clr_{suffix}":
        return
    clearance = change.get(Clearance, operation_id)
    if clearance is not None and clearance.status == "open" and clearance.mode == "execute":
        domain = change.domain(clearance.domain_version, clearance.domain_digest)
        change.run = (clearance, proposal, domain.actions[clearance.action])


def attempt(change: Change, this: Attempt) -> Decision:
    """Takes one proposal through the gate and writes what follows from the decision."""
    proposal = this.proposal
    active = change.get(ActiveDomain, proposal.entity_type)
    # The digests name the domain the edge saw. If another one governs the type by now, nothing governs this call.
    governed = active is not None and active.domain == proposal.domain
    domain = change.domain(active.version, active.digest) if active is not None and governed else None
    entity = change.get(EntityState, proposal.entity)
    version = 0 if entity is None else entity.version
    approval, stands = _approval(change, this, version)
    fits = approval is not None and stands is not None and stands != "mismatch"
    used = approval.consumed_by if approval is not None and stands == "used" else None
    operation = None if used is None else change.get(Clearance, used)
    policy = change.policy()
    terms = terms_for(domain, policy, proposal)
    facts = Facts(
        state=None if entity is None else entity.state,
        version=version,
        roles=proposal.roles,
        approval=stands,
        approval_id=approval.id if approval is not None and fits else this.approval_id,
        operation_id=used,
        operation_status=None if operation is None else operation.status,
        executor_ready=executor_ready(change, domain, proposal),
        at=change.at,
        covers=_covers(terms, approval) if stands == "granted" else (),
        erased=vault.gone(proposal),
    )
    env: Env = {}
    holds = approval.holds if approval is not None and fits else limits.NO_HOLDS
    looked: list[Looked] = []
    if terms is not None and terms.reads and domain is not None and facts.state is not None:
        facts = structs.replace(facts, **told(domain, policy, entity, change.at))
        env = environment(proposal, facts)
    runway = runway_of(domain, terms, proposal, env)
    # Before limits are looked at: an operation that ends here lets go of what it held of them.
    facts = structs.replace(facts, holder=_holder(change, runway))
    if terms is not None and env:
        looked = limits.look(change, terms, env, holds)
        facts = structs.replace(facts, usage={each.bound.code: each.facts for each in looked})
    decision = decide(domain, proposal, facts, policy)
    shadow = None
    if domain is not None and active is not None and active.shadow_version is not None:
        shadow = shadow_decision(change, active, proposal, facts, policy, holds)
    trace = approval.trace_id if approval is not None and fits else this.trace or f"trace_{this.suffix}"
    writer = _Writer(change, this, domain, facts, decision, approval if fits else None, trace, looked, runway, shadow)
    if decision.outcome == "allowed" and this.asks:
        change.answer = Conflict("this call needs no approval; execute it", code_hint="approval_not_needed")
    elif decision.outcome == "allowed":
        writer.clear()
    elif decision.outcome == "approval_required":
        writer.hold()
    else:
        writer.refuse()
    return decision


def _approval(change: Change, this: Attempt, version: int) -> tuple[ApprovalRequest | None, Standing | None]:
    """The approval this call is about, and how it stands."""
    if this.approval_id is not None:
        named = change.get(ApprovalRequest, this.approval_id)
        return named, standing.named(named, this.proposal, change.at, version)
    last = change.get(LastApproval, this.proposal.action_digest)
    if last is None:
        return None, None
    approval = change.get(ApprovalRequest, last.approval_id)
    return approval, standing.unnamed(approval, version, change.at)


def _covers(terms: Terms | None, approval: ApprovalRequest | None) -> tuple[Demand, ...]:
    """What the grant was asked for; one from before grants said so leaves it out, and covers its contract."""
    if terms is None or approval is None or approval.demands == b"[]":
        return ()
    return quorum.demands_of(approval)


def _holder(change: Change, name: str) -> str | None:
    """The clearance that holds the runway now; one whose time is up, and that nobody will report, ends here."""
    runway = change.get(Runway, name) if name else None
    if runway is None or runway.holder is None:
        return None
    clearance = change.get(Clearance, runway.holder)
    if clearance is not None and expire_clearance(change, clearance):
        return None
    return runway.holder


class _Writer:
    """Writes one decision: records, receipt, and the rows that come with its outcome."""

    __slots__ = (
        "approval",
        "change",
        "decision",
        "domain",
        "facts",
        "looked",
        "proposal",
        "receipt_id",
        "runway",
        "shadow",
        "this",
        "trace",
    )

    def __init__(
        self,
        change: Change,
        this: Attempt,
        domain: Domain | None,
        facts: Facts,
        decision: Decision,
        approval: ApprovalRequest | None,
        trace: str,
        looked: list[Looked],
        runway: str,
        shadow: dict[str, Any] | None,
    ) -> None:
        self.shadow = shadow
        self.looked = looked
        self.runway = runway
        self.change = change
        self.this = this
        self.proposal = this.proposal
        self.domain = domain
        self.facts = facts
        self.decision = decision
        self.approval = approval
        self.trace = trace
        self.receipt_id = f"rcpt_{this.suffix}"

    def clear(self) -> None:
        change, proposal, contract, domain = self.change, self.proposal, self._contract(), self.domain
        assert domain is not None, "allowed means a contract was found"
        clearance_id = f"clr_{self.this.suffix}"
        executes = proposal.mode == "execute"
        apart = contract.lock.ttl_seconds if isinstance(contract.lock, Lock) else DECIDE_SECONDS
        deadline = change.at + 1000 * (contract.timeout_seconds if executes else apart)
        fencing = self._take_runway(clearance_id)
        holds = limits.reserve(change, self.looked, clearance_id)
        if self.facts.approval == "granted":
            assert self.approval is not None, "a granted standing comes from an approval"
            limits.let_go(change, self.approval.holds, holds)
            used = {"status": "consumed", "consumed_by": clearance_id, "due_at": None, "holds": limits.NO_HOLDS}
            change.put(structs.replace(self.approval, **used))
        self._decision_recorded(expires_at=deadline, clearance_id=clearance_id)
        told: dict[str, Any] = {"action": proposal.action, "fencing": fencing, "operation_id": clearance_id}
        if self.runway not in ("", proposal.entity):
            told["runway"] = self.runway
        if holds != limits.NO_HOLDS:
            told["holds"] = to_builtins(limits.holds_of(holds))
        self._record("action_validated", told)
        clearance = Clearance(
            tenant=proposal.tenant,
            id=clearance_id,
            status="open",
            mode=proposal.mode,
            proposal_id=proposal.id,
            command_id=self.this.command_id,
            domain_version=domain.version,
            domain_digest=domain.digest,
            entity=proposal.entity,
            action=proposal.action,
            action_digest=proposal.action_digest,
            principal=proposal.principal.id,
            principal_type=proposal.principal.type,
            principal_person=proposal.principal.person,
            owner=change.world.context.owner,
            fencing=fencing,
            holds_runway=bool(self.runway),
            settles=proposal.settles,
            cleared_at=change.at,
            deadline=deadline,
            receipt_id=self.receipt_id,
            trace_id=self.trace,
            approval_id=self.facts.approval_id,
            due_at=deadline + GRACE_MS if executes else deadline,
            runway=self.runway,
            holds=holds,
            payloads=payloads_of(domain, contract, proposal.parameters),
        )
        change.put(clearance)
        if executes:
            change.run = (clearance, proposal, contract)
            change.wait = clearance_id
            change.put(self._command("running", b"", clearance_id))
        else:
            self._answer(
                "final",
                Decided,
                approval_id=self.facts.approval_id,
                clearance_id=clearance_id,
                expires_at=rfc3339(deadline),
            )

    def hold(self) -> None:
        change, contract = self.change, self._contract()
        approval = self._asked() or self._taking_over(self._open_approval(contract))
        self._decision_recorded(expires_at=approval.expires_at, approval_id=approval.id)
        data = {
            "action": self.proposal.action,
            "action_digest": self.proposal.action_digest,
            "approval_id": approval.id,
            "expires_at": rfc3339(approval.expires_at),
            "reviewers": approval.reviewers.split(","),
            **_asking(approval),
        }
        self._record("approval_required", data)
        change.put(approval)
        change.put(LastApproval(change.tenant, self.proposal.action_digest, approval.id))
        granted = approval.status == "granted"
        people = quorum.asked_for(quorum.demands_of(approval))
        waits = "a reviewer must grant the approval" if people == 1 else f"{people} reviewers must grant the approval"
        self._answer(
            "open",
            Decided if self.proposal.mode == "decide" else Executed,
            approval_id=approval.id,
            expires_at=rfc3339(approval.use_by if granted and approval.use_by else approval.expires_at),
            next_step="call again with this approval_id" if granted else waits,
        )

    def refuse(self) -> None:
        self._decision_recorded(approval_id=self.facts.approval_id)
        self._record("action_blocked", {"action": self.proposal.action, "reason": self.decision.reason})
        status = "open" if self.decision.reason in NOT_FINAL else "final"
        shape = Decided if self.proposal.mode == "decide" else Executed
        self._answer(status, shape, approval_id=self.facts.approval_id, next_step=self._otherwise())

    def _otherwise(self) -> str | None:
        """The action that the contract suggests; it is never switched to."""
        other = self.decision.objections[0].detail.get("otherwise")
        return f"propose {other} instead" if other and self.decision.reason == "condition_not_met" else None

    def _take_runway(self, clearance_id: str) -> int:
        if not self.runway:
            return 0
        runway = self.change.get(Runway, self.runway)
        fencing = 1 if runway is None else runway.fencing + 1
        self.change.put(Runway(self.change.tenant, self.runway, clearance_id, fencing))
        return fencing

    def _asked(self) -> ApprovalRequest | None:
        """The approval that is open for this call, unless more is asked now than it asks: that is a new hold."""
        if self.approval is None or self.facts.approval == "granted":
            return None
        asked = quorum.demands_of(self.approval)
        return self.approval if all(each in asked for each in self.decision.demands) else None

    def _taking_over(self, opened: ApprovalRequest) -> ApprovalRequest:
        """A new hold counts what the one before it kept, which then keeps nothing: a hold is settled once."""
        if self.approval is not None and self.approval.holds != limits.NO_HOLDS:
            limits.let_go(self.change, self.approval.holds, opened.holds)
            self.change.put(structs.replace(self.approval, holds=limits.NO_HOLDS))
        return opened

    def _open_approval(self, contract: ActionContract) -> ApprovalRequest:
        change, proposal, policy = self.change, self.proposal, contract.approval_policy
        expires_at = change.at + 1000 * policy.expires_seconds
        return ApprovalRequest(
            tenant=change.tenant,
            id=f"appr_{self.this.suffix}",
            status="pending",
            action_digest=proposal.action_digest,
            domain=proposal.domain,
            entity=proposal.entity,
            entity_version=self.facts.version,
            action=proposal.action,
            proposal_id=proposal.id,
            proposal=proposal.body,
            proposer=proposal.principal.id,
            proposer_type=proposal.principal.type,
            proposer_person=proposal.principal.person,
            roles=",".join(proposal.roles),
            command_id=self.this.command_id,
            trace_id=self.trace,
            receipt_id=self.receipt_id,
            reviewers=",".join(contract.reviewer_permissions),
            on_grant=policy.on_grant,
            opened_at=change.at,
            expires_at=expires_at,
            use_within_ms=1000 * policy.use_within_seconds,
            due_at=expires_at,
            demands=json.encode(self.decision.demands),
            human_only=policy.human_only,
            evidence=policy.evidence,
            binds_version="entity.version" in policy.binds,
            holds=limits.reserve(change, self.looked, ""),
        )

    def _contract(self) -> ActionContract:
        assert self.domain is not None, "the gate found the contract"
        return self.domain.actions[self.proposal.action]

    def _decision_recorded(
        self,
        *,
        expires_at: int | None = None,
        approval_id: str | None = None,
        clearance_id: str | None = None,
    ) -> None:
        change, proposal, decision = self.change, self.proposal, self.decision
        policy = change.active_policy()
        vault.keep(change, proposal)
        approval_id = approval_id or self.facts.approval_id
        draft = ReceiptDraft(
            self.receipt_id,
            proposal.action,
            decision.outcome,
            decision.reason,
            proposal.id,
            proposal.action_digest,
            proposal.proposal_digest,
            None if self.domain is None else self.domain.digest,
            expires_at,
            approval_id,
            None if self.approval is None else self.approval.receipt_id,
            None if policy is None else policy.digest,
        )
        data = {
            "action": proposal.action,
            "action_digest": proposal.action_digest,
            "facts": facts_json(self.facts),
            "outcome": decision.outcome,
            "proposal_digest": proposal.proposal_digest,
            "reasons": reasons_json(decision.objections),
            **change.value("proposal", proposal.body),
        }
        if approval_id is not None:
            data["approval_id"] = approval_id
        if clearance_id is not None:
            data["clearance_id"] = clearance_id
        for name in ("matched", "shadow"):
            if said := getattr(decision, name):
                data[name] = list(said)
        if self.shadow is not None:
            data["shadow_decision"] = self.shadow
        data |= limits.counted(change)
        self._record("decision_recorded", data, draft)

    def _record(self, kind: str, data: dict[str, Any], receipt: ReceiptDraft | None = None) -> None:
        proposal, policy = self.proposal, self.change.active_policy()
        self.change.record(
            kind,
            proposal.principal,
            entity=proposal.entity,
            trace=self.trace,
            cause=proposal.id,
            version=None if self.domain is None else self.domain.version,
            data=data,
            receipt=receipt,
            policy=None if policy is None else policy.version,
        )

    def _answer(self, status: str, shape: type[Decided], **more: Any) -> None:
        answer = shape(
            proposal_id=self.proposal.id,
            outcome=self.decision.outcome,
            action=self.proposal.action,
            entity=self.proposal.entity,
            message=explain(self.decision),
            receipt_id=self.receipt_id,
            trace_id=self.trace,
            reasons=self.decision.objections,
            **more,
        )
        self.change.answer = answer
        self.change.put(self._command(status, json.encode(answer), None))

    def _command(self, status: str, answer: bytes, operation_id: str | None) -> CommandRow:
        return CommandRow(self.change.tenant, self.this.command_id, self.this.digest, status, answer, operation_id)


def _asking(approval: ApprovalRequest) -> dict[str, Any]:
    """What a grant must satisfy, as a record carries it; what is as usual is left out."""
    told: dict[str, Any] = {"demands": to_builtins(quorum.demands_of(approval))}
    if approval.holds != limits.NO_HOLDS:
        told["holds"] = to_builtins(limits.holds_of(approval.holds))
    if approval.evidence != "key":
        told["evidence"] = approval.evidence
    if not approval.human_only:
        told["human_only"] = False
    if approval.binds_version:
        told["binds_version"] = True
    return told


def reasons_json(objections: tuple[Objection, ...]) -> Any:
    """Objections as a record carries them. Their details may quote numbers of a contract: admitted, so canonical."""
    if not objections:
        return []
    return fragment(admit(to_builtins(objections)).data)


def proposal_of(change: Change, approval: ApprovalRequest) -> Proposal:
    """The proposal an approval was opened for, as it was; a value that was erased since is its commitment."""
    body = json.decode(approval.proposal)
    sealed = vault.held(change, approval.entity, body["parameters"])
    principal = Principal(approval.proposer, body["principal_type"], person=approval.proposer_person)
    return Proposal(
        id=approval.proposal_id,
        tenant=approval.tenant,
        mode=body["mode"],
        domain=approval.domain,
        entity=approval.entity,
        entity_type=approval.entity.split(":", 1)[0],
        action=approval.action,
        principal=principal,
        roles=tuple(approval.roles.split(",")) if approval.roles else (),
        parameters=opened(body["parameters"], sealed),
        settles=body["settles"],
        body=approval.proposal,
        action_digest=approval.action_digest,
        proposal_digest=digest(approval.proposal),
        sealed=sealed,
    )
