"""Why a decision came out as it did: everything that was considered, from what its record says.

What is told is safe for whoever proposed: never a sensitive value, never who reviewed, and of the organisation's policy
only which rule it was and what it says to people, unless the reader may see everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from msgspec import ValidationError

from kiff.analysis.explain.answer import ApprovalThen, ConditionAsked, Explanation, ReasonGiven, StateThen
from kiff.analysis.explain.changes import changes
from kiff.analysis.explain.found import Found, found, receipt_of
from kiff.analysis.explain.made import Made
from kiff.analysis.explain.others import asked
from kiff.analysis.explain.terms import Told, condition_of, limits_of, permissions_of, policy_codes, rules_of
from kiff.analysis.history import Versions, beside
from kiff.analysis.replay import proposal_from
from kiff.analysis.vault import opened
from kiff.domain import Domain
from kiff.domain.policy import Policy
from kiff.errors import InvalidInput, StoreCorrupt
from kiff.gate import MESSAGES, decide
from kiff.gate import explain as sentence
from kiff.protocol.decision import Decision, Facts, Objection, facts_from
from kiff.protocol.instant import parse_rfc3339
from kiff.protocol.proposal import Proposal
from kiff.runtime.ports import Store

_NAMES = ("reviewed_by",)
"""What a detail may say of people."""
_OF_OTHERS = ("operation_id",)
"""What a detail may say of what others do."""


def explain(store: Store, id: str, *, tenant: str = "default", full: bool = True) -> Explanation:
    """Explains a decision.

    Args:
        id: of a receipt, or of a proposal: then the last decision about it.
        full: the reader may see everything; otherwise only what is for whoever proposed.

    Raises:
        NotFound: there is no such receipt, and no such proposal.
        StoreError: the store cannot be read, or does not hold what was written.
    """
    with closing(store.snapshot()) as still:
        receipt_id = receipt_of(still, tenant, id)
        return _Explained(still, tenant, found(still, tenant, receipt_id), full).answer(receipt_id)


class _Explained:
    """One explanation while it is put together."""

    def __init__(self, store: Store, tenant: str, at_hand: Found, full: bool) -> None:
        self._core = at_hand.core
        self._record = at_hand.record
        self._found = at_hand
        self._full = full
        versions = Versions(store, tenant)
        named = at_hand.record["versions"]
        self._domain = versions.get(named.get("domain"))
        self._policy = versions.policy(named.get("policy"))
        self._policy_is_gone = named.get("policy") is not None and self._policy is None
        self._notes: list[str] = []
        data = at_hand.record["data"]
        body = beside(store, tenant, data, "proposal")
        try:
            self._facts = facts_from(data["facts"], parse_rfc3339(at_hand.record["at"], field="at"))
            self._proposal = None if body is None else proposal_from(body, self._facts)
        except (ValidationError, InvalidInput, KeyError, TypeError, AttributeError) as error:
            where = at_hand.record.get("seq")
            raise StoreCorrupt(f"the record {where} of the decision cannot be read: {error}", seq=where) from error
        self._is_whole = self._open(store, tenant)

    def answer(self, receipt_id: str) -> Explanation:
        core, data, record = self._core, self._record["data"], self._record
        made = self._made()
        reasons = self._reasons(made)
        hidden = () if self._full or made is None else policy_codes(made)
        again = made is not None and self._is_whole and _agrees(data, made.decision)
        if made is not None and self._is_whole and not again:
            self._notes.append("made again from the same facts it comes out differently; `kiff replay` says where")
        told = None if made is None else Told(made, data, self._full, self._is_whole)
        is_end = self._found.decision_receipt_id != receipt_id
        if is_end:
            self._notes.append("this tells how a hold ended; rules and limits are those of the decision that opened it")
        return Explanation(
            receipt_id=receipt_id,
            decision_receipt_id=self._found.decision_receipt_id if is_end else None,
            proposal_id=core.get("proposal_id") or record["causation_id"],
            at=core["issued_at"],
            entity=record.get("entity"),
            action=core["action"],
            outcome=core["decision"],
            reason=core["reason"],
            message=MESSAGES[core["reason"]] if is_end else sentence(self._said(core, reasons)),
            reasons=reasons,
            domain=record["versions"].get("domain"),
            policy=record["versions"].get("policy"),
            decided_again=again,
            state=self._state(made),
            approval=self._approval(made),
            permissions=None if told is None else permissions_of(told),
            invalid=tuple(self._invalid(data)),
            precondition=self._precondition(told),
            rules=() if told is None else tuple(rules_of(told)),
            limits=() if told is None else tuple(limits_of(told)),
            busy=self._facts.holder is not None,
            changes=tuple(changes(made, hidden)) if again and made is not None and not is_end else (),
            notes=tuple(self._notes),
        )

    def _open(self, store: Store, tenant: str) -> bool:
        """Brings the sensitive values back, so that the decision can be made again; whether they all are there."""
        if self._proposal is None:
            self._notes.append("the proposal beside the log is gone, so nothing is decided again")
            return False
        whole = opened(store, tenant, self._proposal)
        if isinstance(whole, str) or (any(row.erased for row in whole.sealed) and not self._facts.erased):
            self._notes.append("a sensitive value of the call is gone, so nothing is decided again")
            return False
        self._proposal = whole
        return True

    def _made(self) -> Made | None:
        """The decision made again; None when there was no such action, or a version is gone."""
        domain, proposal = self._domain, self._proposal
        if domain is None or proposal is None or self._policy_is_gone:
            if self._record["versions"].get("domain") is not None:
                self._notes.append("a version that was in force is not in the store, so its rules cannot be told")
            return None
        contract = domain.actions.get(proposal.action)
        if contract is None:
            return None
        return _made(domain, self._policy, proposal, self._facts)

    def _reasons(self, made: Made | None) -> tuple[ReasonGiven, ...]:
        """The recorded objections, without what is not for the reader."""
        hidden = () if self._full or made is None else policy_codes(made)
        said = self._record["data"].get("reasons", [])
        return tuple(ReasonGiven(each["code"], each["outcome"], self._detail(each, hidden)) for each in said)

    def _detail(self, reason: dict[str, Any], hidden: tuple[str, ...]) -> dict[str, Any]:
        leave = _NAMES if self._full else (*_NAMES, *_OF_OTHERS)
        detail = {name: value for name, value in reason.get("detail", {}).items() if name not in leave}
        if reason["code"] == "policy_error" and detail.get("rule") in hidden:
            detail["message"] = "it has no answer"
        return detail

    def _said(self, core: dict[str, Any], reasons: tuple[ReasonGiven, ...]) -> Decision:
        """What a sentence is made of; what was left out of a detail has other words."""
        objections = tuple(Objection(each.code, each.outcome, _complete(each)) for each in reasons)  # type: ignore[arg-type]
        return Decision(core["decision"], objections)

    def _state(self, made: Made | None) -> StateThen:
        allowed = () if made is None else tuple(made.contract.allowed_states)
        return StateThen(self._facts.state, self._facts.version, allowed)

    def _approval(self, made: Made | None) -> ApprovalThen:
        facts, decision = self._facts, None if made is None else made.decision
        return ApprovalThen(
            standing=facts.approval,
            approval_id=self._record["data"].get("approval_id"),
            demands=() if decision is None else asked(decision.demands),
            covered=asked(facts.covers),
        )

    def _precondition(self, told: Told | None) -> ConditionAsked | None:
        if told is None or told.made.terms.precondition is None:
            return None
        return condition_of(told, told.made.terms.precondition)

    def _invalid(self, data: dict[str, Any]) -> Iterator[str]:
        for each in data.get("reasons", []):
            detail = each.get("detail", {})
            if each["code"] == "invalid_parameter":
                yield str(detail.get("message", ""))
            elif each["code"] == "missing_parameter":
                yield f"`{detail.get('parameter')}` is missing"


def _made(domain: Domain, policy: Policy | None, proposal: Proposal, facts: Facts) -> Made:
    name = proposal.action
    terms = domain.terms[name] if policy is None else policy.over(domain, name)
    decision = decide(domain, proposal, facts, policy)
    return Made(domain, policy, domain.actions[name], terms, proposal, facts, decision)


def _agrees(data: dict[str, Any], decision: Decision) -> bool:
    codes = [each["code"] for each in data.get("reasons", [])]
    return data["outcome"] == decision.outcome and codes == [each.code for each in decision.objections]


def _complete(reason: ReasonGiven) -> dict[str, Any]:
    """A detail that a sentence can be made of, though something was left out."""
    return reason.detail if reason.code != "entity_busy" else {"operation_id": "another operation"} | reason.detail
