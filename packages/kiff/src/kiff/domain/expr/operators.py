"""What operators mean between types: what may meet, what comes out, and in which unit.

Functions take typed nodes and give one, or raise `Refused`. Amounts are exact: nothing here rounds.
"""

from __future__ import annotations

from decimal import Decimal as Exact

from msgspec.structs import replace

from kiff.domain.expr.node import Binary, Literal, Node, OneOf, Scale, Unary
from kiff.domain.expr.types import (
    BOOL,
    DOUBLE,
    DURATION,
    INT,
    TIMESTAMP,
    Decimal,
    ListOf,
    String,
    Type,
    fits,
    noun,
)
from kiff.domain.issue import did_you_mean, shown

MAX_INT64 = 2**63 - 1
_EXACT_DIGITS = 15  # a double tells any two decimals of so few significant digits apart
_MOST_DECIMALS = 12

_TIMES: dict[tuple[str, str, str], Type] = {
    ("timestamp", "-", "timestamp"): DURATION,
    ("timestamp", "+", "duration"): TIMESTAMP,
    ("timestamp", "-", "duration"): TIMESTAMP,
    ("duration", "+", "timestamp"): TIMESTAMP,
    ("duration", "+", "duration"): DURATION,
    ("duration", "-", "duration"): DURATION,
}
_HINTS = {
    "timestamp": "write `timestamp(…)` around a text",
    "duration": 'write a duration as `duration("72h")`',
    "list": "ask with `in`, exists() or all()",
    "bool": "write `true` or `false` without quotes",
    "int": "numbers stand without quotes, texts in quotes",
    "double": "numbers stand without quotes, texts in quotes",
    "decimal": "numbers stand without quotes, texts in quotes",
}


class Refused(Exception):
    """Why a node cannot be.

    Args:
        at: the node at fault.
        message: `{0}`, `{1}` stand for the text of `nodes`.
    """

    def __init__(self, at: Node, code: str, message: str, fix: str = "", nodes: tuple[Node, ...] = ()) -> None:
        super().__init__(code, message)
        self.at, self.code, self.message, self.fix, self.nodes = at, code, message, fix, nodes


def expect(node: Node, expected: Type, fix: str = "") -> Node:
    """The node where `expected` is asked for: a literal becomes an amount in its unit."""
    if isinstance(expected, Decimal):
        node = in_unit(node, expected)
    if isinstance(node.type, Decimal) and isinstance(expected, Decimal) and node.type.digits > expected.digits:
        message = f"{{0}} has up to {node.type.digits} decimals, {expected.unit} has {expected.digits}"
        raise Refused(node, "wrong_unit", message, "multiply by whole numbers only", (node,))
    if not fits(node.type, expected):
        message = f"{{0}} is {noun(node.type)}, expected {noun(expected)}"
        raise Refused(node, "type_mismatch", message, fix, (node,))
    _check_enum(expected, node)
    return node


def comparison(at: Node, op: str, left: Node, right: Node) -> Node:
    left, right = paired(at, left, right)
    if left.type.kind in ("list", "object"):
        raise Refused(at, "not_supported", f"`{op}` cannot compare {noun(left.type)}", "compare what is in it")
    if left.type == BOOL and op not in ("==", "!="):
        raise Refused(at, "type_mismatch", f"`{op}` cannot compare true or false", "write `a < b && b < c` for a range")
    _check_enum(left.type, right)
    _check_enum(right.type, left)
    return Binary(BOOL, at.start, at.end, op, left, right)


def one_of(at: Node, item: Node, options: list[Node]) -> Node:
    """`item in [options]`."""
    for option in options:
        item = comparison(at, "==", item, option).left  # type: ignore[attr-defined]
    pairs = [comparison(at, "==", item, option) for option in options]
    return OneOf(BOOL, at.start, at.end, item, tuple(pair.right for pair in pairs))  # type: ignore[attr-defined]


def member(at: Node, item: Node, items: Node) -> Node:
    """`item in items`, a list value."""
    if not isinstance(items.type, ListOf):
        message = f"{{0}} is {noun(items.type)}, expected a list after `in`"
        raise Refused(items, "type_mismatch", message, nodes=(items,))
    pair = comparison(at, "==", item, Node(items.type.item, items.start, items.end))
    left, right = pair.left, pair.right  # type: ignore[attr-defined]
    if isinstance(right, Scale):
        raise Refused(at, "wrong_unit", "{0} has more decimals than the items of {1}", "", (item, items))
    return Binary(BOOL, at.start, at.end, "in", left, items)


def paired(at: Node, left: Node, right: Node) -> tuple[Node, Node]:
    """Both as one type: literals beside an amount are amounts, amounts get the same digits."""
    if isinstance(left.type, Decimal) or isinstance(right.type, Decimal):
        right, left = in_unit(right, left.type), in_unit(left, right.type)
        digits = max(left.type.digits, right.type.digits)  # type: ignore[union-attr]
        return scaled(left, digits), scaled(right, digits)
    kinds = {left.type.kind, right.type.kind}
    if len(kinds) == 2 and kinds != {"int", "double"}:
        hint = next((_HINTS[kind] for kind in _HINTS if kind in kinds), "")
        message = f"{{0}} is {noun(left.type)}, {{1}} is {noun(right.type)}"
        raise Refused(at, "type_mismatch", message, hint, (left, right))
    return left, right


def in_unit(node: Node, wanted: Type) -> Node:
    """A node beside an amount of type `wanted`, as an amount."""
    if not isinstance(wanted, Decimal):
        return node
    if isinstance(node.type, Decimal):
        if node.type.unit != wanted.unit:
            message = f"{{0}} is in {node.type.unit}, expected {wanted.unit}"
            raise Refused(node, "wrong_unit", message, "compare and add amounts of one unit", (node,))
        return node
    if node.type not in (INT, DOUBLE):
        message = f"{{0}} is {noun(node.type)}, expected {noun(wanted)}"
        raise Refused(node, "type_mismatch", message, _HINTS["decimal"], (node,))
    if not isinstance(node, Literal):
        message = f"{{0}} is a number without a unit, expected {noun(wanted)}"
        raise Refused(node, "wrong_unit", message, f"give it `unit: {wanted.unit}` too", (node,))
    value, digits = _integer(node)
    if digits > wanted.digits:
        message = f"{{0}} has more than {wanted.digits} decimals, too many beside {noun(wanted)}"
        raise Refused(node, "wrong_unit", message, f"write at most {wanted.digits} decimals", (node,))
    return Literal(wanted, node.start, node.end, value * 10 ** (wanted.digits - digits), node.written)


def _integer(number: Literal) -> tuple[int, int]:
    """A literal as integer and digits: 0.50 is 5 and 1."""
    exact = Exact(number.value) if isinstance(number.value, int) else Exact(number.written)
    _, figures, exponent = exact.as_tuple()
    text = "".join(map(str, figures)).rstrip("0") or "0"
    exponent = int(exponent) + len(figures) - len(text)
    if len(text) > _EXACT_DIGITS or exponent < -_MOST_DECIMALS:
        fix = f"write at most {_EXACT_DIGITS} digits"
        raise Refused(number, "wrong_unit", "{0} has more digits than an amount can have", fix, (number,))
    value = int(text) * 10 ** max(exponent, 0)
    return -value if exact.is_signed() else value, max(-exponent, 0)


def scaled(node: Node, digits: int) -> Node:
    """An amount with more digits."""
    assert isinstance(node.type, Decimal)
    gain = digits - node.type.digits
    type_ = Decimal(node.type.unit, digits)
    if not gain:
        return node
    if isinstance(node, Literal):
        return replace(node, type=type_, value=int(node.value) * 10**gain)
    return Scale(type_, node.start, node.end, node, gain)


def arithmetic(at: Node, op: str, left: Node, right: Node) -> Node:
    kinds = (left.type.kind, op, right.type.kind)
    if kinds in _TIMES:
        return Binary(_TIMES[kinds], at.start, at.end, op, left, right)
    if "decimal" in kinds:
        return _amount(at, op, left, right)
    if op == "+" and kinds[0] == kinds[2] and kinds[0] in ("string", "list"):
        raise Refused(at, "not_supported", "`+` adds numbers, and joins nothing", "compare the parts one by one")
    if {kinds[0], kinds[2]} == {"int", "double"}:
        left, right = _as_double(left, right), _as_double(right, left)
    if left.type != right.type or left.type not in (INT, DOUBLE) or (op == "%" and left.type == DOUBLE):
        message = f"`{op}` does not go with {noun(left.type)} and {noun(right.type)}"
        raise Refused(at, "type_mismatch", message, _arithmetic_hint(op, left, right))
    return Binary(left.type, at.start, at.end, op, left, right)


def _arithmetic_hint(op: str, left: Node, right: Node) -> str:
    if op == "%":
        return "it takes whole numbers"
    kinds = {left.type.kind, right.type.kind}
    if kinds == {"int", "double"}:
        return "give both the type number, or both the type integer"
    return next((_HINTS[kind] for kind in ("timestamp", "duration") if kind in kinds), "it takes numbers")


def _as_double(node: Node, other: Node) -> Node:
    """A whole number written beside a number is one, when a double holds it exactly. A variable never is."""
    if node.type == INT and other.type == DOUBLE and isinstance(node, Literal) and abs(int(node.value)) <= 2**53:
        return Literal(DOUBLE, node.start, node.end, float(node.value), node.written)
    return node


def _amount(at: Node, op: str, left: Node, right: Node) -> Node:
    if op in "+-":
        left, right = paired(at, left, right)
        return Binary(left.type, at.start, at.end, op, left, right)
    if op != "*":
        fix = "write `a > b * 0.5` for `a / b > 0.5`"
        raise Refused(at, "wrong_unit", f"`{op}` of an amount is not exact", fix)
    amount, factor = (left, right) if isinstance(left.type, Decimal) else (right, left)
    assert isinstance(amount.type, Decimal)
    if isinstance(factor.type, Decimal):
        raise Refused(at, "wrong_unit", "an amount times an amount has no unit", "multiply by a number")
    digits = 0
    if isinstance(factor, Literal) and factor.type == DOUBLE:
        value, digits = _integer(factor)
        factor = Literal(INT, factor.start, factor.end, value, factor.written)
    if factor.type != INT:
        message = f"{{0}} is {noun(factor.type)}: an amount is multiplied by whole numbers and literals, to stay exact"
        raise Refused(factor, "wrong_unit", message, "write the factor as a literal, as in `a * 0.5`", (factor,))
    if amount.type.digits + digits > _MOST_DECIMALS:
        raise Refused(at, "wrong_unit", f"an amount has at most {_MOST_DECIMALS} decimals", "multiply by fewer")
    type_ = Decimal(amount.type.unit, amount.type.digits + digits)
    left, right = (amount, factor) if amount is left else (factor, amount)
    return Binary(type_, at.start, at.end, "*", left, right)


def negated(at: Node, operand: Node) -> Node:
    if operand.type.kind not in ("int", "double", "decimal", "duration"):
        raise Refused(at, "type_mismatch", f"`-` does not go with {noun(operand.type)}", "it takes numbers")
    return Unary(operand.type, at.start, at.end, "-", operand)


def chosen(at: Node, left: Node, right: Node) -> tuple[Node, Node, Type]:
    """Both branches of `a ? b : c` as one type."""
    left, right = paired(at, left, right)
    if {left.type.kind, right.type.kind} == {"int", "double"}:
        left, right = _as_double(left, right), _as_double(right, left)
    if isinstance(left.type, String) and isinstance(right.type, String):
        return left, right, String(max(left.type.max_length, right.type.max_length))
    if left.type != right.type:
        hint = "give both the type number, or both the type integer"
        raise Refused(at, "type_mismatch", "{0} and {1} are not of one type", hint, (left, right))
    return left, right, left.type


def _check_enum(type_: Type, value: Node) -> None:
    if isinstance(type_, String) and type_.enum and isinstance(value, Literal) and value.value not in type_.enum:
        fix = did_you_mean(str(value.value), type_.enum) or f"one of {', '.join(map(shown, type_.enum[:10]))}"
        raise Refused(value, "not_in_enum", "{0} is never a value there", fix, (value,))
