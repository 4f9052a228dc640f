"""The picture for a terminal: the states from top to bottom, each with its ways out and its actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from kiff.cli.drawing.picture import Arrow, Picture, State


class Glyphs(NamedTuple):
    """The signs of the drawing."""

    beginning: str
    state: str
    final: str
    way: str
    last: str
    to: str
    act: str
    dot: str


GLYPHS = Glyphs("●", "○", "◎", "├─", "└─", "→", "▸", "·")
ASCII = Glyphs("*", "o", "@", "|-", "`-", "->", ">", "/")
_ROLES = {"low": "ok", "medium": "held", "high": "wrong"}

Paint = Callable[[str, str], str]


def plain(picture: Picture, glyphs: Glyphs = GLYPHS, paint: Paint = lambda text, role: text) -> str:
    """The picture as lines of text.

    Args:
        glyphs: `ASCII` for a stream that has no others.
        paint: puts a text into the colour of a role.
    """
    starts = [arrow for arrow in picture.arrows if arrow.start is None]
    sections = [[f" {glyphs.dot} ".join(filter(None, (picture.name, picture.entity)))]]
    sections += [[f"{glyphs.beginning} the beginning", *_ways(starts, glyphs)]] if starts else []
    for state in picture.states:
        ways = [arrow for arrow in picture.arrows if arrow.start == state.name]
        sections.append([*_state(state, glyphs, paint), *_ways(ways, glyphs)])
    if not picture.states:
        sections.append(["there are no states yet"])
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _state(state: State, glyphs: Glyphs, paint: Paint) -> Iterator[str]:
    notes = ["final"] if state.final else []
    notes += [] if state.reached else ["no events lead here"]
    note = f"  ({', '.join(notes)})" if notes else ""
    yield f"{glyphs.final if state.final else glyphs.state} {state.name}{note}"
    longest = max((len(act.name) for act in state.acts), default=0)
    weightiest = max((len(act.weight) for act in state.acts), default=0)
    for act in state.acts:
        first, *further = act.reports(glyphs.to)
        weight = act.weight.replace("·", glyphs.dot)
        shown = paint(weight, _ROLES[act.risk]) + " " * (weightiest - len(weight))
        yield f"  {glyphs.act} {act.name:<{longest}}  {shown}  {first}"
        for line in further:
            yield f"    {'':<{longest}}  {'':<{weightiest}}  {line}"


def _ways(arrows: list[Arrow], glyphs: Glyphs) -> Iterator[str]:
    ways = [(step, "stays" if a.end == a.start else f"{glyphs.to} {a.end}") for a in arrows for step in a.steps]
    longest = max((len(step.event) for step, _ in ways), default=0)
    farthest = max((len(end) for _, end in ways), default=0)
    for index, (step, end) in enumerate(ways):
        line = glyphs.last if index == len(ways) - 1 else glyphs.way
        yield f"  {line} {step.event:<{longest}}  {end:<{farthest}}  {step.note}".rstrip()
