"""The picture as one SVG file: nothing is fetched, nothing runs, and it follows the reader's light or dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from kiff.cli.drawing.layout import Layout, Line, Point, Size, layout
from kiff.cli.drawing.picture import Act, Picture, State

MARGIN = 24
HEAD = 58  # the title
FOOT = 44  # the legend
TITLE, TEXT, SMALL = 15, 13, 11
LETTER = 0.61  # a letter's width, of its size: the fonts are monospaced, so this holds for all of them
ROW, LINE = 22, 15
LOOP = 36
DOT = Size(8, 8, 16)

_STYLE = """
    svg { --paper: #ffffff; --card: #f6f8fa; --ink: #1f2328; --faint: #59636e; --edge: #8c959f; --line: #d1d9e0;
      --low: #1a7f37; --medium: #bf8700; --high: #cf222e; }
    @media (prefers-color-scheme: dark) {
      svg { --paper: #0d1117; --card: #161b22; --ink: #e6edf3; --faint: #9198a1; --edge: #7d8590; --line: #3d444d;
        --low: #3fb950; --medium: #d29922; --high: #f85149; }
    }
    text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
      font-size: 13px; fill: var(--ink); white-space: pre; }
    .title { font-size: 15px; font-weight: 600; }
    .small { font-size: 11px; fill: var(--faint); }
    .label { font-size: 11px; paint-order: stroke; stroke: var(--paper); stroke-width: 6px; stroke-linejoin: round; }
    .mid { text-anchor: middle; }
    .end { text-anchor: end; }
    .paper { fill: var(--paper); }
    .card { fill: var(--card); stroke: var(--edge); stroke-width: 1.2; }
    .inner, .rule { fill: none; stroke: var(--edge); stroke-width: 1.2; }
    .rule { stroke: var(--line); }
    .lost { stroke-dasharray: 5 4; }
    .way { fill: none; stroke: var(--edge); stroke-width: 1.4; marker-end: url(#kiff-tip); }
    .tip, .start { fill: var(--edge); }
    .start { fill: var(--ink); }
    .low { fill: var(--low); } .medium { fill: var(--medium); } .high { fill: var(--high); }
"""


def svg(picture: Picture) -> str:
    """The picture as an SVG document."""
    boxes = {None: DOT} | {state.name: _room(state, _loops(picture, state)) for state in picture.states}
    number = {name: index for index, name in enumerate(boxes)}
    arrows = [arrow for arrow in picture.arrows if arrow.start != arrow.end]
    lines = [Line(number[arrow.start], number[arrow.end], _label_room(arrow.events)) for arrow in arrows]
    placed = layout(list(boxes.values()), lines)
    body = [*map(_way, placed.routes)]
    if any(arrow.start is None for arrow in arrows):
        body.append(f'<circle class="start" cx="{_n(placed.boxes[0].x)}" cy="{_n(placed.boxes[0].y)}" r="7"/>')
    for state, at in zip(picture.states, placed.boxes[1:], strict=True):
        body += [*_card(state, at), *_loop(_loops(picture, state), state, at)]
    for arrow, at in zip(arrows, placed.labels, strict=True):
        body += _texts(arrow.events, at.x, at.y, "label mid")
    return "\n".join([*_opening(picture, placed), *body, "</g>", *_legend(picture, placed), "</svg>", ""])


def _loops(picture: Picture, state: State) -> tuple[str, ...]:
    """The events that leave it where it is."""
    return next((arrow.events for arrow in picture.arrows if arrow.start == arrow.end == state.name), ())


def _room(state: State, loops: Sequence[str]) -> Size:
    half = _width(state) / 2
    beside = LOOP + _wide(loops, SMALL) if loops else 0
    return Size(half, half + beside, max(_height(state), LINE * len(loops) + 8))


def _label_room(events: Sequence[str]) -> Size:
    half = _wide(events, SMALL) / 2 + 4
    return Size(half, half, LINE * len(events) + 6)


def _width(state: State) -> float:
    rows = [_wide([f"{act.name}   {act.weight}"], TEXT) + 16 for act in state.acts]
    below = [_wide([line], SMALL) + 16 for act in state.acts for line in act.reports()]
    return max([96, _wide([state.name], TITLE), *rows, *below]) + 32


def _height(state: State) -> float:
    return 44 + (8 if state.acts else 0) + sum(map(_act_height, state.acts))


def _act_height(act: Act) -> float:
    return ROW + LINE * len(act.reports()) + 4


def _wide(lines: Sequence[str], size: int) -> float:
    return max(map(len, lines), default=0) * size * LETTER


def _opening(picture: Picture, placed: Layout) -> Iterator[str]:
    width = max(placed.width, _wide([_heading(picture)], TITLE), _wide([_key(picture)], SMALL) + 60) + 2 * MARGIN
    height = placed.height + HEAD + FOOT + MARGIN
    inset = (width - placed.width) / 2
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" '
        f'height="{_n(height)}" role="img" aria-labelledby="kiff-title kiff-desc">'
    )
    yield f'<title id="kiff-title">{_safe(_heading(picture))}: the state machine</title>'
    yield f'<desc id="kiff-desc">{_safe(_told(picture))}</desc>'
    yield f"<style>{_STYLE}</style>"
    yield (
        '<defs><marker id="kiff-tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        'orient="auto"><path class="tip" d="M0 0.8 L10 5 L0 9.2 z"/></marker></defs>'
    )
    yield f'<rect class="paper" width="{_n(width)}" height="{_n(height)}"/>'
    yield f'<text class="title" x="{MARGIN}" y="{MARGIN + 12}">{_safe(_heading(picture))}</text>'
    yield f'<g transform="translate({_n(inset)} {HEAD})">'


def _heading(picture: Picture) -> str:
    return " · ".join(filter(None, (picture.name, picture.entity)))


def _told(picture: Picture) -> str:
    """The machine in sentences, for those who do not see it."""
    ways = [
        f"{'At the beginning' if arrow.start is None else f'From {arrow.start}'}, {step.event} leads to {arrow.end}"
        f"{f' ({step.note})' if step.note else ''}."
        for arrow in picture.arrows
        for step in arrow.steps
    ]
    acts = [f"In {state.name}, {act.name} may start ({act.weight})." for state in picture.states for act in state.acts]
    return " ".join(ways + acts)


def _way(route: Sequence[Point]) -> str:
    steps = [f"M{_n(route[0].x)} {_n(route[0].y)}"]
    for index, (a, b) in enumerate(pairwise(route)):
        if a == b:
            continue
        middle = _n((a.y + b.y) / 2)
        bend = f"C{_n(a.x)} {middle} {_n(b.x)} {middle} {_n(b.x)} {_n(b.y)}"
        steps.append(bend if index % 2 and a.x != b.x else f"L{_n(b.x)} {_n(b.y)}")
    return f'<path class="way" d="{" ".join(steps)}"/>'


def _card(state: State, at: Point) -> Iterator[str]:
    width, height = _width(state), _height(state)
    left, top = at.x - width / 2, at.y - height / 2
    lost = "" if state.reached else " lost"
    yield _rect(f"card{lost}", left, top, width, height, 9)
    if state.final:
        yield _rect(f"inner{lost}", left + 4, top + 4, width - 8, height - 8, 6)
    yield f'<text class="title mid" x="{_n(at.x)}" y="{_n(top + 28)}">{_safe(state.name)}</text>'
    if state.acts:
        yield f'<path class="rule" d="M{_n(left + 12)} {_n(top + 42)} H{_n(left + width - 12)}"/>'
    row = top + 50
    for act in state.acts:
        yield from _act(act, left + 16, left + width - 16, row)
        row += _act_height(act)


def _rect(kind: str, x: float, y: float, width: float, height: float, round: int) -> str:
    place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
    return f'<rect class="{kind}" {place} rx="{round}"/>'


def _act(act: Act, left: float, right: float, top: float) -> Iterator[str]:
    yield f'<circle class="{act.risk}" cx="{_n(left + 4)}" cy="{_n(top + 8)}" r="4"/>'
    yield f'<text x="{_n(left + 16)}" y="{_n(top + 12)}">{_safe(act.name)}</text>'
    yield f'<text class="{act.risk} end" x="{_n(right)}" y="{_n(top + 12)}">{_safe(act.weight)}</text>'
    for index, line in enumerate(act.reports()):
        yield f'<text class="small" x="{_n(left + 16)}" y="{_n(top + 28 + LINE * index)}">{_safe(line)}</text>'


def _loop(events: Sequence[str], state: State, at: Point) -> list[str]:
    if not events:
        return []
    x = at.x + _width(state) / 2
    bend = f"M{_n(x)} {_n(at.y - 9)} C{_n(x + 36)} {_n(at.y - 22)} {_n(x + 36)} {_n(at.y + 22)} {_n(x)} {_n(at.y + 9)}"
    return [f'<path class="way" d="{bend}"/>', *_texts(events, x + LOOP - 4, at.y, "label")]


def _texts(lines: Sequence[str], x: float, y: float, kind: str) -> list[str]:
    """Lines of small text around a middle."""
    first = y - LINE * (len(lines) - 1) / 2 + 4
    return [
        f'<text class="{kind}" x="{_n(x)}" y="{_n(first + LINE * index)}">{_safe(line)}</text>'
        for index, line in enumerate(lines)
    ]


def _key(picture: Picture) -> str:
    parts = ["dot: the beginning", "double border: final"]
    parts += ["dashed: no events lead there"] if any(not state.reached for state in picture.states) else []
    return "   ".join(parts)


def _legend(picture: Picture, placed: Layout) -> Iterator[str]:
    y = HEAD + placed.height + FOOT
    yield f'<text class="small" x="{MARGIN}" y="{_n(y)}">{_key(picture)}</text>'


def _safe(text: str) -> str:
    return escape("".join(each if each.isprintable() else "�" for each in text))


def _n(value: float) -> str:
    """A number to a tenth, written one way only."""
    return f"{round(value, 1) + 0.0:g}" if abs(value) < 100_000 else f"{value:.0f}"
