"""CrewAI: the hooks before and after a tool call, for every crew of the process, and the tools' bodies beneath them.

CrewAI asks its hooks, and then runs the tool as often as it likes: a body that fails is tried again, a cached result
or a spent limit runs none at all. So a vote of the guard is good for one run of the body with the arguments that were
decided on, and the body says itself whether it ran and how it ended. A hook that raises lets the tool run: nothing is
raised here, no is `False`.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import wraps
from inspect import Parameter, isawaitable, iscoroutinefunction, signature
from threading import Lock, get_ident
from typing import Any

from kiff_guard.adapters import framework
from kiff_guard.arguments import digest, same
from kiff_guard.decision import Decision
from kiff_guard.guard import Guard

ADAPTER = "crewai"
_registering = Lock()


def hook(guard: Guard, *, fail_closed: bool | None = None) -> KiffHooks:
    """The pair of hooks: `with hook(guard): crew.kickoff()`, or `hook(guard).register()` for the whole process."""
    return KiffHooks(guard, fail_closed)


def attach(guard: Guard, agent: Any, *, fail_closed: bool | None = None) -> Any:
    """Guards a crew or an agent, and gives it back. The hooks are global: every other crew is guarded as well.

    The bodies of its tools are guarded from now on, whoever calls them.
    """
    hooks = hook(guard, fail_closed=fail_closed).register()
    for tool in _tools(agent):
        hooks.guard_body(tool)
    return agent


class KiffHooks:
    """What the guard has to say before a tool call of CrewAI's and after it."""

    def __init__(self, guard: Guard, fail_closed: bool | None = None) -> None:
        self.guard = guard
        self.fail_closed = fail_closed
        self._users = 0
        self._votes: dict[int, _Vote] = {}
        self._bodies: list[tuple[Any, str, _Body]] = []
        self._lock = Lock()

    @property
    def registered(self) -> bool:
        return self._users > 0

    def register(self) -> KiffHooks:
        """From now on, for every crew. Hooks of one guard are registered once, however often this is asked for.

        Returns:
            Those that are registered: `unregister` them as often.
        """
        hooks = framework("crewai.hooks", extra=ADAPTER)
        with _registering:
            known = (getattr(each, "__self__", None) for each in hooks.get_before_tool_call_hooks())
            mine = [each for each in known if isinstance(each, KiffHooks) and each.guard is self.guard]
            if not mine:
                hooks.register_before_tool_call_hook(self.before)
                hooks.register_after_tool_call_hook(self.after)
            owner = mine[0] if mine else self
            owner._users += 1
            return owner

    def unregister(self) -> None:
        """No more, once everybody who registered them is done. A call that nobody will settle is `unknown` then."""
        hooks = framework("crewai.hooks", extra=ADAPTER)
        with _registering:
            self._users = max(0, self._users - 1)
            if self._users:
                return
            hooks.unregister_before_tool_call_hook(self.before)
            hooks.unregister_after_tool_call_hook(self.after)
        with self._lock:
            votes, self._votes = list(self._votes.values()), {}
            bodies, self._bodies = self._bodies, []
        for tool, name, body in bodies:
            if getattr(getattr(tool, name), "kiff_body", None) is body:
                object.__setattr__(tool, name, body.inner)
        for vote in votes:
            vote.leave()
            if not vote.ran:
                self.guard.settle(vote.decision, status="unknown")

    def __enter__(self) -> KiffHooks:
        self._entered = self.register()
        return self._entered

    def __exit__(self, *about: object) -> None:
        self._entered.unregister()

    def before(self, context: Any) -> bool | None:
        """May it run? None lets it. CrewAI hands the same arguments object to both hooks, which makes them a pair."""
        try:
            return self._asked(context)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # CrewAI lets a tool run whose hook raises
            if self.guard.mode == "observe":
                return None
            broken = Decision("error", f"{type(error).__name__}: {error}", tool=context.tool_name)
            self._keep(_Vote(broken, context.tool_input, None))
            return False

    def _asked(self, context: Any) -> bool | None:
        decision = self.guard.decide_only(
            context.tool_name, context.tool_input, fail_closed=self.fail_closed, adapter=ADAPTER
        )
        if decision.withheld:
            self._keep(_Vote(decision, context.tool_input, None))
            return False
        self._keep(_Vote(decision, context.tool_input, self.guard_body(context.tool)))
        return None

    def _keep(self, vote: _Vote) -> None:
        """CrewAI ends one call of a thread before it begins the next: a vote that was left behind is good for none."""
        with self._lock:
            for each in self._votes.values():
                if each.thread == vote.asked_in and not each.ran:
                    each.leave()
            self._votes[id(vote.args)] = vote

    def after(self, context: Any) -> str | None:
        """Tells the model why a call was withheld, and settles one whose body did not do it itself."""
        with self._lock:
            vote = self._votes.pop(id(context.tool_input), None)
        if vote is None:
            return None
        if vote.decision.withheld:
            return vote.decision.explain()
        vote.leave()
        if vote.changed:
            return f"{context.tool_name} did not run: its arguments were changed after KIFF decided on them"
        if vote.body is not None:
            self.guard.settle(vote.decision, status="not_run")  # the body settled itself, if it ran
        else:
            failed = _tells_of_failure(context.tool_result)
            self.guard.settle(vote.decision, result=context.tool_result, status="failed" if failed else "succeeded")
        return None

    # The bodies

    def guard_body(self, tool: Any) -> _Body | None:
        """Puts the guard around what a tool does; None for a tool that cannot be changed."""
        made_of = getattr(tool, "_original_tool", None) or tool
        try:
            if callable(getattr(made_of, "func", None)):
                return self._around(made_of, "func")
            body = self._around(made_of, "_run")
            self._around_beside(made_of, "_arun")
            if tool is not made_of:
                tool.func = made_of._run  # it holds the body as it was before
            return body
        except (AttributeError, TypeError, ValueError):
            return None

    def _around(self, tool: Any, name: str) -> _Body:
        inner = getattr(tool, name)
        known = _body_of(self, inner)
        if known is None:
            names = framework("crewai.utilities.string_utils", extra=ADAPTER)
            known = _Body(self, names.sanitize_tool_name(tool.name), inner, getattr(tool, "args_schema", None))
            object.__setattr__(tool, name, known.wrapper())
            with self._lock:
                self._bodies.append((tool, name, known))
        return known

    def _around_beside(self, tool: Any, name: str) -> None:
        """The same for a body that CrewAI never runs by itself, and other code may."""
        inner = getattr(tool, name, None)
        is_theirs = getattr(inner, "__module__", "").startswith("crewai.")  # it has none, or goes through `func`
        if is_theirs or not iscoroutinefunction(inner) or _body_of(self, inner) is not None:
            return
        names = framework("crewai.utilities.string_utils", extra=ADAPTER)
        known = _Body(self, names.sanitize_tool_name(tool.name), inner, getattr(tool, "args_schema", None))
        object.__setattr__(tool, name, known.beside())
        with self._lock:
            self._bodies.append((tool, name, known))


class _Vote:
    """One call that was decided on.

    Attributes:
        thread: where CrewAI runs the body; None if it may be anywhere, which is so where it awaits the call.
    """

    def __init__(self, decision: Decision, args: Any, body: _Body | None) -> None:
        self.decision = decision
        self.args = args
        self.body = body
        self.asked_in = get_ident()
        self.thread = None if _in_a_loop() else self.asked_in
        self.ran = False
        self.ended = False
        self.changed = False
        self.error: BaseException | None = None
        self.result: Any = None
        if body is not None:
            body.votes.append(self)

    def again(self) -> Any:
        """CrewAI tries again what ran already: it gets the same answer, and nothing happens twice."""
        if self.error is not None:
            raise self.error
        if not self.ended:
            raise RuntimeError("this very call is running")
        return self.result

    def leave(self) -> None:
        if self.body is not None and self in self.body.votes:
            self.body.votes.remove(self)


class _Body:
    """What one tool does, guarded: a vote lets it run once."""

    def __init__(self, hooks: KiffHooks, tool: str, inner: Callable[..., Any], schema: Any) -> None:
        self.hooks = hooks
        self.tool = tool
        self.inner = inner
        self.schema = schema
        self.votes: list[_Vote] = []
        self._lock = Lock()

    def wrapper(self) -> Callable[..., Any]:
        if iscoroutinefunction(self.inner):

            @wraps(self.inner)
            async def body(*args: Any, **kwargs: Any) -> Any:
                result = self.run(*args, **kwargs)
                return await result if isawaitable(result) else result
        else:

            @wraps(self.inner)
            def body(*args: Any, **kwargs: Any) -> Any:
                return self.run(*args, **kwargs)

        body.kiff_body = self  # type: ignore[attr-defined]
        return body

    def beside(self) -> Callable[..., Any]:
        """The body where no hook was asked before it: each of its calls is decided by itself."""

        @wraps(self.inner)
        async def body(*args: Any, **kwargs: Any) -> Any:
            if not self.hooks.registered:
                return await self.inner(*args, **kwargs)
            given, guard = self._named(args, kwargs), self.hooks.guard
            return await guard.aevaluate(self.tool, given, lambda: self.inner(*args, **kwargs), **self._how)

        body.kiff_body = self  # type: ignore[attr-defined]
        return body

    def run(self, *args: Any, **kwargs: Any) -> Any:
        vote, first = self._take(args, kwargs)
        if vote is None or (not first and self.hooks.guard.mode == "observe"):
            return self._unasked(args, kwargs)
        if not first:
            return vote.again()
        self._check(vote)
        try:
            result = self.inner(*args, **kwargs)
        except BaseException as error:
            self._failed(vote, error)
            raise
        return self._awaited(vote, result) if isawaitable(result) else self._succeeded(vote, result)

    def _unasked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Called past the hooks: by other code, by another tool, or once more while the guard only observes."""
        if not self.hooks.registered:
            return self.inner(*args, **kwargs)
        return self.hooks.guard.evaluate(
            self.tool, self._named(args, kwargs), lambda: self.inner(*args, **kwargs), **self._how
        )

    @property
    def _how(self) -> dict[str, Any]:
        return {"fail_closed": self.hooks.fail_closed, "adapter": ADAPTER}

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """What the body gets, by name: what is left out is decided on as well.

        Raises:
            TypeError: it does not take these.
        """
        bound = signature(self.inner).bind(*args, **kwargs)
        bound.apply_defaults()
        known: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if bound.signature.parameters[name].kind is not Parameter.VAR_KEYWORD:
                known[name] = value
            elif known.keys().isdisjoint(value) or self.hooks.guard.mode == "observe":
                known.update(value)
            else:
                raise TypeError("an argument was given by its place and by its name")
        return known

    async def _awaited(self, vote: _Vote, result: Awaitable[Any]) -> Any:
        try:
            value = await result
        except BaseException as error:
            self._failed(vote, error)
            raise
        return self._succeeded(vote, value)

    def _take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[_Vote | None, bool]:
        """The vote of this very call, and whether this is its first run."""
        if args:  # CrewAI names them all
            return None, False
        given, thread = digest(kwargs), get_ident()
        with self._lock:
            votes = [each for each in self.votes if each.thread in (None, thread) and self._is_about(each, given)]
            votes = [each for each in votes if each.asked_in == thread] or votes
            waiting = [each for each in votes if not each.ran]
            vote = waiting[-1] if waiting else votes[-1] if votes else None
            if vote is None:
                return None, False
            first, vote.ran = not vote.ran, True
            return vote, first

    def _is_about(self, vote: _Vote, given: str) -> bool:
        """Was it given for the arguments with this digest? CrewAI completes and converts them by the tool's schema."""
        if digest(vote.args) == given:
            return True
        with suppress(Exception):  # a schema is anybody's code, and one that refuses them lets nothing run
            known = {name: value for name, value in vote.args.items() if name in self.schema.model_fields}
            return digest(self.schema.model_validate(known).model_dump()) == given
        return False

    def _check(self, vote: _Vote) -> None:
        """The last look: other hooks had the arguments too."""
        guard = self.hooks.guard
        if guard.mode == "observe" or not vote.decision.args_hash or same(vote.args, vote.decision.args_hash):
            return
        vote.changed = True
        guard.settle(vote.decision, status="not_run", args=vote.args)
        vote.error = RuntimeError("the arguments were changed after KIFF decided on them")
        raise vote.error

    def _failed(self, vote: _Vote, error: BaseException) -> None:
        vote.error = error
        self.hooks.guard.settle(vote.decision, error=error)

    def _succeeded(self, vote: _Vote, result: Any) -> Any:
        vote.ended, vote.result = True, result
        told = type(result).__name__ == "ToolFailure"  # how a tool of CrewAI says that it failed
        self.hooks.guard.settle(vote.decision, result=result, status="failed" if told else "succeeded")
        return result


def _in_a_loop() -> bool:
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True


def _body_of(hooks: KiffHooks, function: Any) -> _Body | None:
    """The body that these hooks guard already, below whatever was put around it since."""
    while function is not None:
        body = getattr(function, "kiff_body", None)
        if body is not None and body.hooks is hooks:
            return body  # type: ignore[no-any-return]
        function = getattr(function, "__wrapped__", None)
    return None


def _tools(agent: Any) -> Iterator[Any]:
    """The tools of an agent, or of a crew's agents and tasks."""
    for each in (agent, *(getattr(agent, "agents", None) or ()), *(getattr(agent, "tasks", None) or ())):
        yield from getattr(each, "tools", None) or ()


def _tells_of_failure(text: Any) -> bool:
    said = str(text)
    return said.startswith(("Error executing tool", "Tool not found")) or "has reached its usage limit" in said
