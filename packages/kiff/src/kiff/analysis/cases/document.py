"""What a test file says, as values: actors, entities, and cases with their steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from kiff.protocol.actor import Caller
from kiff.protocol.decision import Outcome

Json = dict[str, Any]

Verb = Literal["propose", "again", "grant", "deny", "cancel", "expire", "wait", "execute", "event", "look"]
"""What a step does; `look` does nothing."""


class Thing(Struct, frozen=True):
    """An entity as a case finds it.

    Args:
        state: None when nothing has happened to it.
    """

    id: str
    state: str | None = None
    version: int = 1
    attributes: Json = {}


class Call(Struct, frozen=True):
    """A proposal.

    Args:
        mode: None takes `execute`, if the contract names an executor.
        at: instant (ms); None: now.
        with_approval: the last approval of the case is named.
    """

    action: str
    caller: Caller
    thing: Thing
    parameters: Json = {}
    mode: Literal["execute", "decide"] | None = None
    at: int | None = None
    with_approval: bool = False


class Review(Struct, frozen=True):
    """Somebody's answer to an approval."""

    by: Caller
    reason: str


class Report(Struct, frozen=True):
    """How an operation ended.

    Args:
        events: names, or {"type", "payload"}; None says nothing about them.
        by: None: whoever ran it.
    """

    status: Literal["succeeded", "failed", "unknown", "cancelled"] = "succeeded"
    message: str = ""
    events: tuple[str | Json, ...] | None = None
    by: Caller | None = None


class Happening(Struct, frozen=True):
    """An event.

    Args:
        thing: what it happened to; None: the entity of the last call.
        by: who brings it; None: somebody who may.
    """

    type: str
    payload: Json = {}
    thing: Thing | None = None
    by: Caller | None = None


class Expectation(Struct, frozen=True):
    """What must come of a step; None is not looked at. The fields are those of a test file."""

    outcome: Outcome | None = None
    reasons: tuple[str, ...] | None = None
    matched: tuple[str, ...] | None = None
    shadow: tuple[str, ...] | None = None
    quorum: int | None = None
    roles: tuple[str, ...] | None = None
    message: str | None = None
    error: str | None = None
    status: str | None = None
    state: str | None = None
    attributes: Json | None = None


class Step(Struct, frozen=True):
    """One thing that happens in a case, and what must come of it.

    Args:
        line: in the file, counted from 1.
        what: what the verb takes; of `wait` milliseconds.
    """

    verb: Verb
    line: int
    expect: Expectation = Expectation()
    what: Call | Review | Report | Happening | int | None = None


class Case(Struct, frozen=True):
    """Steps in a world of their own.

    Args:
        used: limit code -> how much counts towards it before the first call.
        busy: another operation holds the entity of the first call.
    """

    name: str
    line: int
    steps: tuple[Step, ...]
    used: Mapping[str, int | float] = {}
    busy: bool = False

    @property
    def calls(self) -> tuple[Call, ...]:
        """What it proposes."""
        return tuple(step.what for step in self.steps if isinstance(step.what, Call))

    @property
    def things(self) -> tuple[Thing, ...]:
        """The entities it is about, each once."""
        named = (step.what.thing for step in self.steps if isinstance(step.what, Call | Happening))
        return tuple({thing.id: thing for thing in named if thing is not None}.values())
