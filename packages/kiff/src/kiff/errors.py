"""The one error tree. A class for people who catch, a `code` for the wire and the log, a message for humans.

    KiffError
    ├── InvalidInput            the caller sent something KIFF cannot accept; `field` says where
    │   ├── InvalidJson         bytes or values outside the strict JSON that digests are made of
    │   ├── InvalidDomain       a kiff.yaml or contract set that cannot be used; `issues` lists every problem
    │   └── InvalidPolicy       a policy document that cannot be used; `issues` lists every problem
    ├── Unauthorized            the credential is missing, unknown, revoked or expired; it does not say which
    ├── NotFound                no such entity, approval, receipt, operation or domain in this tenant
    ├── Forbidden               the caller may not do this; nothing was changed
    ├── Conflict                the request collides with something already decided
    │   ├── IdempotencyConflict the same id was used before with other content
    │   ├── ApprovalDecided     somebody answered this approval first
    │   ├── AlreadyReviewed     this approval takes several people, and this one was counted
    │   ├── OperationSettled    the operation already has an outcome that this one contradicts
    │   ├── StateInUse          a domain version drops a state that entities are in; `in_use` names one for each
    │   ├── AuthorityChanged    who calls is known differently by now; draw the command up again
    │   └── DomainChanged       another domain or version governs by now; draw the command up again
    ├── RateLimited             this key or tenant asks too often; nothing was recorded, `retry_after_seconds` says when
    ├── Overloaded              a bounded queue or executor slot is full; nothing was recorded, try again
    ├── Closed                  the runtime is shutting down; nothing was recorded
    ├── ActionFailed            an executor raises it to say: it failed, and nothing happened outside
    │   └── Unfinished          an executor that nobody has written yet
    ├── ActionUnknown           an executor raises it to say why it cannot tell whether anything happened
    ├── KeyUnusable             a signing key is missing, unreadable or readable by others
    ├── Unanswered              a client got no answer that can be trusted from a server; the same id brings it
    └── StoreError              the store cannot serve
        ├── StoreUnavailable    disk full, read-only, I/O error: nothing was acknowledged
        ├── StoreCorrupt        the database does not hold what was written
        ├── StoreInUse          another process is the writer of this database
        ├── StoreRolledBack     a log does not hold what was seen of it before: an older database came back
        ├── StoreMoved          this database was moved elsewhere, and goes on there
        ├── SchemaTooNew        the database was written by a newer KIFF
        ├── SchemaTooOld        the database is to be brought up to date first
        ├── StoreConflict       another writer was first: load and step again
        ├── StoreInDoubt        the answer to a commit was lost: it may have happened, or may yet
        └── StoreRefused        the database refuses these rows for good; nothing was written

This file knows no HTTP. A refusal by the gate is not an error: it is a `Decision`.
"""

from __future__ import annotations

from typing import Any


class KiffError(Exception):
    """Everything KIFF raises on purpose.

    Args:
        message: one lower-case sentence that says what was expected, what was found and what to do.
        detail: typed fields that travel beside the message (JSON values only).
    """

    code = "kiff_error"

    def __init__(self, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class InvalidInput(KiffError):
    code = "invalid"

    def __init__(self, message: str, *, field: str = "", **detail: Any) -> None:
        if field:
            detail["field"] = field
        super().__init__(message, **detail)
        self.field = field


class InvalidJson(InvalidInput):
    code = "invalid_json"


class InvalidDomain(InvalidInput):
    """`issues` is a tuple of `kiff.domain.Issue`, every problem at once, in document order."""

    code = "invalid_domain"

    def __init__(self, message: str, *, issues: tuple[Any, ...] = (), **detail: Any) -> None:
        super().__init__(message, **detail)
        self.issues = issues


class InvalidPolicy(InvalidInput):
    """`issues` as of InvalidDomain."""

    code = "invalid_policy"

    def __init__(self, message: str, *, issues: tuple[Any, ...] = (), **detail: Any) -> None:
        super().__init__(message, **detail)
        self.issues = issues


class Unauthorized(KiffError):
    code = "unauthorized"


class NotFound(KiffError):
    code = "not_found"


class Forbidden(KiffError):
    """`reason` is one of the stable reason codes (permission_denied, proposer_is_reviewer, ...)."""

    code = "forbidden"

    def __init__(self, message: str, *, reason: str, **detail: Any) -> None:
        super().__init__(message, reason=reason, **detail)
        self.code = reason


class Conflict(KiffError):
    code = "conflict"


class IdempotencyConflict(Conflict):
    code = "idempotency_conflict"


class ApprovalDecided(Conflict):
    code = "approval_decided"


class AlreadyReviewed(Conflict):
    code = "already_reviewed"


class OperationSettled(Conflict):
    code = "operation_settled"


class StateInUse(Conflict):
    code = "state_in_use"


class AuthorityChanged(Conflict):
    code = "authority_changed"


class DomainChanged(Conflict):
    code = "domain_changed"


class RateLimited(KiffError):
    code = "rate_limited"


class Overloaded(KiffError):
    code = "overloaded"


class Closed(KiffError):
    code = "closed"


class ActionFailed(KiffError):
    """Raised by an executor that knows the effect did not happen. Any other exception leaves it unknown."""

    code = "executor_failed"


class ActionUnknown(KiffError):
    """Raised by an executor that cannot tell. Any other exception does the same; of this one the message is kept."""

    code = "execution_unknown"


class Unfinished(ActionFailed):
    """Raised by the stub of an executor. `kiff check` reports it until it is gone."""

    code = "executor_unfinished"


class KeyUnusable(KiffError):
    code = "key_unusable"


class Unanswered(KiffError):
    """Raised by a client: nothing came back, or something that is no answer of KIFF's. It never means `allowed`.

    `may_have_acted`: the request was a write and may have reached the server; the same id brings its answer.
    """

    code = "unanswered"

    def __init__(self, message: str, *, may_have_acted: bool = False, **detail: Any) -> None:
        super().__init__(message, **detail)
        self.may_have_acted = may_have_acted


class StoreError(KiffError):
    code = "store_error"


class StoreUnavailable(StoreError):
    code = "store_unavailable"


class StoreCorrupt(StoreError):
    code = "store_corrupt"


class StoreInUse(StoreError):
    code = "store_in_use"


class StoreRolledBack(StoreError):
    """`tenants` names every log that does not go on from where it was seen; see `kiff.stores.seen_heads`."""

    code = "store_rolled_back"


class StoreMoved(StoreError):
    code = "store_moved"


class SchemaTooNew(StoreError):
    code = "schema_too_new"


class SchemaTooOld(StoreError):
    code = "schema_too_old"


class StoreInDoubt(StoreError):
    """Who is told so asks again with the same id: it brings the answer, if there is one."""

    code = "store_in_doubt"


class StoreConflict(StoreError):
    code = "store_conflict"


class StoreRefused(StoreError):
    code = "store_refused"
