"""The typed syntax tree of a condition: what the evaluator, static analysis and proofs read.

Every node has its type and its place in the text. Types are already settled here:

- both sides of a comparison, and of a sum, have one type; only INT and DOUBLE may meet, in comparisons;
- a literal beside an amount is an amount: its value is the integer scaled by 10^digits of its type;
- `amount * 0.5` is a Binary of an amount with d digits and the INT literal 5, its type has d + 1 digits: in scaled
  integers it is the plain product. `Scale` brings an amount to more digits, by multiplying with 10^digits;
- times are integers, in milliseconds since the epoch; durations too, in milliseconds.

INVARIANT: a checked tree reads an optional field only where has() on it is known to be true.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from kiff.domain.expr.types import Type


class Node(msgspec.Struct, frozen=True):
    """Args: start, end: the place in the text, `text[start:end]`."""

    type: Type
    start: int
    end: int


class Literal(Node, frozen=True):
    """Args: value: bool, int, float or str; written: a number as the author wrote it, e.g. `-0.50`."""

    value: bool | int | float | str
    written: str = ""


class Leaf(Node, frozen=True):
    """A value of the environment: `parameters.amount`.

    Args:
        path: `("parameters", "amount")`; never empty.
        optional: something on the path may be absent.
        sensitive: something on the path, or inside of the value, is.
        local: the first name is the variable of a Quantifier around it.
    """

    path: tuple[str, ...]
    optional: bool = False
    sensitive: bool = False
    local: bool = False


class Select(Node, frozen=True):
    """A field of an object that is no leaf: `parameters.items[0].price`."""

    operand: Node
    name: str


class Index(Node, frozen=True):
    """An item of a list, counted from 0; outside of the list is an error."""

    operand: Node
    index: Node


class Has(Node, frozen=True):
    """Whether the last name of the target, a Leaf or Select, is there. What is before it must be."""

    target: Node


class Unary(Node, frozen=True):
    """Args: op: `!` or `-`."""

    op: str
    operand: Node


class Binary(Node, frozen=True):
    """Args: op: `&& || == != < <= > >= + - * / %`, or `in`, whose right side is a list value."""

    op: str
    left: Node
    right: Node


class OneOf(Node, frozen=True):
    """`item in [a, b]`: equal to at least one option; options have the item's type."""

    item: Node
    options: tuple[Node, ...]


class Conditional(Node, frozen=True):
    test: Node
    then: Node
    otherwise: Node


class Call(Node, frozen=True):
    """Args: name: size, startsWith, endsWith, contains or timestamp (of a text); the receiver is the first of args."""

    name: str
    args: tuple[Node, ...]


class Quantifier(Node, frozen=True):
    """Args: kind: exists or all; items: the list; name: of the variable in body."""

    kind: str
    items: Node
    name: str
    body: Node


class Elsewhere(Node, frozen=True):
    """What has no value here: it is meant for other declarations (`Object.one_of_many`), or does not fit these.

    Args:
        why: what an EvaluationError says.
    """

    why: str = "it reads what is not declared here"


class Scale(Node, frozen=True):
    """Args: digits: how many digits the amount gains."""

    operand: Node
    digits: int


def children(node: Node) -> Iterator[Node]:
    """What a node is made of, in the order of the text."""
    for name in node.__struct_fields__:
        part: Any = getattr(node, name)
        if isinstance(part, Node):
            yield part
        elif isinstance(part, tuple):
            yield from (each for each in part if isinstance(each, Node))


def walk(node: Node) -> Iterator[Node]:
    """A node and everything in it, in the order of the text."""
    yield node
    for child in children(node):
        yield from walk(child)
