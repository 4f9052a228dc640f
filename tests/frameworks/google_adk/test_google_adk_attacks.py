"""Attacks on the guard in Google ADK: what an agent has below it in other ways than as a sub-agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from adk_driver import APP, USER, scripted
from google.adk.agents import LlmAgent
from google.adk.runners import InMemoryRunner
from google.adk.tools import FunctionTool
from google.adk.workflow import START, Workflow
from google.genai import types
from guards import RAN, enforcing

from kiff_guard.adapters.google_adk import attach
from kiff_guard.conformance import ToolCall

try:
    from google.adk.tools._node_tool import NodeTool as _  # noqa: F401
except ImportError:
    pytest.skip("needs an ADK whose workflows can be tools", allow_module_level=True)


def refund(order_id: str) -> str:
    """Refund an order."""
    RAN.append(order_id)
    return f"refunded {order_id}"


def of_an_agent() -> Workflow:
    inner = LlmAgent(
        name="inner",
        model=scripted([ToolCall("refund", {"order_id": "o-1"}, "c2")]),
        tools=[refund],
        mode="single_turn",
    )
    return Workflow(name="flow", description="Refunds.", edges=[(START, inner)], input_schema=str)


def of_a_tool() -> Workflow:
    def which(node_input: str) -> dict[str, str]:
        return {"order_id": "o-1"}

    return Workflow(name="flow", description="Refunds.", edges=[(START, which, FunctionTool(refund))])


def of_a_workflow() -> Workflow:
    return Workflow(name="flow", description="Refunds.", edges=[(START, of_a_tool())], input_schema=str)


async def goes(runner: InMemoryRunner) -> None:
    session = await runner.session_service.create_session(app_name=APP, user_id=USER)
    message = types.Content(role="user", parts=[types.Part(text="go")])
    async for _event in runner.run_async(user_id=USER, session_id=session.id, new_message=message):
        pass


@pytest.mark.parametrize("attached", ["agent", "runner"])
@pytest.mark.parametrize("flow", [of_an_agent, of_a_tool, of_a_workflow])
def test_what_a_workflow_calls_that_is_a_tool_is_decided_on(flow: Any, attached: str) -> None:
    guard, _ = enforcing(lambda args: "blocked" if "order_id" in args else "allowed")
    model = scripted([ToolCall("flow", {"request": "go", "node_input": "go"}, "c1")])
    agent = LlmAgent(name="outer", model=model, tools=[flow()])
    runner = InMemoryRunner(attach(guard, agent) if attached == "agent" else agent, app_name=APP)
    if attached == "runner":
        attach(guard, runner)
    asyncio.run(goes(runner))
    assert RAN == []
    assert ("refund", "blocked") in [(each.tool, each.outcome) for each in guard.receipts]
