"""What a condition says apart from how it is written: two that mean the same here always have the same value."""

from __future__ import annotations

from collections.abc import Hashable

from kiff.domain.expr.node import Binary, Literal, Node, children

_TURNED = {">": "<", ">=": "<="}
_EITHER_WAY = frozenset({"==", "!=", "+", "*"})


def meaning(node: Node) -> Hashable:
    """Equal for two trees that say the same, wherever they stand: `b > a` is `a < b`, and `b == a` is `a == b`.

    `&&` and `||` keep their order: what has() before them says is there, what comes after them reads.
    """
    if isinstance(node, Literal):
        return node.type.kind, type(node.value).__name__, node.value
    parts = [meaning(child) for child in children(node)]
    if isinstance(node, Binary):
        if node.op in _TURNED:
            return _TURNED[node.op], *reversed(parts)
        return node.op, *(sorted(parts, key=repr) if node.op in _EITHER_WAY else parts)
    words = (getattr(node, name) for name in node.__struct_fields__ if name not in _PLACES)
    return type(node).__name__, *filter(_is_plain, words), *parts


_PLACES = frozenset({"type", "start", "end"})


def _is_plain(word: object) -> bool:
    """Whether it is a name, a number or a path, and no part."""
    return isinstance(word, str | int) or (isinstance(word, tuple) and all(isinstance(each, str) for each in word))
