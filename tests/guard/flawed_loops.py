"""What flawed adapters are made of: good loops that are driven one way, and a list of who is found by what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiff_guard.conformance.plain import Middleware, Vote
from kiff_guard.decision import Decision

FLAWS: dict[type, frozenset[str]] = {}


def found_by(*ids: str) -> Callable[[type], type]:
    def add(flawed: type) -> type:
        FLAWS[flawed] = frozenset(ids)
        return flawed

    return add


class OnlySync(Middleware):
    """Most flaws are seen without an event loop, and with one guard."""

    aplay: Any = None
    stacks = False


class OnlySyncVote(Vote):
    aplay: Any = None
    stacks = False


class OnlyAsyncVote(Vote):
    play: Any = None
    stacks = False


class Eager:
    """A guard that settles what it has allowed at once."""

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
