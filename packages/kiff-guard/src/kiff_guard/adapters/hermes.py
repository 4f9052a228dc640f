"""Hermes: the guard as a plugin. It votes before a call, looks once more as the tool is about to run, settles after it.

Its rule: two locks. Hermes follows the first directive of all its plugins, and a person's yes at its prompt lets a call
go on without asking us again. So the plugin also stands around the tool itself, and there no tool runs that KIFF does
not let run. Nothing here raises: whatever a hook raises, Hermes runs the tool.

    guard = Guard(mode="observe")
    register = hook(guard).register        # the whole of a plugin's __init__.py
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from threading import Lock, get_ident
from time import monotonic
from typing import Any, NamedTuple

from kiff_guard import attempts
from kiff_guard.adapters import framework
from kiff_guard.arguments import same
from kiff_guard.decision import ALLOWED, ERROR, OBSERVED, Decision
from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard
from kiff_guard.newest import Newest

ADAPTER = "hermes"
VOTES_LIMIT = 10_000
STATUSES = {"ok": "succeeded", "error": "failed", "blocked": "not_run", "cancelled": "cancelled"}
"""How a call ended, in Hermes' words and in ours."""

Vote = tuple[str, ...]
log = logging.getLogger("kiff_guard")


def hook(guard: Guard, *, fail_closed: bool | None = None, pause: bool = True) -> Plugin:
    """The plugin of a guard.

    Args:
        guard: decides.
        fail_closed: False lets tools run while KIFF cannot be asked; None is the guard's own word.
        pause: a call that waits for a person in KIFF waits at Hermes' own prompt. A yes there asks KIFF again, and
            without KIFF's grant the call is withheld all the same. False tells the model at once.
    """
    return Plugin(guard, fail_closed, pause)


def attach(guard: Guard, agent: Any = None, *, fail_closed: bool | None = None, pause: bool = True) -> Any:
    """Guards every agent of this process, sub-agents as well, and returns `agent`: plugins are the process's."""
    plugins = framework("hermes_cli.plugins", extra="hermes")
    plugins.discover_plugins()
    manager = plugins.get_plugin_manager()
    callbacks = manager._hooks.get("pre_tool_call", ())
    if not any(getattr(getattr(each, "__self__", None), "guard", None) is guard for each in callbacks):
        manifest = plugins.PluginManifest(name="kiff", source="user")
        hook(guard, fail_closed=fail_closed, pause=pause).register(plugins.PluginContext(manifest, manager))
    return agent


def register_kiff_guard(ctx: Any, guard: Guard, fail_closed: bool | None = None) -> None:
    """Registers the plugin from another plugin's `register(ctx)`; the name of kiff-guard 1.x."""
    hook(guard, fail_closed=fail_closed).register(ctx)


def hermes_pre_tool_call(guard: Guard, fail_closed: bool | None = None) -> Callable[..., dict[str, Any] | None]:
    """The vote of kiff-guard 1.x by itself. It never learns how a call ended, and another plugin may overrule it."""
    return Plugin(guard, fail_closed, pause=False, settles=False).pre_tool_call


def register(ctx: Any) -> None:
    """The plugin `kiff` of this package: `hermes plugins enable kiff`.

    KIFF_GUARD=module:name says which guard it is. Without it the plugin observes, and keeps its receipts in
    `kiff/receipts.jsonl` of Hermes' home. A guard that cannot be made withholds every call: Hermes goes on without a
    plugin that does not load.
    """
    hook(_guard(os.environ.get("KIFF_GUARD", ""))).register(ctx)


class Plugin:
    """The callbacks that Hermes calls, and the votes that are not settled yet.

    Args:
        guard: decides.
        fail_closed: overrides the guard's.
        pause: ask a person at Hermes' prompt.
        settles: Hermes will tell how calls end.
    """

    def __init__(self, guard: Guard, fail_closed: bool | None, pause: bool, settles: bool = True) -> None:
        self.guard = guard
        self._fail_closed = fail_closed
        self._pause = pause
        self._settles = settles
        self._lock = Lock()
        self._votes: Newest[Vote, _Cast] = Newest(VOTES_LIMIT)

    def register(self, ctx: Any) -> None:
        """Takes all of its places in Hermes."""
        ctx.register_middleware("tool_execution", self.tool_execution)
        ctx.register_hook("pre_tool_call", self.pre_tool_call)
        ctx.register_hook("post_tool_call", self.post_tool_call)

    def pre_tool_call(
        self, tool_name: str = "", args: Any = None, session_id: str = "", tool_call_id: str = "", **_: Any
    ) -> dict[str, Any] | None:
        """The vote. What Hermes reads has a text in any case: it takes a block without one for none."""
        self._go_last()
        decision = self._decide(tool_name, args, session_id, tool_call_id)
        if not decision.withheld:
            return None
        if self._pause and decision.needs_approval:
            return {
                "action": "approve",
                "message": f"{decision.explain()}. Grant it in KIFF, then answer yes: a yes here only asks KIFF again",
                "rule_key": f"kiff:{decision.approval_id}",
            }
        return {"action": "block", "message": decision.explain()}

    def tool_execution(
        self,
        tool_name: str = "",
        args: Any = None,
        next_call: Any = None,
        session_id: str = "",
        tool_call_id: str = "",
        **_: Any,
    ) -> Any:
        """The second lock. Hermes may go through it twice for one call: a vote that stands is not asked for again."""
        cast = self._vote(tool_name, session_id, tool_call_id)
        if cast is not None and cast.stands(args):
            decision = cast.decision
        else:
            if cast is not None and not cast.decision.withheld:
                self._settle(cast.decision, status="not_run")
            decision = self._decide(tool_name, args, session_id, tool_call_id)
        if decision.withheld:
            return json.dumps({"error": decision.explain()})
        return next_call(args)

    def _go_last(self) -> None:
        """The second lock is next to the tool: plugins loaded after this one could change a call behind it."""
        try:
            manager = framework("hermes_cli.plugins", extra="hermes").get_plugin_manager()
            around = manager._middleware.get("tool_execution", [])
            if self.tool_execution in around and around[-1] != self.tool_execution:
                around.remove(self.tool_execution)
                around.append(self.tool_execution)
        except Exception:  # a Hermes that keeps them otherwise: the order is that of loading
            log.exception("the guard could not go behind the other plugins")

    def post_tool_call(
        self,
        tool_name: str = "",
        result: Any = None,
        status: str = "",
        session_id: str = "",
        tool_call_id: str = "",
        error_message: str | None = None,
        **_: Any,
    ) -> None:
        """How it ended. Hermes may withhold a call, too, after ours was let run: that one did not run."""
        with self._lock:
            cast = self._votes.pop(_vote(tool_name, session_id, tool_call_id), None)
        if cast is None or cast.decision.withheld:
            return
        decision = cast.decision
        ended = STATUSES.get(status, "unknown")
        if ended == "failed":
            self._settle(decision, result=result, status=ended, error=ToolFailed(error_message))
        else:
            self._settle(decision, result=result, status=ended)

    def _decide(self, tool: str, args: Any, session: str, call_id: str) -> Decision:
        asked_at = monotonic()
        try:
            decision = self.guard.decide_only(
                tool,
                args,
                call_id=call_id or None,
                session=session or None,
                fail_closed=self._fail_closed,
                settles=self._settles,
                adapter=ADAPTER,
            )
        except Exception as error:  # Hermes takes any exception for leave to run
            log.exception("the guard itself failed over `%s`", tool)
            outcome = OBSERVED if self.guard.mode == "observe" else ERROR
            decision = Decision(outcome, f"{type(error).__name__}: {error}", tool=tool)
        if self._settles:
            with self._lock:
                self._votes[_vote(tool, session, call_id)] = _Cast(decision, asked_at)
        return decision

    def _vote(self, tool: str, session: str, call_id: str) -> _Cast | None:
        with self._lock:
            return self._votes.get(_vote(tool, session, call_id))

    def _settle(self, decision: Decision, **how: Any) -> None:
        try:
            self.guard.settle(decision, **how)
        except Exception:
            log.exception("the end of `%s` could not be recorded", decision.tool)


class _Cast(NamedTuple):
    """A vote, and when KIFF was asked, by the clock that nobody sets."""

    decision: Decision
    asked_at: float

    def stands(self, args: Any) -> bool:
        """May the tool run on it? Another plugin may have changed the arguments since, or had a person think it over
        for longer than KIFF's clearance is good for."""
        if self.decision.outcome == OBSERVED:
            return True
        if self.decision.withheld or not same(args, self.decision.args_hash):
            return False
        return self.decision.outcome != ALLOWED or monotonic() - self.asked_at <= attempts.FRESH_SECONDS


class ToolFailed(Exception):
    """An error that Hermes told as a tool's result."""


def _vote(tool: str, session: str, call_id: str) -> Vote:
    """Which call it is. One without an id is made by a script of the model's, and stays in its thread."""
    return (session, call_id, tool) if call_id else (session, "", tool, str(get_ident()))


def _guard(named: str) -> Guard:
    if not named:
        return _observing()
    try:
        module, _, name = named.partition(":")
        guard = getattr(import_module(module), name or "guard")
        if not isinstance(guard, Guard):
            raise ConfigurationError(f"KIFF_GUARD: `{named}` is no Guard but a {type(guard).__name__}")
        return guard
    except Exception as error:
        log.exception("KIFF_GUARD=%s cannot be used: every call is withheld", named)
        return Guard(_NoGuard(error), mode="enforce")


def _observing() -> Guard:
    from kiff_guard.ledgers import JSONLLedger

    folder = Path(os.environ.get("HERMES_HOME") or Path.home() / ".hermes") / "kiff"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Guard(mode="observe", ledger=JSONLLedger(folder / "receipts.jsonl"))


class _NoGuard:
    """Stands where a client would, and answers every question with why there is none."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def decide(self, *_: Any, **__: Any) -> Decision:
        return Decision(ERROR, f"no_guard: {type(self._error).__name__}: {self._error}", reasons=("no_guard",))
