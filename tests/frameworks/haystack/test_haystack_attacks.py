"""Attacks on the guard in Haystack: tools that are called beside the agent that was guarded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from guards import RAN
from haystack import Pipeline
from haystack.dataclasses import ChatMessage
from haystack.dataclasses import ToolCall as HaystackCall
from haystack.tools import Toolset
from haystack_driver import IS_3, ScriptedModel, agent_with, as_tool, go

from kiff_guard import Guard
from kiff_guard.adapters.haystack import attach
from kiff_guard.conformance import ScriptedClient, ToolCall

if not IS_3:
    from haystack.components.tools import ToolInvoker

needs_2 = pytest.mark.skipif(IS_3, reason="needs Haystack 2: version 3 has no ToolInvoker")


def refund(order_id: str) -> str:
    """Refund an order."""
    RAN.append(order_id)
    return f"refunded {order_id}"


def enforcing(outcomes: Any) -> Guard:
    return Guard(ScriptedClient(outcomes), agent="agent-1", mode="enforce")


def asked() -> list[Any]:
    return [ChatMessage.from_assistant(tool_calls=[HaystackCall("refund", {"order_id": "o-1"}, id="c1")])]


@needs_2
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("of_the_run", [False, True])
@pytest.mark.parametrize("tools", [[as_tool(refund)], Toolset([as_tool(refund)])], ids=["list", "toolset"])
def test_a_tool_invoker_beside_an_agent_is_guarded_with_it(tools: Any, of_the_run: bool, is_async: bool) -> None:
    pipeline, invoker = Pipeline(), ToolInvoker(tools=tools, raise_on_failure=False)
    pipeline.add_component("agent", agent_with(ScriptedModel([]), refund))
    pipeline.add_component("tools", invoker)
    guard = enforcing("blocked")
    attach(guard, attach(guard, pipeline))
    more = {"tools": [as_tool(refund)]} if of_the_run else {}
    run = invoker.run_async if is_async else invoker.run
    told = run(messages=asked(), **more)
    [said] = (asyncio.run(told) if is_async else told)["tool_messages"]
    assert (RAN, "KIFF withheld" in said.tool_call_results[0].result) == ([], True)
    assert len(guard.receipts) == 1


@needs_2
def test_a_pipeline_of_a_tool_invoker_alone_is_guarded_and_what_is_allowed_runs_once() -> None:
    pipeline = Pipeline()
    pipeline.add_component("tools", ToolInvoker(tools=[as_tool(refund)]))
    guard = enforcing("allowed")
    attach(guard, pipeline).run({"tools": {"messages": asked()}})
    assert (RAN, [each.execution for each in guard.receipts]) == (["o-1"], ["succeeded"])


def test_tools_of_one_run_and_toolsets_of_one_run_are_guarded() -> None:
    guard = enforcing("blocked")
    agent = attach(guard, agent_with(ScriptedModel([[ToolCall("refund", {"order_id": "o-1"}, "c1")]]), refund))
    agent.run(messages=go(), tools=Toolset([as_tool(refund)]))
    assert (RAN, len(guard.receipts)) == ([], 1)


def test_an_agent_that_a_tools_function_holds_is_guarded() -> None:
    inner = agent_with(ScriptedModel([[ToolCall("refund", {"order_id": "o-1"}, "c1")]]), refund)

    def ask(question: str) -> str:
        """Ask the one who knows."""
        return str(inner.run(messages=go())["last_message"].text)

    guard = Guard(ScriptedClient(lambda args: "blocked" if "order_id" in args else "allowed"), mode="enforce")
    outer = agent_with(ScriptedModel([[ToolCall("ask", {"question": "go"}, "c9")]]), ask)
    attach(guard, outer).run(messages=go())
    assert (RAN, [each.outcome for each in guard.receipts]) == ([], ["blocked", "allowed"])
