"""A condition written a little differently, in each way that a slip of the hand could have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal as Exact

from kiff.domain.expr import Expression
from kiff.domain.expr.node import Binary, Literal, Node, Unary, walk
from kiff.domain.expr.types import Decimal

_OPERATOR = re.compile(r"&&|\|\||==|!=|<=|>=|<|>")
_OTHERS: dict[str, tuple[str, ...]] = {
    ">": (">=", "<="),
    ">=": (">", "<"),
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    "==": ("!=",),
    "!=": ("==",),
    "&&": ("||",),
    "||": ("&&",),
}
"""Operator -> the one beside it, and its opposite."""
_PLAIN_DIGITS = 2  # a number without a unit is changed by a hundredth, a whole one by 1

Rewritten = tuple[str, str]
"""What changed, and the text after it."""


def rewritten(condition: Expression) -> Iterator[Rewritten]:
    """Every way in which a number is one step off, or an operator is another one, in the order of the text."""
    for node in walk(condition.node):
        match node:
            case Literal(value=int() | float()) if not isinstance(node.value, bool):
                yield from _numbers(condition.text, node)
            case Binary(op=op, left=left, right=right) if op in _OTHERS:
                yield from _operators(condition.text, op, left, right)
            case Unary(op="!"):
                inner = condition.text[node.start + 1 : node.end]
                yield _changed(condition.text, node.start, node.end, inner.strip())


def _numbers(text: str, literal: Literal) -> Iterator[Rewritten]:
    written = text[literal.start : literal.end]
    step = _step(literal, written)
    if step is not None:
        for other in (Exact(written) + step, Exact(written) - step):
            yield _changed(text, literal.start, literal.end, f"{other:f}")


def _step(literal: Literal, written: str) -> Exact | None:
    """How far the next number is: a minor unit, 1, or the last decimal; None for what is no plain number."""
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", written):
        return None
    decimals = len(written.partition(".")[2])
    if isinstance(literal.type, Decimal):
        return Exact(1).scaleb(-max(literal.type.digits, decimals))
    if literal.type.kind == "double":
        return Exact(1).scaleb(-max(_PLAIN_DIGITS, decimals))
    return Exact(1).scaleb(-decimals) if literal.type.kind == "int" else None


def _operators(text: str, op: str, left: Node, right: Node) -> Iterator[Rewritten]:
    found = [each for each in _OPERATOR.finditer(text, left.end, right.start) if each[0] == op]
    for other in _OTHERS[op] if len(found) == 1 else ():
        yield _changed(text, *found[0].span(), other)


def _changed(text: str, start: int, end: int, new: str) -> Rewritten:
    after = text[:start] + new + text[end:]
    return f"`{text}` became `{after}`", after
