"""The text of a condition to a syntax tree, with the place of everything. The grammar is in grammar.lark."""

from __future__ import annotations

from functools import cache
from typing import Any

from kiff.domain.expr.problem import ExpressionError, Problem
from kiff.domain.issue import shown

MAX_LENGTH = 4096
MAX_DEPTH = 64  # of nesting: a few frames a level, far from Python's recursion limit

_FIXES = {
    "=": "write `==`",
    "&": "write `&&`",
    "|": "write `||`",
    "and": "write `&&`",
    "or": "write `||`",
    "not": "write `!`",
    "'": "end the text with the quote it starts with",
    '"': "end the text with the quote it starts with",
}


def parse(text: str) -> Any:
    """The tree of one expression: nodes with `data` (an alias of the grammar), `children` and `meta`.

    Raises:
        ExpressionError: not in the grammar, longer than 4,096 characters, or nested too deeply.
    """
    if len(text) > MAX_LENGTH:
        raise _refused("too_costly", f"expected at most {MAX_LENGTH} characters, found {len(text)}", 0, len(text))
    lark, unexpected = _parser()
    try:
        root = lark.parse(text)
    except unexpected as error:
        raise _explain(error, text) from None
    _measure(root, text)
    return root.children[0]


@cache
def _parser() -> tuple[Any, type[Exception]]:
    # Imported here because most domains have no conditions.
    from lark import Lark, UnexpectedInput

    lark = Lark.open(
        "grammar.lark",
        rel_to=__file__,
        parser="lalr",
        lexer="basic",
        propagate_positions=True,
        maybe_placeholders=False,
    )
    return lark, UnexpectedInput


def _explain(error: Any, text: str) -> ExpressionError:
    """A syntax error in our words: where a value or an operator was expected, and what stands there."""
    token = getattr(error, "token", None)
    start, size = error.pos_in_stream, len(text)
    if token is None:
        found, expected = text[start], "a part of an expression"
    elif token.type == "$END":
        return _refused("syntax_error", "expected more, found the end of the text", size, size, "finish it")
    else:
        found, expected = (
            str(token),
            "a value" if "MINUS" in error.accepts and "STAR" not in error.accepts else "an operator",
        )
        expected = "a name" if error.accepts == {"NAME"} else expected
    message = f"expected {expected}, found {shown(found)}"
    return _refused("syntax_error", message, start, start + len(found), _FIXES.get(found, ""))


def _measure(root: Any, text: str) -> None:
    """Refuse deep nesting, without recursion: everything after this may recurse."""
    depths: dict[int, int] = {}
    for tree in root.iter_subtrees():  # children before their parents
        depth = 1 + max((depths.get(id(child), 0) for child in tree.children), default=0)
        depths[id(tree)] = depth
        if depth > MAX_DEPTH:
            start, end = tree.meta.start_pos, tree.meta.end_pos
            raise _refused(
                "too_costly", f"nested more than {MAX_DEPTH} deep", start, end, "split it into several rules"
            )


def _refused(code: str, message: str, start: int, end: int, fix: str = "") -> ExpressionError:
    return ExpressionError([Problem(code, message, fix, start, end)])
