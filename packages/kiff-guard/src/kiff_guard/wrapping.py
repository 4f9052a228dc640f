"""Guards a plain function, whatever framework calls it. Positional arguments are seen by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from kiff_guard.decision import Decision, Hold

if TYPE_CHECKING:
    from kiff_guard.guard import Guard

OnHold = Callable[[Decision], Any]
_NO_PART_OF_A_CALL = ("self", "cls")


def wrapped(guard: Guard, fn: Callable[..., Any], tool: str, on_hold: OnHold | None, leave_out: frozenset[str]) -> Any:
    """The function, guarded: the same kind of function with the same signature."""
    given = partial(_arguments, guard, inspect.signature(fn), leave_out)
    if inspect.isasyncgenfunction(fn):
        return _agenerator(guard, fn, tool, on_hold, given)
    if inspect.iscoroutinefunction(fn):
        return _coroutine(guard, fn, tool, on_hold, given)
    if inspect.isgeneratorfunction(fn):
        return _generator(guard, fn, tool, on_hold, given)
    return _function(guard, fn, tool, on_hold, given)


def _function(guard: Guard, fn: Any, tool: str, on_hold: OnHold | None, given: Callable[..., Any]) -> Any:
    @wraps(fn)
    def call(*args: Any, **named: Any) -> Any:
        try:
            return guard.evaluate(tool, given(args, named), partial(fn, *args, **named))
        except Hold as hold:
            return _answer(hold, on_hold)

    return call


def _coroutine(guard: Guard, fn: Any, tool: str, on_hold: OnHold | None, given: Callable[..., Any]) -> Any:
    @wraps(fn)
    async def call(*args: Any, **named: Any) -> Any:
        try:
            return await guard.aevaluate(tool, given(args, named), partial(fn, *args, **named))
        except Hold as hold:
            return _answer(hold, on_hold)

    return call


def _generator(guard: Guard, fn: Any, tool: str, on_hold: OnHold | None, given: Callable[..., Any]) -> Any:
    @wraps(fn)
    def call(*args: Any, **named: Any) -> Any:
        try:
            chunks = guard.evaluate(tool, given(args, named), partial(fn, *args, **named))
        except Hold as hold:
            yield _answer(hold, on_hold)
            return None
        return (yield from chunks)

    return call


def _agenerator(guard: Guard, fn: Any, tool: str, on_hold: OnHold | None, given: Callable[..., Any]) -> Any:
    @wraps(fn)
    async def call(*args: Any, **named: Any) -> Any:
        try:
            chunks = await guard.aevaluate(tool, given(args, named), partial(fn, *args, **named))
        except Hold as hold:
            yield _answer(hold, on_hold)
            return
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    return call


def _answer(hold: Hold, on_hold: OnHold | None) -> Any:
    if on_hold is None:
        raise hold
    return on_hold(hold.decision)


def _arguments(
    guard: Guard,
    signature: inspect.Signature,
    leave_out: frozenset[str],
    args: tuple[Any, ...],
    named: dict[str, Any],
) -> Any:
    """The arguments by name, defaults included: what is left out and what is passed by place is decided on as well.

    Raises:
        TypeError: the function does not take these, or one name stands for two of them; in observe it is left to the
            function to say so.
    """
    try:
        bound = signature.bind(*args, **named)
    except TypeError:
        if guard.mode == "enforce":
            raise
        return dict(named)
    bound.apply_defaults()
    known: dict[str, Any] = {}
    for place, (name, value) in enumerate(bound.arguments.items()):
        if name in leave_out or (place == 0 and name in _NO_PART_OF_A_CALL):
            continue
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            _refuse_twice(guard, signature, value)
            known.update({each: some for each, some in value.items() if each not in leave_out})
        else:
            known[name] = value
    return known


def _refuse_twice(guard: Guard, signature: inspect.Signature, more: dict[str, Any]) -> None:
    """What is passed by place may come once more by its name, into `**more`: only one of both would be decided on."""
    twice = sorted(signature.parameters.keys() & more.keys())
    if twice and guard.mode == "enforce":
        raise TypeError(f"got `{twice[0]}` by its place and by its name: nobody can say which one is decided on")
