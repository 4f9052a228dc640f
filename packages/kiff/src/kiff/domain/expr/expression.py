"""One condition, checked and ready: text in, a function of the environment out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kiff.canonical import MAX_INT
from kiff.domain.expr.checker import Checker, Scope
from kiff.domain.expr.closures import Run, Wrong, closure, own, raw
from kiff.domain.expr.cost import cost, too_costly
from kiff.domain.expr.node import Binary, Leaf, Node, walk
from kiff.domain.expr.problem import EvaluationError, ExpressionError, Problem
from kiff.domain.expr.syntax import parse
from kiff.domain.expr.types import BOOL, EXACT, Decimal, Type, conforms, is_sensitive, noun


def compile(text: str, scope: Scope, expected: Type | None = BOOL) -> Expression:
    """Check a condition and make it ready.

    Args:
        text: at most 4,096 characters.
        scope: the names it may use, with their types.
        expected: the type it must have; None for any.

    Raises:
        ExpressionError: with every problem.
    """
    checker = Checker(text, scope)
    node = checker.check(parse(text), expected)
    problems = checker.problems
    costly = too_costly(node)
    if problems or costly:
        raise ExpressionError([*problems, *filter(None, [costly])])
    return Expression(text, node)


def examine(text: str, scope: Scope, expected: Type | None = BOOL) -> tuple[Problem, ...]:
    """What is wrong with a condition wherever it is asked. Arguments are those of `compile`.

    Args:
        scope: of a name of type UNKNOWN nothing is known here, and nothing is said about what is made of it.
    """
    try:
        tree = parse(text)
    except ExpressionError as error:
        return error.problems
    checker = Checker(text, scope)
    checker.check(tree, expected)
    return tuple(sorted(checker.problems, key=lambda problem: problem.start))


class Expression:
    """A checked condition. Frozen by habit: nothing in it changes.

    Attributes:
        text: as it was written.
        type: of its value.
        cost: the most steps that it takes, see `kiff.domain.expr.cost`.
        reads: dotted paths of the leaves it reads or asks about, in order of appearance: `parameters.amount`.
        node: the typed syntax tree, see `kiff.domain.expr.node`.
        evaluate: the same as calling it, as a plain function: a third faster, for whoever asks many in a row.
    """

    __slots__ = ("_leaves", "cost", "evaluate", "node", "reads", "text", "type")

    def __init__(self, text: str, node: Node) -> None:
        leaves = {leaf.path: leaf for leaf in walk(node) if isinstance(leaf, Leaf) and not leaf.local}
        self.text = text
        self.node = node
        self.type = node.type
        self.cost = cost(node)
        self.reads = tuple(map(".".join, leaves))
        self._leaves = tuple(leaves.values())
        self.evaluate = self._guarded(node)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __eq__(self, other: object) -> bool:
        """Equal when text and types are: the same condition over the same declarations."""
        return isinstance(other, Expression) and (self.text, self.node) == (other.text, other.node)

    def __hash__(self) -> int:
        return hash(self.text)

    def __call__(self, env: Mapping[str, Any]) -> Any:
        """The value: bool, int, float or str, or a list or dict of the environment; an amount is a JSON number.

        Args:
            env: JSON values by the names of the scope; `now` in milliseconds since the epoch.

        Raises:
            EvaluationError: it has no value for these facts, whatever they are.
        """
        return self.evaluate(env)

    def _guarded(self, node: Node) -> Run:
        """The function that raises nothing but EvaluationError; `a && b` in it, which saves most rules a call."""
        run, more = _given_back(closure(node), node.type), None
        if isinstance(node, Binary) and node.op == "&&":
            run, more = closure(node.left), closure(node.right)

        def evaluate(env: Mapping[str, Any]) -> Any:
            try:
                return run(env) and more(env) if more else run(env)
            except Exception as error:  # noqa: BLE001 (whatever the facts do to us, the answer is to withhold)
                raise self._explained(error, env) from None

        return own(evaluate)

    def values(self, env: Mapping[str, Any]) -> dict[str, Any]:
        """Path -> value of each leaf in `reads` that is there and not sensitive, as it stands in the facts."""
        found = {}
        for path, leaf in zip(self.reads, self._leaves, strict=True):
            if not leaf.sensitive and not is_sensitive(leaf.type):
                value = _at(env, leaf)
                if value is not _ABSENT:
                    found[path] = value
        return found

    def _explained(self, error: Exception, env: Mapping[str, Any]) -> EvaluationError:
        """Which leaf it was, looked for only now: evaluation itself stays fast."""
        if isinstance(error, EvaluationError):
            return error
        if isinstance(error, ZeroDivisionError):
            return EvaluationError("division by zero")
        if isinstance(error, IndexError):
            return EvaluationError("an index is outside of its list")
        for path, leaf in zip(self.reads, self._leaves, strict=True):
            value = _at(env, leaf)
            if value is _ABSENT and not leaf.optional:
                return EvaluationError(f"`{path}` is missing", path)
            if value is not _ABSENT and not _conforms(value, leaf.type):
                return EvaluationError(f"`{path}` is not {noun(leaf.type)} as declared", path)
        return EvaluationError("it has no value for these facts")


_ABSENT = object()


def _at(env: Mapping[str, Any], leaf: Leaf) -> Any:
    try:
        return raw(leaf.path)(env)
    except Exception:  # noqa: BLE001 (facts of any shape)
        return _ABSENT


def _conforms(value: Any, type_: Type) -> bool:
    try:
        return conforms(value, type_)
    except Exception:  # noqa: BLE001 (a value may do anything when it is looked at)
        return False


def _given_back(run: Run, type_: Type) -> Run:
    """The value as plain JSON: amounts unscaled, whole floats as integers, nothing a JSON number cannot hold."""
    if type_.kind in ("list", "object"):
        return _whole(run, type_)
    if type_.kind not in ("int", "double", "decimal"):
        return run
    scale = 10**type_.digits if isinstance(type_, Decimal) else 1
    most = EXACT if isinstance(type_, Decimal) else MAX_INT

    def number(env: Mapping[str, Any]) -> int | float:
        value = run(env)
        whole = value % scale == 0
        if not (-MAX_INT * scale <= value <= MAX_INT * scale and (whole or -most < value < most)):
            raise EvaluationError("the result is too large for an exact JSON number")
        return int(value) // scale if whole else value / scale

    return number


def _whole(run: Run, type_: Type) -> Run:
    def value(env: Mapping[str, Any]) -> Any:
        given = run(env)
        if conforms(given, type_):
            return given
        raise Wrong

    return value
