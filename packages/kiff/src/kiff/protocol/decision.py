"""What the gate answers, and the facts it answered from."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, convert, to_builtins

from kiff.protocol.approval import Demand

Outcome = Literal["allowed", "approval_required", "limit_exceeded", "blocked", "invalid"]

SEVERITY: dict[str, int] = {
    "allowed": 0,
    "approval_required": 1,
    "limit_exceeded": 2,
    "blocked": 3,
    "invalid": 4,
}
"""The most severe objection decides (DESIGN section 4)."""

Standing = Literal["pending", "granted", "denied", "expired", "used", "mismatch"]
"""How an approval stands towards one proposal at one instant; None: there is none."""


class Objection(Struct, frozen=True, gc=False):
    """One reason not to go ahead: a stable code, how severe, and what would have to change."""

    code: str
    outcome: Outcome
    detail: dict[str, Any] = {}


class Facts(Struct, frozen=True, gc=False):
    """Everything a decision depends on besides the proposal and the domain. Recorded with it.

    Args:
        state: where the entity is; None when nothing has happened to it.
        version: the entity's version.
        holder: the clearance that holds the entity's runway.
        approval: how the approval that was named, or the last one for the same call, stands.
        approval_id: which approval that is.
        operation_id, operation_status: the operation that used the approval, and how it stood.
        executor_ready: in `execute`, whether the operator registered the contract's executor.
        at: the instant (ms) of the decision: its record's.
        attributes: the entity's, defaults included.
        schedule: which of the domain's time windows are open.
        usage: by the reason code of a limit: what counts already and what is asked (`kiff.gate.limits.Verdict.facts`),
            or {"error"} when that could not be told.
        covers: the demands that the named approval was granted for.
        erased: sealed parameters whose values are gone, so that it cannot run.
    """

    state: str | None
    version: int
    roles: tuple[str, ...] = ()
    holder: str | None = None
    approval: Standing | None = None
    approval_id: str | None = None
    operation_id: str | None = None
    operation_status: str | None = None
    executor_ready: bool | None = None
    at: int = 0
    attributes: dict[str, Any] = {}
    schedule: dict[str, bool] = {}
    usage: dict[str, dict[str, Any]] = {}
    covers: tuple[Demand, ...] = ()
    erased: tuple[str, ...] = ()


def facts_json(facts: Facts) -> dict[str, Any]:
    """Facts as a record carries them; what was not known, or not asked, is left out."""
    data: dict[str, Any] = {"roles": facts.roles, "state": facts.state, "version": facts.version}
    if facts.holder is not None:
        data["holder"] = facts.holder
    if facts.approval is not None:
        data["approval"] = facts.approval
    if facts.approval_id is not None:
        data["approval_id"] = facts.approval_id
    if facts.operation_id is not None:
        data |= {"operation_id": facts.operation_id, "operation_status": facts.operation_status}
    if facts.executor_ready is not None:
        data["executor_ready"] = facts.executor_ready
    for name in ("attributes", "schedule", "usage"):
        if given := getattr(facts, name):
            data[name] = given
    if facts.covers:
        data["covers"] = to_builtins(facts.covers)
    if facts.erased:
        data["erased"] = facts.erased
    return data


def facts_from(data: dict[str, Any], at: int) -> Facts:
    """The facts that a record carries.

    Args:
        at: the record's instant (ms).

    Raises:
        ValidationError, TypeError, KeyError: they are none.
    """
    return convert(data | {"at": at}, Facts)


class Decision(Struct, frozen=True, gc=False):
    """The outcome, and every objection in gate order, the primary one first.

    Args:
        matched: codes of the rules whose condition held, whether or not a grant covers them.
        shadow: codes of the rules in shadow mode whose condition held, or had no value.
        demands: why a person is asked.
    """

    outcome: Outcome
    objections: tuple[Objection, ...] = ()
    matched: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()
    demands: tuple[Demand, ...] = ()

    @property
    def reason(self) -> str:
        """The primary reason code; `allowed` when nothing objected."""
        return self.objections[0].code if self.objections else "allowed"
