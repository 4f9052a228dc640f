"""The guard's own receipt: one per attempt at a tool call, whatever came of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

SCHEMA_VERSION = 2

# state: under whose eyes the tool ran
OBSERVED_STATE = "observed"
GOVERNED = "governed"
UNGOVERNED = "ungoverned"

# execution: what became of the tool's body
NOT_RUN = "not_run"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"
UNKNOWN = "unknown"
EXECUTIONS = (NOT_RUN, SUCCEEDED, FAILED, CANCELLED, UNKNOWN)


@dataclass(frozen=True)
class Receipt:
    """What happened to one attempt at a tool call.

    Attributes:
        ts: when it was decided, seconds since 1970.
        agent: who called.
        tool: which tool, as the framework names it.
        args: the arguments that were decided on, frozen then and redacted; later changes do not reach it.
        outcome: the decision's.
        reason: the decision's.
        executed: the tool was let go (the seeds' word). Whether its body ran, and how that ended, says `execution`.
        state: `observed` (nobody was asked), `governed` (KIFF was asked), `ungoverned` (it ran without KIFF, as told).
        proposal_id: KIFF's record of the question.
        execution: not_run, succeeded, failed, cancelled, or unknown (the framework never said).
        error_type: the class of the error that ended it, or of the guard's own that withheld it.
        args_hash: SHA-256 of the arguments decided on (RFC 8785), `sha256:<hex>`.
        result_hash: the same of the result. The result itself is not kept.
        integrity_violation: what was executed differs from what was decided on.
        attempt: which receipt of this call id it is, counted from 1.
        previous_receipt: the one before it: of the try that failed, or of the call as it was held.
        replayed: KIFF answered with its earlier decision of the same proposal.
        receipt_id, call_id, session, approval_id, clearance_id, trace_id, adapter: what it belongs to.
        started_at: when the tool was let go, seconds since 1970; 0.0 if it was not.
        ended_at: when the attempt was settled.
    """

    ts: float
    agent: str
    tool: str
    args: dict[str, Any]
    outcome: str
    reason: str
    executed: bool
    state: str
    proposal_id: str = ""
    receipt_id: str = ""
    call_id: str = ""
    session: str = ""
    attempt: int = 1
    args_hash: str = ""
    result_hash: str = ""
    execution: str = NOT_RUN
    error_type: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    approval_id: str = ""
    clearance_id: str = ""
    trace_id: str = ""
    adapter: str = ""
    previous_receipt: str = ""
    integrity_violation: bool = False
    replayed: bool = False
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def of(cls, **fields: Any) -> Receipt:
        """A receipt of all its fields, faster than its constructor: one is made for every call."""
        made = object.__new__(cls)
        made.__dict__.update(fields)
        return made

    def as_dict(self) -> dict[str, Any]:
        """Every field by its name, as JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
