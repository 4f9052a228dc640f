"""What the suite asks of an adapter: play a scene through the real framework and tell what happened.

A driver is the only part that knows a framework. It builds an agent over the scene's tools with the scene's guard
attached the way a user would attach it, puts a scripted model in, and plays the turns.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from kiff_guard.guard import Guard

Result = TypeVar("Result")
TICK_SECONDS = 0.005


@dataclass(frozen=True)
class ToolCall:
    """One call as the scripted model asks for it."""

    tool: str
    args: dict[str, Any]
    call_id: str


@dataclass(frozen=True)
class Scene:
    """What the suite wants played.

    Args:
        guard: the guard to attach. The driver changes nothing in it.
        tools: plain Python functions with typed parameters and docstrings, by the name the model calls them. They
            count their runs themselves; the driver hands them to the framework as its users do.
        turns: what the model asks, turn by turn; several calls in one turn are parallel calls. After the last turn
            the model ends with text.
        cancel: set by a tool's body when the run is to be cancelled: `stoppable` does it for an asyncio run.
        session: the conversation's id, where the framework has one (thread, session, run id).
        also: more guards to attach behind the first, in this order; only for a driver with `stacks`.
    """

    guard: Guard
    tools: Mapping[str, Callable[..., Any]]
    turns: Sequence[Sequence[ToolCall]]
    cancel: threading.Event | None = None
    session: str = "session-1"
    also: Sequence[Guard] = ()

    @property
    def guards(self) -> tuple[Guard, ...]:
        """Every guard, in the order in which they are attached."""
        return (self.guard, *self.also)


@dataclass(frozen=True)
class Played:
    """What happened.

    Args:
        told: what the model was told about its calls, one text each, in the order of the calls.
        raised: what ended the run, if something did.
        paused: the approval ids that the framework's own pause carried; empty without a pause.
        resume: answers the pause: True says yes in the framework's own words. Nobody asks KIFF by that.
    """

    told: list[str] = field(default_factory=list)
    raised: BaseException | None = None
    paused: list[str] = field(default_factory=list)
    resume: Callable[[bool], Played] | None = None


class Driver(Protocol):
    """One adapter under test.

    Beside these it may have:

    `async aplay(scene) -> Played`: the framework's asynchronous way, if it has one. What can be is checked both ways.
    `version: str`: the framework's version, for the table.
    `streams: bool`: its tools may be (async) generators.
    `stacks: bool`: it attaches all of `scene.guards`, not the first alone.
    `hides_errors: bool`: the model is never told what a tool's exception said.
    `names_errors: bool`: the guard sees a tool's own exception, so its receipt names that one's class.
    `error_tool: Callable`: a tool that says by its result, not by an exception, that it failed.
    """

    @property
    def name(self) -> str: ...

    @property
    def lacks(self) -> Mapping[str, str]:
        """Invariant id -> why this seam cannot have it. It is shown in the table; some may not be lacked."""

    def play(self, scene: Scene) -> Played: ...


async def stoppable(run: Coroutine[Any, Any, Result], cancel: threading.Event | None) -> Result:
    """Awaits a run, and cancels it when `cancel` is set, as a user's timeout would."""
    task = asyncio.ensure_future(run)
    while not task.done():
        await asyncio.wait({task}, timeout=TICK_SECONDS if cancel else None)
        if cancel is not None and cancel.is_set():
            task.cancel()
            break
    return await task
