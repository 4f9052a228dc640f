"""A typed condition as formulas: what its value is, and when it has one.

Amounts, whole numbers and times are exact integers, as at run time. Numbers without a unit are taken as reals. What is
asked about the items of a list is only a name: two conditions that ask the same get the same answer.
"""

from __future__ import annotations

from typing import NamedTuple

from kiff.analysis.prove.smt import Term
from kiff.analysis.prove.world import World
from kiff.domain.expr.literal import FIRST_INSTANT, LAST_INSTANT, LONGEST
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
    walk,
)
from kiff.domain.expr.operators import MAX_INT64
from kiff.domain.expr.types import Decimal, String, Type

_RANGES = {
    "int": (-MAX_INT64 - 1, MAX_INT64),
    "timestamp": (FIRST_INSTANT, LAST_INSTANT),
    "duration": (-LONGEST, LONGEST),
}


class Meaning(NamedTuple):
    """Args: value: its term; known: whether it has a value: otherwise evaluating it is an error."""

    value: Term
    known: Term


class Truth(NamedTuple):
    """A condition, for the gate: it is true, or it cannot be told. Neither: it is false."""

    true: Term
    failed: Term


def truth(node: Node, world: World) -> Truth:
    """When a condition is true, and when it has no value."""
    value, known = meaning(node, world)
    return Truth(world.z3.And(known, value), world.z3.Not(known))


def meaning(node: Node, world: World) -> Meaning:
    """What a node is in a world."""
    z3 = world.z3
    match node:
        case Literal(value=value):
            return Meaning(world.literal(value, node.type), z3.BoolVal(True))
        case Leaf(local=False):
            return Meaning(world.value(node.path, node.type), world.readable(node.path))
        case Elsewhere():
            return Meaning(world.nothing(node.type), z3.BoolVal(False))
        case Has(target=Leaf(local=False) as target):
            return Meaning(world.present(target.path), z3.BoolVal(True))
        case Unary(op=op, operand=operand):
            value, known = meaning(operand, world)
            return Meaning(z3.Not(value), known) if op == "!" else _ranged(node.type, -value, known, world)
        case Scale(operand=operand, digits=digits):
            value, known = meaning(operand, world)
            return Meaning(value * 10**digits, known)
        case Conditional(test=test, then=then, otherwise=otherwise):
            return _conditional(meaning(test, world), meaning(then, world), meaning(otherwise, world), world)
        case OneOf(item=item, options=options):
            found = [meaning(part, world) for part in (item, *options)]
            same = [
                _equal(item, option, found[0], other, world) for option, other in zip(options, found[1:], strict=True)
            ]
            return Meaning(z3.Or(*same), z3.And(*(each.known for each in found)))
        case Binary(op="in", left=Literal(value=str(role)), right=Leaf(path=("actor", "roles"))):
            return Meaning(world.role(role), z3.BoolVal(True))
        case Binary(op=op, left=left, right=right) if op != "in":
            return _binary(node, left, right, world)
        case Call(name=name, args=args) if name != "timestamp" and isinstance(args[0].type, String):
            return _call(name, [meaning(arg, world) for arg in args], world)
    return _opaque(node, world)


def _binary(node: Binary, left: Node, right: Node, world: World) -> Meaning:
    z3, op = world.z3, node.op
    one, other = meaning(left, world), meaning(right, world)
    both = z3.And(one.known, other.known)
    if op == "&&":
        return Meaning(z3.And(one.value, other.value), z3.And(one.known, z3.Implies(one.value, other.known)))
    if op == "||":
        return Meaning(z3.Or(one.value, other.value), z3.And(one.known, z3.Or(one.value, other.known)))
    if op in ("==", "!="):
        equal = _equal(left, right, one, other, world)
        return Meaning(equal if op == "==" else z3.Not(equal), both)
    if op in ("<", "<=", ">", ">="):
        return Meaning(_ordered(op, *_alike(left, right, one, other, world)), both)
    if op in ("/", "%"):
        return _divided(node, one, other, world)
    value = {"+": lambda: one.value + other.value, "-": lambda: one.value - other.value}.get(
        op, lambda: one.value * other.value
    )()
    return _ranged(node.type, value, both, world)


def _divided(node: Binary, one: Meaning, other: Meaning, world: World) -> Meaning:
    """Whole numbers are divided towards zero, and the rest has the sign of what is divided."""
    z3, x, y = world.z3, one.value, other.value
    known = z3.And(one.known, other.known, y != 0)
    if node.type.kind == "double":
        return Meaning(x / y, known)
    size = z3.If(x < 0, -x, x)
    by = z3.If(y < 0, -y, y)
    if node.op == "%":
        return Meaning(z3.If(x < 0, -(size % by), size % by), known)
    return _ranged(node.type, z3.If((x < 0) == (y < 0), size / by, -(size / by)), known, world)


def _conditional(test: Meaning, then: Meaning, otherwise: Meaning, world: World) -> Meaning:
    z3 = world.z3
    known = z3.And(test.known, z3.If(test.value, then.known, otherwise.known))
    return Meaning(z3.If(test.value, then.value, otherwise.value), known)


def _call(name: str, args: list[Meaning], world: World) -> Meaning:
    z3 = world.z3
    known = z3.And(*(arg.known for arg in args))
    first, last = args[0].value, args[-1].value
    made = {
        "size": lambda: z3.Length(first),
        "contains": lambda: z3.Contains(first, last),
        "startsWith": lambda: z3.PrefixOf(last, first),
        "endsWith": lambda: z3.SuffixOf(last, first),
    }
    return Meaning(made[name](), known)


def _equal(left: Node, right: Node, one: Meaning, other: Meaning, world: World) -> Term:
    x, y = _alike(left, right, one, other, world)
    return x == y


def _alike(left: Node, right: Node, one: Meaning, other: Meaning, world: World) -> tuple[Term, Term]:
    """Both as one sort: an integer beside a double is a real."""
    kinds = {left.type.kind, right.type.kind}
    if kinds == {"int", "double"}:
        return world.number(one.value, left.type), world.number(other.value, right.type)
    return one.value, other.value


def _ordered(op: str, x: Term, y: Term) -> Term:
    return {"<": lambda: x < y, "<=": lambda: x <= y, ">": lambda: y < x, ">=": lambda: y <= x}[op]()


def _ranged(type_: Type, value: Term, known: Term, world: World) -> Meaning:
    """A result that its type cannot hold is an error; amounts have no bound."""
    if type_.kind not in _RANGES:
        return Meaning(value, known)
    least, most = _RANGES[type_.kind]
    return Meaning(value, world.z3.And(known, least <= value, value <= most))


def _opaque(node: Node, world: World) -> Meaning:
    """Something about items of a list, or a time in a text. It may fail where something in it may."""
    z3, name = world.z3, shape(node)
    value = world.opaque(name, node.type)
    known = world.free(f"known:{name}") if any(map(_may_fail, walk(node))) else z3.BoolVal(True)
    readable = [world.readable(part.path) for part in walk(node) if isinstance(part, Leaf) and not part.local]
    known = z3.If(z3.And(*readable), known, world.free(f"known without:{name}"))
    if isinstance(node, Call) and node.name == "size":
        return Meaning(value, z3.And(known, value >= 0))
    if isinstance(node.type, Decimal):
        return Meaning(value, known)
    return _ranged(node.type, value, known, world)


def _may_fail(node: Node) -> bool:
    if isinstance(node, Elsewhere):
        return True
    if isinstance(node, Index | Select | Call):
        return not (isinstance(node, Call) and node.name in ("size", "contains", "startsWith", "endsWith"))
    return isinstance(node, Binary) and node.op in ("/", "%", "*")


def shape(node: Node) -> str:
    """What a node asks, wherever it stands in a text: equal for two that ask the same."""
    match node:
        case Leaf(path=path):
            return f"{'.'.join(path)}:{_unit(node)}"
        case Literal(value=value):
            return f"{value!r}:{_unit(node)}"
        case Quantifier(kind=kind, items=items, name=name, body=body):
            return f"{shape(items)}.{kind}({name}, {shape(body)})"
    said = (getattr(node, name) for name in node.__struct_fields__ if name not in ("type", "start", "end"))
    parts = [part for each in said for part in (each if isinstance(each, tuple) else (each,))]
    told = ", ".join(shape(part) if isinstance(part, Node) else str(part) for part in parts)
    return f"{type(node).__name__.lower()}({told})"


def _unit(node: Node) -> str:
    """What numbers are counted in: 500 is five dollars, or five hundred yen."""
    return f"{node.type.unit}{node.type.digits}" if isinstance(node.type, Decimal) else node.type.kind
