"""How far facts are from making a condition true, or false: in comparisons that would have to come out otherwise."""

from __future__ import annotations

from collections.abc import Callable

from kiff.domain.expr.closures import closure
from kiff.domain.expr.node import Binary, Conditional, Literal, Node, Unary
from kiff.gate.case import Env

Distance = Callable[[Env], int]
"""0 when it is so."""


def distance(node: Node, wanted: bool = True) -> Distance:
    """The distance of facts from a condition being `wanted`; what has no value counts as one step."""
    match node:
        case Literal(value=bool(value)):
            return lambda env: 0 if value is wanted else 1_000
        case Unary(op="!", operand=operand):
            return distance(operand, not wanted)
        case Binary(op="&&" | "||" as op, left=left, right=right):
            one, other = distance(left, wanted), distance(right, wanted)
            if (op == "&&") is wanted:
                return lambda env: one(env) + other(env)
            return lambda env: min(one(env), other(env))
        case Conditional(test=test, then=then, otherwise=otherwise) if node.type.kind == "bool":
            yes, no = distance(test, True), distance(test, False)
            first, second = distance(then, wanted), distance(otherwise, wanted)
            return lambda env: min(yes(env) + first(env), no(env) + second(env))
    return _step(node, wanted)


def _step(node: Node, wanted: bool) -> Distance:
    run = closure(node)

    def step(env: Env) -> int:
        try:
            return 0 if run(env) is wanted else 1
        except Exception:  # noqa: BLE001  facts of any shape: the condition has no value
            return 1

    return step
