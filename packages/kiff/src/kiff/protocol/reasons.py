"""The codes that mean something already, so that no rule and no limit of a domain goes by one of them.

The id of a rule is the `code` of a refusal, beside those of the gate (`kiff.gate.reasons`) and of the server
(docs/reference/errors.md). Later versions read what earlier ones kept, and a name that is added here is refused in it:
a new code has to be one that nobody would call a rule.
"""

from __future__ import annotations

RESERVED = frozenset(
    """
    access_denied actor_not_key_holder agent_frozen agent_not_active agent_unknown allowed already_reviewed
    ambiguous_entity approval_decided approval_denied approval_expired approval_mismatch approval_not_needed
    approval_required approval_used authority_changed authorization_pending blocked budget_exceeded
    category_not_allowed closed concurrency_exceeded condition_not_met conflict currency_not_in_mandate domain_changed
    entity_busy execution_unknown executor_failed executor_missing executor_unfinished expired_token
    fingerprint_mismatch forbidden header_too_large idempotency_conflict internal invalid invalid_domain invalid_json
    invalid_parameter invalid_policy invalid_transition key_not_bound_to_agent key_unusable kiff_error limit_exceeded
    lock login_unavailable mandate_limit_reached mandate_per_action_exceeded mapping_not_supported
    merchant_not_allowed method_not_allowed missing_parameter no_mandate_issued not_found operation_settled overloaded
    permission_denied policy_error proposer_is_reviewer rate_limited request_timeout risk_band_high schema_too_new
    schema_too_old sensitive_erased signature_invalid slow_down state_in_use state_not_allowed store_conflict
    store_corrupt store_error store_in_doubt store_in_use store_moved store_refused store_rolled_back store_unavailable
    too_large unauthorized unknown_action unknown_entity_type unsupported_media_type uri_too_long when
    """.split()  # noqa: SIM905 (eighty names read better as a paragraph)
)
"""Every code of the protocol, the outcomes, and `when` and `lock`, which say what a `policy_error` is about."""
