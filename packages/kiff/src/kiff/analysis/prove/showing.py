"""From a world of the solver to one that can be tried: values for everything, in the types that JSON has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import islice, product
from typing import Any, TypeVar

from kiff.analysis.boundaries.examples import plain
from kiff.analysis.boundaries.space import Assignment, Space
from kiff.analysis.boundaries.thresholds import ABSENT
from kiff.analysis.prove.smt import SECONDS, Term, solve
from kiff.analysis.prove.world import Unknown, World
from kiff.domain.expr.types import Decimal

T = TypeVar("T")
_MODELS = 3  # tried one after the other, each in another world
_LISTS = 200  # combinations of lists that one model is tried with


class Proved:
    """There is no such world."""


class Undecided(str):
    """Nobody knows, and why."""


def shown(
    world: World,
    formulas: list[Term],
    within: Space,
    make: Callable[[Assignment, Term], T | None],
    holds: Callable[[T], bool],
    seconds: float = SECONDS,
) -> T | Proved | Undecided:
    """A world in which the formulas hold and which `holds` confirms: what it is asked about is the real thing.

    Args:
        within: what is tried where the solver knows nothing, and for what it was not asked.
        make: a concrete case out of an assignment and a model; None when there is none like it.

    Returns:
        Proved only when the solver says that there is none at all.
    """
    others: list[Term] = []
    for _ in range(_MODELS):
        found = solve([*formulas, *others], seconds)
        if found.answer == "unknown":
            return Undecided(found.why)
        if found.answer == "no":
            return Undecided(_SPURIOUS) if others else Proved()
        for assignment in _assignments(world, found.model, within):
            case = make(assignment, found.model)
            if case is not None and holds(case):
                return case
        others.append(_another(world, found.model))
    return Undecided(_SPURIOUS)


_SPURIOUS = "the examples that the solver gives are none: the evaluator disagrees"


def _assignments(world: World, model: Term, within: Space) -> Iterator[Assignment]:
    """What the model says; and with it, one list after the other, since of lists it says nothing."""
    told = {unknown.path: _value(world, model, unknown, within) for unknown in world.read.values()}
    known = {path: value for path, value in told.items() if path in within.values or path[0] in ("entity", "event")}
    at = {**within.ordinary, **known, **_parameters(told)}
    at = {path: at[path] for path in sorted(at, key=len)}
    yield at
    lists = [path for path, values in within.values.items() if any(type(value) is list for value in values)]
    for values in islice(product(*(within.values[path] for path in lists)), _LISTS if lists else 0):
        yield {**at, **dict(zip(lists, values, strict=True))}


def _parameters(told: Assignment) -> Assignment:
    return {path: value for path, value in told.items() if path[0] == "parameters"}


def _value(world: World, model: Term, unknown: Unknown, within: Space) -> Any:
    """The value of an unknown in a model, as JSON has it; ABSENT where it is not there."""
    z3 = world.z3
    if unknown.path[0] in ("parameters", "entity", "event") and _is_optional(world, model, unknown):
        return ABSENT
    told = model.eval(unknown.term, model_completion=True)
    kind = unknown.type.kind
    if kind == "bool":
        return bool(z3.is_true(told))
    if kind == "string":
        usual = within.values.get(unknown.path, ())
        return _text(told) if world.has_texts else _other_text(world, told.as_long(), usual)
    number = _fraction(told)
    return plain(number / 10**unknown.type.digits) if isinstance(unknown.type, Decimal) else plain(number)


def _other_text(world: World, code: int, usual: Sequence[Any]) -> str:
    """The text that a number stands for; of one that no condition names, any other."""
    texts = world.texts()
    others = (value for value in usual if isinstance(value, str) and value not in texts.values())
    return texts[code] if code in texts else next(others, f"other{code}")


def _is_optional(world: World, model: Term, unknown: Unknown) -> bool:
    """Whether it, or something around it, is absent. What nobody said anything about is there."""
    places = (unknown.path[:end] for end in range(2, len(unknown.path) + 1))
    return any(bool(world.z3.is_false(model.eval(world.present(place)))) for place in places)


def _text(told: Term) -> str:
    """z3 writes what is not plain ASCII as `\\u{1f600}`."""
    parts = str(told.as_string()).split("\\u{")
    return parts[0] + "".join(chr(int(part[: part.index("}")], 16)) + part[part.index("}") + 1 :] for part in parts[1:])


def _fraction(told: Term) -> Fraction:
    if hasattr(told, "numerator_as_long"):
        return Fraction(told.numerator_as_long(), told.denominator_as_long())
    return Fraction(told.as_long()) if hasattr(told, "as_long") else Fraction(0)


def _another(world: World, model: Term) -> Term:
    """Any other world, as far as it differs in what is read."""
    z3 = world.z3
    told = [(unknown.term, model.eval(unknown.term, model_completion=True)) for unknown in world.read.values()]
    return z3.Or(*(term != value for term, value in told))
