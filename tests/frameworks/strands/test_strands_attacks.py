"""Attacks on the guard in Strands: a call that is written into while KIFF thinks about it."""

from __future__ import annotations

from typing import Any

from guards import RAN, asks, refund
from strands.hooks import BeforeToolCallEvent
from strands_driver import ScriptedModel, agent_with, told

from kiff_guard import Guard
from kiff_guard.adapters.strands import attach, hook
from kiff_guard.conformance import ScriptedClient, ToolCall


class Holds:
    """A hook that keeps what a tool is called with."""

    def __init__(self) -> None:
        self.tool_use: Any = None

    def register_hooks(self, hooks: Any, **_: Any) -> None:
        hooks.add_callback(BeforeToolCallEvent, self.before)

    def before(self, event: Any) -> None:
        self.tool_use = event.tool_use


def test_a_call_that_is_changed_while_kiff_is_asked_does_not_run() -> None:
    holds = Holds()

    def thinks(args: dict[str, Any]) -> str:
        holds.tool_use["input"]["amount"] = 9999.0
        return "allowed"

    client = ScriptedClient(thinks)
    guard = Guard(client, agent="agent-1", mode="enforce")
    turns = [[asks()]]
    agent = agent_with(ScriptedModel(turns), refund, hooks=[holds, hook(guard)])
    agent("go")
    assert RAN == []
    assert "was changed after KIFF decided on it" in told(agent, turns)[0]
    assert [(each.execution, each.integrity_violation) for each in guard.receipts] == [("not_run", True)]
    assert [each.status for each in client.settles] == ["cancelled"]


def test_an_agent_that_a_functions_tool_holds_is_guarded() -> None:
    inner = agent_with(ScriptedModel([[asks()]]), refund)

    def ask(question: str) -> str:
        """Ask the one who knows."""
        return str(inner(question))

    guard = Guard(ScriptedClient(lambda args: "blocked" if "order_id" in args else "allowed"), mode="enforce")
    attach(guard, agent_with(ScriptedModel([[ToolCall("ask", {"question": "go"}, "c9")]]), ask))("go")
    assert (RAN, [each.outcome for each in guard.receipts]) == ([], ["blocked", "allowed"])
