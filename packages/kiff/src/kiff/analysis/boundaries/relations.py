"""Where a comparison turns: the sums in it, as equations over what a condition reads.

`parameters.amount > entity.total - entity.refunded` turns where amount - total + refunded = 0; with two of them known,
so is the third. Everything is exact, in the numbers an author writes, not in scaled integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from kiff.domain.expr.node import Binary, Leaf, Literal, Node, Scale, Unary, walk
from kiff.domain.expr.types import Decimal

Path = tuple[str, ...]
_COMPARED = ("==", "!=", "<", "<=", ">", ">=")
_NUMBERS = ("int", "double", "decimal", "timestamp", "duration")


class Relation(NamedTuple):
    """The sum of factors times values, and a constant: zero where the comparison turns.

    Args:
        factors: path -> factor, never zero.
        decimals: path -> how many decimals its values have; None: any number.
    """

    factors: Mapping[Path, Fraction]
    constant: Fraction
    decimals: Mapping[Path, int | None]

    def turns(self, path: Path, values: Mapping[Path, Any]) -> Fraction | None:
        """The value at which it turns, given all the others; None when one of them is no number."""
        total = self.constant
        for other, factor in self.factors.items():
            if other != path:
                value = values.get(other)
                if type(value) not in (int, float):
                    return None
                total += factor * Fraction(repr(value))
        return -total / self.factors[path]


def relations(node: Node) -> Iterator[Relation]:
    """Of every comparison in a condition that is one of sums."""
    for each in walk(node):
        if isinstance(each, Binary) and each.op in _COMPARED and each.left.type.kind in _NUMBERS:
            found = difference(each.left, each.right)
            if found is not None and found.factors:
                yield found


def difference(left: Node, right: Node | Fraction) -> Relation | None:
    """`left - right` as a relation; None when it is no sum."""
    one = _sum(left)
    other: _Sum | None = {(): right} if isinstance(right, Fraction) else _sum(right)
    if one is None or other is None:
        return None
    total = _added(one, other, Fraction(-1))
    nodes = (left,) if isinstance(right, Fraction) else (left, right)
    leaves = {leaf.path: leaf for node in nodes for leaf in walk(node) if isinstance(leaf, Leaf)}
    factors = {path: factor for path, factor in total.items() if path and factor}
    return Relation(factors, total.get((), Fraction(0)), {path: _decimals(leaves[path]) for path in factors})


_Sum = dict[Path, Fraction]  # () is the constant


def _sum(node: Node) -> _Sum | None:
    match node:
        case Literal(value=bool() | str()):
            return None
        case Literal():
            return {(): number(node)}
        case Leaf(local=False) if node.type.kind in _NUMBERS:
            return {node.path: Fraction(1)}
        case Scale(operand=operand):
            return _sum(operand)
        case Unary(op="-", operand=operand):
            return _times(_sum(operand), Fraction(-1))
        case Binary(op="+" | "-" as op, left=left, right=right):
            one, other = _sum(left), _sum(right)
            if one is None or other is None:
                return None
            return _added(one, other, Fraction(1 if op == "+" else -1))
        case Binary(op="*", left=left, right=right):
            return _product(node, left, right)
        case Binary(op="/", left=left, right=Literal() as right) if node.type.kind == "double" and right.value:
            return _times(_sum(left), 1 / number(right))
    return None


def _product(node: Node, left: Node, right: Node) -> _Sum | None:
    """A sum times a literal. The literal beside an amount is an integer; the digits it has too many are the type's."""
    times, other = (left, right) if isinstance(left, Literal) else (right, left)
    if not isinstance(times, Literal):
        return None
    factor = number(times)
    if isinstance(node.type, Decimal) and isinstance(other.type, Decimal):
        factor /= Fraction(10 ** (node.type.digits - other.type.digits))
    return _times(_sum(other), factor)


def number(literal: Literal) -> Fraction:
    """The number that an author wrote: of an amount, not its scaled integer."""
    digits = literal.type.digits if isinstance(literal.type, Decimal) else 0
    return Fraction(repr(literal.value)) / Fraction(10**digits)


def _times(total: _Sum | None, factor: Fraction) -> _Sum | None:
    return None if total is None else {path: each * factor for path, each in total.items()}


def _added(one: _Sum, other: _Sum, factor: Fraction) -> _Sum:
    return {path: one.get(path, Fraction(0)) + factor * other.get(path, Fraction(0)) for path in {**one, **other}}


def _decimals(leaf: Leaf) -> int | None:
    if isinstance(leaf.type, Decimal):
        return leaf.type.digits
    return None if leaf.type.kind == "double" else 0
