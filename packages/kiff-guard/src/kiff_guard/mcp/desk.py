"""Asks the guard about each tool call, and tells it what became of it. Knows the protocol and no transport."""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from typing import Any

from kiff_guard.arguments import freeze
from kiff_guard.decision import BLOCKED, ERROR, OBSERVED, Decision
from kiff_guard.errors import ActionFailed, ArgumentsRefused
from kiff_guard.guard import Guard
from kiff_guard.mcp import message as protocol
from kiff_guard.mcp import reply
from kiff_guard.mcp.held import Held
from kiff_guard.mcp.message import Call
from kiff_guard.mcp.report import Reporter
from kiff_guard.mcp.ruling import Ruling
from kiff_guard.mcp.seal import Seal, is_sealed
from kiff_guard.mcp.shelf import Shelf
from kiff_guard.mcp.tasks import COMPLETED, NOTHING, Asked, Ended, Tasks, task_of

ADAPTER = "kiff-mcp"
NOT_BEGUN = (
    protocol.PARSE_ERROR, protocol.INVALID_REQUEST, protocol.METHOD_NOT_FOUND, protocol.INVALID_PARAMS,
    protocol.HEADER_MISMATCH,
)  # fmt: skip
WAITING_LIMIT = 1_000
"""How many calls may wait for a client to come back with what the server asked it for."""


class CallFailed(Exception):
    """The server said that the call failed."""


class ServerGone(Exception):
    """The server ended, or the connection to it, before it answered."""


class Desk:
    """Where calls are decided and settled. Safe to use from many threads.

    Args:
        guard: decides. What goes wrong with it is its own to judge.
        held: what waited when an earlier gateway ended.
        reports: tells KIFF which tools there are.
    """

    def __init__(self, guard: Guard, *, held: Held | None = None, reports: bool = False) -> None:
        self.guard = guard
        self._held = held or Held()
        self.shelf = Shelf()
        self._reporter = Reporter(guard, ADAPTER, self.shelf, note) if reports else None
        self._seal = Seal()
        self._asked: OrderedDict[tuple[str, ...], Decision] = OrderedDict()
        self._tasks = Tasks()
        self._lock = Lock()

    @property
    def observes(self) -> bool:
        return self.guard.mode == "observe"

    def rule(self, call: Call, *, call_id: str = "", pausing: bool = True) -> Ruling:
        """Decides a call. Never raises: what goes wrong here withholds in enforce, and lets run in observe."""
        try:
            return self._rule(call, call_id or json.dumps(call.id), pausing)
        except Exception as error:  # noqa: BLE001  # a fault of ours is one more reason to withhold
            note(f"a call was not decided: {type(error).__name__}: {error}")
            if self.observes:
                return Ruling(call, Decision(OBSERVED))
            return Ruling(call, Decision(ERROR, f"guard_failed: {type(error).__name__}", tool=call.tool))

    def _rule(self, call: Call, call_id: str, pausing: bool) -> Ruling:
        earlier = self._continued(call)
        if earlier is not None:
            return Ruling(call, earlier)
        sealed = call.state is not None and is_sealed(call.state)
        approval_id = self._approval(call) if sealed else None
        if sealed:
            answer = _answer(call)
            call = call.without("requestState", "inputResponses")
            if answer in ("decline", "cancel"):
                return Ruling(call, self._declined(call, call_id, approval_id or ""))
        else:
            approval_id = self._held.take(self.guard.agent, call.tool, _digest(call)[-1])
        decision = self.guard.decide_only(
            call.tool,
            call.arguments,
            call_id=call_id,
            approval_id=approval_id,
            session=call.session or None,
            trace=call.trace,
            adapter=ADAPTER,
        )
        pauses = decision.needs_approval and call.elicits and pausing and not sealed and not call.continues
        return Ruling(call, decision, pauses)

    def listed(self, result: Any) -> None:
        """The server said which tools it has."""
        self.shelf.learn(result)
        if self._reporter is not None:
            self._reporter.soon()

    def withheld(self, ruling: Ruling) -> dict[str, Any]:
        """The answer to a call that does not run."""
        listed = self.shelf.get(ruling.call.tool)
        return reply.withheld(ruling.call, ruling.decision, structured=listed is None or not listed.has_output_schema)

    def paused(self, ruling: Ruling) -> dict[str, Any]:
        """The answer to a call that is held, for a client of 2026-07-28."""
        values = {
            "approval": ruling.decision.approval_id,
            "call": [*_digest(ruling.call)],
            "session": ruling.call.session,
        }
        return reply.paused(ruling.call, ruling.decision, self._seal.close(values))

    def answered(self, ruling: Ruling, message: Mapping[str, Any]) -> None:
        """The server answered a call that was forwarded."""
        result = message.get("result")
        task = task_of(result)
        if task is not None:
            return self._begin_task(ruling, task)
        if isinstance(result, dict) and result.get("resultType") == "input_required":
            return self._keep(ruling, result)
        return self._finish(ruling, message)

    def _finish(self, ruling: Ruling, message: Mapping[str, Any]) -> None:
        """The call is over, as this result or error says."""
        result = message.get("result")
        if not isinstance(result, dict):
            return self._settle(ruling, status="failed", error=_error_of(message))
        if result.get("resultType", "complete") != "complete" or isinstance(result.get("task"), dict):
            return self._settle(ruling, status="unknown", result=result)
        if result.get("isError"):
            return self._settle(ruling, status="failed", result=result, error=CallFailed())
        return self._settle(ruling, status="succeeded", result=result)

    def hear(self, message: Any, asked: Asked) -> Callable[[], Any] | None:
        """Something comes from the server that answers no call. If it ends a task: what is done before it is handed on.

        Args:
            asked: what the request asked that this is the answer to.
        """
        heard = self._tasks.hear(message, asked) if isinstance(message, dict) else None
        return partial(self._end_task, heard) if isinstance(heard, Ended) else heard.wait if heard else None

    def session_over(self, session: str) -> None:
        """Nobody will come back to what is under way in it."""
        for each in self._tasks.end(session):
            self._end_task(each)

    def _begin_task(self, ruling: Ruling, task: Mapping[str, Any]) -> None:
        """Only a task was made. What becomes of it is the end of the call."""
        for each in self._tasks.begin(task["taskId"], ruling):
            self._end_task(each)
        settle = self.hear({"method": "notifications/tasks", "params": task}, NOTHING)
        if settle is not None:
            settle()

    def _end_task(self, ended: Ended) -> None:
        try:
            if ended.outcome is not None:
                self._finish(ended.ruling, ended.outcome)
            else:
                status = "succeeded" if ended.status == COMPLETED else ended.status or "unknown"
                self._settle(ended.ruling, status=status)
        finally:
            self._tasks.over(ended)

    def lost(self, ruling: Ruling) -> None:
        """Nobody will ever say what became of it."""
        self._settle(ruling, status="unknown", error=ServerGone())

    def dropped(self, ruling: Ruling) -> None:
        """It was let go, and not forwarded after all."""
        self._settle(ruling, status="not_run")

    def close(self) -> None:
        """Settles what is still open, and sends what could not be sent before."""
        if self._reporter is not None:
            self._reporter.now()
        for each in self._tasks.end():
            self._end_task(each)
        try:
            self.guard.close()
        except Exception as error:  # noqa: BLE001
            note(f"the guard did not end cleanly: {type(error).__name__}: {error}")

    def _settle(self, ruling: Ruling, **end: Any) -> None:
        if not ruling.decision.receipt_id:
            return
        try:
            self.guard.settle(ruling.decision, **end)
        except Exception as error:  # noqa: BLE001  # it ran: its answer is the client's in any case
            note(f"an outcome was not written down: {type(error).__name__}: {error}")

    def _approval(self, call: Call) -> str | None:
        """The approval that an earlier answer named, if it was about this very call."""
        values = self._seal.open(call.state or "")
        if values is None or (values["call"], values["session"]) != ([*_digest(call)], call.session):
            return None
        approval = values["approval"]
        return approval if isinstance(approval, str) else None

    def _declined(self, call: Call, call_id: str, approval_id: str) -> Decision:
        """The user of the client said no. That is their right, and needs no KIFF."""
        reason = "declined_by_user: the user of the client did not go on with the call"
        decision = Decision(BLOCKED, reason, approval_id=approval_id, reasons=("declined_by_user",), tool=call.tool)
        self.guard.record_withheld(
            call.tool, call.arguments, decision, call_id=call_id, session=call.session or None, adapter=ADAPTER
        )
        return decision

    def _keep(self, ruling: Ruling, result: dict[str, Any]) -> None:
        """The server asks the client something first. The call goes on when the client comes back, once."""
        state = result.get("requestState")
        with self._lock:
            self._asked[_continuation(ruling.call, state if isinstance(state, str) else "")] = ruling.decision
            oldest = self._asked.popitem(last=False)[1] if len(self._asked) > WAITING_LIMIT else None
        if oldest is not None:
            self.lost(Ruling(ruling.call, oldest))

    def _continued(self, call: Call) -> Decision | None:
        if not call.continues:
            return None
        with self._lock:
            return self._asked.pop(_continuation(call, call.state or ""), None)


def _error_of(message: Mapping[str, Any]) -> Exception:
    """A server that could not read a request did nothing; of any other error nobody knows what came before it."""
    error = message.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return ActionFailed("the server refused the request") if code in NOT_BEGUN else CallFailed()


def note(line: str) -> None:
    """Tells whoever runs the gateway; stdout belongs to the protocol."""
    text = "".join(letter if letter.isprintable() else " " for letter in line[:500])
    sys.stderr.write(f"kiff-mcp: {text}\n")  # in one piece: threads write side by side
    sys.stderr.flush()


def _answer(call: Call) -> str:
    """What the client's user said to our question: accept, decline or cancel; "" for nothing."""
    responses = call.params.get("inputResponses")
    answer = responses.get(reply.QUESTION) if isinstance(responses, dict) else None
    action = answer.get("action") if isinstance(answer, dict) else None
    return action if isinstance(action, str) else ""


def _digest(call: Call) -> tuple[str, str]:
    """Which tool with which arguments; "" for arguments that no decision can be bound to."""
    try:
        return call.tool, freeze(call.arguments).digest
    except ArgumentsRefused:
        return call.tool, ""


def _continuation(call: Call, state: str) -> tuple[str, ...]:
    return (call.session, *_digest(call), state)
