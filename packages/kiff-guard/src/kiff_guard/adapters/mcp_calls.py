"""What the adapters of MCP servers share: a call is decided; a held one is put to the client's user and decided again.

The user's yes wakes the call. It runs if KIFF says so.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kiff_guard.decision import BLOCKED, ERROR, Decision, Hold
from kiff_guard.guard import Guard

QUESTION = "kiff"
"""The name under which a result asks, and under which the client's answer comes back."""
FORM = {
    "type": "object",
    "properties": {"granted": {"type": "boolean", "title": "The approval was granted in KIFF"}},
}
_STATE = "kiff:"


@dataclass(frozen=True)
class Call:
    """One `tools/call` as it reached the server.

    Attributes:
        call_id: unique within the session.
        session: the connection, where it has a name.
        state: what an earlier result gave the client to send back.
        answer: what the client's user said then: accept, decline, cancel; "" for nothing.
    """

    tool: str
    arguments: Mapping[str, Any]
    call_id: str | None = None
    session: str | None = None
    trace: str | None = None
    state: str | None = None
    answer: str = ""

    @property
    def returns(self) -> bool:
        """Did the client come back with a call that was held?"""
        return self.state is not None and self.state.startswith(_STATE)

    @property
    def approval_id(self) -> str | None:
        return (self.state or "").removeprefix(_STATE) or None if self.returns else None


class Answers(Protocol):
    """How a framework is answered."""

    def withheld(self, decision: Decision) -> Any:
        """The result of a call that did not run."""
        ...

    def paused(self, decision: Decision, state: str) -> Any:
        """The result that has the client ask its user and come back; None where the client knows no such result."""
        ...

    async def ask(self, decision: Decision) -> bool:
        """Asks the client's user here and now. False where that cannot be."""
        ...

    def failed(self, result: Any) -> Any:
        """Why a result stands for an error; "" if it does not, `GoesOn` if it is none yet."""
        ...


@dataclass(frozen=True)
class Seam:
    """The guard around the tools of one server."""

    guard: Guard
    adapter: str
    fail_closed: bool | None = None

    async def __call__(self, call: Call, run: Callable[[], Awaitable[Any]], answers: Answers) -> Any:
        """The result of a call: the tool's, or what says that it did not run."""
        if call.returns and call.answer in ("decline", "cancel"):
            return answers.withheld(self._declined(call))
        result, held = await self._decided(call, run, answers)
        if held is None or not held.needs_approval or call.returns:
            return result if held is None else answers.withheld(held)
        paused = answers.paused(held, f"{_STATE}{held.approval_id}")
        if paused is not None:
            return paused
        if await self._agreed(held, answers):
            result, held = await self._decided(call, run, answers)
        return result if held is None else answers.withheld(held)

    def not_last(self, call: Call, answers: Answers, behind: str) -> Any:
        """What says that a call did not run, because something behind the guard could still change or repeat it."""
        reason = f"guard_not_last: {behind} could change the call after it was decided; add the guard last"
        decision = Decision(ERROR, reason, reasons=("guard_not_last",), tool=call.tool)
        self.guard.record_withheld(
            call.tool, call.arguments, decision, call_id=call.call_id, session=call.session, adapter=self.adapter
        )
        return answers.withheld(decision)

    async def _decided(
        self, call: Call, run: Callable[[], Awaitable[Any]], answers: Answers
    ) -> tuple[Any, Decision | None]:
        """What the tool gave, or the decision that withheld it."""
        began: list[bool] = []

        def begin() -> Awaitable[Any]:
            began.append(True)
            return run()

        try:
            result = await self.guard.aevaluate(
                call.tool,
                call.arguments,
                begin,
                call_id=call.call_id,
                approval_id=call.approval_id,
                session=call.session,
                trace=call.trace,
                fail_closed=self.fail_closed,
                failed=answers.failed,
                adapter=self.adapter,
            )
        except Hold as hold:
            return None, hold.decision
        except Exception as error:
            if began:
                raise  # the tool's own
            if self.guard.mode == "observe":
                return await run(), None
            return None, Decision(ERROR, f"guard_failed: {type(error).__name__}", tool=call.tool)
        return result, None

    def _declined(self, call: Call) -> Decision:
        """The client's user said no. That is their right, and needs no KIFF."""
        decision = Decision(
            BLOCKED,
            "declined_by_user: the user of the client did not go on with the call",
            approval_id=call.approval_id or "",
            reasons=("declined_by_user",),
            tool=call.tool,
        )
        self.guard.record_withheld(
            call.tool, call.arguments, decision, call_id=call.call_id, session=call.session, adapter=self.adapter
        )
        return decision

    async def _agreed(self, decision: Decision, answers: Answers) -> bool:
        try:
            return await answers.ask(decision)
        except Exception:  # noqa: BLE001  # a client that cannot be asked has not agreed
            return False


def goes_on(result: Any) -> bool:
    """Is it no result of a tool, but the task that will run it? A result has content."""
    return "content" not in result if isinstance(result, Mapping) else not hasattr(result, "content")


def trace_of(meta: Any) -> str | None:
    """The W3C traceparent in a request's `_meta`."""
    if hasattr(meta, "model_dump"):
        meta = meta.model_dump(by_alias=True)
    trace = meta.get("traceparent") if isinstance(meta, Mapping) else None
    return trace if isinstance(trace, str) else None


def answer_of(responses: Any) -> str:
    """What the client's user said to our question."""
    answer = responses.get(QUESTION) if isinstance(responses, Mapping) else None
    action = answer.get("action") if isinstance(answer, Mapping) else getattr(answer, "action", "")
    return action if isinstance(action, str) else ""


def can_ask(capabilities: Any) -> bool:
    """Can a client with these capabilities put a form to its user?"""
    elicitation = getattr(capabilities, "elicitation", None)
    if elicitation is None:
        return False
    return getattr(elicitation, "form", None) is not None or getattr(elicitation, "url", None) is None


def told(decision: Decision) -> dict[str, Any]:
    """The decision beside the text, for programs."""
    value = json.loads(json.dumps({"dev.kiff/decision": decision.as_dict()}))
    assert isinstance(value, dict)
    return value
