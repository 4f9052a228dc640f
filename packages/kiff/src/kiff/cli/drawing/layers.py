"""Which layer each box of a drawing is in, and in what order the boxes of a layer stand.

Boxes are numbered. Every line is a chain of boxes, one per layer: between its two ends it goes through bends, and
through its own label, so that a label has room of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

Ends = tuple[int, int]
Chain = tuple[int, ...]
Neighbours = Mapping[int, Sequence[int]]
SWEEPS = 12


def ranks(count: int, lines: Sequence[Ends]) -> list[int]:
    """A rank for each of `count` boxes: the longest way from the first, with the lines that go back turned round."""
    place = {box: index for index, box in enumerate(_sequence(count, lines))}
    rank = [0 if box == 0 else 1 for box in range(count)]
    downwards = [(a, b) if place[a] < place[b] else (b, a) for a, b in lines]
    for above, below in sorted(downwards, key=lambda ends: place[ends[0]]):
        rank[below] = max(rank[below], rank[above] + 1)
    return rank


def _sequence(count: int, lines: Sequence[Ends]) -> list[int]:
    """The boxes, each behind those that lead to it. A circle is entered where it is nearest to the first box."""
    before = {box: {a for a, b in lines if b == box} for box in range(count)}
    away = _distances(lines)
    done: dict[int, None] = {}
    while len(done) < count:
        left = [box for box in range(count) if box not in done]
        ready = [box for box in left if before[box] <= done.keys()]
        if not ready:
            ready = [min(left, key=lambda box: (_behind(box, before, done), away.get(box, count), box))]
        done |= dict.fromkeys(ready)
    return list(done)


def _behind(box: int, before: Mapping[int, set[int]], done: Mapping[int, None]) -> int:
    """How many boxes that are left lead to this one, by whatever way."""
    found = {box}
    waiting = [box]
    while waiting:
        new = before[waiting.pop()] - found - done.keys()
        found |= new
        waiting += new
    return len(found)


def _distances(lines: Sequence[Ends]) -> dict[int, int]:
    found = {0: 0}
    for start in (waiting := [0]):
        for end in (b for a, b in lines if a == start and b not in found):
            found[end] = found[start] + 1
            waiting.append(end)
    return found


def ordered(layers: Sequence[Sequence[int]], chains: Iterable[Chain]) -> list[list[int]]:
    """The layers with their boxes in an order that crosses few lines: each near the middle of what it is joined to."""
    above, below = _neighbours(chains)
    now = [list(layer) for layer in layers]
    best, fewest = now, _crossings(now, below)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        now = _swept(now, above if down else below, down)
        crossings = _crossings(now, below)
        if crossings < fewest:
            best, fewest = now, crossings
    return best


def _neighbours(chains: Iterable[Chain]) -> tuple[Neighbours, Neighbours]:
    """Box -> the boxes it is joined to in the layer above, and in the layer below."""
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for upper, lower in (pair for chain in chains for pair in pairwise(chain)):
        below.setdefault(upper, []).append(lower)
        above.setdefault(lower, []).append(upper)
    return above, below


def _swept(layers: list[list[int]], joined: Neighbours, down: bool) -> list[list[int]]:
    place: dict[int, float] = {}
    swept = []
    for layer in layers if down else layers[::-1]:
        middle = {box: _mean([place[n] for n in joined.get(box, ())], index) for index, box in enumerate(layer)}
        swept.append(sorted(layer, key=lambda box: middle[box]))
        place |= {box: index for index, box in enumerate(swept[-1])}
    return swept if down else swept[::-1]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(layers: Sequence[Sequence[int]], below: Neighbours) -> int:
    total = 0
    for upper, lower in pairwise(layers):
        place = {box: index for index, box in enumerate(lower)}
        ends = [end for box in upper for end in sorted(place[b] for b in below.get(box, ()))]
        total += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return total
