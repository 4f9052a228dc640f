"""How much work a condition can be at worst, told from the declared sizes of what it reads.

A step is one node; texts cost a step for each 10 characters that may be looked at; exists() and all() cost their
body for each item there may be. CEL counts like this too.
"""

from __future__ import annotations

from kiff.canonical import MAX_BYTES
from kiff.domain.expr.node import Binary, Call, Conditional, Leaf, Node, OneOf, Quantifier, children, walk
from kiff.domain.expr.problem import Problem
from kiff.domain.expr.types import MAX_ITEMS, ListOf, String

MAX_COST = 10_000


def cost(node: Node) -> int:
    """The most steps that a node can take."""
    inner = [cost(child) for child in children(node)]
    match node:
        case Quantifier(items=items):
            return 1 + inner[0] + _items(items) * (1 + inner[1])
        case Conditional():
            return 1 + inner[0] + max(inner[1:])
        case Binary(op="in", left=left, right=right):
            assert isinstance(right.type, ListOf)
            return 1 + sum(inner) + _items(right) * (1 + _both(left, Node(right.type.item, 0, 0)))
        case OneOf(item=item, options=options):
            return 1 + sum(inner) + sum(_both(item, option) for option in options)
        case Binary(left=left, right=right):
            return 1 + sum(inner) + _both(left, right)
        case Call(name="contains", args=args):
            return 1 + sum(inner) + sum(map(_text, args))
        case Call(args=(left, right)):
            return 1 + sum(inner) + _both(left, right)
    return 1 + sum(inner)


def _items(node: Node) -> int:
    return node.type.max_items if isinstance(node.type, ListOf) else 0


def _text(node: Node) -> int:
    return node.type.max_length // 10 if isinstance(node.type, String) else 0


def _both(left: Node, right: Node) -> int:
    """Two texts side by side are looked at until the shorter one ends."""
    return min(_text(left), _text(right))


def too_costly(node: Node) -> Problem | None:
    """The smallest part that takes more than MAX_COST steps, if any."""
    if cost(node) <= MAX_COST:
        return None
    for child in children(node):
        if found := too_costly(child):
            return found
    message = f"it may take more than {MAX_COST} steps"
    return Problem("too_costly", message, _fix(node), node.start, node.end)


def _fix(node: Node) -> str:
    for part in walk(node):
        name = ".".join(part.path) if isinstance(part, Leaf) else "it"
        if isinstance(part.type, String) and part.type.max_length >= MAX_BYTES:
            return f"give `{name}` a `maxLength`"
        if isinstance(part.type, ListOf) and part.type.max_items >= MAX_ITEMS:
            return f"give `{name}` a `maxItems`"
    return "lower its `maxItems` or `maxLength`, or split the condition"
