"""Other values of a parameter: the nearest one with which an objection is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from kiff.analysis.boundaries.examples import beside, digits_of, exactly
from kiff.analysis.explain.answer import Bound, ParameterChange
from kiff.analysis.explain.made import Made
from kiff.analysis.explain.tried import WORDS, outcome
from kiff.analysis.explain.turning import Path, Turning, Value, at, nearest, put, root
from kiff.domain.expr import EvaluationError, Expression
from kiff.domain.expr.types import Decimal
from kiff.domain.measure import amount_of
from kiff.domain.terms import BoundLimit
from kiff.protocol.decision import Objection

MOST_TRIED = 64
"""How many values of one parameter are tried."""
_FAR = 10**9
_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


class Aim(NamedTuple):
    """What a change of parameters is for: an expression, and what it should say."""

    expression: Expression
    wanted: bool


def by_condition(made: Made, objection: Objection, aim: Aim) -> Iterator[ParameterChange]:
    """For an objection that comes from what an expression says: one change for each parameter it reads."""
    turning = Turning(aim.expression)
    for path, leaf in turning.leaves.items():
        tried = turning.values(leaf, made.env)

        def holds(value: Value, path: Path = path) -> bool:
            try:
                return bool(aim.expression(put(made.env, path, value))) is aim.wanted
            except EvaluationError:
                return False

        unit = leaf.type.unit if isinstance(leaf.type, Decimal) else None
        yield from _first(made, objection, path, tried, holds, unit)


def by_limit(made: Made, objection: Objection, bound: BoundLimit) -> Iterator[ParameterChange]:
    """For a sum that goes over a cap: as much as there is room for."""
    usage = made.facts.usage.get(bound.code, {})
    room = usage.get("cap", 0) - usage.get("used", 0)
    if bound.amount is None or room <= 0:
        return
    expression, turning = bound.amount, Turning(bound.amount)
    for path, leaf in turning.leaves.items():
        digits = turning.digits(leaf)
        full = root(lambda env: Fraction(amount_of(bound.limit, expression(env)) - room), path, made.env)
        if full is None or digits is None:
            continue
        tried = nearest(beside(full, digits), at(made.env, path))

        def fits(value: Value, path: Path = path) -> bool:
            try:
                return bool(amount_of(bound.limit, expression(put(made.env, path, value))) <= room)
            except (EvaluationError, ValueError):
                return False

        unit = leaf.type.unit if isinstance(leaf.type, Decimal) else None
        yield from _first(made, objection, path, tried, fits, unit, least=0)


def by_schema(made: Made, objection: Objection) -> Iterator[ParameterChange]:
    """For a value that does not fit its contract: what is written there as a bound, or among what it may be."""
    name = objection.detail.get("parameter", "")
    schema = (made.contract.parameters or {}).get(name)
    now = made.proposal.parameters.get(name)
    if schema is None or schema.get("sensitive") or not isinstance(now, int | float | str | bool):
        return
    tried: list[Value] = [each for each in schema.get("enum", ()) if isinstance(each, int | float | str | bool)]
    if isinstance(now, int | float) and not isinstance(now, bool):
        tried += [v for word in _BOUNDS if word in schema for v in beside(exactly(schema[word]), digits_of(schema))]
    path = ("parameters", name)
    yield from _first(made, objection, path, nearest(tried, now), lambda value: False, schema.get("unit"))


def _first(
    made: Made,
    objection: Objection,
    path: Path,
    tried: Iterable[Value],
    holds: Callable[[Value], bool],
    unit: str | None,
    *,
    least: int | None = None,
) -> Iterator[ParameterChange]:
    """The first value that helps."""
    tried = list(tried)[:MOST_TRIED]
    for value in tried:
        then = made.with_parameters(put(made.env, path, value)["parameters"])
        leads_to = outcome(made, objection, then)
        if leads_to is not None:
            bound = _bound(value, at(made.env, path), tried, holds, least)
            yield _told(objection, path, bound, value, unit, leads_to)
            return


def _bound(value: Value, now: Any, tried: list[Value], holds: Callable[[Value], bool], least: int | None) -> Bound:
    """Whether what is further away does as well: between two values at which it turns, it says the same."""
    if isinstance(value, bool | str) or isinstance(now, bool | str) or now is None or not holds(value):
        return "exactly"
    numbers = [each for each in tried if not isinstance(each, bool | str)]
    if value < now:
        below = [each for each in (*numbers, -_FAR if least is None else least) if each < value]
        return "at_most" if all(map(holds, below)) else "exactly"
    return "at_least" if all(map(holds, [each for each in (*numbers, _FAR) if each > value])) else "exactly"


_SAID: Mapping[Bound, str] = {"at_most": "at most ", "at_least": "at least ", "exactly": ""}


def _told(
    objection: Objection, path: Path, bound: Bound, value: Value, unit: str | None, leads_to: str
) -> ParameterChange:
    name = ".".join(path[1:])
    shown = f"`{value}`" if isinstance(value, str) else str(value).lower()
    amount = f"{shown} {unit}" if unit else shown
    return ParameterChange(
        objection=objection.code,
        message=f"with `{name}` {_SAID[bound]}{amount}, {WORDS[leads_to]}",
        leads_to=leads_to,
        path=".".join(path),
        bound=bound,
        value=value,
        unit=unit,
    )
