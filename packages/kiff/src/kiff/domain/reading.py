"""What the expressions of a document read, and what they read that is never there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kiff.domain.compiled import compile
from kiff.domain.conditions import Written, expressions
from kiff.domain.document import Json
from kiff.domain.entries import written_transitions
from kiff.domain.expr import Expression, ExpressionError
from kiff.domain.expr.node import Has, Leaf, walk
from kiff.domain.issue import Finding, Path, dotted, shown


class Read(NamedTuple):
    """A sound expression, with the leaves it reads, such as `("entity", "total")`, and those that has() asks about."""

    written: Written
    expression: Expression
    leaves: frozenset[tuple[str, ...]]
    asked: frozenset[tuple[str, ...]]

    def reads(self, *path: str) -> bool:
        """Whether it reads this, something in it, or whether it is there."""
        return any(leaf[: len(path)] == path for leaf in self.leaves | self.asked)


def sound_conditions(document: Json) -> Iterator[Read | None]:
    """Every expression of a document of the right shape; None stands for one in which something is wrong."""
    for written in expressions(document):
        try:
            yield _read(written, compile(written.text, written.scope, written.expected))
        except ExpressionError:
            yield None


def _read(written: Written, expression: Expression) -> Read:
    nodes = list(walk(expression.node))
    targets = [node.target for node in nodes if isinstance(node, Has)]
    asked = {id(target): target.path for target in targets if isinstance(target, Leaf)}
    leaves = (node.path for node in nodes if isinstance(node, Leaf) and not node.local and id(node) not in asked)
    return Read(written, expression, frozenset(leaves), frozenset(asked.values()))


def valueless(document: Json) -> dict[str, Path]:
    """Attribute that no event sets and that has no default -> a place where it is read all the same.

    Whatever reads it has no answer, ever. An optional one is read under has(), which is false then.
    """
    given = {name for _, transition in written_transitions(document) for name in transition.get("set", {})}
    bare = [
        name
        for name, schema in document.get("attributes", {}).items()
        if name not in given and "default" not in schema and not schema.get("optional")
    ]
    read = [each for each in sound_conditions(document) if each is not None] if bare else []
    places = {name: [each.written.path for each in read if ("entity", name) in _heads(each)] for name in bare}
    return {name: found[0] for name, found in places.items() if found}


def _heads(read: Read) -> set[tuple[str, ...]]:
    return {leaf[:2] for leaf in read.leaves}


def unset_readings(document: Json) -> Iterator[Finding]:
    """Does every attribute that is read have a value at times?"""
    for name, path in valueless(document).items() if document.get("transitions") else ():
        message = f"{shown(name)} is read in {shown(dotted(path))}, and no transition sets it: there is never an answer"
        fix = f"set it in a transition, such as `set: {{{name}: event.{name}}}`, or give it a `default`"
        yield Finding(("attributes", name), "never_set", message, fix, "activation")
