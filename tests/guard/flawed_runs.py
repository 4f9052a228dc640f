"""Adapters that are wrong about a run: calls at once, loops, cancelling, streams, the same call again, people."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace
from typing import Any

from flawed_loops import Eager, OnlyAsyncVote, OnlySync, OnlySyncVote, call_result, found_by

from kiff_guard.conformance import Played, Scene, ToolCall
from kiff_guard.conformance.plain import Middleware, Run, atext, body, text
from kiff_guard.conformance.world import chunks
from kiff_guard.decision import Decision

# ruff: noqa: BLE001  # loops like these tell their model whatever a tool raises

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
        if scene.session not in ("session-1", "conversation-1", "conversation-2", "session-0"):
            return Played(["busy"])
        return super().play(scene)


# A


@found_by("O3", "X1", "X2", "X3", "A1", "A5", "K1", "K3", "K4", "S2", "S3", "I3")
class SettlesBeforeTheAwait(OnlyAsyncVote):
    async def asay(self, scene: Scene, call: ToolCall) -> Any:
        guard = _AEager(scene.guard)
        return await super().asay(Scene(guard, scene.tools, scene.turns, scene.cancel, scene.session), call)


class _AEager(Eager):
    async def adecide_only(self, *args: Any, **options: Any) -> Decision:
        decision: Decision = await self._guard.adecide_only(*args, **options)
        if not decision.withheld:
            await self._guard.asettle(decision, result=call_result(args[1]))
        return decision


@found_by("A2", "K2")
class StopsTheLoop(OnlyAsyncVote):
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
    stacks = False

    async def asay(self, scene: Scene, call: ToolCall) -> Any:
        plain = call.tool == "delete_account" and getattr(scene.guard.client, "outcomes", "") == {
            "delete_account": "blocked"
        }
        if plain and [len(turn) for turn in scene.turns] == [1, 1]:
            return await atext(body(scene, call))
        return await super().asay(scene, call)


# K


@found_by("K1", "S2")
class NeverTellsOfCancelling(OnlyAsyncVote):
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
class RunsThoughCancelled(OnlyAsyncVote):
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


@found_by("I4", "I6")
class AsksUnderItsOwnSession(OnlySync):
    """The conversation is named by the process, not by what the conversation is."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        return super().say(Scene(scene.guard, scene.tools, scene.turns, None, f"{id(scene.guard)}"), call)


@found_by("I5")
class CatchesUp(OnlySync):
    """What was withheld while KIFF did not answer runs as well, once it answers."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        told = super().say(scene, call)
        before = [each for each in scene.guard.receipts[:-1] if each.outcome == "error"]
        if before and scene.guard.receipts[-1].outcome == "allowed":
            body(scene, call)
        return told


@found_by("I6")
class KnowsOneConversation(OnlySync):
    """Every call id belongs to the same session, whoever talks."""

    def say(self, scene: Scene, call: ToolCall) -> Any:
        return super().say(replace(scene, session="conversation-1"), call)


# H


@found_by("H1")
class NamesNoApproval(OnlySync):
    def play(self, scene: Scene) -> Played:
        played = super().play(scene)
        return Played(played.told, played.raised, ["a person must look"] if played.paused else [], played.resume)


@found_by("H2", "H5", "H6", "H7", "I2")
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


@found_by("H3", "H8")
class TakesANoForAYes(OnlySync):
    def _resumed(self, run: Run, yes: bool) -> Played:
        if yes:
            return super()._resumed(run, yes)
        return Played([text(body(run.scene, call)) for call, _ in run.held.values()])


@found_by("H8")
class WakesByANo(OnlySync):
    """Whatever is said to the pause wakes the call."""

    def _resumed(self, run: Run, yes: bool) -> Played:
        return super()._resumed(run, True)


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
