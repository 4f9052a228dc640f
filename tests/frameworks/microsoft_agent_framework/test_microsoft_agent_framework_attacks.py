"""Attacks on the guard in Microsoft Agent Framework: agents that are workflows, as agents, as tools and as steps."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from agent_framework import BaseAgent, WorkflowBuilder
from guards import RAN, asks, enforcing, refund
from maf_driver import agent_with, scripted

from kiff_guard import Guard
from kiff_guard.adapters.microsoft_agent_framework import attach
from kiff_guard.conformance import ToolCall
from kiff_guard.errors import ConfigurationError


def workflow() -> Any:
    return WorkflowBuilder(start_executor=agent_with(scripted([asks()]), refund)).build()


def as_an_agent() -> Any:
    return workflow().as_agent("flow")


def as_a_tool() -> Any:
    return agent_with(scripted([ToolCall("flow", {"task": "go"}, "c9")]), as_an_agent().as_tool())


def as_a_step() -> Any:
    return WorkflowBuilder(start_executor=as_an_agent()).build()


KINDS = [as_an_agent, as_a_tool, as_a_step]


@pytest.mark.parametrize("made", KINDS)
def test_the_agents_of_a_workflow_that_is_an_agent_are_guarded(made: Any) -> None:
    guard, _ = enforcing(lambda args: "blocked" if "order_id" in args else "allowed")
    asyncio.run(attach(guard, made()).run("go"))
    assert RAN == []
    assert [each.tool for each in guard.receipts if each.outcome == "blocked"] == ["refund"]


@pytest.mark.parametrize("made", KINDS)
def test_an_allowed_call_in_it_is_decided_once(made: Any) -> None:
    guard, _ = enforcing("allowed")
    asyncio.run(attach(guard, attach(guard, made())).run("go"))
    assert len(RAN) == 1
    assert [each.execution for each in guard.receipts if each.tool == "refund"] == ["succeeded"]


class Own(BaseAgent):
    """An agent of somebody's own, which runs its tools as it likes."""


def test_an_agent_that_runs_its_tools_by_itself_is_not_taken_for_guarded(caplog: pytest.LogCaptureFixture) -> None:
    guard, _ = enforcing()
    with pytest.raises(ConfigurationError, match="`own` runs its tools by itself"):
        attach(guard, Own(name="own"))
    with caplog.at_level(logging.WARNING, "kiff_guard"):
        attach(Guard(mode="observe"), Own(name="own"))
    assert "`own` runs its tools by itself" in caplog.text


def test_an_agent_that_a_tools_function_holds_is_guarded() -> None:
    inner = agent_with(scripted([asks()]), refund)

    async def ask(question: str) -> str:
        """Ask the one who knows."""
        return str(await inner.run(question))

    guard, _ = enforcing(lambda args: "blocked" if "order_id" in args else "allowed")
    agent = agent_with(scripted([ToolCall("ask", {"question": "go"}, "c9")]), ask)
    asyncio.run(attach(guard, agent).run("go"))
    assert (RAN, [each.outcome for each in guard.receipts]) == ([], ["blocked", "allowed"])
