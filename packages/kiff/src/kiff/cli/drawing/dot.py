"""The picture for Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from kiff.cli.drawing.picture import Act, Arrow, Picture, State, Step

_NOTE = 60  # characters of a guard that a label shows
_BEGINNING = "the beginning"  # no state is called this: names have no spaces


def dot(picture: Picture) -> str:
    """The picture in the DOT language."""
    lines = [
        f"digraph {_quoted(picture.name)} {{",
        f"  label={_quoted(f'{picture.name} · {picture.entity}')};",
        "  rankdir=TB;",
        '  node [shape=box, style=rounded, fontname="monospace"];',
        '  edge [fontname="monospace"];',
        *_nodes(picture),
        *map(_edge, picture.arrows),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _nodes(picture: Picture) -> Iterator[str]:
    if any(arrow.start is None for arrow in picture.arrows):
        yield f'  {_quoted(_BEGINNING)} [shape=circle, style=filled, fillcolor=black, label="", width=0.2];'
    for state in picture.states:
        yield f"  {_quoted(state.name)} [{_attributes(state)}];"


def _attributes(state: State) -> str:
    lines = [state.name, *(line for act in state.acts for line in _act(act))]
    label = _quoted(state.name) if len(lines) == 1 else '"' + "".join(f"{_escaped(line)}\\l" for line in lines) + '"'
    border = ", peripheries=2" if state.final else ""
    return f"label={label}{border}" + ("" if state.reached else ', style="rounded,dashed"')


def _act(act: Act) -> Iterator[str]:
    yield f"  {act.name}  {act.weight}"
    yield from (f"    {line}" for line in act.reports())


def _edge(arrow: Arrow) -> str:
    start = _quoted(_BEGINNING if arrow.start is None else arrow.start)
    label = "\\n".join(_escaped(_shortened(step)) for step in arrow.steps)
    return f'  {start} -> {_quoted(arrow.end)} [label="{label}"];'


def _shortened(step: Step) -> str:
    note = f"{step.note[:_NOTE]}…" if len(step.note) > _NOTE else step.note
    return f"{step.event} [{note}]" if note else step.event


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
