"""A typed tree to one function of the environment. No exec, no eval, no I/O, no clock.

INVARIANT: a value is used only after its exact type was seen: True is no number, NaN is no number, None is nothing.
A function raises whatever it meets (KeyError, IndexError, Wrong, …); `Expression` makes it an EvaluationError.

Python pays for calls, so leaves of two names (`parameters.amount`) are read inside of the function that uses them:
the tables of lambdas below are one shape each. `kind` is the type a value mostly has; `rest` sees to any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from operator import eq, ge, gt, le, lt, ne
from types import FunctionType
from typing import Any, NoReturn, TypeGuard

from kiff.domain.expr import literal
from kiff.domain.expr.node import (
    Binary,
    Call,
    Conditional,
    Elsewhere,
    Has,
    Index,
    Leaf,
    Literal,
    Node,
    OneOf,
    Quantifier,
    Scale,
    Select,
    Unary,
)
from kiff.domain.expr.operators import MAX_INT64
from kiff.domain.expr.problem import EvaluationError
from kiff.domain.expr.types import EXACT, PYTHON, Decimal, ListOf, Type

Env = Mapping[str, Any]
Run = Callable[[Env], Any]

_HALF = 2**52
_ROUND = 1.5 * _HALF


_INTEGER = (int,)


class Wrong(Exception):
    """A value of another type than declared."""


def closure(node: Node) -> Run:
    """The function that gives the node's value: an amount as its scaled integer, a DOUBLE as a float."""
    return own(_MAKERS[type(node)](node))


def own(run: Run) -> Run:
    """The function with bytecode of its own. Python adapts bytecode to the types and the callees it sees; closures of
    one shape would share it and undo each other's."""
    assert isinstance(run, FunctionType)
    return FunctionType(run.__code__.replace(), run.__globals__, run.__name__, None, run.__closure__)


def _literal(node: Literal) -> Run:
    value = node.value
    return lambda env: value


# Leaves: read, then see the type


def raw(path: tuple[str, ...]) -> Run:
    """What stands at a path, whatever it is."""

    def read(env: Env) -> Any:
        value: Any = env
        for name in path:
            value = value[name]
        return value

    return read


def _leaf(node: Leaf) -> Run:
    if len(node.path) != 2:
        return _typed(raw(node.path), node.type)
    (a, b), kinds = node.path, _kinds(node.type)
    if isinstance(node.type, Decimal):
        scale = 10**node.type.digits
        return lambda env: _scaled(env[a][b], scale)
    if node.type.kind == "double":
        return lambda env: float(v) if type(v := env[a][b]) in kinds and v - v == 0 else _wrong(v)
    return lambda env: v if type(v := env[a][b]) in kinds else _wrong(v)


def _typed(read: Run, type_: Type) -> Run:
    kinds = _kinds(type_)
    if isinstance(type_, Decimal):
        scale = 10**type_.digits
        return lambda env: _scaled(read(env), scale)
    if type_.kind == "double":
        return lambda env: float(v) if type(v := read(env)) in kinds and v - v == 0 else _wrong(v)
    return lambda env: v if type(v := read(env)) in kinds else _wrong(v)


def _kinds(type_: Type) -> Collection[type]:
    return PYTHON.get(type_.kind, _INTEGER)


def _wrong(value: Any) -> NoReturn:
    raise Wrong


def _scaled(value: Any, scale: int) -> int:
    """49.99 at scale 100 is 4999. Below 10^15 the product is off by less than 1/4, so rounding finds the integer
    whose nearest double `value` is, if there is one; dividing again, which rounds correctly, says whether it is."""
    if type(value) is int:
        return value * scale
    if type(value) is float:
        integer = round(value * scale)
        if integer / scale == value and -EXACT < integer < EXACT:
            return integer
    raise Wrong


def _select(node: Select) -> Run:
    operand, name = closure(node.operand), node.name
    return _typed(lambda env: operand(env)[name], node.type)


def _index(node: Index) -> Run:
    items, index = closure(node.operand), closure(node.index)

    def item(env: Env) -> Any:
        at = index(env)
        if at < 0:
            raise IndexError
        return items(env)[at]

    return _typed(item, node.type)


def _has(node: Has) -> Run:
    target = node.target
    assert isinstance(target, Leaf | Select)
    if isinstance(target, Leaf) and len(target.path) == 2:
        a, b = target.path
        return lambda env: b in v if type(v := env[a]) is dict else _wrong(v)
    name = target.path[-1] if isinstance(target, Leaf) else target.name
    holder = raw(target.path[:-1]) if isinstance(target, Leaf) else closure(target.operand)
    return lambda env: name in v if type(v := holder(env)) is dict else _wrong(v)


# Comparisons

_HOLDS: dict[str, Callable[[Any, Any], bool]] = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_LEAF_LITERAL: dict[str, Callable[..., Run]] = {
    "==": lambda a, b, kinds, k: lambda env: ((type(v := env[a][b]) in kinds and v == v) or _wrong(v)) and v == k,
    "!=": lambda a, b, kinds, k: lambda env: ((type(v := env[a][b]) in kinds and v == v) or _wrong(v)) and v != k,
    "<": lambda a, b, kinds, k: lambda env: ((type(v := env[a][b]) in kinds and v == v) or _wrong(v)) and v < k,
    "<=": lambda a, b, kinds, k: lambda env: ((type(v := env[a][b]) in kinds and v == v) or _wrong(v)) and v <= k,
    ">": lambda a, b, kinds, k: lambda env: ((type(v := env[a][b]) in kinds and v == v) or _wrong(v)) and v > k,
    ">=": lambda a, b, kinds, k: lambda env: ((type(v := env[a][b]) in kinds and v == v) or _wrong(v)) and v >= k,
    "in": lambda a, b, kinds, k: lambda env: ((type(v := env[a][b]) in kinds and v == v) or _wrong(v)) and v in k,
}


def _comparison(op: str, left: Node, right: Node) -> Run:
    """Amounts are compared as the doubles they came in, when one side is a leaf and the other a literal or a leaf.

    That is exact. Rounding to the nearest double keeps the order of decimals, and a decimal that a leaf can hold is
    the shortest one of its double, so equal doubles are equal leaves, of any size. A literal has at most 15
    significant digits: no two decimals of so few have one nearest double, so the same holds beside a literal.
    """
    if isinstance(left, Literal) and not isinstance(right, Literal):
        return _comparison(_MIRRORED[op], right, left)
    if _is_short(left) and isinstance(right, Literal):
        return _LEAF_LITERAL[op](*left.path, _kinds(left.type), _plain(right))
    holds = _HOLDS[op]
    if _is_short(left) and _is_short(right) and left.type.kind == right.type.kind:
        (a, b), (c, d), kinds = left.path, right.path, _kinds(left.type)
        return lambda env: (
            holds(x, y)
            if type(x := env[a][b]) in kinds and type(y := env[c][d]) in kinds and x == x and y == y
            else _wrong(x)
        )
    first, second = closure(left), closure(right)
    exact = own(lambda env: holds(first(env), second(env)))
    return _linear(op, [*_terms(left, 1), *_terms(right, -1)], exact) if isinstance(left.type, Decimal) else exact


_Term = tuple[Node | None, int]


def _terms(node: Node, factor: int) -> list[_Term]:
    """`factor * node` as a sum of leaves times integers, and of integers, which stand without a node."""
    match node:
        case Literal(value=value):
            return [(None, int(value) * factor)]
        case Scale(operand=operand, digits=digits):
            return _terms(operand, factor * 10**digits)
        case Unary(operand=operand):
            return _terms(operand, -factor)
        case Binary(op="+" | "-" as op, left=left, right=right):
            return [*_terms(left, factor), *_terms(right, factor if op == "+" else -factor)]
        case (
            Binary(op="*", left=left, right=Literal(value=value))
            | Binary(op="*", left=Literal(value=value), right=left)
        ):
            return _terms(left, factor * int(value))
    return [(node, factor)]


def _linear(op: str, terms: list[_Term], exact: Run) -> Run:
    """A sum of amounts beside zero, in doubles: every step either gives an integer below 2^53 or leaves it to `exact`.

    Adding and subtracting 1.5 * 2^52 rounds to an integer; dividing again says whether that is the amount.
    """
    constant = sum(factor for node, factor in terms if node is None)
    leaves = [(node, factor) for node, factor in terms if node]
    room = _HALF // (len(terms) * max(abs(factor) for _, factor in terms) or 1)  # for each leaf: all fit in 2^53
    if abs(constant) > _HALF or not all(_is_short(leaf) for leaf, _ in leaves):
        return exact
    parts = [(*leaf.path, 10.0**leaf.type.digits, float(factor)) for leaf, factor in leaves]  # type: ignore[attr-defined, union-attr]
    start, most, holds = float(constant), float(min(EXACT, room)), _HOLDS[op]
    least = -most

    def linear(env: Env) -> bool:
        total = start
        for a, b, scale, factor in parts:
            value = env[a][b]
            if type(value) is float:
                units = value * scale + _ROUND - _ROUND
                if units / scale != value:
                    raise Wrong
            elif type(value) is int:
                units = value * scale
            else:
                raise Wrong
            if not least < units < most:
                return exact(env)  # type: ignore[no-any-return]
            total += units * factor
        return holds(total, 0.0)

    return linear


def _is_short(node: Node) -> TypeGuard[Leaf]:
    return isinstance(node, Leaf) and len(node.path) == 2


def _plain(node: Literal) -> Any:
    """A literal as the number that a leaf would be."""
    if not isinstance(node.type, Decimal):
        return node.value
    whole, rest = divmod(int(node.value), 10**node.type.digits)
    return int(node.value) / 10**node.type.digits if rest else whole


def _one_of(node: OneOf) -> Run:
    literals = [option for option in node.options if isinstance(option, Literal)]
    if len(literals) < len(node.options):
        item, options = closure(node.item), tuple(map(closure, node.options))
        return lambda env: item(env) in [option(env) for option in options]  # all of them: an error is an error
    if _is_short(node.item):
        plain = frozenset(map(_plain, literals))
        return _LEAF_LITERAL["in"](*node.item.path, _kinds(node.item.type), plain)
    item, values = closure(node.item), frozenset(option.value for option in literals)
    return lambda env: item(env) in values


def _in(node: Node, items: Node) -> Run:
    """`node in items`, a list. Every item is looked at first: `1 in [true]` must not be true."""
    assert isinstance(items.type, ListOf)
    item, listed, most = closure(node), closure(items), items.type.max_items
    read, kinds = _typed(lambda value: value, items.type.item), _kinds(items.type.item)
    is_plain = items.type.item.kind not in ("decimal", "double")

    def among(env: Env) -> bool:
        values = _bounded(listed(env), most)
        if not is_plain:
            return item(env) in list(map(read, values))
        for value in values:
            if type(value) not in kinds:
                raise Wrong
        return item(env) in values

    return among


def _bounded(items: list[Any], most: int) -> list[Any]:
    return items if len(items) <= most else _wrong(items)


# Other operators


def _unary(node: Unary) -> Run:
    operand = closure(node.operand)
    if node.op == "-":
        return _within(lambda env: -operand(env), node.type)
    if _is_short(node.operand):
        a, b = node.operand.path
        return lambda env: not v if type(v := env[a][b]) is bool else _wrong(v)
    return lambda env: not operand(env)


def _binary(node: Binary) -> Run:
    op = node.op
    if op in _HOLDS:
        return _comparison(op, node.left, node.right)
    if op == "in":
        return _in(node.left, node.right)
    left, right = closure(node.left), closure(node.right)
    if op == "&&":
        return lambda env: left(env) and right(env)
    if op == "||":
        return lambda env: left(env) or right(env)
    make = _WHOLE.get(op, _ARITHMETIC[op]) if node.type.kind == "int" else _ARITHMETIC[op]
    return _within(make(left, right), node.type)


def _quotient(x: int, y: int) -> int:
    """Towards zero, as in CEL and C."""
    size = abs(x) // abs(y)
    return size if (x < 0) == (y < 0) else -size


def _remainder(x: int, y: int) -> int:
    if x == -MAX_INT64 - 1 and y == -1:
        _out_of_range()  # as in CEL, where the quotient overflows
    size = abs(x) % abs(y)
    return -size if x < 0 else size


_ARITHMETIC: dict[str, Callable[[Run, Run], Run]] = {
    "+": lambda left, right: lambda env: left(env) + right(env),
    "-": lambda left, right: lambda env: left(env) - right(env),
    "*": lambda left, right: lambda env: left(env) * right(env),
    "/": lambda left, right: lambda env: left(env) / right(env),
    "%": lambda left, right: lambda env: _remainder(left(env), right(env)),
}
_WHOLE: dict[str, Callable[[Run, Run], Run]] = {
    "/": lambda left, right: lambda env: _quotient(left(env), right(env)),
}
_RANGES: dict[str, tuple[float, float]] = {
    "int": (-MAX_INT64 - 1, MAX_INT64),
    "timestamp": (literal.FIRST_INSTANT, literal.LAST_INSTANT),
    "duration": (-literal.LONGEST, literal.LONGEST),
    "double": (-1.7976931348623157e308, 1.7976931348623157e308),  # all but infinities and NaN
}


def _within(run: Run, type_: Type) -> Run:
    """A result that its type can hold. Amounts have no bound inside: they are exact whatever their size."""
    if type_.kind not in _RANGES:
        return run
    least, most = _RANGES[type_.kind]
    return lambda env: v if least <= (v := run(env)) <= most else _out_of_range()


def _out_of_range() -> NoReturn:
    raise EvaluationError("a result is out of range")


def _conditional(node: Conditional) -> Run:
    test, then, otherwise = map(closure, (node.test, node.then, node.otherwise))
    return lambda env: then(env) if test(env) else otherwise(env)


def _call(node: Call) -> Run:
    first, *more = map(closure, node.args)
    second = more[0] if more else first
    made: dict[str, Run] = {
        "size": lambda env: len(first(env)),
        "timestamp": lambda env: _instant(first(env)),
        "contains": lambda env: second(env) in first(env),
        "startsWith": lambda env: first(env).startswith(second(env)),
        "endsWith": lambda env: first(env).endswith(second(env)),
    }
    return made[node.name]


def _instant(text: str) -> int:
    try:
        return literal.instant(text)
    except ValueError as error:
        raise EvaluationError(f"a text is {error}") from None


def _quantifier(node: Quantifier) -> Run:
    assert isinstance(node.items.type, ListOf)
    items, body, name, most = closure(node.items), closure(node.body), node.name, node.items.type.max_items
    found = node.kind == "exists"

    def quantified(env: Env) -> Any:
        inner = dict(env)
        for value in _bounded(items(env), most):
            inner[name] = value
            if body(inner) is found:
                return found
        return not found

    return quantified


def _elsewhere(node: Elsewhere) -> Run:
    why = node.why

    def withheld(env: Env) -> NoReturn:
        raise EvaluationError(why)

    return withheld


def _scale(node: Scale) -> Run:
    operand, factor = closure(node.operand), 10**node.digits
    return lambda env: operand(env) * factor


_MAKERS: dict[type, Callable[[Any], Run]] = {
    Literal: _literal,
    Leaf: _leaf,
    Select: _select,
    Index: _index,
    Has: _has,
    Unary: _unary,
    Binary: _binary,
    OneOf: _one_of,
    Conditional: _conditional,
    Call: _call,
    Quantifier: _quantifier,
    Scale: _scale,
    Elsewhere: _elsewhere,
}
