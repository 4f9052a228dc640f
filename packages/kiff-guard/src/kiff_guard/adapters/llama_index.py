"""LlamaIndex: the step `call_tool` of an AgentWorkflow, or of an agent that runs alone (FunctionAgent, ReActAgent).

Both have a step of their own; the guard stands around it, so the framework's code for running a tool stays its own.
A guarded agent in a workflow that is not guarded would pass it: there the agent takes no step.
A withheld call is told to the model as a failed one, and the run goes on. One that a person may approve waits by the
workflow's own means; its step then begins anew, and so does the question to KIFF.
"""

from __future__ import annotations

from asyncio import Lock, get_running_loop
from asyncio import TimeoutError as Timeout
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

from kiff_guard.adapters import framework
from kiff_guard.arguments import digest
from kiff_guard.decision import Decision, Hold
from kiff_guard.errors import ActionFailed, ConfigurationError
from kiff_guard.guard import Guard

ADAPTER = "llama-index"
_SESSION = "kiff_session"
_UNKNOWN = "Tool {} not found. Please select a tool that is available."
_stepping: ContextVar[tuple[tuple[Guard, Any], ...]] = ContextVar("kiff_stepping", default=())
"""The guards of the workflow whose step this is, each with the context of its run."""


def hook(guard: Guard, *, fail_closed: bool | None = None, wait_seconds: float | None = None) -> Callable[[Any], Any]:
    """Makes a guarded class of one of the framework's: `GuardedAgent = hook(guard)(FunctionAgent)`.

    Args:
        wait_seconds: how long a held call waits for a HumanResponseEvent; None for as long as it takes. With 0 it
            does not wait: the model is told, and may call again later.
    """
    framework("llama_index.core.agent.workflow", extra=ADAPTER)
    return _Step(guard, fail_closed, wait_seconds).guarded


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None, wait_seconds: float | None = None) -> Any:
    """Guards an AgentWorkflow or an agent that is there already, and gives it back; a workflow with all its agents.

    It is of a guarded class from now on, and so are its copies. Of two guards both have to allow a call.
    """
    framework("llama_index.core.agent.workflow", extra=ADAPTER)
    step = _Step(guard, fail_closed, wait_seconds)
    for each in (agent, *(getattr(agent, "agents", None) or {}).values()):
        object.__setattr__(each, "__class__", step.guarded(type(each)))
    return agent


def GuardedAgentWorkflow(*, guard: Guard, fail_closed: bool = True, **workflow: Any) -> Any:
    """The name of v1: an AgentWorkflow made of the other arguments, guarded. A held call is told, not waited for."""
    made = framework("llama_index.core.agent.workflow", extra=ADAPTER).AgentWorkflow(**workflow)
    return attach(guard, made, fail_closed=fail_closed, wait_seconds=0)


@dataclass(frozen=True)
class _Call:
    """One call, as its step is given it.

    Attributes:
        run: the framework's own step.
        session: what the call's id belongs to.
        within: how many guards stand nearer to the tool.
    """

    ctx: Any
    ev: Any
    run: Callable[[], Any]
    session: str | None
    within: int

    @property
    def key(self) -> tuple[str, ...]:
        """The same for each time that the step is given."""
        return self.session or "", self.ev.tool_id, digest(self.ev.tool_kwargs)


class _Step:
    """The guard around `call_tool`. What waits for a person is remembered by the call, for its step to begin anew."""

    def __init__(self, guard: Guard, fail_closed: bool | None, wait_seconds: float | None) -> None:
        self.guard = guard
        self.fail_closed = fail_closed
        self.wait_seconds = wait_seconds
        self._waiting: dict[tuple[str, ...], Decision] = {}
        self._turns: WeakValueDictionary[tuple[Any, ...], Lock] = WeakValueDictionary()

    def guarded(self, agent_class: Any) -> Any:
        """A class like this one, with the guard in its steps. One that has this guard already stays as it is."""
        if self.guard in _guards(agent_class):
            return agent_class
        members = {
            "__module__": agent_class.__module__,
            "call_tool": self.around(agent_class.call_tool, len(_guards(agent_class))),
            "run_agent_step": self._stepping(agent_class.run_agent_step),
        }
        if hasattr(agent_class, "take_step"):
            members["take_step"] = self._only_in_a_step(agent_class.take_step)
        return type(agent_class)(agent_class.__name__, (agent_class,), members)

    def _stepping(self, inner: Any) -> Any:
        """The step before the tools are called: it says to the agent that this guard will be asked about them."""

        @wraps(inner)
        async def run_agent_step(agent: Any, ctx: Any, ev: Any) -> Any:
            token = _stepping.set((*_stepping.get(), (self.guard, ctx)))
            try:
                return await inner(agent, ctx, ev)
            finally:
                _stepping.reset(token)

        return run_agent_step

    def _only_in_a_step(self, inner: Any) -> Any:
        """What an agent does in any workflow, its own or another: it names the tools that are to be called."""

        @wraps(inner)
        async def take_step(agent: Any, ctx: Any, *args: Any, **kwargs: Any) -> Any:
            is_guarded = any(guard is self.guard and each is ctx for guard, each in _stepping.get())
            if not is_guarded and self.guard.mode != "observe":
                raise ConfigurationError(
                    f"agent `{agent.name}` has a guard, and the workflow that runs it has not: it would call the"
                    " agent's tools past the guard; write `attach(guard, workflow)`"
                )
            output = await inner(agent, ctx, *args, **kwargs)
            for call in () if is_guarded else output.tool_calls:
                self.guard.observe(call.tool_name, call.tool_kwargs, call_id=_call_id(call), adapter=ADAPTER)
            return output

        return take_step

    def around(self, inner: Any, within: int) -> Any:
        """A step like `inner`, with the guard before it."""

        @wraps(inner)  # the framework finds a step by what it noted on the function
        async def call_tool(agent: Any, ctx: Any, ev: Any) -> Any:
            call = _Call(ctx, ev, partial(_inside, inner, agent, ctx, ev), await self._session(ctx), within)
            turn = (id(get_running_loop()), *call.key)
            async with self._turns.setdefault(turn, Lock()):  # a restored run may give a step twice at once
                return await self._called(call)

        call_tool.kiff_guard = self.guard  # type: ignore[attr-defined]
        return call_tool

    async def _session(self, ctx: Any) -> str | None:
        """It is stored with the run: a call that had run when the run was stored, and whose step is given once more
        where it is restored, is known by it."""
        if self.guard.session or self.guard.mode == "observe":
            return None
        async with ctx.store.edit_state() as state:
            if _SESSION not in state:
                state[_SESSION] = f"run_{uuid4().hex}"
            return str(state[_SESSION])

    async def _called(self, call: _Call) -> Any:
        held = self._waiting.get(call.key)
        if held is None:
            try:
                return await self._run(call)
            except Hold as hold:
                held = hold.decision
            if not held.needs_approval or not held.approval_id or self.wait_seconds == 0:
                return _told(call, held.explain(), held)
        return await self._answered(call, held)

    async def _answered(self, call: _Call, held: Decision) -> Any:
        """Waits for a person's word, which only wakes the call: KIFF is asked again, and a no needs no asking."""
        self._waiting[call.key] = held
        try:
            said = await self._wait(call, held)
        except Timeout:
            self._waiting.pop(call.key, None)
            return _told(call, held.explain(), held)
        self._waiting.pop(call.key, None)
        if said.get("approved", True) is False:
            text = f"`{call.ev.tool_name}` waits for an approval by KIFF, and was declined here; it did not run"
            return _told(call, text, held)
        try:
            return await self._run(call, said.get("approval_id", None))
        except Hold as hold:
            return _told(call, hold.decision.explain(), hold.decision)

    async def _wait(self, call: _Call, held: Decision) -> Any:
        events = framework("llama_index.core.workflow", extra=ADAPTER)
        ev = call.ev
        asked = events.InputRequiredEvent(
            prefix=held.explain(), tool_name=ev.tool_name, tool_id=ev.tool_id, approval_id=held.approval_id
        )
        place = f" {call.within}" if call.within else ""  # two guards wait one after the other, each for its own
        try:
            return await call.ctx.wait_for_event(
                events.HumanResponseEvent,
                waiter_event=asked,
                waiter_id=f"kiff {ev.tool_id} {held.args_hash}{place}",
                requirements={"approval_id": held.approval_id},
                timeout=self.wait_seconds,
            )
        except Exception as left:  # so a step is left, to begin anew
            left.kiff_waits = True  # type: ignore[attr-defined]
            raise

    async def _run(self, call: _Call, approval_id: str | None = None) -> Any:
        try:
            return await self.guard.aevaluate(
                call.ev.tool_name,
                call.ev.tool_kwargs,
                call.run,
                call_id=_call_id(call.ev),
                approval_id=approval_id,
                session=call.session,
                fail_closed=self.fail_closed,
                failed=_failure,
                adapter=ADAPTER,
            )
        except Waits as waits:
            raise waits.error from None


class Waits(ActionFailed):
    """Another guard, nearer to the tool, waits for a person: nothing has run.

    Attributes:
        error: how the framework leaves the step.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__("another guard waits for a person")
        self.error = error


class Withheld(dict[str, Any]):
    """The decision that withheld a call, in the place of what its tool would give."""


async def _inside(step: Any, *about: Any) -> Any:
    try:
        return await step(*about)
    except Exception as error:
        if hasattr(error, "kiff_waits"):
            raise Waits(error) from None
        raise


def _guards(agent_class: Any) -> list[Guard]:
    """Those in the steps of a class, of which each stands around the next."""
    steps = (vars(kind).get("call_tool") for kind in agent_class.__mro__)
    return [step.kiff_guard for step in steps if hasattr(step, "kiff_guard")]


def _call_id(ev: Any) -> str | None:
    """Some models give no ids, and their clients put the tool's name there: that says nothing about the call."""
    return None if ev.tool_id == ev.tool_name else ev.tool_id


def _failure(result: Any) -> Any:
    """LlamaIndex tells errors as results; newer releases put the exception beside them."""
    output = result.tool_output
    if not output.is_error:
        return None
    if isinstance(output.raw_output, Withheld):
        return ActionFailed(output.content)
    error = getattr(output, "exception", None)
    if (error is None and output.content == _UNKNOWN.format(output.tool_name)) or _never_began(error):
        return ActionFailed(output.content)
    return error or "error"


def _never_began(error: Any) -> bool:
    """Did the arguments not fit? Then the error comes from where the tool was to be called, and from nothing in it."""
    trace = getattr(error, "__traceback__", None)
    if not isinstance(error, TypeError) or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith("llama_index.core.tools")


def _told(call: _Call, text: str, decision: Decision) -> Any:
    """What the model and whoever listens to the run are told of a call that did not run."""
    tools = framework("llama_index.core.tools", extra=ADAPTER)
    agents = framework("llama_index.core.agent.workflow", extra=ADAPTER)
    about = {"tool_name": call.ev.tool_name, "tool_kwargs": call.ev.tool_kwargs, "tool_id": call.ev.tool_id}
    output = tools.ToolOutput(
        content=text,
        tool_name=call.ev.tool_name,
        raw_input=call.ev.tool_kwargs,
        raw_output=Withheld(decision.as_dict()),
        is_error=True,
    )
    result = agents.ToolCallResult(**about, tool_output=output, return_direct=False)
    call.ctx.write_event_to_stream(result)
    return result
