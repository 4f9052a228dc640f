"""The questions the gate asks. One check = one question = one function; it answers with objections.

A check sees its case and nothing else. It never writes, and what it cannot tell it objects to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiff.domain import Domain
from kiff.domain.expr import EvaluationError
from kiff.domain.terms import BoundLimit
from kiff.gate.case import Case, holds
from kiff.gate.limits import Verdict
from kiff.protocol.action import ActionContract
from kiff.protocol.approval import Demand
from kiff.protocol.decision import Facts, Objection
from kiff.protocol.limit import LimitKind
from kiff.protocol.proposal import Proposal

Check = Callable[[Case], tuple[Objection, ...]]
NONE: tuple[Objection, ...] = ()


def intent(domain: Domain | None, proposal: Proposal) -> ActionContract | Objection:
    """Which contract is this about?"""
    if domain is None:
        return Objection("unknown_entity_type", "invalid", {"entity": proposal.entity})
    contract = domain.actions.get(proposal.action)
    if contract is None:
        return Objection("unknown_action", "invalid", {"action": proposal.action, "actions": sorted(domain.actions)})
    return contract


def parameters(domain: Domain, contract: ActionContract, proposal: Proposal) -> tuple[Objection, ...]:
    """Does the contract know these parameters, and are they all here?"""
    wrong = domain.parameter_checks[contract.name](proposal.parameters)
    return tuple(Objection(code, "invalid", detail) for code, detail in wrong) if wrong else NONE


def vault(facts: Facts) -> tuple[Objection, ...]:
    """Is every value still there that a reviewer said yes to?"""
    return (Objection("sensitive_erased", "blocked", {"parameters": list(facts.erased)}),) if facts.erased else NONE


def state(case: Case) -> tuple[Objection, ...]:
    """May this action start from where the entity is?"""
    if case.facts.state in case.contract.allowed_states:
        return NONE
    return (_state_not_allowed(case.contract, case.facts),)


def permissions(case: Case) -> tuple[Objection, ...]:
    """Do the caller's roles carry every permission the contract requires, and nothing that must be kept apart?"""
    domain, roles = case.domain, case.facts.roles
    missing = [p for p in case.contract.required_permissions if not domain.permits(roles, p)]
    given: frozenset[str] = frozenset()
    found = NONE
    if missing:
        given, found = _granted(case)
        missing = [p for p in missing if p not in given]
    if missing:
        found += (Objection("permission_denied", "blocked", {"missing_permissions": missing, "roles": list(roles)}),)
    for apart in domain.separate:
        if all(permission in given or domain.permits(roles, permission) for permission in apart):
            detail = {"missing_permissions": [], "roles": list(roles), "held_together": list(apart)}
            found += (Objection("permission_denied", "blocked", detail),)
    return found


def _granted(case: Case) -> tuple[frozenset[str], tuple[Objection, ...]]:
    """What the caller's roles hold under a condition that is true now; a condition without a value grants nothing."""
    given: frozenset[str] = frozenset()
    found = NONE
    for grant in case.terms.grants:
        if grant.role in case.facts.roles and case.env is not None:
            answer = holds(grant.condition, case.env)
            if isinstance(answer, EvaluationError):
                found += (_policy_error(f"grants to {grant.role}", answer),)
            elif answer:
                given |= grant.permissions
    return given, found


def conditions(case: Case) -> tuple[Objection, ...]:
    """Is what the contract asks besides true?"""
    condition = case.terms.precondition
    if condition is None or case.env is None:
        return NONE
    answer = holds(condition, case.env)
    if isinstance(answer, EvaluationError):
        return (_policy_error("when", answer),)
    if answer:
        return NONE
    detail = {"condition": condition.text}
    if case.contract.otherwise:
        detail["otherwise"] = case.contract.otherwise
    return (Objection("condition_not_met", "blocked", detail),)


def rules(case: Case) -> tuple[Objection, ...]:
    """Does a rule of the contract, or of the organisation, object? Rules that only shadow do not."""
    found = NONE
    for bound, error in case.ruled:
        rule = bound.rule
        if rule.mode == "shadow":
            continue
        if error is not None:
            found += (_policy_error(bound.code, error),)
        elif rule.then == "deny":
            found += (Objection(bound.code, "blocked", _said(rule.message)),)
        elif not case.covered(bound.demand):
            found += (_demanded(bound.demand, rule.message),)
    return found


def limits(case: Case) -> tuple[Objection, ...]:
    """Is there room under every cap?"""
    found = NONE
    for bound in case.terms.limits if case.env is not None else ():
        usage = case.facts.usage.get(bound.code)
        if usage is None or "error" in usage:
            why = "what counts towards it is not known" if usage is None else str(usage["error"])
            found += (_policy_error(bound.code, EvaluationError(why)),)
            continue
        verdict = Verdict(**usage)
        if verdict.fits or (bound.limit.over == "require_approval" and case.covered(bound.demand)):
            continue
        if bound.limit.over == "require_approval":
            found += (_demanded(bound.demand, ""),)
        else:
            found += (Objection(_OVER[bound.limit.kind], "limit_exceeded", {"limit": bound.code} | _room(verdict)),)
    return found


def is_over(case: Case, bound: BoundLimit) -> bool:
    """Whether the call goes over this cap, as far as that can be told."""
    usage = case.facts.usage.get(bound.code)
    return usage is not None and "error" not in usage and not Verdict(**usage).fits


_OVER: dict[LimitKind, str] = {
    "rate": "rate_limited",
    "budget": "budget_exceeded",
    "concurrency": "concurrency_exceeded",
}


def _room(verdict: Verdict) -> dict[str, Any]:
    """How much there is under a cap. Amounts of money are in minor units, and say so."""
    told: dict[str, Any] = {"cap": verdict.cap, "used": verdict.used, "amount": verdict.amount}
    if verdict.unit is not None:
        told["minor_units_of"] = verdict.unit
    if verdict.retry_after_ms is not None:
        told["retry_after_ms"] = verdict.retry_after_ms
    return told


def executor(case: Case) -> tuple[Objection, ...]:
    """In `execute`, is there something to run?"""
    if case.proposal.mode == "decide" or case.facts.executor_ready:
        return NONE
    return (Objection("executor_missing", "blocked", {"executor": case.contract.executor_name}),)


def runway(case: Case) -> tuple[Objection, ...]:
    """Is the entity free? Two actors on the same state is how it gets corrupted (seed 000)."""
    if case.contract.lock == "none":
        return NONE
    if case.terms.lock is not None and case.env is not None:
        try:
            case.terms.lock(case.env)
        except EvaluationError as error:
            return (_policy_error("lock", error),)
    if case.facts.holder is None:
        return NONE
    return (Objection("entity_busy", "blocked", {"operation_id": case.facts.holder}),)


def approval(case: Case) -> tuple[Objection, ...]:
    """Has a person said yes to exactly this call, and is that yes still good?"""
    contract, facts = case.contract, case.facts
    if facts.approval == "denied":
        denied = Objection("approval_denied", "blocked", {"approval_id": facts.approval_id})
        # A denied hold is terminal and answers state_not_allowed (seed 001), with the denial beside it.
        return (_state_not_allowed(contract, facts), denied) if facts.state in contract.allowed_states else (denied,)
    if facts.approval == "used":
        used = {"approval_id": facts.approval_id, "operation_id": facts.operation_id, "status": facts.operation_status}
        return (Objection("approval_used", "blocked", used),)
    if facts.approval in _SPENT:
        return (Objection(_SPENT[facts.approval], "blocked", {"approval_id": facts.approval_id}),)
    demand = case.terms.demands.get("approval_required")
    if demand is None or case.covered(demand):
        return NONE
    return (still_asked(facts),)


def still_asked(facts: Facts) -> Objection:
    """A person is asked, by the contract itself or because an approval for this very call is open."""
    detail = {} if facts.approval_id is None else {"approval_id": facts.approval_id}
    return Objection("approval_required", "approval_required", detail)


_SPENT = {"expired": "approval_expired", "mismatch": "approval_mismatch"}


def _state_not_allowed(contract: ActionContract, facts: Facts) -> Objection:
    detail = {"current_state": facts.state, "allowed_states": list(contract.allowed_states)}
    return Objection("state_not_allowed", "blocked", detail)


def _policy_error(name: str, error: EvaluationError) -> Objection:
    """What has no answer withholds, and says which rule it was (DESIGN invariant 13)."""
    return Objection("policy_error", "blocked", {"rule": name, "message": error.message})


def _demanded(demand: Demand, message: str) -> Objection:
    detail = _said(message)
    if demand.quorum > 1:
        detail["quorum"] = demand.quorum
    if demand.roles:
        detail["roles"] = list(demand.roles)
    return Objection(demand.rule, "approval_required", detail)


def _said(message: str) -> dict[str, Any]:
    return {"message": message} if message else {}
