"""What a condition makes of what it reads: for each path, the values at which it may answer otherwise.

Only what stands in the text is looked at: literals and their neighbours, names that are asked for, lengths.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from kiff.analysis.boundaries.examples import beside
from kiff.analysis.boundaries.relations import Path, number
from kiff.domain.expr.node import Binary, Call, Has, Leaf, Literal, Node, OneOf, Quantifier, Scale, children, walk
from kiff.domain.expr.types import Decimal, ListOf, String
from kiff.protocol.instant import rfc3339

ABSENT: Any = object()
"""What an optional field may be."""
LONGEST = 1_000
_OTHER = "other"
_ITEM = "*"

Values = dict[Path, list[Any]]
"""Path -> values. Below a list, `*` stands for any of its items: `("parameters", "lines", "*", "price")`."""


def thresholds(node: Node, at_ms: int) -> Values:
    """The values at which a condition turns, in the order of its text.

    Args:
        at_ms: the instant that times in texts are put around.
    """
    found: Values = defaultdict(list)
    for path, value in _of(node, {}, at_ms):
        found[path].append(value)
    return found


Locals = dict[str, Path]


def _of(node: Node, within: Locals, at_ms: int) -> Iterator[tuple[Path, Any]]:
    if isinstance(node, Quantifier):
        items = _place(node.items, within)
        inner = within | ({node.name: (*items, _ITEM)} if items else {})
        yield from _of(node.items, within, at_ms)
        yield from _of(node.body, inner, at_ms)
        return
    yield from _here(node, within, at_ms)
    for child in children(node):
        yield from _of(child, within, at_ms)


def _here(node: Node, within: Locals, at_ms: int) -> Iterator[tuple[Path, Any]]:
    match node:
        case Has(target=target):
            yield from ((path, ABSENT) for path in _places(target, within))
        case Leaf(type=type_) if type_.kind == "bool":
            yield from ((path, value) for path in _places(node, within) for value in (True, False))
        case OneOf(item=item, options=options):
            for option in options:
                yield from _met(item, option, within)
            yield from _around(node, within, at_ms)
        case Binary(op="in", left=left, right=right):
            yield from _listed(left, right, within)
        case Binary(op="==" | "!=" | "<" | "<=" | ">" | ">="):
            yield from _met(node.left, node.right, within)
            yield from _met(node.right, node.left, within)
            yield from _around(node, within, at_ms)
        case Call(name="contains" | "startsWith" | "endsWith", args=(text, Literal(value=part))):
            for value in (part, f"{part}{_OTHER}", f"{_OTHER}{part}", _OTHER):
                yield from ((path, value) for path in _places(text, within))


def _met(one: Node, other: Node, within: Locals) -> Iterator[tuple[Path, Any]]:
    """Texts, and lengths, beside a literal."""
    if not isinstance(other, Literal):
        return
    if isinstance(one.type, String):
        texts = (other.value, _OTHER, f"{other.value}x") if not one.type.enum else (other.value, *one.type.enum)
        yield from ((path, text) for path in _places(one, within) for text in texts)
    if isinstance(one, Call) and one.name == "size":
        for size in (int(other.value) + step for step in (0, -1, 1)):
            if 0 <= size <= LONGEST:
                filled = "x" * size if isinstance(one.args[0].type, String) else ("size", size)
                yield from ((path, filled) for path in _places(one.args[0], within))


def _around(node: Node, within: Locals, at_ms: int) -> Iterator[tuple[Path, Any]]:
    """The numbers beside the literals of a comparison, for every number that it reads; and times, in texts."""
    parts = [part for child in children(node) for part in walk(child)]
    literals = [part for part in parts if isinstance(part, Literal) and not isinstance(part.value, bool | str)]
    for part in parts:
        if isinstance(part, Call) and part.name == "timestamp":
            yield from ((path, text) for path in _places(part.args[0], within) for text in _times(literals, at_ms))
        digits = _digits(part)
        if isinstance(part, Leaf) and digits is not None:
            for literal in literals:
                yield from ((path, each) for path in _places(part, within) for each in beside(number(literal), digits))


def _times(literals: list[Literal], at_ms: int) -> Iterator[str]:
    for literal in literals:
        near = int(literal.value) if literal.type.kind == "timestamp" else at_ms - int(literal.value)
        if literal.type.kind in ("timestamp", "duration"):
            yield from (rfc3339(near + step) for step in (0, -1, 1))
    yield rfc3339(at_ms)


def _digits(node: Node) -> int | None:
    if isinstance(node.type, Decimal):
        return node.type.digits
    return {"int": 0, "timestamp": 0, "duration": 0, "double": 2}.get(node.type.kind)


def _listed(item: Node, items: Node, within: Locals) -> Iterator[tuple[Path, Any]]:
    """A list with the item that is looked for, and one without it."""
    value: Any = item.value if isinstance(item, Literal) else _OTHER
    if isinstance(item.type, Decimal) and isinstance(item, Literal):
        value = next(beside(number(item), item.type.digits))
    assert isinstance(items.type, ListOf)
    yield from ((path, listed) for path in _places(items, within) for listed in ([value], []))


def _places(node: Node, within: Locals) -> Iterator[Path]:
    place = _place(node, within)
    if place:
        yield place


def _place(node: Node, within: Locals) -> Path:
    """Where a leaf stands; () for anything else."""
    while isinstance(node, Scale):
        node = node.operand
    if not isinstance(node, Leaf):
        return ()
    if not node.local:
        return node.path
    head = within.get(node.path[0])
    return (*head, *node.path[1:]) if head else ()
