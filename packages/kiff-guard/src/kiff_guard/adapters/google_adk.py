"""Google ADK: a plugin for the runner, or a callback in agents that are there already.

ADK asks plugins and callbacks before a tool runs, and any of them may still change the arguments afterwards. So the
guard does not vote there. What it does there is to put itself around the tool, where nothing comes in between: it
decides on the arguments that the tool gets, sees how the tool ends, and pauses as a tool of ADK's own would.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial, wraps
from types import FunctionType
from typing import Any

from kiff_guard.adapters import framework
from kiff_guard.decision import Decision, Hold
from kiff_guard.errors import ActionFailed
from kiff_guard.guard import Guard

ADAPTER = "google-adk"
_ASKED = "adk_request_confirmation"
_NEVER_BEGAN = "Invoking `{}()` failed as the following mandatory input parameters are not present"
_GUARDS = "_kiff_guards"
"""On the context of a call: the guards that were told of it. A tool may be shared by agents with different ones."""
_around_us: ContextVar[tuple[Guard, ...]] = ContextVar("kiff_around_us", default=())
"""The guards that let the tools run within which this runs."""


def hook(guard: Guard, *, fail_closed: bool | None = None) -> Any:
    """A plugin: `Runner(..., plugins=[hook(guard)])`. It sees all agents below the runner."""
    base = framework("google.adk.plugins.base_plugin", extra=ADAPTER).BasePlugin
    seam = _Seam(guard, fail_closed, is_plugin=True)

    class KiffPlugin(base):  # type: ignore[misc, valid-type]  # a class of the framework's
        async def before_tool_callback(self, *, tool: Any, tool_args: Any, tool_context: Any) -> Any:
            return await seam.before(tool, tool_args, tool_context)

        async def after_tool_callback(self, *, tool: Any, tool_args: Any, tool_context: Any, result: Any) -> None:
            await seam.after(tool_context, result)

        async def on_tool_error_callback(self, *, tool: Any, tool_args: Any, tool_context: Any, error: Any) -> None:
            await seam.failed(tool_context, error)

    return KiffPlugin(name="kiff")


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None) -> Any:
    """Guards a runner or an app (by a plugin) or an agent or a workflow (by callbacks), with all that is below it."""
    framework("google.adk", extra=ADAPTER)
    seam = _Seam(guard, fail_closed)
    if hasattr(agent, "plugin_manager"):
        agent.plugin_manager.register_plugin(hook(guard, fail_closed=fail_closed))
        root, listens = agent.agent, False
    elif hasattr(agent, "plugins"):
        agent.plugins.append(hook(guard, fail_closed=fail_closed))
        root, listens = agent.root_agent, False
    else:
        root, listens = agent, True
    seam.around_nodes(root)
    for each in _nodes(root, set()) if listens else ():
        if hasattr(each, "before_tool_callback"):
            _listen(each, seam)
    return agent


def kiff_before_tool_callback(guard: Guard, fail_closed: bool = True) -> Any:
    """The name of v1: `LlmAgent(before_tool_callback=kiff_before_tool_callback(guard))`, for this one agent."""
    return _before(_Seam(guard, fail_closed))


class _Seam:
    """The guard at one place of ADK's.

    Args:
        is_plugin: an agent that is a tool has it too then, unless its tool takes no plugins.
        only_within: only for what runs within a tool that this guard let run, if any guard did.
    """

    def __init__(
        self, guard: Guard, fail_closed: bool | None, *, is_plugin: bool = False, only_within: bool = False
    ) -> None:
        self.guard = guard
        self.fail_closed = fail_closed
        self.is_plugin = is_plugin
        self.only_within = only_within
        self._votes: dict[int, tuple[Any, Decision]] = {}

    async def before(self, tool: Any, args: Any, context: Any) -> dict[str, Any] | None:
        """Before anything may run: the guard is put around the tool. None lets ADK go on."""
        if self.only_within and self.guard not in (_around_us.get() or (self.guard,)):
            return None
        self._listen_below(tool)
        guards = vars(context).setdefault(_GUARDS, [])
        if not _is_live(context) and self.around(tool):
            guards.append(self.guard)
            return None
        return await self._vote(tool, args, context)

    def around_nodes(self, root: Any) -> None:
        """The tools that are nodes of a workflow: older releases of ADK ask nobody before they run."""
        for each in _nodes(root, set()):
            if hasattr(getattr(each, "tool", None), "run_async"):
                self.around(each.tool)

    def _listen_below(self, tool: Any) -> None:
        """An agent that is a tool has a runner of its own, with no plugins if it takes none: it gets the callbacks."""
        if self.is_plugin and getattr(tool, "include_plugins", True):
            return
        for each in _nodes(getattr(tool, "agent", None), set()):
            if hasattr(each, "before_tool_callback") and not _listens(each, self.guard):
                _listen(each, _Seam(self.guard, self.fail_closed, only_within=True))

    def around(self, tool: Any) -> bool:
        """Puts the guard around what a tool does. Once is enough; False if the tool takes no such thing."""
        inner = tool.run_async
        if self.guard in _guards_around(inner):
            return True

        @wraps(inner)
        async def run_async(*, args: dict[str, Any], tool_context: Any) -> Any:
            if self.guard in getattr(tool_context, _GUARDS, (self.guard,)):
                return await self._run(tool, args, tool_context, inner)
            return await inner(args=args, tool_context=tool_context)  # another agent's call, with a guard of its own

        run_async.kiff_guard = self.guard  # type: ignore[attr-defined]
        try:
            tool.run_async = run_async
        except (AttributeError, TypeError, ValueError):  # a tool that takes no such thing
            return False
        return True

    async def _run(self, tool: Any, args: dict[str, Any], context: Any, inner: Any) -> Any:
        """The call itself. What ADK lets run, KIFF decides on here."""
        if self._was_declined(context):
            return _declined(tool.name)
        self._listen_below(tool)  # the tool of a workflow's node may have been asked about by nobody
        try:
            return await self.guard.aevaluate(
                tool.name,
                args,
                lambda: _within(self.guard, inner, args, context),
                failed=partial(_failure, tool.name),
                **self._known(context),
            )
        except Hold as hold:
            return _answer(hold.decision, context)

    def _known(self, context: Any) -> dict[str, Any]:
        return {
            "call_id": context.function_call_id,
            "session": _session(context),
            "approval_id": _approval_id(context),
            "fail_closed": self.fail_closed,
            "adapter": ADAPTER,
        }

    def _was_declined(self, context: Any) -> bool:
        """Did a person at ADK's own prompt say no to a call that KIFF held? Then nobody has to be asked."""
        said = context.tool_confirmation
        return said is not None and not said.confirmed and bool(_approval_id(context))

    # Live sessions: ADK runs tools in ways of its own there, so the guard can only vote before and look on after.

    async def _vote(self, tool: Any, args: Any, context: Any) -> dict[str, Any] | None:
        decision = await self.guard.adecide_only(tool.name, args, **self._known(context))
        if decision.withheld:
            return _answer(decision, context)
        self._votes[id(context)] = (context, decision)
        return None

    async def after(self, context: Any, result: Any) -> None:
        _, decision = self._votes.pop(id(context), (None, None))
        if decision is not None:
            await self.guard.asettle(decision, result=result, status=_status(result))

    async def failed(self, context: Any, error: BaseException) -> None:
        _, decision = self._votes.pop(id(context), (None, None))
        if decision is not None:
            await self.guard.asettle(decision, error=error)


def _guards_around(function: Any) -> Iterator[Guard]:
    while function is not None:
        if hasattr(function, "kiff_guard"):
            yield function.kiff_guard
        function = getattr(function, "__wrapped__", None)


async def _within(guard: Guard, inner: Any, args: Any, context: Any) -> Any:
    """Runs a tool. What runs within it, such as another agent, has no one to ask for a confirmation."""
    token = _around_us.set((*_around_us.get(), guard))
    try:
        return await inner(args=args, tool_context=context)
    finally:
        _around_us.reset(token)


def _answer(decision: Decision, context: Any) -> dict[str, Any]:
    """What the model is told of a withheld call. One that a person may approve pauses the run by ADK's own means."""
    if decision.needs_approval and decision.approval_id and _can_pause(context):
        context.request_confirmation(hint=decision.explain(), payload=decision.as_dict())
        context.actions.skip_summarization = True
    return {"error": decision.explain(), "kiff": decision.as_dict()}


def _can_pause(context: Any) -> bool:
    """ADK asks once for each call, and for none that runs within another tool."""
    return bool(context.function_call_id) and context.tool_confirmation is None and not _around_us.get()


def _declined(tool: str) -> dict[str, Any]:
    return {"error": f"`{tool}` waits for an approval by KIFF, and was declined here; it did not run"}


def _approval_id(context: Any) -> str | None:
    """The approval that the pause of this call carried. It is in the session, so another process can resume."""
    if context.tool_confirmation is None:
        return None
    for event in reversed(context.session.events):
        for call in event.get_function_calls():
            if (
                call.name == _ASKED
                and (call.args or {}).get("originalFunctionCall", {}).get("id") == context.function_call_id
            ):
                payload = (call.args or {}).get("toolConfirmation", {}).get("payload")
                return payload.get("approval_id") if isinstance(payload, dict) else None
    return None


def _failure(tool: str, result: Any) -> Any:
    """ADK's tools tell of errors by a dict with `error`. Of some of them it is known that the body never began."""
    said = result.get("error") if isinstance(result, dict) else None
    if isinstance(said, str) and said.startswith(_NEVER_BEGAN.format(tool)):
        return ActionFailed(said)
    return "error" if said else None


def _status(result: Any) -> str:
    """How a call of a live session ended, if it did: a tool that streams goes on in the background."""
    if isinstance(result, dict) and "running asynchronously" in str(result.get("status", "")):
        return "unknown"
    return "failed" if isinstance(result, dict) and result.get("error") else "succeeded"


def _is_live(context: Any) -> bool:
    return getattr(getattr(context, "_invocation_context", None), "live_request_queue", None) is not None


def _session(context: Any) -> str | None:
    return getattr(getattr(context, "session", None), "id", None)


def _nodes(root: Any, seen: set[int]) -> Iterator[Any]:
    """An agent and all below it: its sub-agents, the agents and workflows that are tools of it, and the nodes of a
    workflow, with what a node runs."""
    if root is None or isinstance(root, FunctionType) or id(root) in seen:
        return
    seen.add(id(root))
    yield root
    below = [getattr(root, name, None) for name in ("agent", "node", "_node")]
    for several in ("sub_agents", "tools"):
        below += getattr(root, several, None) or ()
    below += getattr(getattr(root, "graph", None), "nodes", None) or ()
    for each in below:
        yield from _nodes(each, seen)


def _listen(agent: Any, seam: _Seam) -> None:
    """Puts the callbacks before those that are there."""
    agent.before_tool_callback = [_before(seam), *_listed(agent.before_tool_callback)]
    agent.after_tool_callback = [_after(seam), *_listed(agent.after_tool_callback)]
    agent.on_tool_error_callback = [_failed(seam), *_listed(agent.on_tool_error_callback)]


def _listens(agent: Any, guard: Guard) -> bool:
    return any(getattr(each, "kiff_guard", None) is guard for each in _listed(agent.before_tool_callback))


def _listed(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list) else [callbacks]


def _before(seam: _Seam) -> Any:
    async def kiff_before_tool(tool: Any, args: Any, tool_context: Any) -> Any:
        return await seam.before(tool, args, tool_context)

    kiff_before_tool.kiff_guard = seam.guard  # type: ignore[attr-defined]
    return kiff_before_tool


def _after(seam: _Seam) -> Any:
    async def kiff_after_tool(tool: Any, args: Any, tool_context: Any, tool_response: Any) -> None:
        await seam.after(tool_context, tool_response)

    return kiff_after_tool


def _failed(seam: _Seam) -> Any:
    async def kiff_tool_error(tool: Any, args: Any, tool_context: Any, error: Any) -> None:
        await seam.failed(tool_context, error)

    return kiff_tool_error
