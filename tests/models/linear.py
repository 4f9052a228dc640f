"""Is there an order? A history of calls that overlapped is linearizable if each could have happened at one moment
between its call and its answer, such that the plain model, asked in that order, gives every answer that was given.

The search is Wing and Gong's, with the states that were seen kept (Lowe). A history falls apart into the tenants and
entities it speaks of, each of which must be linearizable by itself (Herlihy and Wing): `partitions` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any, NamedTuple

UNHEARD: Any = "unheard"
"""The answer of a call whose answer never came: it may have happened, at any time since, or not at all."""


class Done(NamedTuple):
    """One call as its caller saw it.

    Args:
        start, end: any clock that all callers share; `inf` when no answer came.
        call: a method of the model and its arguments.
        answer: as the model would say it.
    """

    start: float
    end: float
    call: tuple[Any, ...]
    answer: Any
    part: Any = None


class Order(NamedTuple):
    """What was found.

    Args:
        found: an order of the history that explains it; None when there is none.
        best: the longest that explains a part of it.
        states: how many were visited.
    """

    found: tuple[Done, ...] | None
    best: tuple[Done, ...]
    states: int


def partitions(history: Iterable[Done]) -> dict[Any, list[Done]]:
    parts: dict[Any, list[Done]] = {}
    for done in history:
        parts.setdefault(done.part, []).append(done)
    return parts


def linearized(history: Sequence[Done], model: Any, *, most: int = 500_000) -> Order:
    """Looks for an order.

    Args:
        model: has `copy`, `key`, and a method for each call.
        most: how many states are visited before it gives up.

    Raises:
        AssertionError: it gave up.
    """
    calls = sorted(history, key=lambda done: done.start)
    heard = sum(1 << number for number, done in enumerate(calls) if done.answer != UNHEARD)
    everything = (1 << len(calls)) - 1
    seen: set[Any] = set()
    best: tuple[int, ...] = ()
    stack: list[tuple[int, Any, tuple[int, ...]]] = [(everything, model, ())]
    while stack:
        left, state, order = stack.pop()
        if not left & heard:
            return Order(tuple(calls[number] for number in order), (), len(seen))
        best = max(best, order, key=len)
        for number in reversed(_first(calls, left)):
            after = _apply(state, calls[number])
            if after is None:
                continue
            rest = left & ~(1 << number)
            key = (rest, after.key())
            if key not in seen:
                assert len(seen) < most, f"no order among the first {most} states"
                seen.add(key)
                stack.append((rest, after, (*order, number)))
    return Order(None, tuple(calls[number] for number in best), len(seen))


def stuck(history: Sequence[Done], order: Order, model: Any) -> list[str]:
    """After the longest order that explains a part: what could have come next, and what the model says to it."""
    for done in order.best:
        model = _apply(model, done)
    calls = sorted(history, key=lambda done: done.start)
    left = sum(1 << number for number, done in enumerate(calls) if done not in order.best)
    after = [(calls[number], model.copy()) for number in _first(calls, left)]
    return [
        f"{done.call}\n    was answered {done.answer}\n    the model: {getattr(then, done.call[0])(*done.call[1:])}"
        for done, then in after
    ]


def _first(calls: Sequence[Done], left: int) -> list[int]:
    """The calls that may come next: those that began before any of the others had its answer."""
    found: list[int] = []
    ends = inf
    for number, done in enumerate(calls):
        if left >> number & 1:
            if done.start > ends:
                break
            found.append(number)
            ends = min(ends, done.end)
    return found


def _apply(model: Any, done: Done) -> Any:
    """The model after the call; None when it would have answered otherwise."""
    after = model.copy()
    method: Callable[..., Any] = getattr(after, done.call[0])
    answer = method(*done.call[1:])
    return after if done.answer == UNHEARD or answer == done.answer else None
