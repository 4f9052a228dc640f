"""Two agent loops of a few lines, without any framework: the two shapes a seam can have, guarded by the core alone.

They show what an adapter has to do, and what they pass is what the core keeps by itself. `Middleware` runs the tool
through the guard. `Vote` asks first, runs the tool itself, and says how it ended.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kiff_guard.conformance.driver import Played, Scene, ToolCall, stoppable
from kiff_guard.decision import Decision, Hold
from kiff_guard.guard import Guard


def error_tool(order_id: str) -> dict[str, Any]:
    """A tool that tells its error as a result, as these loops understand it."""
    return {"is_error": True, "text": f"nothing found for {order_id}"}


def failed(result: Any) -> str:
    """Why a result stands for an error; "" if it does not."""
    return str(result["text"]) if isinstance(result, dict) and result.get("is_error") else ""


@dataclass
class Run:
    """One run of an agent, as far as it has come."""

    scene: Scene
    waiting: list[tuple[int, ToolCall]] = field(default_factory=list)
    turn: int = 0
    told: dict[int, str] = field(default_factory=dict)
    held: dict[int, tuple[ToolCall, Decision]] = field(default_factory=dict)

    def next(self) -> list[tuple[int, ToolCall]]:
        """The calls to make now, each with its place among all."""
        if self.waiting:
            calls, self.waiting = self.waiting, []
            return calls
        if self.turn == len(self.scene.turns):
            return []
        start = sum(len(turn) for turn in self.scene.turns[: self.turn])
        self.turn += 1
        return list(enumerate(self.scene.turns[self.turn - 1], start))

    def take(self, calls: list[tuple[int, ToolCall]], said: list[Any]) -> None:
        for (place, call), each in zip(calls, said, strict=True):
            if isinstance(each, Decision):
                self.held[place] = (call, each)
            else:
                self.told[place] = each

    def answer(self, yes: bool) -> None:
        """The pause is answered: each held call is made again, or the model is told that somebody said no."""
        for place, (call, _) in self.held.items():
            if yes:
                self.waiting.append((place, call))
            else:
                self.told[place] = f"somebody said no to {call.tool}"
        self.held.clear()

    def played(self, raised: BaseException | None = None, resume: Callable[[bool], Played] | None = None) -> Played:
        told = [self.told[place] for place in sorted(self.told)]
        paused = [decision.approval_id for _, decision in self.held.values()]
        return Played(told, raised, paused, resume if paused else None)


class Loop:
    """What both shapes share: turns, parallel calls, pauses. `say` and `asay` are the seam."""

    name = "loop"
    lacks: Mapping[str, str] = {}
    streams = True
    stacks = True
    names_errors = True
    error_tool = staticmethod(error_tool)
    version = f"Python {'.'.join(platform.python_version_tuple()[:2])}"

    def say(self, scene: Scene, call: ToolCall) -> Any:
        """Makes one call; what the model is told, or the decision that holds it."""
        raise NotImplementedError

    async def asay(self, scene: Scene, call: ToolCall) -> Any:
        raise NotImplementedError

    def play(self, scene: Scene) -> Played:
        return self._go_on(Run(scene))

    async def aplay(self, scene: Scene) -> Played:
        return await self._ago_on(Run(scene))

    def _go_on(self, run: Run) -> Played:
        try:
            while calls := run.next():
                with ThreadPoolExecutor(len(calls)) as threads:
                    run.take(calls, list(threads.map(lambda each: self.say(run.scene, each[1]), calls)))
                if run.held:
                    break
        except BaseException as error:  # noqa: BLE001  # the suite is told what ended the run
            return run.played(error)
        return run.played(resume=lambda yes: self._resumed(run, yes))

    def _resumed(self, run: Run, yes: bool) -> Played:
        run.answer(yes)
        return self._go_on(run)

    async def _ago_on(self, run: Run) -> Played:
        try:
            while calls := run.next():
                said = asyncio.gather(*(self.asay(run.scene, call) for _, call in calls))
                run.take(calls, await stoppable(_all(said), run.scene.cancel))
                if run.held:
                    break
        except BaseException as error:  # noqa: BLE001
            return run.played(error)
        return run.played(resume=lambda yes: asyncio.run(self._aresumed(run, yes)))

    async def _aresumed(self, run: Run, yes: bool) -> Played:
        run.answer(yes)
        return await self._ago_on(run)


class Middleware(Loop):
    """The guard runs the tool: `evaluate`."""

    name = "core (middleware)"

    def say(self, scene: Scene, call: ToolCall) -> Any:
        try:
            run = partial(body, scene, call)
            for guard in reversed(each_once(scene)):
                run = partial(guard.evaluate, call.tool, call.args, run, **about(scene, call))
            return text(run())
        except Hold as hold:
            return hold.decision if hold.decision.needs_approval else str(hold)
        except Exception as error:  # noqa: BLE001  # as most frameworks do, the model is told
            return f"error: {error}"

    async def asay(self, scene: Scene, call: ToolCall) -> Any:
        try:
            run = partial(body, scene, call)
            for guard in reversed(each_once(scene)):
                run = partial(guard.aevaluate, call.tool, call.args, run, **about(scene, call))
            return await atext(run())
        except Hold as hold:
            return hold.decision if hold.decision.needs_approval else str(hold)
        except Exception as error:  # noqa: BLE001
            return f"error: {error}"


class Vote(Loop):
    """The loop runs the tool: `decide_only` before, `settle` after."""

    name = "core (vote)"

    def say(self, scene: Scene, call: ToolCall) -> Any:
        votes: list[tuple[Guard, Decision]] = []
        for guard in each_once(scene):
            try:
                decision = guard.decide_only(call.tool, call.args, call_id=call.call_id, session=scene.session)
            except Exception as error:  # noqa: BLE001  # a guard that breaks has not allowed anything
                return self._outvoted(votes, f"withheld: {error}")
            if decision.withheld:
                return self._outvoted(votes, decision if decision.needs_approval else decision.explain())
            votes.append((guard, decision))
        try:
            result = text(body(scene, call))
        except Exception as error:  # noqa: BLE001
            for guard, decision in votes:
                guard.settle(decision, error=error)
            return f"error: {error}"
        for guard, decision in votes:
            guard.settle(decision, result=result, status=status(result))
        return result

    async def asay(self, scene: Scene, call: ToolCall) -> Any:
        votes: list[tuple[Guard, Decision]] = []
        for guard in each_once(scene):
            try:
                decision = await guard.adecide_only(call.tool, call.args, call_id=call.call_id, session=scene.session)
            except Exception as error:  # noqa: BLE001
                return self._outvoted(votes, f"withheld: {error}")
            if decision.withheld:
                return self._outvoted(votes, decision if decision.needs_approval else decision.explain())
            votes.append((guard, decision))
        try:
            result = await atext(body(scene, call))
        except asyncio.CancelledError as error:
            for guard, decision in votes:
                guard.settle(decision, error=error)
            raise
        except Exception as error:  # noqa: BLE001
            for guard, decision in votes:
                await guard.asettle(decision, error=error)
            return f"error: {error}"
        for guard, decision in votes:
            await guard.asettle(decision, result=result, status=status(result))
        return result

    def _outvoted(self, votes: list[tuple[Guard, Decision]], told: Any) -> Any:
        """One guard said no: what the others allowed did not run."""
        for guard, decision in votes:
            guard.settle(decision, status="not_run")
        return told


def each_once(scene: Scene) -> list[Guard]:
    """The guards to ask: one that was attached twice is asked once."""
    return list(dict.fromkeys(scene.guards))


def about(scene: Scene, call: ToolCall) -> dict[str, Any]:
    """What the guard is told beside the call."""
    return {"call_id": call.call_id, "session": scene.session, "failed": failed}


def body(scene: Scene, call: ToolCall) -> Any:
    """Runs the tool itself, as the loop has it: unguarded."""
    tool = scene.tools.get(call.tool)
    if tool is None:
        raise LookupError(f"there is no tool `{call.tool}`")
    return tool(**deepcopy(call.args))


def status(result: str) -> Any:
    return "failed" if result.startswith("error: ") else None


def text(result: Any) -> str:
    """What a model is told of a result, when no event loop runs."""
    if hasattr(result, "__await__") or hasattr(result, "__aiter__"):
        return asyncio.run(atext(result))
    return _written(list(result) if hasattr(result, "__next__") else result)


async def atext(result: Any) -> str:
    if hasattr(result, "__await__"):
        return await atext(await result)
    if hasattr(result, "__aiter__"):
        return _written([piece async for piece in result])
    return _written(list(result) if hasattr(result, "__next__") else result)


def _written(result: Any) -> str:
    if isinstance(result, list):
        return "".join(str(piece) for piece in result)
    return f"error: {failed(result)}" if failed(result) else str(result)


async def _all(said: Any) -> list[Any]:
    return list(await said)
