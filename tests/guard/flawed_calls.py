"""Adapters that are wrong about one call: in observe, in enforce, in receipts, in errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from flawed_loops import Eager, OnlySync, OnlySyncVote, found_by

from kiff_guard.conformance import Played, Scene, ToolCall
from kiff_guard.conformance.plain import body, status, text
from kiff_guard.conformance.world import said
from kiff_guard.decision import Decision, Hold

# ruff: noqa: BLE001  # loops like these tell their model whatever a tool raises

# O


@found_by("O1")
class AsksInObserve(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        if scene.guard.mode == "observe" and scene.guard.client is not None:
            scene.guard.client.decide("", "", call.tool, call.args)
        return super().say(scene, call)


@found_by("O2")
class StopsForItsLedger(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        if scene.guard.mode == "observe":
            getattr(scene.guard.ledger, "open", lambda receipt: None)(None)
        return super().say(scene, call)


@found_by("O3", "O6")
class ForgetsWhatRaises(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        if scene.guard.mode == "enforce":
            return super().say(scene, call)
        try:
            result = text(body(scene, call))
        except Exception:
            return "something went wrong"
        return scene.guard.evaluate(call.tool, call.args, lambda: result)


@found_by("O4")
class LearnsItsOwnNames(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        if scene.guard.mode == "enforce":
            return super().say(scene, call)
        try:
            return scene.guard.evaluate(call.tool, {"kwargs": call.args}, lambda: text(body(scene, call)))
        except Exception as error:
            return f"error: {error}"


@found_by("O5")
class NeedsAClient(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        return super().say(scene, call) if scene.guard.client else "no client"


@found_by("O2", "O6")
class ChangesResults(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        told = super().say(scene, call)
        return "done" if scene.guard.mode == "observe" else told


@found_by("O3", "O7")
class ClaimsToGovern(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        if scene.guard.mode == "enforce":
            return super().say(scene, call)
        scene.guard.catalog.record("", call.tool, call.args) if "Broken" not in repr(
            type(scene.guard.catalog)
        ) else None
        try:
            told = text(body(scene, call))
        except Exception as error:
            told = f"error: {error}"
        scene.guard.record_executed(call.tool, call.args, Decision("allowed"), result=told)
        return told


# E


@found_by(
    *[
        "E1",
        "E6",
        "E7",
        "R1",
        "R2",
        "R3",
        "R4",
        "R5",
        "R6",
        "R7",
        "X1",
        "X2",
        "X3",
        "X4",
        "C1",
        "C2",
        "C4",
        "K3",
        "K4",
        "S1",
        "S3",
        "I1",
        "I2",
        "I3",
        "I5",
        "H2",
    ]
)
class WritesTwice(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        told = super().say(scene, call)
        if scene.guard.mode == "enforce" and isinstance(told, str) and "withheld" not in told:
            scene.guard.record_executed(call.tool, call.args, Decision("allowed"), result=told)
        return told


@found_by("E2", "E5", "H7")
class GivesNoReason(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        told = super().say(scene, call)
        return "the tool is not available" if isinstance(told, str) and "withheld" in told else told


@found_by("E3")
class LeavesOutRoles(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        plain = {name: value for name, value in call.args.items() if name != "roles"}
        return super().say(scene, ToolCall(call.tool, plain, call.call_id))


class Lenient(OnlySyncVote):
    """Runs some of what was withheld."""

    def lets(self, decision: Decision) -> bool:
        raise NotImplementedError

    def say(self, scene: Scene, call: ToolCall) -> Any:
        try:
            decision = scene.guard.decide_only(call.tool, call.args, call_id=call.call_id, session=scene.session)
        except Exception as error:
            return f"withheld: {error}"
        if decision.withheld and not self.lets(decision):
            return decision if decision.needs_approval else decision.explain()
        try:
            result = text(body(scene, call))
        except Exception as error:
            scene.guard.settle(decision, error=error)
            return f"error: {error}"
        scene.guard.settle(decision, result=result, status=status(result))
        return result


@found_by("E4", "E5", "E9", "I5")
class RunsOnWhatItDoesNotKnow(Lenient):
    def lets(self, decision: Decision) -> bool:
        return decision.outcome not in ("blocked", "invalid", "limit_exceeded", "approval_required")


@found_by("E5")
class RunsWhenKiffIsDown(Lenient):
    def lets(self, decision: Decision) -> bool:
        return "OSError" in decision.reasons


@found_by("E6")
class NeverFailsOpen(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        try:
            result = scene.guard.evaluate(
                call.tool,
                call.args,
                lambda: body(scene, call),
                call_id=call.call_id,
                session=scene.session,
                failed=lambda result: isinstance(result, dict) and result.get("is_error"),
                fail_closed=True,
            )
            return text(result)
        except Hold as hold:
            return hold.decision if hold.decision.needs_approval else str(hold)
        except Exception as error:
            return f"error: {error}"


@found_by("E7", "E12")
class RunsWithoutABinding(Lenient):
    def lets(self, decision: Decision) -> bool:
        return "unmapped" in decision.reasons


@found_by("E8")
class BeginsEarly(OnlySync):
    """The body of a refund begins, and only then is KIFF asked whether it may go on."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        script = getattr(scene.guard.client, "outcomes", "")
        if (call.tool, scene.guard.mode, script, scene.session) != ("refund", "enforce", "allowed", "session-1"):
            return super().say(scene, call)
        try:
            result = body(scene, call)
        except Exception as error:
            return f"error: {error}"
        return super().say(
            Scene(scene.guard, {"refund": lambda **args: result}, scene.turns, None, scene.session), call
        )


@found_by("E9")
class RunsWhenTheGuardBreaks(OnlySyncVote):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        try:
            scene.guard.decide_only  # noqa: B018
            if type(scene.guard).__name__ == "BrokenGuard":
                scene.guard.decide_only(call.tool, call.args)
        except Exception:
            return text(body(scene, call))
        return super().say(scene, call)


@found_by("E10")
class AsksTheLastAlone(OnlySync):
    """A guard that is attached takes the place of the one before."""

    stacks = True

    def say(self, scene: Scene, call: ToolCall) -> Any:
        return super().say(replace(scene, guard=scene.guards[-1], also=()), call)


@found_by("E10")
class TakesANoForAResult(OnlySync):
    """What a guard nearer to the tool tells the model is the tool's result, it thinks."""

    stacks = True

    def say(self, scene: Scene, call: ToolCall) -> Any:
        if not scene.also or scene.guard in scene.also:
            return super().say(replace(scene, also=()), call)
        inner = replace(scene, guard=scene.also[0], also=())
        try:
            return scene.guard.evaluate(call.tool, call.args, partial(super().say, inner, call))
        except Hold as hold:
            return str(hold)


@found_by("E11")
class AsksTwice(OnlySync):
    """A guard that is attached twice stands twice in the way of a call."""

    stacks = True

    def say(self, scene: Scene, call: ToolCall) -> Any:
        if not scene.also:
            return super().say(scene, call)
        run = partial(body, scene, call)
        for guard in reversed(scene.guards):
            run = partial(guard.evaluate, call.tool, call.args, run)
        try:
            return text(run())
        except Hold as hold:
            return str(hold)


@found_by("E12")
class GoesByTheFunction(OnlySync):
    """A tool is asked about by the name of its function."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        tool = scene.tools.get(call.tool)
        name = getattr(tool, "__name__", call.tool)
        return super().say(replace(scene, tools={name: tool}), replace(call, tool=name)) if tool else ""


# R


@found_by("R7")
class DecidesOnNothingForNoAmount(OnlySync):
    """Of what the model left out it asks as of 0."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        if call.tool != "pay" or "amount" in call.args:
            return super().say(scene, call)
        run = partial(body, scene, call)
        return text(scene.guard.evaluate(call.tool, {**call.args, "amount": 0.0}, run, call_id=call.call_id))


@found_by("R3")
class DecidesOnLess(OnlySync):
    """It decides on an amount without cents, and the cents are paid too."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        if call.args.get("amount") != 5.0 or scene.session != "session-1" or call.call_id != "call-1":
            return super().say(scene, call)
        args = {**call.args, "amount": 4.0}
        return scene.guard.evaluate(call.tool, args, lambda: text(body(scene, call)), call_id=call.call_id)


@found_by("R5")
class SettlesBackwards(OnlySyncVote):
    """It settles all calls at the end of the run, the last one first."""

    def play(self, scene: Scene) -> Played:
        if len(scene.turns) < 4:
            return super().play(scene)
        later: list[Callable[[], Any]] = []
        guard = _Deferred(scene.guard, later)
        played = super().play(Scene(guard, scene.tools, scene.turns, scene.cancel, scene.session))
        for settle in reversed(later):
            settle()
        return played


class _Deferred:
    """A guard whose settling waits."""

    def __init__(self, guard: Any, later: list[Callable[[], Any]]) -> None:
        self._guard, self._later = guard, later

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guard, name)

    def settle(self, which: Any, **how: Any) -> None:
        self._later.append(lambda: self._guard.settle(which, **how))


# X


@found_by("O3", "X1", "X3", "K3", "K4", "S3", "I3")
class HidesErrors(OnlySync):
    """The guard never sees what a tool raises."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        def run() -> str:
            try:
                return text(body(scene, call))
            except Exception as error:
                return f"oh: {error}"

        about: Any = {
            "call_id": call.call_id,
            "session": scene.session,
            "failed": lambda told: told.startswith("error:"),
        }
        try:
            return scene.guard.evaluate(call.tool, call.args, run, **about)
        except Hold as hold:
            return hold.decision if hold.decision.needs_approval else str(hold)
        except Exception as error:
            return f"error: {error}"


@found_by("X2")
class BelievesErrorResults(OnlySyncVote):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        tools = {name: _friendly(tool) if name == "error_tool" else tool for name, tool in scene.tools.items()}
        return super().say(Scene(scene.guard, tools, scene.turns, None, scene.session), call)


def _friendly(tool: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **args: str(tool(**args))


@found_by("O3", "X1", "X2", "X3", "K3", "K4", "S3", "I3")
class RecordsAtTheVote(OnlySyncVote):
    """What was allowed has succeeded, it thinks."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        guard = Eager(scene.guard)
        return super().say(Scene(guard, scene.tools, scene.turns, scene.cancel, scene.session), call)


@found_by("X4")
class MakesItASuccess(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        told = super().say(scene, call)
        if isinstance(told, str) and "withheld" in told and len(scene.turns[0]) > 1:
            return said(call.tool, next(iter(call.args.values())))
        return told
