"""The meaning of a syntax tree in a scope: names, fields, presence, calls. Every problem is found.

A part that is refused becomes a node of type UNKNOWN, and what is made of it is UNKNOWN too and says nothing more:
one mistake is one problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any

from msgspec.structs import replace

from kiff.domain.expr import literal, operators
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
    Quantifier,
    Select,
    Unary,
)
from kiff.domain.expr.operators import MAX_INT64, Refused
from kiff.domain.expr.problem import Problem
from kiff.domain.expr.types import (
    BOOL,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    Field,
    ListOf,
    Object,
    String,
    Type,
    Unusable,
    noun,
)
from kiff.domain.issue import did_you_mean, shown

Scope = Mapping[str, Type]
Tree = Any  # lark's
_Facts = frozenset[Any]  # keys of optional fields that are there

UNKNOWN = Unusable("")
"""Of a name in a scope: nothing is known of it, so nothing is said about what is made of it (`examine`)."""
_NOTHING: _Facts = frozenset()
_RESERVED = re.compile(
    "as|break|const|continue|else|for|function|if|import|let|loop|namespace|package|return|var|void|while"
)
_FUNCTIONS = {"has": 1, "size": 1, "timestamp": 1, "duration": 1}
_METHODS = {"contains": 1, "endsWith": 1, "startsWith": 1, "exists": 2, "all": 2}
_TIMES = {
    "timestamp": (literal.instant, TIMESTAMP, 'write it as in `timestamp("2026-05-24T09:53:55Z")`'),
    "duration": (literal.length, DURATION, 'write it as in `duration("72h")`, with h, m, s and ms'),
}
_REFUSED = {
    "matches": "put a `pattern` in the schema of the parameter",
    "map": "ask with exists() or all()",
    "filter": "ask with exists() or all()",
    "exists_one": "ask with exists() or all()",
    "size": "write `size(…)` around it",
    "int": "give the value the type integer",
    "double": "give the value the type number",
    "string": "compare values of one type",
    "dyn": "give the value one type",
}


class Checker:
    """Checks one text. Afterwards `problems` has what is wrong with it."""

    def __init__(self, text: str, scope: Scope) -> None:
        self.text = text
        self.scope = scope
        self.problems: list[Problem] = []
        self._locals: dict[str, Type] = {}
        self._present = _NOTHING
        self._elsewhere: set[Any] = set()

    def check(self, tree: Tree, expected: Type | None) -> Node:
        """The typed tree of the whole text, which must be of the type `expected`, if any."""
        node = self._look(tree)
        if expected is None or isinstance(expected, Unusable) or node.type == UNKNOWN:
            return node
        try:
            return operators.expect(node, expected, "compare it with something" if expected == BOOL else "")
        except Refused as refused:
            return self._note(refused)

    def _look(self, tree: Tree) -> Node:
        try:
            node: Node = getattr(self, f"_{tree.data.rstrip('_')}")(tree)
        except Refused as refused:
            return self._note(refused)
        except _Unknown:
            return _at(tree)
        return node

    def _known(self, tree: Tree) -> Node:
        """A part that something is made of. When it is UNKNOWN, so is what is made of it."""
        node = self._look(tree)
        if node.type == UNKNOWN:
            raise _Unknown
        return node

    def _all_known(self, trees: Iterable[Tree]) -> list[Node]:
        nodes = [self._look(tree) for tree in trees]
        if any(node.type == UNKNOWN for node in nodes):
            raise _Unknown
        return nodes

    def _note(self, refused: Refused) -> Node:
        at, message = refused.at, refused.message
        for number, node in enumerate(refused.nodes):
            message = message.replace(f"{{{number}}}", self._quoted(node), 1)
        self.problems.append(Problem(refused.code, message, refused.fix, at.start, at.end))
        return Node(UNKNOWN, at.start, at.end)

    def _quoted(self, node: Node) -> str:
        return shown(" ".join(self.text[node.start : node.end].split()))

    # Names, fields, items

    def _name(self, tree: Tree) -> Node:
        name, at = str(tree.children[0]), _at(tree)
        known = self._locals.get(name) or self.scope.get(name)
        if known is None:
            fix = did_you_mean(name, (*self._locals, *self.scope)) or f"one of {', '.join(self.scope)}"
            raise Refused(at, "unknown_name", f"{shown(name)} is not known here", fix)
        if known == UNKNOWN:
            raise _Unknown
        return _usable(Leaf(known, at.start, at.end, (name,), local=name in self._locals))

    def _select(self, tree: Tree) -> Node:
        return self._there(*self._field(tree, self._known(tree.children[0]), str(tree.children[1])))

    def _index(self, tree: Tree) -> Node:
        operand, index = self._all_known(tree.children)
        if isinstance(operand.type, Object) and isinstance(index, Literal) and isinstance(index.value, str):
            return self._there(*self._field(tree, operand, index.value))
        at = _at(tree)
        if not isinstance(operand.type, ListOf) or index.type != INT:
            message = f"`[]` reads the items of a list, found {noun(index.type)} in {noun(operand.type)}"
            raise Refused(at, "type_mismatch", message, "write a whole number, or the name of a field in quotes")
        return _usable(Index(operand.type.item, at.start, at.end, operand, index))

    def _field(self, tree: Tree, operand: Node, name: str, *, asking: bool = False) -> tuple[Node, bool]:
        """`operand.name`, and whether it may be missing. One may ask whether an open object has any name."""
        at = _at(tree)
        if not isinstance(operand.type, Object):
            message = f"{{0}} is {noun(operand.type)} and has no fields"
            raise Refused(at, "type_mismatch", message, "", (operand,))
        field = operand.type.fields.get(name)
        if field is None and not (operand.type.open and asking):
            fix = did_you_mean(name, operand.type.fields) or ("declare it with a type" if operand.type.open else "")
            raise Refused(at, "unknown_name", f"{{0}} has no field {shown(name)}", fix, (operand,))
        # Of what is meant for others only the name is read, and that is no secret.
        field = field or Field(Unusable("has no declared type"), True, not operand.type.one_of_many)
        if not isinstance(operand, Leaf):
            return Select(field.type, at.start, at.end, operand, name), field.optional
        path = (*operand.path, name)
        optional, sensitive = operand.optional or field.optional, operand.sensitive or field.sensitive
        return Leaf(field.type, at.start, at.end, path, optional, sensitive, operand.local), field.optional

    def _there(self, node: Node, optional: bool) -> Node:
        """A field that is read: it is always there, or has() said so."""
        if optional and _key(node) not in self._present:
            fix = f"write `has({self.text[node.start : node.end]}) && …` before it"
            raise Refused(node, "may_be_missing", "{0} may be missing", fix, (node,))
        return _usable(node)

    # Literals

    def _int(self, tree: Tree, sign: str = "") -> Node:
        at, written = _at(tree), sign + tree.children[0]
        value = int(written, 16 if "x" in written else 10)
        if not -MAX_INT64 - 1 <= value <= MAX_INT64:
            raise Refused(at, "type_mismatch", "{0} is beyond 64 bits", "write a smaller number", (at,))
        return Literal(INT, at.start, at.end, value, written)

    def _double(self, tree: Tree, sign: str = "") -> Node:
        at, written = _at(tree), sign + tree.children[0]
        if float(written) in (inf, -inf):
            raise Refused(at, "type_mismatch", "{0} is too large", "write a smaller number", (at,))
        return Literal(DOUBLE, at.start, at.end, float(written), written)

    def _string(self, tree: Tree) -> Node:
        at = _at(tree)
        try:
            value = literal.text_of(tree.children[0])
        except ValueError as error:
            raise Refused(at, "syntax_error", str(error), "write a backslash as `\\\\`") from None
        return Literal(String(len(value)), at.start, at.end, value)

    def _bool(self, tree: Tree) -> Node:
        at = _at(tree)
        return Literal(BOOL, at.start, at.end, tree.children[0] == "true")

    def _null(self, tree: Tree) -> Node:
        raise Refused(_at(tree), "not_supported", "`null` is no value of conditions", "ask with has()")

    def _list(self, tree: Tree) -> Node:
        self._all_known(tree.children)
        raise Refused(_at(tree), "not_supported", "a list in brackets stands only after `in`", "write `x in […]`")

    # Operators

    def _both(self, tree: Tree) -> Node:
        return self._joined(tree, "&&")

    def _either(self, tree: Tree) -> Node:
        return self._joined(tree, "||")

    def _joined(self, tree: Tree, op: str) -> Node:
        left, at = self._condition(tree.children[0]), _at(tree)
        facts = _facts(left)[op == "||"]
        if self._is_elsewhere(facts):
            right: Node = Elsewhere(BOOL, *_place(tree.children[1]))
        else:
            with self._knowing(facts):
                right = self._condition(tree.children[1])
        return Binary(BOOL, at.start, at.end, op, left, right)

    def _condition(self, tree: Tree) -> Node:
        node = self._look(tree)
        if node.type in (BOOL, UNKNOWN):
            return node
        message = f"{{0}} is {noun(node.type)}, expected true or false"
        return self._note(Refused(node, "type_mismatch", message, "compare it with something", (node,)))

    def _negation(self, tree: Tree) -> Node:
        at = _at(tree)
        return Unary(BOOL, at.start, at.end, "!", self._condition(tree.children[1]))

    def _minus(self, tree: Tree) -> Node:
        inner = tree.children[1]
        if inner.data in ("int", "double"):
            return replace(getattr(self, f"_{inner.data}")(inner, "-"), start=tree.meta.start_pos)  # type: ignore[no-any-return]
        return operators.negated(_at(tree), self._known(inner))

    def _conditional(self, tree: Tree) -> Node:
        test = self._condition(tree.children[0])
        true, false = _facts(test)
        then, otherwise = self._branches(tree.children[1:], true, false)
        if UNKNOWN in (then.type, otherwise.type):
            raise _Unknown
        at = _at(tree)
        then, otherwise, type_ = operators.chosen(at, then, otherwise)
        return Conditional(type_, at.start, at.end, test, then, otherwise)

    def _branches(self, trees: list[Tree], true: _Facts, false: _Facts) -> tuple[Node, Node]:
        """One that is meant for others has the type of the other one."""
        if self._is_elsewhere(true):
            with self._knowing(false):
                otherwise = self._look(trees[1])
            return Elsewhere(otherwise.type, *_place(trees[0])), otherwise
        with self._knowing(true):
            then = self._look(trees[0])
        if self._is_elsewhere(false):
            return then, Elsewhere(then.type, *_place(trees[1]))
        with self._knowing(false):
            return then, self._look(trees[1])

    def _is_elsewhere(self, facts: _Facts) -> bool:
        """Whether they say that something is there that is not declared here: what follows is meant for others."""
        return not self._elsewhere.isdisjoint(facts)

    def _comparison(self, tree: Tree) -> Node:
        left, right = self._all_known(tree.children[::2])
        return operators.comparison(_at(tree), str(tree.children[1]), left, right)

    def _arithmetic(self, tree: Tree) -> Node:
        left, right = self._all_known(tree.children[::2])
        return operators.arithmetic(_at(tree), str(tree.children[1]), left, right)

    def _among(self, tree: Tree) -> Node:
        written = tree.children[2]
        if written.data != "list":
            return operators.member(_at(tree), *self._all_known(tree.children[::2]))
        item, *options = self._all_known((tree.children[0], *written.children))
        return operators.one_of(_at(tree), item, options)

    # Calls

    def _function(self, tree: Tree) -> Node:
        name, *args = tree.children
        self._check_call(tree, str(name), args, _FUNCTIONS)
        at = _at(tree)
        if name == "has":
            return self._has(args[0], at)
        arg = self._known(args[0])
        if name == "size":
            if arg.type.kind not in ("string", "list"):
                message = f"{{0}} is {noun(arg.type)}, expected a text or a list"
                raise Refused(arg, "type_mismatch", message, "", (arg,))
            return Call(INT, at.start, at.end, "size", (arg,))
        operators.expect(arg, STRING, "write a text in quotes")
        if isinstance(arg, Literal):
            return _time(at, str(name), arg)
        if name == "timestamp":
            return Call(TIMESTAMP, at.start, at.end, "timestamp", (arg,))
        raise Refused(arg, "not_supported", "duration() takes a text in quotes", "compare times instead")

    def _has(self, arg: Tree, at: Node) -> Node:
        index = self._look(arg.children[1]) if arg.data == "index" else None
        if arg.data != "select" and not (isinstance(index, Literal) and isinstance(index.value, str)):
            raise Refused(at, "type_mismatch", "has() asks about a field", "write `has(entity.name)`")
        name = index.value if isinstance(index, Literal) else arg.children[1]
        holder = self._known(arg.children[0])
        target, _ = self._field(arg, holder, str(name), asking=True)
        if isinstance(holder.type, Object) and holder.type.one_of_many and name not in holder.type.fields:
            self._elsewhere.add(_key(target))
        return Has(BOOL, at.start, at.end, target)

    def _method(self, tree: Tree) -> Node:
        receiver, name, *args = tree.children
        self._check_call(tree, str(name), args, _METHODS)
        if name in ("exists", "all"):
            return self._quantifier(tree, receiver, str(name), *args)
        nodes, at = self._all_known((receiver, *args)), _at(tree)
        for node in nodes:
            operators.expect(node, STRING, "write a text in quotes")
        return Call(BOOL, at.start, at.end, str(name), tuple(nodes))

    def _quantifier(self, tree: Tree, receiver: Tree, kind: str, variable: Tree, body: Tree) -> Node:
        items, at, place = self._known(receiver), _at(tree), _at(variable)
        if not isinstance(items.type, ListOf):
            message = f"{{0}} is {noun(items.type)}, expected a list"
            raise Refused(items, "type_mismatch", message, "", (items,))
        name = str(variable.children[0])
        if variable.data != "name" or _RESERVED.fullmatch(name) or name in self._locals or name in self.scope:
            message = f"`{kind}` needs a new name for an item, found {{0}}"
            raise Refused(place, "type_mismatch", message, f"write `{kind}(each, each …)`", (place,))
        self._locals[name] = items.type.item
        condition = self._condition(body)
        del self._locals[name]
        return Quantifier(BOOL, at.start, at.end, kind, items, name, condition)

    def _check_call(self, tree: Tree, name: str, args: list[Tree], known: Mapping[str, int]) -> None:
        at = _at(tree)
        if name in _REFUSED and name not in known:
            raise Refused(at, "not_supported", f"{shown(name)} is not part of conditions", _REFUSED[name])
        if name not in known:
            fix = did_you_mean(name, known) or f"one of {', '.join(known)}"
            raise Refused(at, "unknown_name", f"{shown(name)} is no function here", fix)
        if len(args) != known[name]:
            takes = f"`{name}` takes {known[name]} argument{'s' * (known[name] > 1)}, found {len(args)}"
            raise Refused(at, "type_mismatch", takes)

    @contextmanager
    def _knowing(self, facts: _Facts) -> Iterator[None]:
        before, self._present = self._present, self._present | facts
        yield
        self._present = before


class _Unknown(Exception):
    """A part was refused, and said so already."""


def _at(tree: Tree) -> Node:
    """The place of a tree, as a node that nothing is known of."""
    return Node(UNKNOWN, tree.meta.start_pos, tree.meta.end_pos)


def _place(tree: Tree) -> tuple[int, int]:
    return tree.meta.start_pos, tree.meta.end_pos


def _usable(node: Node) -> Node:
    if isinstance(node.type, Unusable):
        raise Refused(node, "type_mismatch", f"{{0}} {node.type.why}", "give it one type", (node,))
    return node


def _time(at: Node, name: str, text: Literal) -> Node:
    read, type_, fix = _TIMES[name]
    try:
        return Literal(type_, at.start, at.end, read(str(text.value)))
    except ValueError as error:
        raise Refused(text, "syntax_error", f"{{0}} is {error}", fix, (text,)) from None


def _key(node: Node) -> Any:
    """What a field is known by: equal for two places that read the same."""
    if isinstance(node, Leaf):
        return node.path
    if isinstance(node, Select):
        return _key(node.operand), node.name
    if isinstance(node, Index) and isinstance(node.index, Literal):
        return _key(node.operand), node.index.value
    return node.start, node.end


def _facts(node: Node) -> tuple[_Facts, _Facts]:
    """Which optional fields are there when a condition is true, and which when it is false."""
    match node:
        case Has(target=target):
            return frozenset([_key(target)]), _NOTHING
        case Unary(op="!", operand=operand):
            true, false = _facts(operand)
            return false, true
        case Binary(op="&&", left=left, right=right):
            (true, false), (true_right, false_right) = _facts(left), _facts(right)
            return true | true_right, false & (true | false_right)
        case Binary(op="||", left=left, right=right):
            (true, false), (true_right, false_right) = _facts(left), _facts(right)
            return true & (false | true_right), false | false_right
        case Conditional(test=test, then=then, otherwise=otherwise):
            (yes, no), (true, false), (true_else, false_else) = map(_facts, (test, then, otherwise))
            return (yes | true) & (no | true_else), (yes | false) & (no | false_else)
    return _NOTHING, _NOTHING
