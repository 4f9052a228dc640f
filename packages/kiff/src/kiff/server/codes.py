"""What every code means, when it is answered, and what to do: the one text behind each page about errors.

The status of a code is in `kiff.server.problems.STATUS`, the sentence of a gate's code in `kiff.gate.reasons.MESSAGES`;
here is the rest. A test holds the three together.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from kiff.gate.reasons import MESSAGES

KYA = "agents and their fingerprints"
MANDATES = "mandates and spend windows"


class Code(Struct, frozen=True):
    """One code.

    Args:
        when: when it is answered.
        fix: what the caller does about it.
        meaning: in a sentence; of a gate's code, what `MESSAGES` says.
        detail: typed members that come with it, as an example.
        later: the feature that will answer it; nothing does before that.
    """

    when: str
    fix: str
    meaning: str = ""
    detail: dict[str, Any] = {}
    later: str = ""


def meaning(code: str) -> str:
    """What a code means, in a sentence."""
    return CODES[code].meaning or MESSAGES[code]


_NEVER_LEAKS = "What another tenant has is answered exactly like what does not exist."

CODES: dict[str, Code] = {
    "access_denied": Code(
        "In a device login, when the person at the browser said no.",
        "Start a new login, if it was meant to be a yes.",
        "the login was refused",
    ),
    "actor_not_key_holder": Code(
        "A body names an actor other than the one the key is bound to: another agent in a proposal, another person in "
        "a review.",
        "Leave the actor out, or name the key's own. To act as somebody else, use a key of theirs.",
        "the key speaks for somebody else than the body says",
        {"actor_id": "another-agent"},
    ),
    "agent_frozen": Code(
        "The agent was frozen by its owner or by an operator.",
        "Ask the owner to look at it, and to unfreeze it.",
        "the agent is frozen",
        later=KYA,
    ),
    "agent_not_active": Code(
        "The agent is registered, and not activated: it is a draft, under review, or revoked.",
        "Have the agent reviewed and activated. A revoked one stays revoked; register a new one.",
        "the agent is not active",
        later=KYA,
    ),
    "agent_unknown": Code(
        "A domain asks for registered agents, and the acting one is not.",
        "Register the agent, and have it activated.",
        "no agent of that id is registered",
        later=KYA,
    ),
    "already_reviewed": Code(
        "A yes to an approval that needs several, by somebody who may have been counted: under another name, with "
        "another key, or with a key that the one who was counted minted, or the other way round; with separation of "
        "duties on, also with a key whose minter minted that one's too. The body says whose yes was counted.",
        "Have somebody else answer: logged in, or with a key that nobody else minted.",
        "one person is counted once",
        {"approval_id": "appr_01", "reviewed_by": "ops-human"},
    ),
    "ambiguous_entity": Code(
        "A path names an entity without its type, and entities of two types have that id.",
        "Write the type with it: `order:ord_002`.",
        "the id fits entities of two types",
        {"field": "id"},
    ),
    "approval_decided": Code(
        "A grant, denial or cancellation of an approval that somebody answered before, or that expired. The body says "
        "who and when.",
        "Read the approval: the first answer stands.",
        "the approval has its answer already",
        {"approval_id": "appr_01", "status": "granted", "reviewed_by": "ops-human"},
    ),
    "approval_denied": Code(
        "The call was held, and a reviewer said no. It is beside `state_not_allowed` where the state itself would be "
        "right. It is terminal for this call while the entity has not moved.",
        "Do not send the same call again. Read the reviewer's reason, and propose something else.",
        detail={"approval_id": "appr_01"},
    ),
    "approval_expired": Code(
        "Nobody answered in time, the grant was not used in time, or whoever asked took the question back.",
        "Make the call again without the approval; it opens a new one.",
        detail={"approval_id": "appr_01"},
    ),
    "approval_mismatch": Code(
        "`approval_id` names the approval of another call, or none: action, entity, parameters or caller differ.",
        "Send exactly the approved call, or make the new one without the approval.",
        detail={"approval_id": "appr_01"},
    ),
    "approval_not_needed": Code(
        "An approval was asked for, and the gate would allow the call as it is.",
        "Execute the call.",
        "the call takes no approval",
    ),
    "approval_required": Code(
        "The contract, or the facts, ask for a person's yes. An approval is open; `approval_id` names it. `decide` "
        "answers this with 200 and the outcome `approval_required`.",
        "Wait for a reviewer, then make the same call with `approval_id`.",
        detail={"approval_id": "appr_01", "action": "REFUND_ORDER", "outcome": "approval_required"},
    ),
    "approval_used": Code(
        "The approval cleared a call before; `operation_id` and `status` say which, and how it ended.",
        "Look at that operation. For another one, make the call without the approval.",
        detail={"approval_id": "appr_01", "operation_id": "clr_01", "status": "succeeded"},
    ),
    "authority_changed": Code(
        "Who the caller is changed between reading the request and deciding it, twice in a row.",
        "Send the request again.",
        "the caller's authority changed while the request was served",
    ),
    "authorization_pending": Code(
        "In a device login, while the person has not answered yet.",
        "Ask again after `interval` seconds.",
        "the login waits for a person",
    ),
    "budget_exceeded": Code(
        "The amount does not fit what is left of a budget: what was spent, and what is held for pending calls."
        " Amounts of money are in minor units. Nothing of this call was counted.",
        "Wait for `Retry-After`, propose less, or have the budget raised.",
        detail={"limit": "spend_cap.daily", "cap": 500000, "used": 490000, "amount": 20000, "minor_units_of": "USD"},
    ),
    "category_not_allowed": Code(
        "The agent's mandate lists categories, and this one is not among them.",
        "Propose within the mandate, or have it changed by its principal.",
        "the mandate does not cover the category",
        later=MANDATES,
    ),
    "closed": Code(
        "The server shuts down. Nothing was recorded.",
        "Send the request again, with the same id, after `Retry-After`.",
        "the server is shutting down",
    ),
    "concurrency_exceeded": Code(
        "As many operations as a limit allows are in flight. A retry with the same id is decided anew.",
        "Send the request again when one of them has ended.",
        detail={"limit": "in_flight", "cap": 5, "used": 5, "amount": 1},
    ),
    "condition_not_met": Code(
        "What an action's `when` asks is not true for these facts.",
        "Read the condition; propose when it holds, or the action that `otherwise` names.",
        detail={"condition": "parameters.amount <= 50", "otherwise": "REFUND_ORDER"},
    ),
    "conflict": Code(
        "The request collides with something that is there: a version name, an entity type or a key that is taken.",
        "Read what is there (the body names it), and ask for something else.",
        "the request collides with something that exists",
        {"domain": "refund-ops", "entity_type": "order"},
    ),
    "currency_not_in_mandate": Code(
        "The amount is in a currency that the mandate does not name.",
        "Propose in a currency of the mandate, or have it changed by its principal.",
        "the mandate does not cover the currency",
        later=MANDATES,
    ),
    "domain_changed": Code(
        "Another version of the domain became active while the request was served, and it seals other parameters of "
        "this call. Nothing was recorded.",
        "Send the request again, with the same id.",
        "the domain changed while the request was served",
        {"proposal_id": "prop_01", "version": "refund-ops-v3"},
    ),
    "entity_busy": Code(
        "Another operation on this entity is cleared and has not ended. Two actors on one state is how it gets "
        "corrupted. `operation_id` names the one that holds it.",
        "Wait for it to end, then send the call again; the same id is good.",
        detail={"operation_id": "clr_01"},
    ),
    "execution_unknown": Code(
        "An operation was cleared, and nobody said how it ended: a lost connection, a crash, a time limit. `execute` "
        "answers with 200 and the status `unknown`.",
        "Never send it again blindly. Find out outside, then settle the operation.",
        detail={"operation_id": "clr_01"},
    ),
    "executor_failed": Code(
        "The executor ran, and says that nothing happened outside; or a remote one was never reached. `execute` "
        "answers with 200 and the status `failed`.",
        "Read its message. A new call, with a new id, is a new attempt.",
    ),
    "executor_missing": Code(
        "KIFF was asked to run an action whose executor is not registered in this process, or is an address that its "
        "operator does not let this tenant use.",
        "Start the server with that executor, have the operator allow the address (docs/guides/remote-executors.md), "
        "or use `decide` and run the tool yourself.",
        detail={"executor": "refund.issue_refund"},
    ),
    "executor_unfinished": Code(
        "The executor is the stub that scaffolding wrote.",
        "Write the executor; `kiff check` lists those that are left.",
        "nobody has written this executor yet",
    ),
    "expired_token": Code(
        "In a device login, when its time ran out before the person answered.",
        "Start a new login.",
        "the login's time ran out",
    ),
    "fingerprint_mismatch": Code(
        "The agent says it is something else than what was reviewed: another model, prompt or tool.",
        "Register the change and have it reviewed, or run what was reviewed.",
        "the agent is not what was reviewed",
        later=KYA,
    ),
    "forbidden": Code(
        "The caller may not do this, and no narrower code says why.",
        "Read the message; use a key that may.",
        "the caller may not do this",
    ),
    "header_too_large": Code(
        "The headers of the request are too large together.",
        "Send fewer and shorter headers; cookies are the usual cause.",
        "the headers are too large",
    ),
    "idempotency_conflict": Code(
        "The id, or the Idempotency-Key, was used before for a request with other content. Nothing was done.",
        "Draw a new id for the new request. To repeat the old one, send exactly what it was.",
        "the same id was used before with other content",
        {"proposal_id": "prop_01"},
    ),
    "internal": Code(
        "A defect in KIFF. Nothing was allowed.",
        "Report the trace id; it finds the cause in the server's log. A retry with the same id is safe.",
        "KIFF itself failed",
    ),
    "invalid": Code(
        "Something in the path, the query, a header or the body is not what it must be. `field` says which. Unknown "
        "members are refused too, and so is everything that claims authority.",
        "Correct the field. A retry of the same request brings the same answer.",
        "the request is not well formed",
        {"field": "entity_type"},
    ),
    "invalid_domain": Code(
        "A kiff.yaml that cannot be used. `issues` lists every problem at once, with path and line.",
        "Mend what is listed; `kiff check` says the same without a server.",
        "the domain cannot be used",
        {"issues": [{"path": "actions[0].risk", "message": "must be low, medium, high or critical", "line": 12}]},
    ),
    "invalid_json": Code(
        "The body is no JSON as digests need it: not UTF-8, a key twice, NaN, an integer beyond ±(2^53-1), a lone "
        "surrogate, or nested deeper than 32.",
        "Send strict JSON.",
        "the body is not strict JSON",
        {"field": "parameters"},
    ),
    "invalid_parameter": Code(
        "A parameter is unknown to the contract, or its value does not fit.",
        "Read the action's parameters under `allowed-actions`, and correct the one that `parameter` names.",
        detail={"parameter": "amount", "expected": "at most 50", "outcome": "invalid"},
    ),
    "invalid_policy": Code(
        "A policy document that cannot be used. `issues` lists every problem at once, with path and line.",
        "Mend what is listed; `kiff policies check` says the same without a server.",
        "the policy cannot be used",
        {"issues": [{"path": "rules[0].then", "message": "expected one of deny, require_approval", "line": 4}]},
    ),
    "invalid_transition": Code(
        "The domain has no transition for this event from where the entity is, or does not declare the event. The "
        "event is recorded; the state did not change.",
        "Look at the entity's state and the domain's transitions. The same event again changes nothing.",
        "the event does not lead anywhere from the current state",
        {"event_id": "evt_01", "entity": "order:ord_002", "current_state": "PAID"},
    ),
    "key_not_bound_to_agent": Code(
        "The key is bound to no member, and the request takes one that is: a review is a person's, and an agent's "
        "report is that agent's.",
        "Use a key that is bound to the member who acts.",
        "the key is bound to nobody",
    ),
    "key_unusable": Code(
        "The tenant's signing key is missing, unreadable, or readable by others. Nothing is decided without receipts.",
        "An operator mends the key file; the server's log says what is wrong with it.",
        "the signing key cannot be used",
    ),
    "kiff_error": Code(
        "KIFF failed, and no narrower code says how.",
        "Report the trace id; it finds the cause in the server's log.",
        "KIFF itself failed",
    ),
    "login_unavailable": Code(
        "The login provider cannot be reached, or answers nonsense.",
        "Try again later; an operator looks at the server's log.",
        "the login provider cannot be used now",
    ),
    "mandate_limit_reached": Code(
        "What the agent spent in this window, or in all, leaves no room for the amount.",
        "Wait for the next window, propose less, or have the mandate changed by its principal.",
        "the mandate has no room left",
        later=MANDATES,
    ),
    "mandate_per_action_exceeded": Code(
        "The amount is above what the mandate allows for one action.",
        "Propose less, or have the mandate changed by its principal.",
        "the amount is above the mandate's limit for one action",
        later=MANDATES,
    ),
    "mapping_not_supported": Code(
        "An activation names states to move entities to, which this version cannot do.",
        "Leave the mapping out, and move the entities by events first.",
        "a mapping of states is not supported yet",
        {"field": "mapping"},
    ),
    "merchant_not_allowed": Code(
        "The agent's mandate lists merchants, and this one is not among them.",
        "Propose within the mandate, or have it changed by its principal.",
        "the mandate does not cover the merchant",
        later=MANDATES,
    ),
    "method_not_allowed": Code(
        "The path exists, and not with this method. The header Allow says which it takes.",
        "Use a method that the path takes.",
        "the path does not take this method",
    ),
    "missing_parameter": Code(
        "The contract requires a parameter that the call does not have.",
        "Add the parameter that `parameter` names.",
        detail={"parameter": "reason"},
    ),
    "no_mandate_issued": Code(
        "A domain asks for mandates, and the agent has none that is good now.",
        "Have the agent's principal issue one.",
        "the agent has no mandate",
        later=MANDATES,
    ),
    "not_found": Code(
        f"There is no such route, entity, approval, receipt, operation, key, member or domain. {_NEVER_LEAKS}",
        "Check the id, and whose key it is asked with.",
        "there is nothing by that name",
        {"approval_id": "appr_01"},
    ),
    "operation_settled": Code(
        "A report contradicts what was reported of the operation before.",
        "Read the operation: the first report stands, and the contradiction is on record.",
        "the operation has another outcome already",
        {"operation_id": "clr_01", "status": "unknown"},
    ),
    "overloaded": Code(
        "A queue is full, every executor slot is taken, or the remote executor of the action has enough of the "
        "tenant's calls in work or did not answer the last ones (`target` names it). Nothing was decided and nothing "
        "recorded.",
        "Send the request again, with the same id, after `Retry-After`; back off when it repeats.",
        "the server has all it can carry",
    ),
    "permission_denied": Code(
        "The roles of the key lack a permission, or the route takes a role the key does not have. The body lists what "
        "is missing. `decide` answers this with 200 and the outcome `blocked`.",
        "Use a key that may, or have an owner give the role that carries the permission.",
        detail={"missing_permissions": ["refunds.execute"]},
    ),
    "policy_error": Code(
        "A rule could not be evaluated for these facts; what cannot be told is withheld.",
        "An author mends the rule; `kiff test` shows the case.",
        detail={"rule": "risky_customer", "message": "`entity.customer_risk` is missing"},
    ),
    "proposer_is_reviewer": Code(
        "Whoever proposed the call, or stands behind the one who did, tries to answer its approval.",
        "Somebody else answers it.",
        detail={"approval_id": "appr_01"},
    ),
    "rate_limited": Code(
        "The key, or the tenant, asks more often than it may: then nothing was decided and nothing recorded. Or a"
        " rate of the domain is used up: then the answer is a decision with its receipt, and names the `limit`.",
        "Wait for `Retry-After`, and send the request again with the same id.",
    ),
    "request_timeout": Code(
        "The head or the body of the request was too long in coming. Nothing was decided.",
        "Send the request again, with the same id, over a better line or in one go.",
        "the request was too long in coming",
    ),
    "risk_band_high": Code(
        "The agent's risk is high, so that every action takes its owner.",
        "Have the owner approve the call, or the agent reviewed again.",
        "the agent's risk band is high",
        later=KYA,
    ),
    "schema_too_new": Code(
        "The database was written by a newer KIFF.",
        "An operator starts that version, or a newer one.",
        "the database is newer than this server",
    ),
    "schema_too_old": Code(
        "The database has an older schema than this server needs.",
        "An operator brings it up to date with `kiff migrate`, then starts the server again.",
        "the database is older than this server",
    ),
    "sensitive_erased": Code(
        "A held call was granted and is to run, and a sensitive value of it was erased from the vault meanwhile.",
        "Make the call again, with the value, if it is still wanted; it opens a new approval.",
        detail={"parameters": ["reason"]},
    ),
    "signature_invalid": Code(
        "A webhook's signature is missing, wrong, or too old. It does not say which.",
        "Check the secret on both sides, and the clock of the sender.",
        "the signature is not valid",
    ),
    "slow_down": Code(
        "In a device login, when it is asked for more often than `interval` says.",
        "Ask less often: add five seconds to the interval.",
        "the login is asked for too often",
    ),
    "state_in_use": Code(
        "A domain version drops a state that entities are in.",
        "Move those entities by events first, or keep the state.",
        "entities are in a state that the domain drops",
    ),
    "state_not_allowed": Code(
        "The action does not start from where the entity is, or a reviewer denied this very call.",
        "Read `current_state` and `allowed_states`; propose when the entity is there, or see `approval_denied`.",
        detail={"action": "AUTO_REFUND", "current_state": "CREATED", "allowed_states": ["PAID"], "outcome": "blocked"},
    ),
    "store_conflict": Code(
        "Another writer was first, several times in a row. Nothing was acknowledged.",
        "Send the request again, with the same id.",
        "another writer was first",
    ),
    "store_corrupt": Code(
        "The database does not hold what was written. Nothing is decided on it.",
        "An operator runs `kiff verify`, and restores a backup.",
        "the database is damaged",
    ),
    "store_error": Code(
        "The database cannot serve, and no narrower code says why.",
        "An operator looks at the server's log.",
        "the database cannot serve",
    ),
    "store_in_doubt": Code(
        "The database went away while this was written: it may have been, or not. Nothing was run because of it.",
        "Send the request again, with the same id: it brings the answer, if there is one.",
        "the answer of the database was lost",
    ),
    "store_in_use": Code(
        "Another process writes this database.",
        "An operator stops one of the two.",
        "another process is the writer",
    ),
    "store_moved": Code(
        "`kiff move` copied this database elsewhere, and it goes on there.",
        "An operator starts the server on the database it was moved to.",
        "the database was moved",
    ),
    "store_refused": Code(
        "The database refused this request's rows for good. Nothing was written.",
        "Report the trace id; a retry brings the same answer.",
        "the database refused the rows",
    ),
    "store_rolled_back": Code(
        "A log does not hold what this installation saw of it before: an older copy of the database came back, and "
        "what was acknowledged since is not in it.",
        "An operator restores a newer backup, or goes on with `--accept-rollback TENANT`, which the log records.",
        "the database is older than what was acknowledged",
    ),
    "store_unavailable": Code(
        "The disk is full, read-only or failing. Nothing was acknowledged.",
        "Send the request again, with the same id; an operator looks at the disk.",
        "the database cannot be written",
    ),
    "too_large": Code(
        "The body is larger than `limit` bytes.",
        "Send less: refer to large things by a digest or a link.",
        "the body is too large",
        {"limit": 262144},
    ),
    "unauthorized": Code(
        "There is no key, or it is unknown, revoked or expired. It does not say which.",
        "Send `Authorization: Bearer <key>` with a key that is good.",
        "the credential is not valid",
    ),
    "unknown_action": Code(
        "The domain that governs the entity has no action of that name. `actions` lists those it has. `decide` "
        "answers this with 400 and the outcome `invalid`.",
        "Use one of the listed actions; names are compared with regard to case.",
        detail={"action": "REFUND", "actions": ["AUTO_REFUND", "REFUND_ORDER"]},
    ),
    "unknown_entity_type": Code(
        "No domain of the tenant governs the entity type. `decide` answers this with 400 and the outcome `invalid`.",
        "Activate a domain for the type, or correct the type.",
        detail={"entity": "invoice:inv_001"},
    ),
    "unsupported_media_type": Code(
        "The body is of another media type than the route takes.",
        "Send what the route takes; mostly `Content-Type: application/json`.",
        "the body has the wrong media type",
    ),
    "uri_too_long": Code(
        "Path and query together are too long.",
        "Ask for less at once.",
        "the URL is too long",
    ),
}
"""Code -> what is known of it, in the order of their names."""
