"""The action contract: what must be true before an action may run, and who may say yes to it.

A contract states; it decides nothing. The fields and their order are the seed's `action.ActionContract`, then
ours. What a contract does not state is read strictly: high risk, approval required, entity locked.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal

import msgspec

from kiff.protocol.limit import Limit


class Risk(StrEnum):
    """How much harm the action can do when it is wrong."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Approval(StrEnum):
    """Whether the contract itself asks for a person. Policy, mandate and risk may ask on top of NEVER."""

    NEVER = "never"
    REQUIRED = "required"
    CONDITIONAL = "conditional"


class Emits(msgspec.Struct, frozen=True, kw_only=True):
    """The events an executor may report.

    Args:
        success: event names for an action that worked.
        failure: event names for one that did not.
        declared: False only where the contract says nothing about events, which leaves all of the domain's.
    """

    success: tuple[str, ...] = ()
    failure: tuple[str, ...] = ()
    declared: bool = True

    def __post_init__(self) -> None:
        _as_tuples(self, "success", "failure")


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """An objection under a condition. There is no rule that allows, so the order of rules never matters.

    Args:
        id: the reason on the receipt, e.g. `amount_above_threshold`.
        when: an expression (docs/reference/conditions.md).
        then: `deny`, or `require_approval`.
        quorum: how many different people must say yes.
        roles: whose yes counts for this rule; anybody's who may review, when empty.
        message: what the reader of the receipt is told.
        mode: `shadow` is evaluated and recorded, not enforced.
    """

    id: str
    when: str
    then: Literal["deny", "require_approval"]
    quorum: int = 1
    roles: tuple[str, ...] = ()
    message: str = ""
    mode: Literal["enforce", "shadow"] = "enforce"

    def __post_init__(self) -> None:
        _as_tuples(self, "roles")


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """Something else than the entity that one operation holds at a time.

    Args:
        key: an expression: a text or a whole number.
        ttl_seconds: how long the app has when it runs the tool.
    """

    key: str
    ttl_seconds: int = 60


class ApprovalPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Who may answer a held action, and for how long the answer counts.

    Args:
        permissions: all of these are needed to review; empty: the default (`reviewer_permissions`).
        expires_seconds: a request without an answer ends after this.
        use_within_seconds: a grant must be used within this.
        on_grant: `wait` for the caller to come back with it, or `run` the original proposal at once.
        quorum: how many different people must say yes, whatever rule asks.
        human_only: only people answer; otherwise services may too, agents never.
        binds: what a grant fits beside the call: with `entity.version`, only the entity as it was.
        evidence: what a reviewer must bring: any `key`, or a `session`.
    """

    permissions: tuple[str, ...] = ()
    expires_seconds: int = 86_400
    use_within_seconds: int = 900
    on_grant: Literal["wait", "run"] = "wait"
    quorum: int = 1
    human_only: bool = True
    binds: tuple[str, ...] = ("parameters",)
    evidence: Literal["session", "key", "passkey"] = "key"

    def __post_init__(self) -> None:
        _as_tuples(self, "permissions", "binds")


class ActionContract(msgspec.Struct, frozen=True):
    """One action of a domain.

    Args:
        name: e.g. `REFUND_ORDER`.
        allowed_states: where the entity must be; nowhere when empty.
        required_parameters: must be given, and not null.
        required_permissions: the caller's roles must hold all of them.
        risk: see `Risk`.
        approval_requirement: see `Approval`.
        executor: what does it: a registered name, a function (registered under `executor_name`), or the address of
            a remote one, `https://host/path` or `mcp://server/tool`.
        description: for people.
        parameters: name -> schema (the accepted subset of JSON Schema); None accepts any parameter.
        approval_policy: see `ApprovalPolicy`.
        lock: `entity` keeps every other action off the entity while this one is in flight; `none` does not; a `Lock`
            holds something else.
        emits: see `Emits`.
        timeout_seconds: the executor's deadline.
        when: an expression that must be true; empty asks nothing.
        otherwise: the action to suggest when `when` does not hold.
        rules: see `Rule`.
        limits: see `Limit`.
        compensate: the action that undoes a success, proposed like any other.
    """

    name: str
    allowed_states: tuple[str, ...] = ()
    required_parameters: tuple[str, ...] = ()
    required_permissions: tuple[str, ...] = ()
    risk: Risk = Risk.HIGH
    approval_requirement: Approval = Approval.REQUIRED
    executor: str | Callable[..., Any] = ""
    description: str = ""
    parameters: dict[str, Any] | None = None
    approval_policy: ApprovalPolicy = msgspec.field(default_factory=ApprovalPolicy)
    lock: Literal["entity", "none"] | Lock = "entity"
    emits: Emits = msgspec.field(default_factory=lambda: Emits(declared=False))
    timeout_seconds: int = 30
    when: str = ""
    otherwise: str = ""
    rules: tuple[Rule, ...] = ()
    limits: tuple[Limit, ...] = ()
    compensate: str = ""

    def __post_init__(self) -> None:
        _as_tuples(self, "allowed_states", "required_parameters", "required_permissions", "rules", "limits")
        msgspec.structs.force_setattr(self, "risk", Risk(self.risk))
        msgspec.structs.force_setattr(self, "approval_requirement", Approval(self.approval_requirement))

    @property
    def executor_name(self) -> str:
        """The name the executor is registered under; empty when the app runs the tool itself.

        A function goes by its own `executor_name` attribute, or by the last part of its module and its name:
        `issue_refund` in `shop.refund` is `refund.issue_refund`.
        """
        if isinstance(self.executor, str):
            return self.executor
        given = getattr(self.executor, "executor_name", None)
        if isinstance(given, str):
            return given
        module = getattr(self.executor, "__module__", "") or ""
        name = getattr(self.executor, "__name__", type(self.executor).__name__)
        return f"{module.rpartition('.')[2]}.{name}"

    @property
    def runs_elsewhere(self) -> bool:
        """Whether the executor is an address, which only the operator's own files make usable."""
        return "://" in self.executor_name

    @property
    def reviewer_permissions(self) -> tuple[str, ...]:
        """What a reviewer must hold: the policy's permissions, or `<namespace>.approve` of the required ones.

        The namespace of `orders.refund` is `orders`; a permission without a dot is its own namespace.
        """
        if self.approval_policy.permissions:
            return self.approval_policy.permissions
        namespaces = (p.rpartition(".")[0] or p for p in self.required_permissions)
        return tuple(dict.fromkeys(f"{namespace}.approve" for namespace in namespaces))


def _as_tuples(struct: msgspec.Struct, *fields: str) -> None:
    """Store lists as tuples; a bare text is not a list of its letters."""
    for field in fields:
        value = getattr(struct, field)
        if isinstance(value, str):
            raise TypeError(f"expected a list for `{field}`, found the text `{value}`")
        if type(value) is not tuple:
            msgspec.structs.force_setattr(struct, field, tuple(value))
