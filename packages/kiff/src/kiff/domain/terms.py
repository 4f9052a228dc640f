"""What an action's contract asks beyond its tables, compiled at load: precondition, grants, rules, limits, lock.

Nothing here decides: the gate asks, and an expression that has no answer withholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import structs

from kiff.canonical import admit, digest
from kiff.domain.compiled import compile
from kiff.domain.document import Json, written_limit, written_rule
from kiff.domain.expr import Expression
from kiff.domain.expr.closures import Run, closure
from kiff.domain.expr.types import Decimal
from kiff.domain.scope import Scope, action_scope
from kiff.protocol.action import ActionContract, Approval, Lock, Rule
from kiff.protocol.approval import Demand
from kiff.protocol.limit import Limit


class BoundRule(NamedTuple):
    """A rule, its condition over one action, and what it demands when it asks for a person.

    `code` is the reason on the receipt: the rule's id, unless another rule of the action has it.
    """

    rule: Rule
    code: str
    condition: Expression
    demand: Demand


class BoundLimit(NamedTuple):
    """A limit over one action. `scope` is what it counts for: the domain, or the policy over many domains."""

    limit: Limit
    code: str
    scope: str
    amount: Expression | None
    key: Expression | None
    demand: Demand


class BoundGrant(NamedTuple):
    """Permissions that a role has under a condition."""

    role: str
    permissions: frozenset[str]
    condition: Expression


class Terms(NamedTuple):
    """Everything an action asks; `demands` are by reason code.

    `bare` has the rules once more, each with its condition as a function that raises whatever it meets: asking many
    in a row is a quarter faster so. Where one raises, `rules` are asked, whose conditions say what is wrong.
    """

    precondition: Expression | None
    grants: tuple[BoundGrant, ...]
    rules: tuple[BoundRule, ...]
    limits: tuple[BoundLimit, ...]
    lock: Expression | None
    demands: Mapping[str, Demand]
    quorum: int
    bare: tuple[tuple[Run, BoundRule], ...]

    @property
    def reads(self) -> bool:
        """Whether any expression is asked at all."""
        return bool(self.precondition or self.grants or self.rules or self.limits or self.lock)


def terms_of(document: Json, contract: ActionContract, action: Json) -> Terms:
    """The terms of one action of a document without errors.

    Args:
        action: the action as it is written.
    """
    scope = action_scope(document, action)
    quorum = contract.approval_policy.quorum
    rules = tuple(bound_rule(rule, rule.id, scope, contract) for rule in contract.rules)
    name = document.get("domain", "")
    limits = tuple(bound_limit(limit, limit.id, name, scope, contract) for limit in contract.limits)
    own = Demand("approval_required", _digest({"approval": "required"}, contract), quorum)
    # `conditional` without a rule that asks is read in the strictest way, like everything that is not stated.
    asking = any(rule.then == "require_approval" and rule.mode == "enforce" for rule in contract.rules)
    asking = asking or any(limit.over == "require_approval" for limit in contract.limits)
    required = contract.approval_requirement is Approval.REQUIRED
    conditional = contract.approval_requirement is Approval.CONDITIONAL
    demands = {"approval_required": own} if required or (conditional and not asking) else {}
    asked = frozenset(contract.required_permissions)
    grants = tuple(
        BoundGrant(grant["role"], frozenset(grant["permissions"]), compile(grant["when"], scope))
        for grant in document.get("permissions", {}).get("grants", ())
        if asked.intersection(grant["permissions"])
    )
    lock = compile(contract.lock.key, scope, None) if isinstance(contract.lock, Lock) else None
    precondition = compile(contract.when, scope) if contract.when else None
    return _whole(precondition, grants, rules, limits, lock, demands, quorum)


def with_more(terms: Terms, rules: Sequence[BoundRule], limits: Sequence[BoundLimit]) -> Terms:
    """The terms with rules and limits beside their own: they can only object more."""
    return _whole(
        terms.precondition,
        terms.grants,
        (*terms.rules, *rules),
        (*terms.limits, *limits),
        terms.lock,
        {code: demand for code, demand in terms.demands.items() if code == "approval_required"},
        terms.quorum,
    )


def bound_rule(rule: Rule, code: str, scope: Scope, contract: ActionContract) -> BoundRule:
    """A rule over one action.

    Args:
        contract: of the action; it says who answers, and how many people it takes at least, whatever rule asks.

    Raises:
        ExpressionError: its condition does not fit the action.
    """
    quorum = max(rule.quorum, contract.approval_policy.quorum)
    demand = Demand(code, _digest(written_rule(rule), contract), quorum, rule.roles)
    return BoundRule(rule, code, compile(rule.when, scope), demand)


def bound_limit(limit: Limit, code: str, counted: str, scope: Scope, contract: ActionContract) -> BoundLimit:
    """A limit over one action. Sums of money are kept in the unit that its amount has.

    Raises:
        ExpressionError: its amount or its key does not fit the action.
    """
    amount = compile(limit.amount, scope, None) if limit.amount else None
    key = compile(limit.key, scope, None) if limit.key else None
    if amount is not None and isinstance(amount.type, Decimal):
        limit = structs.replace(limit, unit=amount.type.unit)
    demand = Demand(code, _digest(written_limit(limit), contract), contract.approval_policy.quorum)
    return BoundLimit(limit, code, counted, amount, key, demand)


def _digest(asks: Json, contract: ActionContract) -> str:
    """What a demand says, and who may answer it: a yes of those who may no longer give it satisfies nothing."""
    policy = contract.approval_policy
    answered = {
        "evidence": policy.evidence,
        "human_only": policy.human_only,
        "permissions": list(contract.reviewer_permissions),
        "quorum": policy.quorum,
    }
    return digest(admit({"answered": answered, "asks": asks}).data)


def _whole(
    precondition: Expression | None,
    grants: tuple[BoundGrant, ...],
    rules: tuple[BoundRule, ...],
    limits: tuple[BoundLimit, ...],
    lock: Expression | None,
    demands: dict[str, Demand],
    quorum: int,
) -> Terms:
    asking = {bound.code: bound.demand for bound in rules if bound.rule.then == "require_approval"}
    over = {bound.code: bound.demand for bound in limits if bound.limit.over == "require_approval"}
    bare = tuple((closure(bound.condition.node), bound) for bound in rules)
    return Terms(precondition, grants, rules, limits, lock, demands | asking | over, quorum, bare)
