"""Attacks on the guard in Agno: code that a model writes calls tools where no hook of its agent is."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from importlib.metadata import files
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from agno.agent import Agent
from agno.team import Team
from agno.tools import Toolkit, tool
from agno.tools.workflow import WorkflowTools
from agno.workflow import Step, Workflow
from guards import RAN

from kiff_guard import Guard
from kiff_guard.adapters.agno import attach
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import ConfigurationError

MADE_OF = {
    "dill": (),
    "ipykernel": (),
    "jupyter_client": (),
    "jupyter_client.kernelspec": ("KernelSpec",),
    "jupyter_client.manager": ("AsyncKernelManager",),
}
"""What a kernel is made of. None is started here: a call begins where one of a kernel's arrives."""
CALLS = [("", "refund"), ("", "arefund"), ("kit", "pay")]


@pytest.fixture
def code_mode(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not _has_code():
        pytest.skip("needs Agno 3.1, the first one with CodeMode")
    for name, words in MADE_OF.items():
        try:
            import_module(name)
        except ModuleNotFoundError:
            stand_in = ModuleType(name)
            for word in words:
                setattr(stand_in, word, object)
            monkeypatch.setitem(sys.modules, name, stand_in)
    from agno.tools.code import CodeMode

    return CodeMode


def _has_code() -> bool:
    return any(str(each).endswith("agno/tools/code/bridge.py") for each in files("agno") or ())


def refund(order_id: str) -> str:
    """Refund an order."""
    RAN.append(("refund", order_id))
    return "refunded"


async def arefund(order_id: str) -> str:
    """Refund an order."""
    RAN.append(("arefund", order_id))
    return "refunded"


class Kit(Toolkit):
    def __init__(self) -> None:
        super().__init__(name="kit", tools=[self.pay])

    def pay(self, order_id: str) -> str:
        """Pay."""
        RAN.append(("pay", order_id))
        return "paid"


def called_in_a_cell(cells: Any, handle: str, method: str) -> Any:
    session = SimpleNamespace(session_id="s", context_tokens={}, run_context=None)
    return asyncio.run(cells._bridge._call_tool(session, handle, method, {"order_id": "o-1"}))


@pytest.mark.parametrize("in_a_team", [False, True])
@pytest.mark.parametrize(("handle", "method"), CALLS)
def test_a_tool_that_is_called_in_a_cell_is_decided_on(
    code_mode: Any, handle: str, method: str, in_a_team: bool
) -> None:
    cells = code_mode(tools=[refund, arefund, Kit()])
    agent = Agent(tools=[cells])
    guard = Guard(ScriptedClient("blocked"), mode="enforce")
    attach(guard, Team(members=[agent]) if in_a_team else agent)
    with pytest.raises(RuntimeError, match=f"KIFF withheld `{method}`"):
        called_in_a_cell(cells, handle, method)
    assert RAN == []
    assert [(each.tool, each.args) for each in guard.receipts] == [(method, {"order_id": "o-1"})]


@pytest.mark.parametrize(("handle", "method"), CALLS)
def test_one_that_is_allowed_runs_once_also_where_the_guard_is_attached_twice(
    code_mode: Any, handle: str, method: str
) -> None:
    cells = code_mode(tools=[refund, arefund, Kit()])
    cells._bridge.bootstrap_code()  # a kernel has it already
    guard = Guard(ScriptedClient("allowed"), mode="enforce")
    attach(guard, attach(guard, Agent(tools=[cells])))
    assert called_in_a_cell(cells, handle, method) in ("refunded", "paid")
    assert (len(RAN), [each.execution for each in guard.receipts]) == (1, ["succeeded"])


def test_cells_that_the_guard_cannot_see_into_are_refused_in_enforce() -> None:
    cells = SimpleNamespace(name="cells", injected_tools=[refund])
    agent = SimpleNamespace(tool_hooks=None, tools=[cells])
    with pytest.raises(ConfigurationError, match="`cells` calls its tools past the hooks of the agent"):
        attach(Guard(ScriptedClient("allowed"), mode="enforce"), agent)
    attach(Guard(mode="observe"), agent)


# Agents that a tool starts


def inner() -> Agent:
    return Agent(name="inner", tools=[refund])


def test_the_agents_of_a_workflow_that_is_a_tool_are_guarded() -> None:
    agent = inner()
    flow = Workflow(name="flow", steps=[Step(name="only", agent=agent)])
    guard = Guard(ScriptedClient("blocked"), mode="enforce")
    attach(guard, Agent(tools=[WorkflowTools(workflow=flow)]))
    assert [each.guard for each in agent.tool_hooks or ()] == [guard]


@pytest.mark.parametrize("decorated", [False, True])
def test_an_agent_that_a_function_holds_is_guarded(decorated: bool) -> None:
    agent = inner()

    def ask_billing(question: str) -> str:
        """Ask the one who knows."""
        return helper(question)

    def helper(question: str) -> str:
        return str(agent.run(question))

    guard = Guard(ScriptedClient("blocked"), mode="enforce")
    attach(guard, Agent(tools=[tool(ask_billing) if decorated else ask_billing]))
    assert [each.guard for each in agent.tool_hooks or ()] == [guard]
