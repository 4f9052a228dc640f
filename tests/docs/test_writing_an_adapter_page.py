"""docs/guides/writing-an-adapter.md: its adapter is run through the suite, and its tables name what there is."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from kiff_guard.conformance import Driver, NotConformant, Played, rows, run

sys.path.append(str(Path(__file__).parents[1] / "frameworks"))  # `run_page`

from pages import GUIDES, run_page

PAGE = GUIDES / "writing-an-adapter.md"
TEXT = PAGE.read_text("utf-8")
ALWAYS = {"name", "play"}


@pytest.fixture(scope="module")
def page() -> dict[str, object]:
    return run_page(PAGE)


def test_the_adapter_of_the_page_passes(page: dict[str, object]) -> None:
    report = page["report"]
    passed = {result.id for result in report.results if result.verdict == "passed"}  # type: ignore[attr-defined]
    assert {row.id for row in rows() if row.mandatory} <= passed
    assert report.verdict("X2") == "lacks"  # type: ignore[attr-defined]


def test_control_without_the_hook_it_fails(page: dict[str, object]) -> None:
    loops, agent = page["Loops"], page["Agent"]

    class Unguarded(loops):  # type: ignore[misc, valid-type]
        def play(self, scene):  # type: ignore[no-untyped-def]
            return Played(told=agent(scene.tools).run(scene.turns, scene.session))  # type: ignore[operator]

    with pytest.raises(NotConformant, match="E2: "):
        run(Unguarded(), only=["E1", "E2"]).check()


def test_the_page_names_every_part_of_what_is_played() -> None:
    assert [field.name for field in fields(Played) if f"| `{field.name}` |" not in TEXT] == []


def test_the_page_names_everything_that_a_driver_may_have() -> None:
    documented = set(re.findall(r"^`(?:async )?(\w+)", inspect.getdoc(Driver) or "", re.MULTILINE))
    members = {name for name in vars(Driver) if not name.startswith("_")}
    unnamed = {name for name in documented | members if f"`{name}" not in TEXT and f" {name}(" not in TEXT}
    assert unnamed - ALWAYS == set()


def test_the_page_names_invariants_that_there_are() -> None:
    named = set(re.findall(r"\b([OERXCAKSIH]\d)\b", TEXT))
    assert named and named <= {row.id for row in rows()}
