"""One way of driving an adapter, and what an invariant needs to stage a scene and look at what came of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kiff_guard.conformance.driver import Driver, Played, Scene, ToolCall
from kiff_guard.conformance.report import Violated
from kiff_guard.conformance.scripted import ScriptedClient
from kiff_guard.conformance.world import World
from kiff_guard.guard import Guard
from kiff_guard.receipt import Receipt

SYNC, ASYNC = "play", "aplay"
PATIENCE_SECONDS = 10.0
"""How long one thing waits for another that must come; no test waits so long unless it fails."""


def expect(holds: object, message: str) -> None:
    """INVARIANT: what is not shown to hold is violated."""
    if not holds:
        raise Violated(message)


def call(tool: str, call_id: str = "call-1", **args: Any) -> ToolCall:
    return ToolCall(tool, args, call_id)


REFUND = call("refund", order_id="o-1", amount=5.0)
DELETE = call("delete_account", "call-2", account_id="a-9")


@dataclass
class Stage:
    """A guard, the KIFF it asks, the tools it guards, and every run so far.

    Attributes:
        beside: what goes on in the event loop beside an asynchronous run.
        also: more guards, behind the first.
    """

    trial: Trial
    guard: Guard
    client: ScriptedClient
    world: World
    played: list[Played] = field(default_factory=list)
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None
    also: tuple[Guard, ...] = ()

    def play(self, *turns: Iterable[ToolCall] | ToolCall, session: str = "session-1") -> Played:
        """Plays one run; a turn of one call may stand alone."""
        return self.play_with(self.world.tools(), *turns, session=session)

    def play_with(
        self,
        tools: Mapping[str, Callable[..., Any]],
        *turns: Iterable[ToolCall] | ToolCall,
        session: str = "session-1",
    ) -> Played:
        """The same with these tools. The agent is given those that are called; if there are none, `refund`."""
        asked = [[turn] if isinstance(turn, ToolCall) else list(turn) for turn in turns]
        used = {each.tool for turn in asked for each in turn}
        given = {name: tool for name, tool in tools.items() if name in used} or {"refund": tools["refund"]}
        scene = Scene(self.guard, given, asked, self.world.cancel, session, self.also)
        played = self.trial.play(scene, self.beside)
        self.played.append(played)
        return played

    def again(self, held: Played, wanted: ToolCall, *, yes: bool = True) -> Played:
        """The held call once more: by the framework's own answer to its pause; else the model asks for it again."""
        if held.resume is not None:
            self.played.append(held.resume(yes))
            return self.played[-1]
        return self.play(ToolCall(wanted.tool, dict(wanted.args), f"{wanted.call_id}-again"))

    @property
    def receipts(self) -> list[Receipt]:
        return list(self.guard.receipts)

    def receipt(self, tool: str = "") -> Receipt:
        """The one receipt there is (of a tool)."""
        found = [each for each in self.receipts if each.tool == tool or not tool]
        expect(len(found) == 1, f"one receipt{f' for {tool}' if tool else ''} was due, there are {shown(found)}")
        return found[0]

    def runs(self, tool: str) -> int:
        return self.world.runs(tool)

    def ran_once(self, tool: str) -> None:
        expect(self.runs(tool) == 1, f"`{tool}` was to run once and ran {self.runs(tool)} times{self._ended()}")

    def did_not_run(self, tool: str, when: str) -> None:
        expect(self.runs(tool) == 0, f"`{tool}` ran {self.runs(tool)} times {when}")

    def honest(self) -> None:
        """No receipt says that a tool succeeded more often than its body came to its end."""
        for tool in {each.tool for each in self.receipts}:
            claimed = sum(each.tool == tool and each.execution == "succeeded" for each in self.receipts)
            ended = self.world.ended.count(tool)
            expect(claimed <= ended, f"{claimed} receipts say that `{tool}` succeeded, and it did {ended} times")

    def _ended(self) -> str:
        raised = [repr(each.raised) for each in self.played if each.raised is not None]
        return f" (the run ended with {raised[-1]})" if raised else ""


@dataclass(frozen=True)
class Trial:
    """An adapter, driven one of its ways."""

    driver: Driver
    way: str

    def stage(
        self,
        outcomes: Any = "allowed",
        *,
        mode: str = "enforce",
        client: Mapping[str, Any] | None = None,
        guard: Callable[..., Guard] = Guard,
        world: World | None = None,
        **options: Any,
    ) -> Stage:
        """A new guard and everything around it.

        Args:
            outcomes: what KIFF answers, as `ScriptedClient` takes it.
            client: more for the client.
            guard: what makes the guard.
            options: more for the guard.
        """
        world = world or World()
        kiff = ScriptedClient(outcomes, log=world.log, **(client or {}))
        made = guard(kiff, tenant="tenant-1", agent="agent-1", mode=mode, **options)
        return Stage(self, made, kiff, world)

    def play(self, scene: Scene, beside: Callable[[], Coroutine[Any, Any, None]] | None = None) -> Played:
        try:
            if self.way == SYNC:
                return self.driver.play(scene)
            return asyncio.run(_played(self.driver, scene, beside))
        except (Exception, KeyboardInterrupt, SystemExit):
            raise  # a driver catches what ends a run
        except BaseException as error:  # noqa: BLE001  # but for what frameworks let through to whoever started them
            return Played(raised=error)


async def _played(driver: Any, scene: Scene, beside: Callable[[], Coroutine[Any, Any, None]] | None) -> Played:
    other = asyncio.ensure_future(beside()) if beside else None
    try:
        played = await driver.aplay(scene)
    finally:
        if other is not None:
            other.cancel()
            await asyncio.wait({other})
    assert isinstance(played, Played)
    return played


def together(*jobs: Callable[[], Any]) -> None:
    """Does each in a thread of its own; the first error of any is raised."""
    errors: list[BaseException] = []

    def work(job: Callable[[], Any]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001  # it is raised where it is waited for
            errors.append(error)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def shown(receipts: Iterable[Receipt]) -> str:
    """Receipts in a few words."""
    found = [f"{each.tool} {each.outcome}/{each.execution}/executed={each.executed}" for each in receipts]
    return f"{len(found)}" + (f": {', '.join(found)}" if found else "")


def texts(played: Played) -> str:
    """Everything the run said: to the model, by its pause, and by what ended it."""
    raised: list[str] = []
    error = played.raised
    while error is not None and len(raised) < 10:
        raised.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join([*played.told, *played.paused, *raised])
