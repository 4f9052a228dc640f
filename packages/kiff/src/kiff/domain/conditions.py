"""Every expression that a document holds, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from kiff.domain.compiled import compile
from kiff.domain.document import Json
from kiff.domain.entries import written_actions, written_grants, written_parts, written_transitions
from kiff.domain.expr import BOOL, Decimal, Expression, ExpressionError, Problem, excerpt
from kiff.domain.expr.node import Leaf, walk
from kiff.domain.expr.syntax import parse
from kiff.domain.expr.types import Type, is_sensitive, noun
from kiff.domain.issue import Finding, Path, shown
from kiff.domain.scope import Scope, action_scope, transition_scope, type_of_attribute
from kiff.domain.units import MINOR_DIGITS

Use = Literal["condition", "value", "key", "amount"]


class Written(NamedTuple):
    """An expression where it stands.

    Args:
        scope: what it may read.
        expected: what its value must be; None takes any.
        use: what the value is for. A `key` names a row: a text or a whole number. An `amount` is added up exactly.
        action: the action whose calls it is asked about, where that is not said by the path.
    """

    path: Path
    text: str
    scope: Scope
    expected: Type | None
    use: Use = "condition"
    action: str = ""


def expressions(document: Json) -> Iterator[Written]:
    """Every expression of a document of the right shape; a grant's once for each action that it lets propose."""
    yield from _of_transitions(document)
    yield from _of_actions(document)
    yield from _of_grants(document)


def _of_transitions(document: Json) -> Iterator[Written]:
    for path, transition in written_transitions(document):
        scope = transition_scope(document, transition["on"], first="from" not in transition)
        if "when" in transition:
            yield Written((*path, "when"), transition["when"], scope, BOOL)
        for name, text in transition.get("set", {}).items():
            yield Written((*path, "set", name), text, scope, type_of_attribute(document, name), "value")


def _of_actions(document: Json) -> Iterator[Written]:
    for path, action in written_actions(document):
        scope = action_scope(document, action)
        for where, part in ((path, action), *written_parts(path, action, "rules")):
            if "when" in part:
                yield Written((*where, "when"), part["when"], scope, BOOL)
        for where, limit in written_parts(path, action, "limits"):
            if "amount" in limit:
                yield Written((*where, "amount"), limit["amount"], scope, None, "amount")
            if "key" in limit:
                yield Written((*where, "key"), limit["key"], scope, None, "key")
        lock = action.get("lock")
        if isinstance(lock, dict) and "key" in lock:
            yield Written((*path, "lock", "key"), lock["key"], scope, None, "key")


def _of_grants(document: Json) -> Iterator[Written]:
    for path, grant in written_grants(document):
        given = set(grant.get("permissions", ()))
        for _, action in written_actions(document) if "when" in grant else ():
            if not given.isdisjoint(action.get("required_permissions", ())):
                scope = action_scope(document, action)
                yield Written((*path, "when"), grant["when"], scope, BOOL, action=action.get("name", ""))


def unsound_conditions(document: Json) -> Iterator[Finding]:
    """Does every expression read what is there, and come to what is expected of it?"""
    told = set()
    for written in expressions(document):
        for problem in problems_of(written):
            place = written.path, problem.code, problem.start
            if place not in told:
                told.add(place)
                asked = f", when it is asked about {shown(written.action)}" if written.action else ""
                yield _finding(written.path, written.text, problem._replace(message=problem.message + asked))
    yield from _unasked_grants(document)


def problems_of(written: Written) -> Iterator[Problem]:
    """What is wrong with one expression, for what its value is used for."""
    try:
        expression = compile(written.text, written.scope, written.expected)
    except ExpressionError as error:
        yield from error.problems
        return
    if written.use == "key":
        yield from _no_key(expression)
    if written.use == "amount":
        yield from _no_amount(expression)
    if written.use in ("key", "amount"):
        yield from _secrets(expression, written.use)


def _no_key(expression: Expression) -> Iterator[Problem]:
    if expression.type.kind not in ("string", "int"):
        message = f"{shown(expression.text)} is {noun(expression.type)}, expected a text or a whole number"
        yield _whole(expression, "type_mismatch", message, "write what names whom it counts for, such as `actor.id`")


def _no_amount(expression: Expression) -> Iterator[Problem]:
    """A double has no exact sum, and nothing is ever rounded."""
    type_, said = expression.type, shown(expression.text)
    if isinstance(type_, Decimal):
        digits = MINOR_DIGITS[type_.unit]
        if type_.digits > digits:
            message = f"{said} has up to {type_.digits} decimals, {type_.unit} has {digits}"
            yield _whole(expression, "wrong_unit", message, "multiply by whole numbers only")
    elif type_.kind == "double":
        message = f"{said} is a number without a unit, and sums of those are not exact"
        yield _whole(expression, "wrong_unit", message, "give what it reads a `unit`, such as `unit: USD`")
    elif type_.kind != "int":
        message = f"{said} is {noun(type_)}, expected a whole number or an amount of money"
        yield _whole(expression, "type_mismatch", message, "write what is added up, such as `parameters.amount`")


def _secrets(expression: Expression, use: Use) -> Iterator[Problem]:
    for leaf in secret_leaves(expression):
        where = "in the key of a row" if use == "key" else "in a sum"
        message = f"{shown('.'.join(leaf.path))} is sensitive, and what it says would stand {where}"
        yield Problem("sensitive_key", message, "read something else, or leave out `sensitive`", leaf.start, leaf.end)


def secret_leaves(expression: Expression) -> Iterator[Leaf]:
    """What it reads, or asks about, that is sensitive or holds something that is."""
    leaves = (node for node in walk(expression.node) if isinstance(node, Leaf) and not node.local)
    return (leaf for leaf in leaves if leaf.sensitive or is_sensitive(leaf.type))


def _whole(expression: Expression, code: str, message: str, fix: str) -> Problem:
    return Problem(code, message, fix, expression.node.start, expression.node.end)


def _unasked_grants(document: Json) -> Iterator[Finding]:
    """What grants nothing that an action asks for has no calls to be checked against, only its grammar."""
    asked = {written.path for written in _of_grants(document)}
    for path, grant in written_grants(document):
        if "when" in grant and (*path, "when") not in asked:
            try:
                parse(grant["when"])
            except ExpressionError as error:
                yield from (_finding((*path, "when"), grant["when"], problem) for problem in error.problems)


def _finding(path: Path, text: str, problem: Problem) -> Finding:
    return Finding(path, problem.code, problem.message, problem.fix, excerpt=excerpt(problem, text))
