"""Attacks on the guard in the OpenAI Agents SDK: tools that an agent does not show when it is attached."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from agents import Agent, function_tool
from agents.sandbox import SandboxAgent
from agents.sandbox.capabilities import Capability
from agents.tool import CustomTool
from guards import enforcing

from kiff_guard import Guard
from kiff_guard.adapters.openai_agents import attach, guard_tool
from kiff_guard.errors import ConfigurationError


@function_tool
def refund(order_id: str) -> str:
    """Refund an order."""
    return f"refunded {order_id}"


class Refunds(Capability):
    """Brings a tool to each run."""

    type: str = "refunds"

    def tools(self) -> list[Any]:
        return [refund]


class Advice(Capability):
    """Brings none."""

    type: str = "advice"


CUSTOM = CustomTool(name="sql", description="Runs a statement.", on_invoke_tool=lambda *_: "done")
UNSEEN = {
    "Refunds": lambda: SandboxAgent(name="boxed", capabilities=[Refunds()]),
    "Shell": lambda: SandboxAgent(name="boxed"),
    "sql": lambda: Agent(name="plain", tools=[CUSTOM]),
}


@pytest.mark.parametrize("name", UNSEEN)
@pytest.mark.parametrize("as_a_handoff", [False, True])
def test_what_brings_tools_that_cannot_be_guarded_is_refused(name: str, as_a_handoff: bool) -> None:
    guard, _ = enforcing()
    agent = UNSEEN[name]()
    with pytest.raises(ConfigurationError, match=f"`{name}`.* cannot be guarded"):
        attach(guard, Agent(name="desk", handoffs=[agent]) if as_a_handoff else agent)


@pytest.mark.parametrize("name", UNSEEN)
def test_in_observe_it_is_only_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    agent = UNSEEN[name]()
    with caplog.at_level(logging.WARNING, "kiff_guard"):
        assert attach(Guard(mode="observe"), agent) is agent
    assert f"`{name}`" in caplog.text


def test_a_capability_without_tools_is_no_reason_to_refuse() -> None:
    guard, _ = enforcing()
    agent = attach(guard, SandboxAgent(name="boxed", tools=[refund], capabilities=[Advice()]))
    assert agent.tools[0] is not refund


def test_a_custom_tool_is_no_function_tool() -> None:
    guard, _ = enforcing()
    with pytest.raises(ConfigurationError, match="expected a FunctionTool, found a `CustomTool`"):
        guard_tool(guard, CUSTOM)
