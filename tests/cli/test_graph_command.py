"""`kiff graph`: the machine as text, DOT and SVG, the same each time, with nothing on top of anything else."""

from __future__ import annotations

import io
import re
import sys
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaffold_cases import documents

import kiff as package
from kiff import Domain, Transition, load
from kiff.cli.drawing import dot, picture, plain, svg
from kiff.cli.drawing.layout import Layout, Line, Size, layout
from kiff.cli.exits import Exit

pytestmark = pytest.mark.slow

TESTS = Path(__file__).resolve().parents[1]
REFUND_OPS = Path(package.__file__).parent / "templates" / "refund-ops" / "kiff.yaml"
DRAFTS = ["stage1", "stage2", "stage3", "stage4", "guard_draft"]


@pytest.fixture
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with nothing but a kiff.yaml, which is the current one."""
    here = folder / "project"
    here.mkdir()
    (here / "kiff.yaml").write_bytes(REFUND_OPS.read_bytes())
    monkeypatch.chdir(here)
    return here


def refund_ops() -> Domain:
    return load(REFUND_OPS.read_text())


@pytest.mark.parametrize(
    ("name", "text", "code"), [("nowhere.yaml", None, "invalid"), ("wrong.yaml", "states: [A, A]", "invalid_domain")]
)
def test_what_cannot_be_read_is_refused(name: str, text: str | None, code: str, kiff: Any, folder: Path) -> None:
    if text is not None:
        (folder / name).write_text(text)
    ran = kiff("graph", name)
    assert (ran.code, ran.out) == (Exit.FAILED, "")
    assert f"[{code}]" in ran.err


def test_a_file_that_cannot_be_written_is_said(kiff: Any, project: Path) -> None:
    ran = kiff("graph", "--to", "nowhere/x.svg")
    assert (ran.code, ran.out) == (Exit.FAILED, "")
    assert ran.err.startswith("error: `nowhere/x.svg` cannot be written: No such file or directory   [invalid]\n")


def test_another_format_is_a_wrong_command_line(kiff: Any, project: Path) -> None:
    assert kiff("graph", "--format", "png").code == Exit.USAGE


@pytest.mark.parametrize("name", DRAFTS)
def test_a_draft_is_drawn_as_far_as_it_goes(name: str) -> None:
    drawn = picture(load((TESTS / "domain" / "documents" / f"{name}.yaml").read_text()))
    assert plain(drawn).startswith(drawn.name)
    assert dot(drawn).endswith("}\n")
    ElementTree.fromstring(svg(drawn))


def test_the_text_shows_which_transition_an_action_causes(kiff: Any, project: Path) -> None:
    ran = kiff("graph")
    assert ran.code == Exit.DONE
    assert (
        ran.out
        == """\
refund-ops-v2 · Order

● the beginning
  └─ ORDER_PLACED  → CREATED

○ CREATED
  ▸ MARK_PAID  low  ORDER_PAID → PAID
  └─ ORDER_PAID  → PAID

○ PAID
  ▸ AUTO_REFUND   medium           ORDER_REFUNDED → REFUNDED
  ▸ REFUND_ORDER  high · approval  ORDER_REFUNDED → REFUNDED
  └─ ORDER_REFUNDED  → REFUNDED

◎ REFUNDED  (final)
"""
    )


def test_a_stream_without_these_signs_gets_others(kiff: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert package.cli.run(["graph"]) == Exit.DONE
    stream.flush()
    told = stream.buffer.getvalue().decode()
    assert "`- ORDER_PLACED  -> CREATED" in told
    assert "\\u" not in told


def test_failures_and_events_that_lead_nowhere_are_told() -> None:
    text = REFUND_OPS.read_text().replace("emits: [ORDER_PAID]", "emits: {success: [], failure: [ORDER_REFUNDED]}")
    assert "MARK_PAID  low  on failure ORDER_REFUNDED leads nowhere from here" in plain(picture(load(text)))


def test_dot_says_the_same_in_quotes() -> None:
    told = dot(picture(refund_ops()))
    assert '  "CREATED" -> "PAID" [label="ORDER_PAID"];' in told
    assert '  "REFUNDED" [label="REFUNDED", peripheries=2];' in told
    assert '  "the beginning" -> "CREATED" [label="ORDER_PLACED"];' in told
    assert "REFUND_ORDER  high · approval\\l    ORDER_REFUNDED → REFUNDED\\l" in told


def test_names_that_dot_knows_are_names_of_states() -> None:
    machine = Domain(
        name="x",
        entity="X",
        events=["node"],
        states=["graph", "digraph"],
        transitions=[Transition(on="node", to="graph"), Transition(on="node", from_="graph", to="digraph")],
    )
    assert '"graph" -> "digraph" [label="node"];' in dot(picture(machine))


def test_the_ending_of_the_file_says_what_is_drawn(kiff: Any, project: Path) -> None:
    ran = kiff("graph", "--to", "machine.svg")
    assert (ran.code, ran.out, ran.err) == (Exit.DONE, "", "wrote machine.svg\n")
    first = (project / "machine.svg").read_bytes()
    assert kiff("graph", "--to", "machine.svg").code == Exit.DONE
    assert (project / "machine.svg").read_bytes() == first
    assert kiff("graph", "--format", "svg").out.encode() == first
    kiff("graph", "--to", "machine.svg", "--format", "dot")
    assert (project / "machine.svg").read_text().startswith("digraph")


def test_the_svg_stands_alone_and_can_be_read_aloud() -> None:
    told = svg(picture(refund_ops()))
    root = ElementTree.fromstring(told)
    space = {"s": "http://www.w3.org/2000/svg"}
    assert root.findtext("s:title", namespaces=space) == "refund-ops-v2 · Order: the state machine"
    assert "From CREATED, ORDER_PAID leads to PAID." in str(root.findtext("s:desc", namespaces=space))
    assert "prefers-color-scheme: dark" in told
    assert re.findall(r"<script|href|@import|url\((?!#)|https?://(?!www\.w3\.org/2000/svg)", told) == []


@given(text=documents())
def test_every_state_and_event_of_any_domain_is_in_every_drawing(text: str) -> None:
    domain = load(text)
    drawn = picture(domain)
    pictured = svg(drawn)
    shown = [
        "".join(node.itertext()) for node in ElementTree.fromstring(pictured).iter("{http://www.w3.org/2000/svg}text")
    ]
    for (start, event), ways in domain.transitions.items():
        for way in ways:
            assert {event, way.to} | ({start} if start else set()) <= set(shown)
            assert f'-> "{way.to}"' in dot(drawn)
            assert event in plain(drawn)
    assert pictured == svg(picture(load(text)))


@st.composite
def machines(draw: st.DrawFn) -> tuple[list[Size], list[Line]]:
    count = draw(st.integers(1, 12))
    sizes = [
        Size(draw(st.integers(8, 140)), draw(st.integers(8, 200)), draw(st.integers(16, 150))) for _ in range(count)
    ]
    ends = st.tuples(st.integers(0, count - 1), st.integers(1, max(1, count - 1))).filter(lambda e: e[0] != e[1])
    lines = draw(st.lists(ends, max_size=30, unique=True)) if count > 1 else []
    return sizes, [Line(a, b, Size(40, 40, draw(st.sampled_from([21, 36])))) for a, b in lines]


@given(machine=machines())
def test_no_box_and_no_label_lies_on_another_or_outside(machine: tuple[list[Size], list[Line]]) -> None:
    sizes, lines = machine
    placed = layout(sizes, lines)
    assert overlapping(placed, sizes, lines) == []
    for x, _, right, bottom in boxes_of(placed, sizes, lines):
        assert x >= -0.01
        assert right <= placed.width + 0.01
        assert bottom <= placed.height + 0.01


@given(machine=machines())
def test_no_line_crosses_a_box(machine: tuple[list[Size], list[Line]]) -> None:
    """Straight parts are vertical and end where boxes begin; bends are between the layers, where no boxes are."""
    sizes, lines = machine
    placed = layout(sizes, lines)
    boxes = boxes_of(placed, sizes, [])
    for line, route in zip(lines, placed.routes, strict=True):
        ends = (line.start, line.end)
        for (x, y), (to_x, to_y) in pairwise(route):
            top, bottom = sorted((y, to_y))
            left, right = sorted((x, to_x))
            inside = [
                index
                for index, (a, b, c, d) in enumerate(boxes)
                if index not in ends and left < c - 0.1 and right > a + 0.1 and top < d - 0.1 and bottom > b + 0.1
            ]
            assert inside == []


def test_control_boxes_that_overlap_are_found() -> None:
    sizes = [Size(10, 10, 20), Size(10, 10, 20)]
    placed = layout(sizes, [])
    assert overlapping(placed._replace(boxes=[placed.boxes[0]] * 2), sizes, [])


Box = tuple[float, float, float, float]


def boxes_of(placed: Layout, sizes: list[Size], lines: list[Line]) -> list[Box]:
    middles = [*zip(placed.boxes, sizes, strict=True)]
    middles += zip(placed.labels[: len(lines)], (line.label for line in lines), strict=True)
    return [(p.x - s.left, p.y - s.height / 2, p.x + s.right, p.y + s.height / 2) for p, s in middles]


def overlapping(placed: Layout, sizes: list[Size], lines: list[Line]) -> list[tuple[Box, Box]]:
    return [
        (one, other)
        for one, other in combinations(boxes_of(placed, sizes, lines), 2)
        if min(one[2], other[2]) - max(one[0], other[0]) > 0.01 and min(one[3], other[3]) - max(one[1], other[1]) > 0.01
    ]
