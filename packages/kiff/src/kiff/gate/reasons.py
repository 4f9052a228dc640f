"""What each reason code means, in a sentence. The codes are the protocol's and never change meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiff.protocol.decision import Decision

MESSAGES: dict[str, str] = {
    "allowed": "cleared",
    "approval_denied": "a reviewer denied this call",
    "approval_expired": "the approval expired before it was used",
    "approval_mismatch": "the approval was given for another call",
    "approval_required": "action requires approval",
    "approval_used": "the approval was already used",
    "budget_exceeded": "it would go over a budget",
    "concurrency_exceeded": "as many operations as the limit allows are in flight",
    "condition_not_met": "what the contract asks besides is not true",
    "entity_busy": "another operation is in flight on this entity",
    "execution_unknown": "the executor did not say how it ended",
    "executor_failed": "the executor failed",
    "executor_missing": "no executor is registered for this action",
    "invalid_parameter": "a parameter does not fit the contract",
    "missing_parameter": "a required parameter is missing",
    "policy_error": "a rule could not be evaluated, so it is withheld",
    "permission_denied": "the caller's roles lack a required permission",
    "proposer_is_reviewer": "nobody reviews their own proposal",
    "rate_limited": "too many calls in too short a time",
    "sensitive_erased": "a sensitive value of this call was erased, so nothing can run with it",
    "state_not_allowed": "state not allowed",
    "unknown_action": "the domain has no such action",
    "unknown_entity_type": "no active domain governs this entity type",
}


def explain(decision: Decision) -> str:
    """One human sentence for the primary reason, with what would have to change."""
    if not decision.objections:
        return MESSAGES["allowed"]
    sentence = MESSAGES.get(decision.reason) or _ruled(decision)
    if any(objection.code == "approval_denied" for objection in decision.objections):
        return f"{sentence}: {MESSAGES['approval_denied']}"
    hint = _HINTS.get(decision.reason)
    return f"{sentence}: {hint(decision.objections[0].detail)}" if hint else sentence


def _ruled(decision: Decision) -> str:
    """A rule's own words, or its name."""
    first = decision.objections[0]
    asks = "a person must approve it" if first.outcome == "approval_required" else "it is denied"
    return str(first.detail.get("message") or f"{asks}: {first.code}")


def _room(detail: dict[str, Any]) -> str:
    wait = detail.get("retry_after_ms")
    told = f"limit {detail['limit']}, {detail['used']} of {detail['cap']} used, {detail['amount']} asked"
    return told if wait is None else f"{told}; try again in {-(-wait // 1000)} s"


def _condition(detail: dict[str, Any]) -> str:
    other = f"; {detail['otherwise']} may fit" if "otherwise" in detail else ""
    return f"{detail['condition']}{other}"


def _state(detail: dict[str, Any]) -> str:
    allowed = ", ".join(detail["allowed_states"]) or "no state at all"
    return f"the entity is {detail['current_state'] or 'unknown'}, the action needs {allowed}"


def _permissions(detail: dict[str, Any]) -> str:
    together = detail.get("held_together")
    return (
        f"no one may hold {' and '.join(together)}"
        if together
        else "missing " + ", ".join(detail["missing_permissions"])
    )


_HINTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "state_not_allowed": _state,
    "budget_exceeded": _room,
    "concurrency_exceeded": _room,
    "condition_not_met": _condition,
    "policy_error": lambda detail: f"{detail['rule']}: {detail['message']}",
    "rate_limited": _room,
    "permission_denied": _permissions,
    "missing_parameter": lambda detail: f"`{detail['parameter']}`",
    "invalid_parameter": lambda detail: str(detail["message"]),
    "sensitive_erased": lambda detail: ", ".join(detail["parameters"]),
    "unknown_action": lambda detail: "it has " + ", ".join(detail["actions"]),
    "executor_missing": lambda detail: f"`{detail['executor']}`",
    "entity_busy": lambda detail: f"{detail['operation_id']} holds it",
}
