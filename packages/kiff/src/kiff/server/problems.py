"""What went wrong, on the wire: ONE table from code to status, and the body that every error has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from kiff.errors import KiffError
from kiff.gate.reasons import MESSAGES

STATUS: dict[str, int] = {
    "actor_not_key_holder": 403,
    "agent_frozen": 422,
    "agent_not_active": 422,
    "agent_unknown": 422,
    "already_reviewed": 409,
    "ambiguous_entity": 400,
    "approval_decided": 409,
    "approval_denied": 422,
    "approval_expired": 422,
    "approval_mismatch": 422,
    "approval_not_needed": 409,
    "approval_required": 422,
    "approval_used": 422,
    "authority_changed": 409,
    "authorization_pending": 400,
    "access_denied": 400,
    "expired_token": 400,
    "slow_down": 400,
    "budget_exceeded": 429,
    "category_not_allowed": 422,
    "closed": 503,
    "concurrency_exceeded": 429,
    "condition_not_met": 422,
    "conflict": 409,
    "currency_not_in_mandate": 422,
    "domain_changed": 409,
    "entity_busy": 409,
    "execution_unknown": 502,
    "executor_failed": 502,
    "executor_missing": 422,
    "executor_unfinished": 502,
    "fingerprint_mismatch": 422,
    "forbidden": 403,
    "header_too_large": 431,
    "idempotency_conflict": 409,
    "internal": 500,
    "invalid": 400,
    "invalid_domain": 422,
    "invalid_json": 400,
    "invalid_parameter": 400,
    "invalid_policy": 422,
    "invalid_transition": 422,
    "key_not_bound_to_agent": 403,
    "key_unusable": 503,
    "mapping_not_supported": 422,
    "kiff_error": 500,
    "login_unavailable": 503,
    "mandate_limit_reached": 429,
    "mandate_per_action_exceeded": 422,
    "merchant_not_allowed": 422,
    "method_not_allowed": 405,
    "missing_parameter": 400,
    "no_mandate_issued": 422,
    "not_found": 404,
    "operation_settled": 409,
    "overloaded": 503,
    "permission_denied": 403,
    "policy_error": 422,
    "proposer_is_reviewer": 403,
    "rate_limited": 429,
    "risk_band_high": 422,
    "sensitive_erased": 422,
    "signature_invalid": 401,
    "state_in_use": 409,
    "state_not_allowed": 422,
    "store_conflict": 503,
    "store_corrupt": 503,
    "store_error": 503,
    "store_in_use": 503,
    "store_in_doubt": 503,
    "store_moved": 503,
    "store_refused": 500,
    "store_rolled_back": 503,
    "store_unavailable": 503,
    "request_timeout": 408,
    "schema_too_new": 503,
    "schema_too_old": 503,
    "too_large": 413,
    "unauthorized": 401,
    "unknown_action": 404,
    "unknown_entity_type": 404,
    "uri_too_long": 414,
    "unsupported_media_type": 415,
}
"""Code -> HTTP status. A code that is not here is a defect, and answers 500."""

RETRY_SECONDS = {
    "overloaded": 1,
    "rate_limited": 1,
    "closed": 2,
    "store_unavailable": 2,
    "store_conflict": 1,
    "store_in_doubt": 1,
}
"""When a caller may ask again, by code, unless the error itself says."""

DEVICE_CODES = frozenset({"authorization_pending", "slow_down", "expired_token", "access_denied"})
"""Of these the `error` itself is the code (RFC 8628 section 3.5), so that any client of that flow understands it."""

DOCS = "/v1/docs/errors"
_OURS = frozenset(
    {
        "internal",
        "key_unusable",
        "kiff_error",
        "schema_too_new",
        "schema_too_old",
        "store_corrupt",
        "store_error",
        "store_in_use",
        "store_in_doubt",
        "store_moved",
        "store_refused",
        "store_rolled_back",
        "store_unavailable",
    }
)
"""Their messages speak of our own inside: callers get a plain sentence."""


class Problem(Struct, omit_defaults=True):
    """What went wrong, and what is known of it.

    `code` is stable, and `docs` leads to its meaning; `error` and `message` are for people. What else there is depends
    on the code: `field` names what to correct, and a refusal by the gate carries `outcome` and `reasons`.
    """

    error: str
    code: str
    message: str
    trace_id: str
    docs: str
    field: str | UnsetType = UNSET
    outcome: str | UnsetType = UNSET
    reasons: list[str] | UnsetType = UNSET
    action: str | UnsetType = UNSET
    current_state: str | UnsetType | None = UNSET
    allowed_states: list[str] | UnsetType = UNSET
    proposal_id: str | UnsetType = UNSET
    approval_id: str | UnsetType = UNSET
    operation_id: str | UnsetType = UNSET
    receipt_id: str | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    next_step: str | UnsetType = UNSET
    missing_permissions: list[str] | UnsetType = UNSET
    missing_roles: list[str] | UnsetType = UNSET
    issues: list[dict[str, Any]] | UnsetType = UNSET


class HttpError(KiffError):
    """Something only HTTP knows: a route, a method, a media type, a size."""

    def __init__(self, code: str, message: str, **detail: Any) -> None:
        super().__init__(message, **detail)
        self.code = code


def status_of(code: str) -> int:
    return STATUS.get(code, 500)


def error_body(error: KiffError, trace_id: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of an error (PROTOCOL "Errors")."""
    code = error.detail.get("code_hint") or error.code
    status = status_of(code)
    message = "KIFF itself failed; the trace id finds it in the server's log" if code in _OURS else error.message
    detail = {} if code in _OURS else {name: value for name, value in error.detail.items() if name != "code_hint"}
    headers = {}
    retry = detail.pop("retry_after_seconds", RETRY_SECONDS.get(code))
    if retry is not None:
        headers["retry-after"] = str(max(1, int(retry)))
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="kiff"'
    detail.pop("reason", None)
    return status, problem(code, message, trace_id, detail), headers


def problem(code: str, message: str, trace_id: str, detail: Mapping[str, Any] = {}) -> dict[str, Any]:
    """The body of an error."""
    own = {
        "error": code if code in DEVICE_CODES else MESSAGES.get(code, message),
        "code": code,
        "message": message,
        "trace_id": trace_id,
        "docs": f"{DOCS}#{code}",
    }
    return {**detail, **own}


def as_problem_details(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """The same, as application/problem+json (RFC 9457): its members, and ours beside them."""
    return {**body, "type": body["docs"], "title": body["error"], "status": status, "detail": body["message"]}
