"""Values to try for several things at once, and looking for a combination by changing one thing after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from kiff.analysis.boundaries.examples import beside
from kiff.analysis.boundaries.relations import Path, Relation
from kiff.analysis.boundaries.thresholds import ABSENT

MOST_VALUES = 48
"""Of one thing."""
MOST_TURNS = 24
"""How many relations one thing is looked at in; those that stand first."""
TRIES = 2_000
"""How many assignments one search looks at, at most."""
_ROUNDS = 3
_LARGEST = 10**13
_NO_MATTER = 10**9

Assignment = dict[Path, Any]
Cost = Callable[[Assignment, int], int]
"""What an assignment costs; anything from the second argument on, when it costs that much at least."""


class Space(NamedTuple):
    """What can differ.

    Args:
        values: path -> the values to try; the first is the ordinary one.
        relations: path -> where its value turns something together with others.
    """

    values: Mapping[Path, Sequence[Any]]
    relations: Mapping[Path, Sequence[Relation]]

    @property
    def ordinary(self) -> Assignment:
        return {path: values[0] for path, values in self.values.items()}

    def options(self, path: Path, near: Assignment) -> list[Any]:
        """The values to try for one thing while the others stay as they are."""
        turning = [each for relation in self.relations[path] for each in _turning(relation, path, near)]
        return distinct((*turning, *self.values[path]))


def space(values: Mapping[Path, Sequence[Any]], relations: Iterable[Relation]) -> Space:
    """What can differ; things without any value are left out."""
    known = {path: values[path][:MOST_VALUES] for path in sorted(values, key=len) if values[path]}
    each_once = list({repr(relation): relation for relation in relations}.values())
    return Space(known, {path: [each for each in each_once if path in each.factors][:MOST_TURNS] for path in known})


def nearest(within: Space, start: Assignment, cost: Cost, tries: int = TRIES) -> Assignment:
    """The cheapest assignment that is found from here.

    Args:
        tries: how many are looked at, at most.
    """
    best, low = start, cost(start, _NO_MATTER)
    for _ in range(_ROUNDS):
        before = low
        for path in within.values:
            options = within.options(path, best)[: max(tries, 0)] if low else []
            tries -= len(options)
            for value in options:
                trial = {**best, path: value}
                if (costs := cost(trial, low)) < low:
                    best, low = trial, costs
        if low == before:
            break
    return best


def changed_once(within: Space, anchor: Assignment) -> Iterator[Assignment]:
    for path in within.values:
        yield from ({**anchor, path: value} for value in within.options(path, anchor))


def changed_twice(within: Space, anchor: Assignment) -> Iterator[Assignment]:
    for one, other in combinations(within.values, 2):
        for value in within.options(one, anchor):
            near = {**anchor, one: value}
            yield from ({**near, other: each} for each in within.options(other, near))


def placed(assignment: Assignment, *roots: str) -> dict[str, Any]:
    """The objects that an assignment means; inside of something that is absent, nothing is put.

    Args:
        assignment: what is around something stands before it.
    """
    found: dict[str, Any] = {root: {} for root in roots}
    for path, value in assignment.items():
        if value is ABSENT or len(path) == 1:
            continue
        if len(path) == 2:
            found[path[0]][path[1]] = value
        else:
            _put(found, path, value)
    return found


def distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, as JSON tells values apart: 1 is not true."""
    found: dict[tuple[str, str], Any] = {}
    for value in values:
        found.setdefault((type(value).__name__, repr(value)), value)
    return list(found.values())


def _put(found: dict[str, Any], path: Path, value: Any) -> None:
    holder = found
    for depth, name in enumerate(path[:-1]):
        inner = holder.get(name)
        if not isinstance(inner, dict):
            return
        if depth:  # what an assignment holds is not ours to change
            inner = holder[name] = dict(inner)
        holder = inner
    holder[path[-1]] = value


def _turning(relation: Relation, path: Path, near: Assignment) -> Iterator[int | float]:
    turn = relation.turns(path, near)
    if turn is not None and abs(turn) < _LARGEST:
        decimals = relation.decimals[path]
        yield from beside(turn, 2 if decimals is None else decimals)
