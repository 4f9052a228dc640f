"""The questions the gate asks. One check = one question = one function; it answers with objections.

A check sees the contract, the proposal and the facts, and nothing else. It never writes, and what it
cannot tell it objects to.
"""

from __future__ import annotations

from collections.abc import Callable

from kiff.domain import Domain
from kiff.protocol.action import ActionContract, Approval
from kiff.protocol.decision import Facts, Objection
from kiff.protocol.proposal import Proposal

Check = Callable[[Domain, ActionContract, Proposal, Facts], tuple[Objection, ...]]
NONE: tuple[Objection, ...] = ()


def intent(domain: Domain | None, proposal: Proposal) -> ActionContract | Objection:
    """Which contract is this about?"""
    if domain is None:
        return Objection("unknown_entity_type", "invalid", {"entity": proposal.entity})
    contract = domain.actions.get(proposal.action)
    if contract is None:
        return Objection("unknown_action", "invalid", {"action": proposal.action, "actions": sorted(domain.actions)})
    return contract


def parameters(domain: Domain, contract: ActionContract, proposal: Proposal, facts: Facts) -> tuple[Objection, ...]:
    """Does the contract know these parameters, and are they all here?"""
    wrong = domain.parameter_checks[contract.name](proposal.parameters)
    return tuple(Objection(code, "invalid", detail) for code, detail in wrong) if wrong else NONE


def state(domain: Domain, contract: ActionContract, proposal: Proposal, facts: Facts) -> tuple[Objection, ...]:
    """May this action start from where the entity is?"""
    if facts.state in contract.allowed_states:
        return NONE
    return (_state_not_allowed(contract, facts),)


def permissions(domain: Domain, contract: ActionContract, proposal: Proposal, facts: Facts) -> tuple[Objection, ...]:
    """Do the caller's roles carry every permission the contract requires?"""
    missing = [p for p in contract.required_permissions if not domain.permits(facts.roles, p)]
    if not missing:
        return NONE
    return (Objection("permission_denied", "blocked", {"missing_permissions": missing, "roles": list(facts.roles)}),)


def executor(domain: Domain, contract: ActionContract, proposal: Proposal, facts: Facts) -> tuple[Objection, ...]:
    """In `execute`, is there something to run?"""
    if proposal.mode == "decide" or facts.executor_ready:
        return NONE
    return (Objection("executor_missing", "blocked", {"executor": contract.executor_name}),)


def runway(domain: Domain, contract: ActionContract, proposal: Proposal, facts: Facts) -> tuple[Objection, ...]:
    """Is the entity free? Two actors on the same state is how it gets corrupted (seed 000)."""
    if facts.holder is None or contract.lock == "none":
        return NONE
    return (Objection("entity_busy", "blocked", {"operation_id": facts.holder}),)


def approval(domain: Domain, contract: ActionContract, proposal: Proposal, facts: Facts) -> tuple[Objection, ...]:
    """Has a person said yes to exactly this call, and is that yes still good?"""
    if facts.approval == "denied":
        denied = Objection("approval_denied", "blocked", {"approval_id": facts.approval_id})
        # A denied hold is terminal and answers state_not_allowed (seed 001), with the denial beside it.
        return (_state_not_allowed(contract, facts), denied) if facts.state in contract.allowed_states else (denied,)
    if facts.approval == "used":
        used = {"approval_id": facts.approval_id, "operation_id": facts.operation_id, "status": facts.operation_status}
        return (Objection("approval_used", "blocked", used),)
    if facts.approval in _SPENT:
        return (Objection(_SPENT[facts.approval], "blocked", {"approval_id": facts.approval_id}),)
    if facts.approval == "granted" or (contract.approval_requirement is Approval.NEVER and facts.approval is None):
        return NONE
    detail = {} if facts.approval_id is None else {"approval_id": facts.approval_id}
    return (Objection("approval_required", "approval_required", detail),)


_SPENT = {"expired": "approval_expired", "mismatch": "approval_mismatch"}


def _state_not_allowed(contract: ActionContract, facts: Facts) -> Objection:
    detail = {"current_state": facts.state, "allowed_states": list(contract.allowed_states)}
    return Objection("state_not_allowed", "blocked", detail)
