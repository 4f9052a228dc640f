"""Taking the small bends out of lines: what can stand below one another does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from kiff.cli.drawing.layers import Chain

Bounds = tuple[float, float]
Sides = Sequence[tuple[float, float]]


def straighten(
    layers: Sequence[Sequence[int]], sides: Sides, chains: Sequence[Chain], ports: Sides, xs: list[float]
) -> None:
    """Move bends and labels so that lines are straight over more layers. Order and distances are kept.

    Args:
        sides: how far a box keeps others away, to its left and to its right.
        ports: how far from the middle a line leaves its upper box and meets its lower one.
    """
    left = {b: a for layer in layers for a, b in pairwise(layer)}
    right = {a: b for layer in layers for a, b in pairwise(layer)}

    def bounds(box: int) -> Bounds:
        low = xs[left[box]] + sides[left[box]][1] + sides[box][0] if box in left else -math.inf
        high = xs[right[box]] - sides[right[box]][0] - sides[box][1] if box in right else math.inf
        return low, high

    for chain, (leaves, meets) in sorted(zip(chains, ports, strict=True), key=lambda line: -len(line[0])):
        ends = {chain[1]: xs[chain[0]] + leaves, chain[-2]: xs[chain[-1]] + meets}
        for run, (low, high) in _runs([(box, bounds(box)) for box in chain[1:-1]]):
            middle = sum(xs[box] for box in run) / len(run)
            wanted = [ends[box] for box in (run[0], run[-1]) if box in ends and low <= ends[box] <= high]
            x = min(wanted, key=lambda end: abs(end - middle)) if wanted else min(max(middle, low), high)
            for box in run:
                xs[box] = x


def _runs(boxes: Sequence[tuple[int, Bounds]]) -> Iterator[tuple[list[int], Bounds]]:
    """The boxes in as few pieces as can each stand below one another, and where each piece may stand."""
    run: list[int] = []
    low, high = -math.inf, math.inf
    for box, (least, most) in boxes:
        if run and max(low, least) > min(high, most):
            yield run, (low, high)
            run, low, high = [], -math.inf, math.inf
        run.append(box)
        low, high = max(low, least), min(high, most)
    yield run, (low, high)
