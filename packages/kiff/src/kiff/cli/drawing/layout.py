"""Where everything of a drawing stands: boxes in layers from top to bottom, lines as curves between the layers.

A line bends only between two layers and is straight inside one, where everything has its own room. So no line
crosses a box, and no label lies on another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from kiff.cli.drawing.layers import Chain, ordered, ranks
from kiff.cli.drawing.straight import straighten

GAP_ACROSS = 28.0
GAP_DOWN = 26.0
PORT = 26.0
TIP = 9.0  # a line is straight where its arrowhead is
ROUNDS = 120


class Size(NamedTuple):
    """Room around a middle: to the left, to the right, and the height."""

    left: float
    right: float
    height: float


class Line(NamedTuple):
    """A line from one box to another (by number), and the room its label takes."""

    start: int
    end: int
    label: Size


class Point(NamedTuple):
    x: float
    y: float


class Joint(NamedTuple):
    """What a box is joined to: where a straight line from there would have it, and how much that counts."""

    box: int
    shift: float
    weight: float


Joints = tuple[Mapping[int, list[Joint]], Mapping[int, list[Joint]]]
"""Box -> its joints to the layer above, and to the layer below."""
Bands = Mapping[int, tuple[float, float]]
"""Box -> top and bottom of its layer."""


class Layout(NamedTuple):
    """A drawing that is placed.

    Args:
        boxes: the middle of each box.
        labels: the middle of each line's label.
        routes: each line's points: between the first two it is straight, then it bends, and so on in turn.
    """

    width: float
    height: float
    boxes: list[Point]
    labels: list[Point]
    routes: list[list[Point]]


def layout(boxes: Sequence[Size], lines: Sequence[Line]) -> Layout:
    """Place boxes, the first of which is the beginning, and the lines between them. No line is a loop."""
    rank = ranks(len(boxes), [(line.start, line.end) for line in lines])
    sizes = list(boxes)
    layers: list[list[int]] = [[] for _ in range(2 * max(rank) + 1)]
    for box, at in enumerate(rank):
        layers[2 * at].append(box)
    chains = [_chain(line, rank, sizes, layers) for line in lines]
    layers = ordered(layers, chains)
    ports = _ports(chains, boxes, layers)
    xs = _across(layers, sizes, _joints(chains, ports, sizes, len(boxes)))
    straighten(layers, [(size.left, size.right + GAP_ACROSS) for size in sizes], chains, ports, xs)
    bands = _bands(layers, sizes, chains, xs)
    leftmost = min(x - size.left for x, size in zip(xs, sizes, strict=True))
    points = [Point(x - leftmost, sum(bands[box]) / 2) for box, x in enumerate(xs)]
    routes = [list(_route(chain, port, points, sizes, bands)) for chain, port in zip(chains, ports, strict=True)]
    upwards = [rank[line.start] > rank[line.end] for line in lines]
    return Layout(
        width=max(point.x + size.right for point, size in zip(points, sizes, strict=True)),
        height=max(bottom for _, bottom in bands.values()),
        boxes=points[: len(boxes)],
        labels=[points[chain[-2 if up else 1]] for chain, up in zip(chains, upwards, strict=True)],
        routes=[route[::-1] if up else route for route, up in zip(routes, upwards, strict=True)],
    )


def _chain(line: Line, rank: Sequence[int], sizes: list[Size], layers: list[list[int]]) -> Chain:
    """The boxes a line goes through from top to bottom, its label next to where it starts; new boxes are added."""
    upper, lower = sorted((line.start, line.end), key=lambda box: rank[box])
    between = range(2 * rank[upper] + 1, 2 * rank[lower])
    label_at = between[0] if upper == line.start else between[-1]
    chain = [upper]
    for at in between:
        chain.append(len(sizes))
        layers[at].append(len(sizes))
        sizes.append(line.label if at == label_at else Size(0, 0, 0))
    return (*chain, lower)


def _ports(
    chains: Sequence[Chain], boxes: Sequence[Size], layers: Sequence[Sequence[int]]
) -> list[tuple[float, float]]:
    """How far from the middle each line leaves its upper box and meets its lower one: in order, so none cross."""
    place = {box: at for layer in layers for at, box in enumerate(layer)}
    shifts = []
    for end, inner in ((0, 1), (-1, -2)):
        lines: dict[int, list[int]] = {}
        for index in sorted(range(len(chains)), key=lambda index: place[chains[index][inner]]):
            lines.setdefault(chains[index][end], []).append(index)
        shift = [0.0] * len(chains)
        for box, indexes in lines.items():
            step = min(PORT, 2 * boxes[box].left / (len(indexes) + 1))
            for at, index in enumerate(indexes):
                shift[index] = (at - (len(indexes) - 1) / 2) * step
        shifts.append(shift)
    return list(zip(*shifts, strict=True))


def _joints(chains: Sequence[Chain], ports: Sequence[tuple[float, float]], sizes: Sequence[Size], boxes: int) -> Joints:
    """What each box is joined to. The longer a line is, the more it matters that it is straight."""
    pull = [1.0 if box < boxes else 2.0 if size.height else 10.0 for box, size in enumerate(sizes)]
    above: dict[int, list[Joint]] = {}
    below: dict[int, list[Joint]] = {}
    for chain, (leaves, meets) in zip(chains, ports, strict=True):
        shifts = [leaves, *[0.0] * (len(chain) - 2), meets]
        for (upper, lower), (from_, to) in zip(pairwise(chain), pairwise(shifts), strict=True):
            weight = pull[upper] * pull[lower]
            above.setdefault(lower, []).append(Joint(upper, from_ - to, weight))
            below.setdefault(upper, []).append(Joint(lower, to - from_, weight))
    return above, below


def _across(layers: Sequence[Sequence[int]], sizes: Sequence[Size], joints: Joints) -> list[float]:
    """An x for each box: as near to the middle of what it is joined to as the boxes beside it allow."""
    above, below = joints
    both = {box: [*above.get(box, ()), *below.get(box, ())] for box in range(len(sizes))}
    rows = [(layer, _apart(layer, sizes)) for layer in layers if layer]
    xs = [0.0] * len(sizes)
    for layer, offsets in rows:
        for box, offset in zip(layer, offsets, strict=True):
            xs[box] = offset - offsets[-1] / 2
    for turn in range(ROUNDS):
        joined = both if turn >= ROUNDS / 2 else (above, below)[turn % 2]
        for layer, offsets in rows[:: -1 if turn % 2 else 1]:
            _settle(layer, offsets, joined, xs)
    return xs


def _apart(layer: Sequence[int], sizes: Sequence[Size]) -> list[float]:
    """How far from the first box of a layer each of its boxes is at least."""
    gaps = (sizes[a].right + GAP_ACROSS + sizes[b].left for a, b in pairwise(layer))
    return list(accumulate(gaps, initial=0.0))


def _settle(layer: Sequence[int], offsets: Sequence[float], joined: Mapping[int, list[Joint]], xs: list[float]) -> None:
    """Move the boxes of a layer to where they want to be. Those that would be too close go together, to their mean.

    Measured from where each would stand if all stood as close as they may, the places only have to grow: so this is
    a regression on growing values, by pooling neighbours (Ayer et al., 1955).
    """
    groups: list[tuple[float, float, int]] = []  # what its boxes want, by weight; the weight; how many they are
    for box, offset in zip(layer, offsets, strict=True):
        joints = joined.get(box) or [Joint(box, 0.0, 1.0)]
        weight = sum(joint.weight for joint in joints)
        wanted = sum((xs[joint.box] + joint.shift) * joint.weight for joint in joints) - offset * weight
        count = 1
        while groups and groups[-1][0] / groups[-1][1] > wanted / weight:
            before, heavy, boxes = groups.pop()
            wanted, weight, count = wanted + before, weight + heavy, count + boxes
        groups.append((wanted, weight, count))
    places = [wanted / weight for wanted, weight, count in groups for _ in range(count)]
    for box, offset, place in zip(layer, offsets, places, strict=True):
        xs[box] = place + offset


def _bands(
    layers: Sequence[Sequence[int]], sizes: Sequence[Size], chains: Sequence[Chain], xs: Sequence[float]
) -> Bands:
    """Top and bottom of each layer. Where a line has far to go across, there is more room to bend."""
    layer_of = {box: at for at, layer in enumerate(layers) for box in layer}
    across = [0.0] * len(layers)
    for upper, lower in (pair for chain in chains for pair in pairwise(chain)):
        across[layer_of[upper]] = max(across[layer_of[upper]], abs(xs[upper] - xs[lower]))
    bands: dict[int, tuple[float, float]] = {}
    top = 0.0
    for layer, far in zip(layers, across, strict=True):
        bottom = top + max((sizes[box].height for box in layer), default=0.0)
        bands |= dict.fromkeys(layer, (top, bottom))
        top = bottom + GAP_DOWN + min(GAP_DOWN, far / 12)
    return bands


def _route(
    chain: Chain, port: tuple[float, float], points: Sequence[Point], sizes: Sequence[Size], bands: Bands
) -> Iterator[Point]:
    """The points of a line from top to bottom: straight out of its layer, then bent to the next."""
    upper, *between, lower = chain
    leaves, meets = points[upper].x + port[0], points[lower].x + port[1]
    yield Point(leaves, points[upper].y + sizes[upper].height / 2)
    yield Point(leaves, bands[upper][1] + TIP)
    for box in between:
        yield Point(points[box].x, bands[box][0])
        yield Point(points[box].x, bands[box][1])
    yield Point(meets, bands[lower][0] - TIP)
    yield Point(meets, points[lower].y - sizes[lower].height / 2)
