"""Microsoft Agent Framework: the guard as function middleware that looks again where the function is really called.

Its rule: what is decided is what is executed. Middleware behind the guard's may change the arguments, so the guard's
only opens the way, and KIFF is asked when the function itself is invoked: with the arguments it gets, and with the id
of the call. Approvals are the framework's own function approval requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from inspect import signature
from types import FunctionType
from typing import Any

from kiff_guard.adapters import ArgumentsDoNotFit, framework
from kiff_guard.adapters.holding import started_by
from kiff_guard.decision import ERROR, Decision, Hold
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard
from kiff_guard.newest import Newest
from kiff_guard.notice import warn

ADAPTER = "microsoft-agent-framework"
EXTRA = "microsoft-agent-framework"
BEFORE_THE_BODY = ("_FunctionArgumentValidationError", "_FunctionArgumentsChangedAfterApproval")
"""What the framework raises of arguments that it will not call a function with."""
JSON = (str, int, float, list, dict)
CALL = "kiff_call"
"""On a context: the call that it is of. What a middleware starts in a context of its own is found by it."""
PAUSED_LIMIT = 10_000
_CALL: ContextVar[Call | None] = ContextVar("kiff_agent_framework_call", default=None)


def hook(guard: Guard, *, fail_closed: bool | None = None) -> Any:
    """The function middleware that guards an agent's tools: `Agent(client, middleware=[hook(guard)])`.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
    """
    return _middleware_type()(Seam(guard, fail_closed))


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None) -> Any:
    """Guards an agent that is there already, from its next run on, or every agent of a workflow. Returns it.

    So it does the agents that are its tools by `as_tool`, those that a tool's function names or holds, and the
    workflows that are agents (`as_agent`). One that a function comes by in another way is its own: attach it, too.

    Raises:
        ConfigurationError: in enforce, something that runs its tools by itself, where no middleware is.
    """
    for each in _agents(agent, set()):
        if not hasattr(each, "client"):
            _complain(guard, each)
            continue
        present = list(each.middleware or [])
        if not any(isinstance(one, _middleware_type()) and one.seam.guard is guard for one in present):
            each.middleware = [*present, hook(guard, fail_closed=fail_closed)]
    return agent


def kiff_guard_middleware(guard: Guard, fail_closed: bool | None = None) -> Any:
    """The name of kiff-guard 1.x for `hook`."""
    return hook(guard, fail_closed=fail_closed)


def _agents(thing: Any, seen: set[int]) -> Iterator[Any]:
    """An agent and those below it, or those of a workflow, also of one that is an agent itself."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    executors = getattr(thing, "executors", None)
    if isinstance(executors, dict):
        for executor in executors.values():
            yield from _of_executor(executor, seen)
    elif hasattr(thing, "workflow"):
        yield from _agents(thing.workflow, seen)
    else:
        yield thing
        for below in _agents_below(thing):
            yield from _agents(below, seen)


def _of_executor(executor: Any, seen: set[int]) -> Iterator[Any]:
    below = getattr(executor, "agent", None)
    if below is None and (hasattr(executor, "executors") or hasattr(executor, "workflow")):
        below = executor
    if below is not None:
        yield from _agents(below, seen)


def _complain(guard: Guard, agent: Any) -> None:
    name = getattr(agent, "name", None) or type(agent).__name__
    about = f"agent: `{name}` runs its tools by itself, where no middleware is: attach the agents it runs, one by one"
    if guard.mode == "enforce":
        raise ConfigurationError(about)
    warn("%s", about)


def _agents_below(agent: Any) -> Iterator[Any]:
    options = getattr(agent, "default_options", None) or {}
    for tool in options.get("tools") or ():
        yield from started_by(getattr(tool, "func", None), _runs_by_itself)


def _runs_by_itself(value: Any) -> bool:
    """Is it an agent, or a workflow?"""
    is_agent = hasattr(value, "as_tool") and hasattr(value, "middleware")
    return is_agent or (isinstance(getattr(value, "executors", None), dict) and hasattr(value, "run"))


class Seam:
    """What the calls of one guard's middleware share.

    Attributes:
        paused: calls that wait for somebody to answer in the framework.
    """

    def __init__(self, guard: Guard, fail_closed: bool | None) -> None:
        self.guard = guard
        self.fail_closed = fail_closed
        self.paused: Newest[str, bool] = Newest(PAUSED_LIMIT)

    async def process(self, context: Any, call_next: Callable[[], Awaitable[None]]) -> None:
        """Opens the way to the function, and answers in the framework's words if KIFF withheld it there."""
        before = getattr(context, CALL, None)
        around = before or _CALL.get()
        call = Call(self, context, around)
        if around is not None and around.is_again(call):
            await call_next()  # the guard is there twice; once is enough
            return
        call.functions = (context.function, _invoked_behind(call_next))
        for each in call.functions:
            if each is not None:
                each.__class__ = _guarded(type(each))
        setattr(context, CALL, call)
        here = _CALL.set(call)
        try:
            await call_next()
        except Exception:
            if call.withheld is None:
                raise  # the tool's own, or another middleware's
        finally:
            _CALL.reset(here)
            setattr(context, CALL, before)
        if call.withheld is not None:
            self._answer(call, call.withheld)

    def _answer(self, call: Call, decision: Decision) -> None:
        """A yes that was given here only woke the call: if KIFF still waits, it is not asked for a second time."""
        woken = self.paused.pop(call.call_id, False) or "approval_response" in call.context.metadata
        if not decision.needs_approval or woken:
            call.context.result = decision.explain()
            return
        self.paused[call.call_id] = True
        call.context.result = None
        raise framework("agent_framework", extra=EXTRA).MiddlewareTermination(
            decision.explain(), result=_approval_request(call, decision)
        )


@dataclass
class Call:
    """One call of a function, between the guard's middleware and the function.

    Attributes:
        around: the call of another guard, or the one that this one was made in.
        functions: the one that middleware is told of, and the one that the framework invokes; None where that is the
            framework's secret.
        asked: KIFF is being asked, or was, and the function runs.
        withheld: what KIFF said, if it must not run.
    """

    seam: Seam
    context: Any
    around: Call | None
    functions: tuple[Any, ...] = ()
    call_id: str = ""
    arguments: Any = None
    asked: bool = False
    withheld: Decision | None = None

    def is_again(self, other: Call) -> bool:
        return not self.asked and self.context is other.context and self.seam.guard is other.seam.guard

    async def ask(self, function: Any, run: Callable[[], Awaitable[Any]], arguments: Any, call_id: str | None) -> Any:
        """Invokes the function, if KIFF lets it run.

        Raises:
            Hold: it must not; middleware in between may swallow it, and the call remembers.
        """
        tool, ran = function.name, False
        self.asked, self.withheld = True, None
        self.arguments, self.call_id = arguments, call_id or str(self.context.metadata.get("call_id") or "")

        async def invoke() -> Any:
            nonlocal ran
            ran = True
            try:
                return await run()
            except Exception as error:
                if type(error).__name__ in BEFORE_THE_BODY:
                    raise ArgumentsDoNotFit(error) from error
                raise

        try:
            return await self.seam.guard.aevaluate(
                tool,
                _decided(function, arguments),
                invoke,
                call_id=self.call_id,
                session=getattr(self.context.session, "session_id", None),
                fail_closed=self.seam.fail_closed,
                adapter=ADAPTER,
            )
        except ArgumentsDoNotFit as misfit:
            raise misfit.error from misfit.error.__cause__
        except Hold as hold:
            if not ran:
                self.withheld = hold.decision
            raise
        except Exception as error:
            if not ran:
                self.withheld = Decision(ERROR, f"guard_failed: {type(error).__name__}", tool=tool)
            raise
        finally:
            self.asked = False


def _approval_request(call: Call, decision: Decision) -> Any:
    """The framework's own question to a person. Since 1.2x it wants the id of the call's occurrence for one."""
    content = framework("agent_framework", extra=EXTRA).Content
    occurrence = call.context.metadata.get("function_call_occurrence_id")
    more = {} if occurrence is None else {"id": occurrence}
    arguments = call.arguments.model_dump(mode="json") if hasattr(call.arguments, "model_dump") else call.arguments
    return content.from_function_approval_request(
        id=occurrence or call.call_id,
        function_call=content.from_function_call(call.call_id, call.context.function.name, arguments=arguments, **more),
        additional_properties=decision.as_dict(),
    )


@cache
def _middleware_type() -> Any:
    base = framework("agent_framework", extra=EXTRA).FunctionMiddleware

    class KiffGuard(base):  # type: ignore[misc, valid-type]
        def __init__(self, seam: Seam) -> None:
            self.seam = seam

        async def process(self, context: Any, call_next: Callable[[], Awaitable[None]]) -> None:
            await self.seam.process(context, call_next)

    return KiffGuard


_GUARDED: dict[type, type] = {}


def _guarded(kind: type) -> type:
    """The same kind of function, which asks the guard it was called through. Called any other way it is as it was."""
    if kind in _GUARDED.values():
        return kind
    if kind not in _GUARDED:
        _GUARDED[kind] = type(kind.__name__, (kind,), {"invoke": _asking(kind), "__module__": kind.__module__})
        _GUARDED[kind].__qualname__ = kind.__qualname__
    return _GUARDED[kind]


def _invoked_behind(call_next: Any) -> Any:
    """The function that is invoked in the end: what middleware before ours says of it may be something else."""
    found, seen = [call_next], set()
    while found:
        function = found.pop()
        if type(function) is not FunctionType or id(function) in seen:
            continue
        seen.add(id(function))
        if function.__module__.startswith("agent_framework."):
            cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
            held = {name: cell.cell_contents for name, cell in cells}
            if function.__name__ == "final_function_handler":
                return held.get("tool")
            found += held.values()
    return None


def _decided(function: Any, arguments: Any) -> Any:
    """What the function's code will get: what is left out is decided on as well."""
    if not isinstance(arguments, Mapping):  # a model, which is filled in
        return arguments
    try:
        known = function.parameters()["properties"]
        parameters = signature(function.func).parameters.values()
        left_out = {each.name: each.default for each in parameters if each.name in known and each.name not in arguments}
    except Exception:  # noqa: BLE001  # a function or a schema of somebody else's
        return arguments
    return {name: value for name, value in left_out.items() if isinstance(value, JSON)} | dict(arguments)


def _asking(kind: Any) -> Any:
    async def invoke(self: Any, *, arguments: Any = None, tool_call_id: str | None = None, **more: Any) -> Any:
        call = getattr(more.get("context"), CALL, None) or _CALL.get()
        while call is not None and (call.asked or all(self is not each for each in call.functions)):
            call = call.around
        if call is None:
            return await kind.invoke(self, arguments=arguments, tool_call_id=tool_call_id, **more)
        again = partial(invoke, self, arguments=arguments, tool_call_id=tool_call_id, **more)
        return await call.ask(self, again, arguments, tool_call_id)

    return invoke
