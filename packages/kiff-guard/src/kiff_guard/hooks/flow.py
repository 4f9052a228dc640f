"""What a hook does with one event: decide before a call, settle after it. The core does both; this carries it over.

INVARIANT: what a settle needs is on the disk before the agent hears yes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kiff_guard.decision import Decision
from kiff_guard.errors import ConfigurationError, LedgerError
from kiff_guard.guard import Guard
from kiff_guard.hooks.dialects import Dialect
from kiff_guard.hooks.event import AFTER, BEFORE, BYTES_LIMIT, END, Event, payload
from kiff_guard.hooks.kept import Kept
from kiff_guard.hooks.reply import Reply
from kiff_guard.hooks.secrets import redacting
from kiff_guard.hooks.settings import Settings, enforces_already, fits, owned, read

SHARE = 0.8
"""Of the deadline, what asking KIFF may take; the rest is for the answer."""
PROJECT_VARIABLES = {
    "claude-code": "CLAUDE_PROJECT_DIR",
    "gemini": "GEMINI_PROJECT_DIR",
    "cursor": "CURSOR_PROJECT_DIR",
}
"""What each agent says which project it is in. An agent that another one started has the other's variable too."""


def answer(reply: Reply, mode: str, config: str, environment: Mapping[str, str]) -> None:
    """Reads one event from stdin and answers it. Whatever is raised in here is for `Reply.broken`."""
    project = environment.get(PROJECT_VARIABLES.get(reply.dialect.name, ""), "") or os.getcwd()
    reply.blocks = reply.blocks or enforces_already(config, environment)
    settings = read(mode, config, environment, project)
    reply.blocks = settings.enforces
    reply.within(settings.deadline_seconds)
    told = payload(_stdin())
    reply.answers(told.get("hook_event_name"))
    event = reply.dialect.event(told)
    Turn(reply, settings, event).take()


class Turn:
    """One event, under one set of settings."""

    def __init__(self, reply: Reply, settings: Settings, event: Event) -> None:
        self.reply = reply
        self.settings = settings
        self.event = event
        self.dialect: Dialect = reply.dialect

    def take(self) -> None:
        if self.event.moment == BEFORE:
            self._before()
        else:
            self._after()

    def _before(self) -> None:
        event = self.event
        if self.settings.enforces and fits(event.tool, self.settings.withheld):
            self._withheld_by_settings()
            return
        kept, guard = self._state(), self._guard()
        held = _held_key(event)
        approval_id = kept.held(held) if kept and self.settings.enforces else ""
        decision = guard.decide_only(
            event.tool, event.args, call_id=event.call_id, approval_id=approval_id, settles=event.reports
        )
        if decision.withheld:
            self._withheld(kept, held, decision)
        else:
            self._allowed(guard, kept, held, decision)
        self._tidy(kept, guard)

    def _withheld_by_settings(self) -> None:
        """A tool that the settings never let run: there is nothing to ask KIFF about it."""
        guard = self._guard()
        reason = f"withheld_by_settings: {self.settings.source} never lets `{self.event.tool}` run"
        decision = Decision("blocked", reason, reasons=("withheld_by_settings",), tool=self.event.tool)
        guard.record_withheld(self.event.tool, self.event.args, decision, call_id=self.event.call_id)
        self.reply.deny(decision.explain())

    def _withheld(self, kept: Kept | None, held: tuple[str, ...], decision: Decision) -> None:
        if kept and decision.needs_approval and decision.approval_id:
            kept.hold(held, decision.approval_id)
        elif kept and any(code.startswith("approval_") for code in decision.reasons):
            kept.forget(held)
        if decision.needs_approval and self.settings.defer and self.dialect.pause is not None:
            self.reply.pause(decision.explain())
        else:
            self.reply.deny(decision.explain())

    def _allowed(self, guard: Guard, kept: Kept | None, held: tuple[str, ...], decision: Decision) -> None:
        """Remembers the open call first. In enforce, one that cannot be remembered does not run."""
        if kept and decision.allowed:
            kept.forget(held)
        if self.event.reports and (kept or self.settings.enforces):
            self._remember(guard, kept, decision)
        self.reply.allow()

    def _remember(self, guard: Guard, kept: Kept | None, decision: Decision) -> None:
        """
        Raises:
            LedgerError: it could not be; in enforce only.
        """
        told = guard.keep(decision)
        try:
            if kept is None:
                raise LedgerError("there is no state folder")
            kept.put(_key(self.event), decision.receipt_id, told)
        except BaseException as error:  # in enforce the agent is told no, whatever it is
            guard.settle(guard.adopt(told), status="not_run" if self.settings.enforces else "unknown")
            if self.settings.enforces or not isinstance(error, LedgerError):
                raise

    def _after(self) -> None:
        event, kept, guard = self.event, self._state(), self._guard()
        if event.moment == AFTER and event.reports:
            told = kept.take(_key(event)) if kept else None
            if told is None:
                self._unseen(guard)
            else:
                more: dict[str, Any] = {} if event.result is None else {"result": event.result}
                guard.settle(guard.adopt(told), status=event.status, args=event.args, error=_error(event), **more)
        elif event.moment == END and kept:
            for told in kept.rest():
                guard.settle(guard.adopt(told), status="unknown")
        guard.flush()
        self.reply.allow()
        self._tidy(kept, guard)

    def _unseen(self, guard: Guard) -> None:
        """A call ended whose beginning this hook did not see, or does not remember."""
        if self.event.status == "not_run":  # an agent that was told no says so once more: the receipt is there
            return
        outcome = "failed_open" if self.settings.enforces else "observed"
        reason = "unseen: the call ended, and the hook knows of no decision on it" if self.settings.enforces else ""
        decision = Decision(outcome, reason, tool=self.event.tool)
        guard.record_executed(
            self.event.tool, self.event.args, decision, status=self.event.status, call_id=self.event.call_id
        )
        if self.settings.enforces:
            self.reply.note(f"kiff-hook: `{self.event.tool}` ended, and no decision on it is known here")

    def _tidy(self, kept: Kept | None, guard: Guard) -> None:
        """After the answer: what was never settled, in this session or any other, is told as unknown.

        Raises:
            LedgerError: receipts could not be written down.
        """
        for told in kept.stale(time.time()) if kept else ():
            guard.settle(guard.adopt(told), status="unknown")
        guard.flush()

    def _state(self) -> Kept | None:
        """The state folder. In observe the hook does without, where there can be none."""
        session = (self.dialect.name, self.event.session)
        try:
            return Kept(self.settings.state, *session)
        except LedgerError:
            if self.settings.enforces:
                raise
            return None

    def _guard(self) -> Guard:
        settings = self.settings
        let_run = fits(self.event.tool, settings.ungoverned)
        return Guard(
            client=self._client() if settings.enforces else None,
            agent=settings.agent,
            mode="enforce" if settings.enforces else "observe",
            ledger=_ledger(settings.receipts),
            unmapped="allow" if let_run else settings.unmapped,
            redact=redacting(settings.redact),
            errors=settings.errors,
            session=f"{self.dialect.name}:{self.event.session}",
            adapter=self.dialect.name,
        )

    def _client(self) -> Any:
        """
        Raises:
            ConfigurationError: there is no address, or no key.
        """
        from kiff_guard.client import HTTPClient
        from kiff_guard.tool_map import ToolMap

        settings = self.settings
        if not settings.url:
            raise ConfigurationError("no server: say `url` in the settings, or set KIFF_URL")
        if not settings.key:
            raise ConfigurationError("no key: say `key_file` in the settings, or set KIFF_API_KEY")
        tools = ToolMap.from_settings(settings.tools, settings.source)
        return HTTPClient(settings.key, tools, settings.url, timeout=settings.deadline_seconds * SHARE)


def _stdin() -> bytes:
    """What the agent wrote; one byte more than may be, if it is too much."""
    parts, size = [], 0
    while size <= BYTES_LIMIT:
        try:
            part = os.read(0, 65_536)
        except BlockingIOError:  # the agent's end and this one are the same to the system, and it asked not to wait
            _wait_for_stdin()
            continue
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _wait_for_stdin() -> None:
    import select

    select.select([0], [], [])


def _ledger(path: str) -> Any:
    from kiff_guard.ledgers.jsonl import JSONLLedger

    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with suppress(FileNotFoundError):  # somebody else's would be theirs to read, and to write anew
        owned(path, os.stat(path), "receipts", 0o022)
    return JSONLLedger(path)


def _key(event: Event) -> tuple[str, ...]:
    """What a call is known by before and after it: the agent's id; without one, the tool and its arguments."""
    return ("id", event.call_id) if event.call_id else _held_key(event)


def _held_key(event: Event) -> tuple[str, ...]:
    """The same tool with the same arguments, whichever call it is. What cannot be digested is refused anyway."""
    from kiff_guard.arguments import freeze
    from kiff_guard.errors import ArgumentsRefused

    try:
        return ("call", event.tool, freeze(event.args).digest)
    except ArgumentsRefused:
        return ("call", event.tool, "")


def _error(event: Event) -> BaseException | None:
    return ToolFailed(event.error) if event.error else None


class ToolFailed(Exception):
    """The agent says that the tool failed."""
