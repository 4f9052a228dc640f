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
    "entity_busy": "another operation is in flight on this entity",
    "execution_unknown": "the executor did not say how it ended",
    "executor_failed": "the executor failed",
    "executor_missing": "no executor is registered for this action",
    "invalid_parameter": "a parameter does not fit the contract",
    "missing_parameter": "a required parameter is missing",
    "permission_denied": "the caller's roles lack a required permission",
    "proposer_is_reviewer": "nobody reviews their own proposal",
    "state_not_allowed": "state not allowed",
    "unknown_action": "the domain has no such action",
    "unknown_entity_type": "no active domain governs this entity type",
}


def explain(decision: Decision) -> str:
    """One human sentence for the primary reason, with what would have to change."""
    sentence = MESSAGES[decision.reason]
    if not decision.objections:
        return sentence
    if any(objection.code == "approval_denied" for objection in decision.objections):
        return f"{sentence}: {MESSAGES['approval_denied']}"
    hint = _HINTS.get(decision.reason)
    return f"{sentence}: {hint(decision.objections[0].detail)}" if hint else sentence


def _state(detail: dict[str, Any]) -> str:
    allowed = ", ".join(detail["allowed_states"]) or "no state at all"
    return f"the entity is {detail['current_state'] or 'unknown'}, the action needs {allowed}"


_HINTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "state_not_allowed": _state,
    "permission_denied": lambda detail: "missing " + ", ".join(detail["missing_permissions"]),
    "missing_parameter": lambda detail: f"`{detail['parameter']}`",
    "invalid_parameter": lambda detail: str(detail["message"]),
    "unknown_action": lambda detail: "it has " + ", ".join(detail["actions"]),
    "executor_missing": lambda detail: f"`{detail['executor']}`",
    "entity_busy": lambda detail: f"{detail['operation_id']} holds it",
}
