"""Compiled conditions, kept: one document's are asked for when it is checked, when it is doubted and when it loads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from kiff.domain import expr
from kiff.domain.expr import BOOL, Expression, Object, Type


def compile(text: str, scope: Mapping[str, Type], expected: Type | None = BOOL) -> Expression:
    """`kiff.domain.expr.compile`, which is asked once for the same text with the same types.

    Raises:
        ExpressionError: with every problem; that is not kept.
    """
    return _kept(_Asked(text, scope, expected))


class _Asked:
    """What an expression follows from. Scopes have no hash of their own: the names in them stand for it."""

    __slots__ = ("_hash", "expected", "scope", "text")

    def __init__(self, text: str, scope: Mapping[str, Type], expected: Type | None) -> None:
        self.text, self.scope, self.expected = text, scope, expected
        names = (name for type_ in scope.values() if isinstance(type_, Object) for name in type_.fields)
        self._hash = hash((text, *names))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and (self.text, self.expected, self.scope) == (
            other.text,
            other.expected,
            other.scope,
        )


@lru_cache(maxsize=1024)
def _kept(asked: _Asked) -> Expression:
    return expr.compile(asked.text, asked.scope, asked.expected)
