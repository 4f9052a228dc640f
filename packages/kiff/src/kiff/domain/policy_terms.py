"""A policy's rules and limits over one action of one domain. What does not fit is bound all the same, to withhold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from kiff.domain.conditions import Use, Written, problems_of
from kiff.domain.document import Json
from kiff.domain.domain import Domain
from kiff.domain.expr import BOOL, INT, Expression, Problem, Type
from kiff.domain.expr.node import Elsewhere, Leaf, Node
from kiff.domain.measure import measure_of
from kiff.domain.policy_document import PolicyLimit, PolicyRule
from kiff.domain.scope import Scope, action_scope
from kiff.domain.terms import BoundLimit, BoundRule, bound_limit, bound_rule
from kiff.protocol.action import ActionContract, Rule
from kiff.protocol.limit import Limit

Part = PolicyRule | PolicyLimit


class Place(NamedTuple):
    """An action that a policy is asked about.

    Args:
        schedules: the policy's own, as they are written: what a domain calls its own means something else.
    """

    policy: str
    schedules: Mapping[str, Json]
    domain: Domain
    contract: ActionContract

    @property
    def scope(self) -> Scope:
        """What a condition may read here. It may ask about what only other actions declare."""
        domain, contract = self.domain, self.contract
        document = {"states": domain.states, "attributes": domain.attributes, "schedules": self.schedules}
        action = {"required_parameters": contract.required_parameters, "parameters": contract.parameters or {}}
        return action_scope(document, action, open=True)

    @property
    def counted(self) -> str:
        """In whose name its limits count: the policy's, over all domains."""
        return f"policy:{self.policy}"

    def is_among(self, part: Part) -> bool:
        """Whether the rule or the limit is about this action."""
        return part.match.fits(self.domain.name, self.domain.entity_type, self.contract)


class Misfit(NamedTuple):
    """An expression of a rule or a limit that cannot be asked about an action; or a `max` that is none there."""

    word: str
    text: str
    problem: Problem


def misfits(part: Part, place: Place) -> Iterator[Misfit]:
    """Why a rule or a limit does not fit an action."""
    scope = place.scope
    if isinstance(part, PolicyRule):
        yield from _problems("when", part.rule.when, scope, BOOL, "condition")
        return
    limit = part.limit
    found = [
        *_problems("amount", limit.amount, scope, None, "amount"),
        *_problems("key", limit.key, scope, None, "key"),
    ]
    yield from found or _unmeasured(limit, place)


def _problems(word: str, text: str, scope: Scope, expected: Type | None, use: Use) -> Iterator[Misfit]:
    if text:
        for problem in problems_of(Written((), text, scope, expected, use)):
            yield Misfit(word, text, problem)


def _unmeasured(limit: Limit, place: Place) -> Iterator[Misfit]:
    """Its `max` may have more decimals than what it adds up there."""
    try:
        measure_of(bound_limit(limit, limit.id, place.counted, place.scope, place.contract).limit)
    except ValueError as error:
        yield Misfit("max", "", Problem("bad_limit", str(error), "", 0, 0))


def rule_over(part: PolicyRule, code: str, place: Place) -> BoundRule:
    """The rule over an action. When it does not fit, its condition has no value, so it withholds."""
    found = next(misfits(part, place), None)
    if found is None:
        bound = bound_rule(part.rule, code, place.scope, place.contract)
        return bound._replace(condition=_own_schedules(bound.condition, place.policy))
    always: Rule = replace(part.rule, when="true")
    return bound_rule(always, code, {}, place.contract)._replace(rule=part.rule, condition=_withheld(found, BOOL))


def limit_over(part: PolicyLimit, code: str, place: Place) -> BoundLimit:
    """The limit over an action. When it does not fit, how much it is asked for has no value, so it withholds."""
    found = next(misfits(part, place), None)
    if found is None:
        bound = bound_limit(part.limit, code, place.counted, place.scope, place.contract)
        amount, key = (each and _own_schedules(each, place.policy) for each in (bound.amount, bound.key))
        return bound._replace(amount=amount, key=key)
    nobody: Limit = replace(part.limit, amount="", key="")
    return bound_limit(nobody, code, place.counted, {}, place.contract)._replace(amount=_withheld(found, INT))


def _withheld(found: Misfit, type_: Type) -> Expression:
    return Expression(found.text, Elsewhere(type_, 0, len(found.text), why=f"it does not fit: {found.problem.message}"))


def qualified(policy: str, schedule: str) -> str:
    """What facts call a policy's schedule. No schedule of a domain is called so: theirs have no dot."""
    return f"{policy}.{schedule}"


def _own_schedules(expression: Expression, policy: str) -> Expression:
    """The expression, reading the policy's schedules where facts have them."""

    def renamed(leaf: Leaf) -> Leaf:
        if leaf.path[0] != "schedule" or leaf.local or len(leaf.path) == 1:
            return leaf
        return replace(leaf, path=("schedule", qualified(policy, leaf.path[1]), *leaf.path[2:]))

    if not any(path.startswith("schedule.") for path in expression.reads):
        return expression
    return Expression(expression.text, _rewritten(expression.node, renamed))


def _rewritten(node: Node, leaf: Callable[[Leaf], Leaf]) -> Node:
    """The tree with every leaf replaced."""
    if isinstance(node, Leaf):
        return leaf(node)
    changed: dict[str, Any] = {}
    for name in node.__struct_fields__:
        part = getattr(node, name)
        if isinstance(part, Node):
            changed[name] = _rewritten(part, leaf)
        elif isinstance(part, tuple) and any(isinstance(each, Node) for each in part):
            changed[name] = tuple(_rewritten(each, leaf) for each in part)
    return replace(node, **changed) if changed else node
