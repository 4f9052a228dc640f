"""Attacks on the guard in Pydantic AI: what stands in for an agent's capabilities and tools for a while."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
from guards import RAN
from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.models.test import TestModel
from pydantic_ai.toolsets import FunctionToolset

from kiff_guard import Guard
from kiff_guard.adapters.pydantic_ai import attach, hook
from kiff_guard.conformance import ScriptedClient

SPEC = {"capabilities": ["Thinking"]}
needs_for_agent = pytest.mark.skipif(
    not hasattr(AbstractCapability, "for_agent"), reason="needs a Pydantic AI that tells a capability of its agent"
)


def refund(order_id: str) -> str:
    """Refund an order."""
    RAN.append(order_id)
    return f"refunded {order_id}"


def calls(tool: str) -> Any:
    return TestModel(call_tools=[tool])


def attached(guard: Guard) -> Any:
    return attach(guard, Agent(calls("refund"), tools=[refund]))


def hooked(guard: Guard) -> Any:
    return Agent(calls("refund"), tools=[refund], capabilities=[hook(guard)])


def in_an_override(agent: Any) -> None:
    with agent.override(spec=SPEC):
        agent.run_sync("go")


def streamed_in_an_override(agent: Any) -> None:
    async def streamed() -> None:
        with agent.override(spec=SPEC):
            async with agent.run_stream("go") as result:
                await result.get_output()

    asyncio.run(streamed())


def with_other_tools(agent: Any) -> None:
    with agent.override(tools=[refund]):
        agent.run_sync("go")


def with_a_toolset_of_the_run(agent: Any) -> None:
    agent.run_sync("go", toolsets=[FunctionToolset([refund]).prefixed("other")], model=calls("other_refund"))


def with_a_spec_of_the_run(agent: Any) -> None:
    agent.run_sync("go", spec=SPEC)


def copied(agent: Any) -> None:
    copy.copy(agent).run_sync("go")


RUNS: list[Callable[[Any], None]] = [
    in_an_override, streamed_in_an_override, with_other_tools, with_a_toolset_of_the_run, with_a_spec_of_the_run,
    copied,
]  # fmt: skip


@pytest.mark.parametrize("made", [attached, pytest.param(hooked, marks=needs_for_agent)])
@pytest.mark.parametrize("run", RUNS)
def test_no_run_goes_past_the_guard(run: Callable[[Any], None], made: Callable[[Guard], Any]) -> None:
    guard = Guard(ScriptedClient("blocked"), mode="enforce")
    run(made(guard))
    assert (RAN, [each.outcome for each in guard.receipts]) == ([], ["blocked"])


def test_in_an_override_an_allowed_call_is_decided_once_and_the_override_ends_with_its_block() -> None:
    guard = Guard(ScriptedClient("allowed"), mode="enforce")
    agent = attached(guard)
    in_an_override(agent)
    assert agent._override_root_capability.get() is None
    agent.run_sync("go")
    assert [each.execution for each in guard.receipts] == ["succeeded", "succeeded"]


@needs_for_agent
def test_the_guard_of_one_run_does_not_stay() -> None:
    guard = Guard(ScriptedClient("blocked"), mode="enforce")
    agent = Agent(calls("refund"), tools=[refund])
    agent.run_sync("go", capabilities=[hook(guard)])
    in_an_override(agent)
    assert (RAN, len(guard.receipts)) == (["a"], 1)


@pytest.mark.parametrize("twice", [False, True])
def test_an_agent_that_a_tool_holds_is_guarded(twice: bool) -> None:
    inner = Agent(calls("refund"), tools=[refund])

    async def ask(question: str) -> str:
        return str((await inner.run(question)).output)

    guard = Guard(ScriptedClient(lambda args: "blocked" if "order_id" in args else "allowed"), mode="enforce")
    agent = attach(guard, Agent(calls("ask"), tools=[ask]))
    (attach(guard, agent) if twice else agent).run_sync("go")
    assert (RAN, [each.outcome for each in guard.receipts]) == ([], ["blocked", "allowed"])
