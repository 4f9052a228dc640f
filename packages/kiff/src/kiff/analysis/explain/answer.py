"""What an explanation says: plain values, the same on a terminal, in a file and over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct


class ReasonGiven(Struct, frozen=True):
    """One objection, as it was recorded."""

    code: str
    outcome: str
    detail: dict[str, Any]


class ConditionAsked(Struct, frozen=True, omit_defaults=True):
    """An expression, and what it said.

    Args:
        holds: None when it was not asked, or had no value; `error` says why.
        when: its text; None where it is not for the reader.
        values: path -> value of what it read that was there, secrets left out.
    """

    holds: bool | None
    when: str | None = None
    values: dict[str, Any] = {}
    error: str | None = None


class RuleConsidered(Struct, frozen=True, omit_defaults=True):
    """A rule that was considered. `origin`: contract | policy; `then` and `mode`: as it is written."""

    id: str
    origin: str
    then: str
    mode: str
    condition: ConditionAsked
    message: str = ""
    quorum: int = 1
    roles: tuple[str, ...] = ()


class LimitConsidered(Struct, frozen=True, omit_defaults=True):
    """A limit that was considered, in what it counts: calls, operations, or minor units of `unit`.

    Args:
        fits: None when it could not be told; `error` says why.
        used, asked, cap: what counted already, what this call asks for, and what both may be together.
    """

    id: str
    origin: str
    kind: str
    over: str
    fits: bool | None
    used: int | None = None
    asked: int | None = None
    cap: int | None = None
    unit: str | None = None
    retry_after_ms: int | None = None
    error: str | None = None


class GrantConsidered(Struct, frozen=True):
    """Permissions that a role of the caller has under a condition."""

    role: str
    permissions: tuple[str, ...]
    condition: ConditionAsked


class PermissionsThen(Struct, frozen=True, omit_defaults=True):
    """What the action takes, and what the caller's roles gave. `apart`: what they held together, which nobody may."""

    required: tuple[str, ...]
    missing: tuple[str, ...]
    roles: tuple[str, ...]
    grants: tuple[GrantConsidered, ...] = ()
    apart: tuple[tuple[str, ...], ...] = ()


class StateThen(Struct, frozen=True):
    """Where the entity was, and from where the action may start."""

    current: str | None
    version: int
    allowed: tuple[str, ...]


class Demanded(Struct, frozen=True):
    """What one rule asks of an approval: `people` different people, with one of the `roles` when there are any."""

    rule: str
    people: int
    roles: tuple[str, ...]


class ApprovalThen(Struct, frozen=True, omit_defaults=True):
    """How an approval stood.

    Args:
        standing: pending | granted | denied | expired | used | mismatch; None: there was none.
        demands: what a person is asked about.
        covered: what the grant was asked for.
    """

    standing: str | None
    approval_id: str | None = None
    demands: tuple[Demanded, ...] = ()
    covered: tuple[Demanded, ...] = ()


Bound = Literal["at_most", "at_least", "exactly"]


class Change(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """One change, everything else as it was.

    Args:
        objection: the reason code that it does away with.
        leads_to: the outcome then; None where that cannot be told from what was recorded.
        message: the same in words.
    """

    objection: str
    message: str
    leads_to: str | None


class ParameterChange(Change, frozen=True, kw_only=True, tag="parameter", omit_defaults=True):
    """Another value of a parameter: the nearest one. With `at_most` or `at_least`, any further one does as well."""

    path: str
    bound: Bound
    value: int | float | str | bool
    unit: str | None = None


class EventStep(Struct, frozen=True):
    """An event, and the state it leads to, where its guards are true."""

    event: str
    to: str


class StateChange(Change, frozen=True, kw_only=True, tag="state"):
    """Another state of the entity. `events`: the shortest way there; empty where there is none."""

    state: str
    events: tuple[EventStep, ...]


class RoleChange(Change, frozen=True, kw_only=True, tag="role"):
    """One more role of the caller."""

    role: str
    permissions: tuple[str, ...]


class WaitChange(Change, frozen=True, kw_only=True, tag="wait", omit_defaults=True):
    """Later. `until`: the instant from which it may be tried again; None where nobody knows."""

    until: str | None = None


class ApprovalChange(Change, frozen=True, kw_only=True, tag="approval"):
    """A grant.

    Args:
        people: how many different people it takes at least.
        roles: those who may answer it.
        demands: what each rule asks.
    """

    people: int
    roles: tuple[str, ...]
    permissions: tuple[str, ...]
    demands: tuple[Demanded, ...]


class AskAgainChange(Change, frozen=True, kw_only=True, tag="ask_again"):
    """The same call without the approval that it named."""


class ActionChange(Change, frozen=True, kw_only=True, tag="action"):
    """Another action, which the contract suggests."""

    action: str


AnyChange = ParameterChange | StateChange | RoleChange | WaitChange | ApprovalChange | AskAgainChange | ActionChange


class Explanation(Struct, frozen=True):
    """Why a decision came out as it did, and what would have to change for another outcome.

    Args:
        receipt_id: what was asked about; `decision_receipt_id`: of the decision that it is about, when it says how a
            hold ended.
        outcome, reason, message: what the receipt says.
        domain, policy: the versions in force then.
        decided_again: the same facts give the same decision; where not, or where a sensitive value is gone, there are
            no changes.
        invalid: what is wrong with the parameters, by name.
        precondition: what the contract asks besides.
        rules, limits: every one that was considered, shadow rules too.
        busy: another operation was in flight.
        changes: for each objection, what would do away with it; each was decided again before it was told.
        notes: what is left out, and why.
    """

    receipt_id: str
    proposal_id: str
    at: str
    entity: str | None
    action: str
    outcome: str
    reason: str
    message: str
    reasons: tuple[ReasonGiven, ...]
    domain: str | None
    policy: str | None
    decided_again: bool
    state: StateThen
    approval: ApprovalThen
    decision_receipt_id: str | None = None
    permissions: PermissionsThen | None = None
    invalid: tuple[str, ...] = ()
    precondition: ConditionAsked | None = None
    rules: tuple[RuleConsidered, ...] = ()
    limits: tuple[LimitConsidered, ...] = ()
    busy: bool = False
    changes: tuple[AnyChange, ...] = ()
    notes: tuple[str, ...] = ()
