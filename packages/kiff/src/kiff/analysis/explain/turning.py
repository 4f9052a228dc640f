"""Where an expression turns: the values of one parameter at which it may say something else, all else as it was.

A comparison is a sum of numbers in nearly every rule, so where it turns follows from two of its values. Nothing of this
is believed: whoever asks tries each value out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from kiff.analysis.boundaries.examples import beside, exactly
from kiff.domain.expr import BOOL, Expression
from kiff.domain.expr.closures import closure
from kiff.domain.expr.node import Binary, Leaf, Literal, Node, OneOf, walk
from kiff.domain.expr.types import Decimal, String, is_sensitive

Path = tuple[str, ...]
Value = int | float | str | bool
_ORDERED = ("==", "!=", "<", "<=", ">", ">=")
_PLAIN_DIGITS = 2


class Turning:
    """The parameters that an expression reads, and where it turns on each.

    Args:
        secret: whether one that is sensitive is among what it reads: then nothing is told of it.
    """

    def __init__(self, expression: Expression) -> None:
        leaves = [leaf for leaf in walk(expression.node) if isinstance(leaf, Leaf)]
        self.secret = any(leaf.sensitive or is_sensitive(leaf.type) for leaf in leaves)
        read = {} if self.secret else {leaf.path: leaf for leaf in leaves if not leaf.local}
        self.leaves = {path: leaf for path, leaf in read.items() if len(path) > 1 and path[0] == "parameters"}
        self._node = expression.node

    def values(self, leaf: Leaf, env: Mapping[str, Any]) -> list[Value]:
        """What to try in its place, the nearest first; never what it is."""
        return nearest(self._values(leaf, env), at(env, leaf.path))

    def digits(self, leaf: Leaf) -> int | None:
        """How many decimals its values are told apart by; None when it is no number."""
        if isinstance(leaf.type, Decimal):
            return leaf.type.digits
        return {"int": 0, "double": _PLAIN_DIGITS}.get(leaf.type.kind)

    def _values(self, leaf: Leaf, env: Mapping[str, Any]) -> Iterator[Value]:
        if leaf.type == BOOL:
            yield from (True, False)
        elif isinstance(leaf.type, String):
            yield from leaf.type.enum
            yield from _texts(self._node, leaf)
        elif (digits := self.digits(leaf)) is not None:
            for node in walk(self._node):
                for turns in _roots(node, leaf, env):
                    yield from beside(turns, digits)


def nearest(values: Iterable[Value], now: Any) -> list[Value]:
    """Each once, without what it is now, the nearest first where it is a number."""
    found = [value for value in dict.fromkeys(values) if not _same(value, now)]
    if isinstance(now, int | float) and not isinstance(now, bool):
        numbers = [value for value in found if not isinstance(value, str | bool)]
        return sorted(numbers, key=lambda value: abs(exactly(value) - exactly(now)))  # type: ignore[arg-type]
    return found


def root(of: Callable[[Mapping[str, Any]], Fraction], path: Path, env: Mapping[str, Any]) -> Fraction | None:
    """Where a function that is a straight line in one number is zero; None where it is level, or has no value."""
    now = at(env, path)
    if not isinstance(now, int | float) or isinstance(now, bool):
        return None
    start = exactly(now)
    end = start + 1
    try:
        first, second = of(env), of(put(env, path, _plain(end)))
    except Exception:  # noqa: BLE001  whatever it says of other facts, there is nothing to try
        return None
    return None if first == second else start - first * (end - start) / (second - first)


def at(env: Mapping[str, Any], path: Path) -> Any:
    """What stands there; None when nothing does."""
    value: Any = env
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def put(env: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """The same with something else there."""
    name, *more = path
    return {**env, name: put(env.get(name) or {}, tuple(more), value) if more else value}


def _roots(node: Node, leaf: Leaf, env: Mapping[str, Any]) -> Iterator[Fraction]:
    """Where both sides of a comparison are equal."""
    pairs: list[tuple[Node, Node]] = []
    if isinstance(node, Binary) and node.op in _ORDERED and node.left.type.kind in ("int", "double", "decimal"):
        pairs = [(node.left, node.right)]
    elif isinstance(node, OneOf):
        pairs = [(node.item, option) for option in node.options]
    for left, right in pairs:
        first, second = closure(left), closure(right)
        found = root(lambda e, a=first, b=second: Fraction(a(e)) - Fraction(b(e)), leaf.path, env)  # type: ignore[misc]
        if found is not None:
            yield found


def _texts(node: Node, leaf: Leaf) -> Iterator[str]:
    """The texts that it is compared with."""
    for each in walk(node):
        parts: tuple[Node, ...] = ()
        if isinstance(each, Binary) and each.op == "==":
            parts = (each.left, each.right)
        elif isinstance(each, OneOf):
            parts = (each.item, *each.options)
        if any(isinstance(part, Leaf) and part.path == leaf.path for part in parts):
            yield from (part.value for part in parts if isinstance(part, Literal) and isinstance(part.value, str))


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)


def _same(value: Value, other: Any) -> bool:
    return type(value) is bool and value is other if isinstance(other, bool) else bool(value == other)
