"""The OpenAI Agents SDK against a real KIFF: a held refund that another process takes up again."""

from __future__ import annotations

import asyncio
from typing import Any

from agents import Agent, Runner, RunState, function_tool
from openai_driver import Script
from towers import Tower

from kiff_guard import Guard, HTTPClient, ToolMap
from kiff_guard.adapters.openai_agents import approval_of, attach
from kiff_guard.conformance import ToolCall

RAN: list[Any] = []
TOOLS = ToolMap().bind("refund_order", "REFUND_ORDER", "order", "order_id")


def refund_order(order_id: str, amount: float, reason: str) -> str:
    """Refund an order."""
    RAN.append((order_id, amount))
    return f"refunded {order_id}"


def a_process(tower: Tower, script: Script, session: str) -> tuple[Guard, Any]:
    guard = Guard(HTTPClient(tower.keys["agent"], TOOLS, tower.url), mode="enforce", session=session)
    return guard, attach(guard, Agent(name="agent", model=script, tools=[function_tool(refund_order)]))


def held(tower: Tower, order: str) -> tuple[Script, str, str]:
    """A script, the approval that its refund waits for, and the run as text."""
    tower.paid(order)
    refund = ToolCall("refund_order", {"order_id": order, "amount": 250.0, "reason": "it broke"}, "c1")
    script = Script([[refund]])
    guard, agent = a_process(tower, script, order)
    ended = asyncio.run(Runner.run(agent, "go"))
    return script, approval_of(guard, ended.interruptions[0]), ended.to_state().to_string()


def resumed(agent: Any, text: str) -> None:
    async def resume() -> None:
        state = await RunState.from_string(agent, text)
        state.approve(state.get_interruptions()[0])
        await Runner.run(agent, state)

    asyncio.run(resume())


def test_a_refund_that_one_process_held_is_made_by_another_and_once(tower: Tower) -> None:
    script, approval, text = held(tower, "ord_oa_1")
    tower.grant(approval)
    for _ in range(2):
        guard, agent = a_process(tower, script, "ord_oa_1")
        resumed(agent, text)

    assert RAN.count(("ord_oa_1", 250.0)) == 1
    assert guard.receipts[-1].execution == "not_run"


def test_a_resume_without_a_grant_makes_no_refund(tower: Tower) -> None:
    script, approval, text = held(tower, "ord_oa_2")
    guard, agent = a_process(tower, script, "ord_oa_2")

    resumed(agent, text)

    assert "ord_oa_2" not in str(RAN)
    assert (guard.receipts[-1].outcome, guard.receipts[-1].approval_id) == ("approval_required", approval)
