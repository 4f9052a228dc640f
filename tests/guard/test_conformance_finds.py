"""The suite finds what is wrong with an adapter, by the invariant that says so, and nothing wrong with a good one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flawed_adapters import FLAWS, OnlySyncVote

from kiff_guard import admission, core, guard
from kiff_guard.arguments import freeze
from kiff_guard.conformance import NotConformant, Played, Scene, ToolCall, rows, run
from kiff_guard.conformance.invariants import awaiting, cancelling
from kiff_guard.conformance.plain import Loop, Middleware, Vote

ALL = [row.id for row in rows()]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes is not waited for long: here it is known that it does not."""
    for module in (awaiting, cancelling):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)


@pytest.mark.parametrize("good", [Middleware, Vote], ids=lambda good: good.__name__)
def test_a_good_adapter_passes_everything(good: type[Loop]) -> None:
    report = run(good()).check()
    assert [result for result in report.results if result.verdict != "passed"] == []
    assert [result.id for result in report.results] == ALL


@pytest.mark.slow
@pytest.mark.parametrize("flawed", FLAWS, ids=lambda flawed: flawed.__name__)
def test_a_flaw_is_found_by_its_invariants(flawed: type[Loop]) -> None:
    failures = run(flawed()).failures
    assert {failure.id for failure in failures} == FLAWS[flawed], sorted(failure.id for failure in failures)


def _arguments_not_copied(patch: Callable[[Any, str, Any], None]) -> None:
    """What the receipt keeps are the very objects that the tool gets."""
    patch(admission, "freeze", lambda args: freeze(args)._replace(args=args))
    patch(core.Core, "_redacted", lambda self, tool, args: args)


def _nothing_redacted(patch: Callable[[Any, str, Any], None]) -> None:
    patch(core.Core, "_redacted", lambda self, tool, args: args)


def _flush_does_nothing(patch: Callable[[Any, str, Any], None]) -> None:
    patch(guard.Guard, "flush", lambda self: None)


CORE_FLAWS = {_arguments_not_copied: "R2", _nothing_redacted: "R4", _flush_does_nothing: "R6"}


@pytest.mark.parametrize("flaw", CORE_FLAWS, ids=lambda flaw: flaw.__name__)
def test_a_flaw_of_the_core_is_found(flaw: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    flaw(monkeypatch.setattr)
    assert CORE_FLAWS[flaw] in {failure.id for failure in run(SharesItsArguments()).failures}


class SharesItsArguments(Middleware):
    """As good as any: a tool gets the model's own objects, and the guard has copies."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        tools = {name: _with(tool, call.args) for name, tool in scene.tools.items()}
        return super().say(replace(scene, tools=tools), call)


def _with(tool: Callable[..., Any], args: dict[str, Any]) -> Callable[..., Any]:
    return lambda **copied: tool(**args)


def test_control_sharing_arguments_is_no_flaw() -> None:
    run(SharesItsArguments()).check()


def test_every_invariant_finds_something() -> None:
    assert sorted(set(ALL) - set().union(*FLAWS.values()) - set(CORE_FLAWS.values())) == []


# What a driver may claim


class Claims(OnlySyncVote):
    """A driver that says of everything that it cannot have it."""

    lacks = dict.fromkeys(ALL, "we cannot")


def test_claiming_to_lack_everything_fails() -> None:
    report = run(Claims())
    assert {failure.id for failure in report.failures} == {row.id for row in rows() if row.mandatory}
    with pytest.raises(NotConformant, match="E1: no driver may lack it"):
        report.check()


def test_a_lack_needs_a_reason() -> None:
    driver = Vote()
    driver.lacks = {"I1": " "}
    assert [failure.id for failure in run(driver, only=["I1"]).failures] == ["I1"]
    driver.lacks = {"I1": "it gives no call ids"}
    report = run(driver, only=["I1"]).check()
    assert (report.verdict("I1"), report.results[0].why) == ("lacks", "it gives no call ids")


def test_an_invariant_that_does_not_exist_is_no_excuse() -> None:
    driver = Vote()
    driver.lacks = {"Z9": "we cannot"}
    assert [failure.id for failure in run(driver, only=["E1"]).failures] == ["Z9"]


def test_a_driver_that_plays_nothing_fails() -> None:
    class Idle(OnlySyncVote):
        def play(self, scene: Scene) -> Played:
            return Played()

    failures = {failure.id for failure in run(Idle()).failures}
    assert {row.id for row in rows() if row.mandatory} - failures <= {"O1", "E9", "X3", "K4"}
    assert {"O2", "E1", "E2", "E4", "E5", "E8", "R1", "H1", "H2"} <= failures


def test_a_driver_that_breaks_fails() -> None:
    class Broken(OnlySyncVote):
        stacks = True

        def play(self, scene: Scene) -> Played:
            raise RuntimeError("no such agent")

    report = run(Broken())
    assert len(report.failures) == sum(not row.asynchronous for row in rows())
    assert "no such agent" in report.failures[0].why


def test_a_report_of_nothing_is_no_pass() -> None:
    with pytest.raises(NotConformant, match="nothing was checked"):
        run(Vote(), only=["E1"]).__class__("empty", "", ()).check()
