"""Adapters that are wrong in one way each, and the invariants that find them.

`FLAWS` maps each class to the ids that must fail, no more and no fewer: a flaw that fails everything would hide what
an invariant is good for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from kiff_guard.conformance import Played, Scene, ToolCall
from kiff_guard.conformance.plain import Middleware, Run, Vote, atext, body, status, text
from kiff_guard.conformance.world import chunks, said
from kiff_guard.decision import Decision, Hold

FLAWS: dict[type, frozenset[str]] = {}


def found_by(*ids: str) -> Callable[[type], type]:
    def add(flawed: type) -> type:
        FLAWS[flawed] = frozenset(ids)
        return flawed

    return add


class OnlySync(Middleware):
    """Most flaws are seen without an event loop."""

    aplay: Any = None


class OnlySyncVote(Vote):
    aplay: Any = None


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
        "H2",
    ]
)
class WritesTwice(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        told = super().say(scene, call)
        if scene.guard.mode == "enforce" and isinstance(told, str) and "withheld" not in told:
            scene.guard.record_executed(call.tool, call.args, Decision("allowed"), result=told)
        return told


@found_by("E2", "H7")
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


@found_by("E4", "E5", "E9")
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


@found_by("E7")
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


# R


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
        guard = _Eager(scene.guard)
        return super().say(Scene(guard, scene.tools, scene.turns, scene.cancel, scene.session), call)


class _Eager:
    def __init__(self, guard: Any) -> None:
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guard, name)

    def decide_only(self, *args: Any, **options: Any) -> Decision:
        decision: Decision = self._guard.decide_only(*args, **options)
        if not decision.withheld:
            self._guard.settle(decision, result=call_result(args[1]))
        return decision


def call_result(args: Any) -> str:
    return f"voted {args}"


@found_by("X4")
class MakesItASuccess(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        told = super().say(scene, call)
        if isinstance(told, str) and "withheld" in told and len(scene.turns[0]) > 1:
            return said(call.tool, next(iter(call.args.values())))
        return told


# C


@found_by("C1")
class SwapsResults(OnlySync):
    def play(self, scene: Scene) -> Played:
        played = super().play(scene)
        return Played(played.told[::-1], played.raised, played.paused, played.resume)


@found_by("C2")
class JoinsTwins(OnlySync):
    """Two calls of one turn with the same arguments are one, it thinks."""

    def play(self, scene: Scene) -> Played:
        turns = [list({str((each.tool, each.args)): each for each in turn}.values()) for turn in scene.turns]
        return super().play(Scene(scene.guard, scene.tools, turns, scene.cancel, scene.session))


@found_by("C3")
class CountsTwice(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        if "Broken" not in type(scene.guard.catalog).__name__:
            scene.guard.catalog.record("", call.tool, call.args)
        return super().say(scene, call)


@found_by("C4")
class OneRunAtATime(OnlySync):
    """It keeps the calls of a run in the guard's name, and a second run meets those of the first."""

    def play(self, scene: Scene) -> Played:
        if scene.session not in ("session-1", "conversation-1", "session-0"):
            return Played(["busy"])
        return super().play(scene)


# A


@found_by("O3", "X1", "X2", "X3", "A1", "K1", "K3", "K4", "S2", "S3", "I3")
class SettlesBeforeTheAwait(Vote):
    play: Any = None

    async def asay(self, scene: Scene, call: ToolCall) -> Any:
        guard = _AEager(scene.guard)
        return await super().asay(Scene(guard, scene.tools, scene.turns, scene.cancel, scene.session), call)


class _AEager(_Eager):
    async def adecide_only(self, *args: Any, **options: Any) -> Decision:
        decision: Decision = await self._guard.adecide_only(*args, **options)
        if not decision.withheld:
            await self._guard.asettle(decision, result=call_result(args[1]))
        return decision


@found_by("A2", "K2")
class StopsTheLoop(Vote):
    play: Any = None

    async def asay(self, scene: Scene, call: ToolCall) -> Any:
        return await super().asay(Scene(_Blocking(scene.guard), scene.tools, scene.turns, None, scene.session), call)


class _Blocking:
    def __init__(self, guard: Any) -> None:
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guard, name)

    async def adecide_only(self, *args: Any, **options: Any) -> Any:
        return self._guard.decide_only(*args, **options)


@found_by("A4")
class SkipsCoroutines(OnlySync):
    """Its hook is synchronous, and a tool that is not is run without it."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        tool = scene.tools.get(call.tool)
        if inspect.iscoroutinefunction(tool):
            return text(body(scene, call))
        return super().say(scene, call)


@found_by("A3")
class GuardsCoroutinesOnly(Middleware):
    play: Any = None

    async def asay(self, scene: Scene, call: ToolCall) -> Any:
        plain = call.tool == "delete_account" and getattr(scene.guard.client, "outcomes", "") == {
            "delete_account": "blocked"
        }
        if plain and [len(turn) for turn in scene.turns] == [1, 1]:
            return await atext(body(scene, call))
        return await super().asay(scene, call)


# K


@found_by("K1", "S2")
class NeverTellsOfCancelling(Vote):
    play: Any = None

    async def asay(self, scene: Scene, call: ToolCall) -> Any:
        guard = _NoErrors(scene.guard)
        return await super().asay(Scene(guard, scene.tools, scene.turns, scene.cancel, scene.session), call)


class _NoErrors:
    def __init__(self, guard: Any) -> None:
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guard, name)

    def settle(self, which: Any, *, error: Any = None, **how: Any) -> None:
        pass


@found_by("K2")
class RunsThoughCancelled(Vote):
    play: Any = None

    async def asay(self, scene: Scene, call: ToolCall) -> Any:
        try:
            return await super().asay(scene, call)
        except asyncio.CancelledError:
            if call.tool == "refund":
                await atext(body(scene, call))
            raise


@found_by("K3")
class BelievesInFallenSiblings(OnlySyncVote):
    """When one call of a turn fails the others are not run, and are told as if they were."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        tools = dict(scene.tools)
        if call.tool == "refund" and "explode" in tools and len(scene.turns[0]) == 2:
            tools["refund"] = lambda **args: "done"
        return super().say(Scene(scene.guard, tools, scene.turns, scene.cancel, scene.session), call)


# S


@found_by("S3")
class BelievesBrokenStreams(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        tools = dict(scene.tools)
        if call.tool == "break_off":
            tools["break_off"] = lambda order_id: _softly(scene.tools["break_off"](order_id))
        return super().say(Scene(scene.guard, tools, scene.turns, scene.cancel, scene.session), call)


def _softly(pieces: Any) -> Any:
    try:
        yield from pieces
    except Exception as error:
        yield str(error)


@found_by("S4")
class MixesPieces(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        told = super().say(scene, call)
        return "".join(reversed(chunks("o-1"))) if call.tool == "count_up" else told


@found_by("S1", "S3")
class LosesStreams(OnlySyncVote):
    """What is no plain value is never settled."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        if not inspect.isgeneratorfunction(scene.tools.get(call.tool)):
            return super().say(scene, call)
        guard = _NoErrors(scene.guard)
        return super().say(Scene(guard, scene.tools, scene.turns, scene.cancel, scene.session), call)


# I


@found_by("I1", "I3", "I4")
class DropsCallIds(OnlySync):
    def say(self, scene: Scene, call: ToolCall) -> Any:
        return super().say(scene, ToolCall(call.tool, call.args, ""))


@found_by("I2")
class RunsTheTurnAgain(OnlySync):
    """Resuming begins the turn anew, with new ids."""

    def _resumed(self, run: Run, yes: bool) -> Played:
        if yes and len(run.scene.turns[0]) > 1:
            again = [ToolCall(each.tool, each.args, f"{each.call_id}-2") for each in run.scene.turns[0]]
            return self.play(Scene(run.scene.guard, run.scene.tools, [again], None, run.scene.session))
        return super()._resumed(run, yes)


@found_by("I4")
class AsksUnderItsOwnSession(OnlySync):
    """The conversation is named by the process, not by what the conversation is."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        return super().say(Scene(scene.guard, scene.tools, scene.turns, None, f"{id(scene.guard)}"), call)


# H


@found_by("H1")
class NamesNoApproval(OnlySync):
    def play(self, scene: Scene) -> Played:
        played = super().play(scene)
        return Played(played.told, played.raised, ["a person must look"] if played.paused else [], played.resume)


@found_by("H2", "H6", "H7", "I2")
class NeverComesBack(OnlySync):
    def _resumed(self, run: Run, yes: bool) -> Played:
        return Played(["approved"])


@found_by("H3", "H5", "H6", "H7")
class TrustsALocalYes(OnlySync):
    def _resumed(self, run: Run, yes: bool) -> Played:
        granted = any(each.status == "granted" for each in run.scene.guard.client.approvals.values())
        if not yes or granted:
            return super()._resumed(run, yes)
        return Played([text(body(run.scene, call)) for call, _ in run.held.values()])


@found_by("H3")
class TakesANoForAYes(OnlySync):
    def _resumed(self, run: Run, yes: bool) -> Played:
        if yes:
            return super()._resumed(run, yes)
        return Played([text(body(run.scene, call)) for call, _ in run.held.values()])


@found_by("H4", "H6")
class ApprovesTools(OnlySync):
    """Once a person said yes to a tool, it may be called with anything."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        approvals = getattr(scene.guard.client, "approvals", {})
        if any(each.tool == call.tool and each.status in ("granted", "used") for each in approvals.values()):
            same = [
                each for each in approvals.values() if each.status == "granted" and str(call.args)[1:-1] in _loose(each)
            ]
            if not same:
                return text(body(scene, call))
        return super().say(scene, call)


def _loose(approval: Any) -> str:
    return str(approval.digest).replace('"', "'")


@found_by("H7")
class SaysNoInItsOwnWords(OnlySync):
    def _resumed(self, run: Run, yes: bool) -> Played:
        played = super()._resumed(run, yes)
        return Played(
            ["not approved" if "withheld" in told else told for told in played.told], played.raised, played.paused
        )
