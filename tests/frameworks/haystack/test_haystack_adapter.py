"""Guarded tools on real agents of Haystack 2 and 3: what is refused, what is held, and the traps of this framework."""

from __future__ import annotations

import asyncio
import copy
from typing import Annotated, Any

import pytest
from guards import RAN, asks, enforcing, executions, explode, refund
from haystack import Pipeline
from haystack.components.agents import Agent
from haystack.components.agents.state import State
from haystack.tools import ComponentTool, PipelineTool, Toolset
from haystack_driver import IS_3, ScriptedModel, agent_with, as_tool, go, told

from kiff_guard import Guard
from kiff_guard.adapters.haystack import LearnsIds, attach, hook, kiff_confirmation_strategy
from kiff_guard.conformance import ToolCall
from kiff_guard.errors import ConfigurationError

if IS_3:
    from haystack.hooks.human_in_the_loop import ConfirmationHook
    from haystack.hooks.human_in_the_loop.dataclasses import ToolExecutionDecision
    from haystack.tools import SearchableToolset
else:
    from haystack.components.tools import ToolInvoker
    from haystack.dataclasses import ChatMessage
    from haystack.dataclasses import ToolCall as HaystackCall
    from haystack.human_in_the_loop.dataclasses import ToolExecutionDecision

needs_3 = pytest.mark.skipif(not IS_3, reason="needs Haystack 3")
needs_2 = pytest.mark.skipif(IS_3, reason="needs Haystack 2")


def with_state(order_id: Annotated[str, "which"], state: State) -> str:
    """Refund, and read the state."""
    RAN.append((order_id, type(state)))
    return "done"


with_state.__annotations__ |= {"order_id": Annotated[str, "which"], "state": State}  # Haystack 2 reads no text of types


def play(guard: Guard, *turns: list[ToolCall], tools: Any = (refund, explode), **more: Any) -> list[str]:
    """Runs an agent with the guard attached; what the model was told."""
    agent = attach(guard, agent_with(ScriptedModel(turns), *tools, **more))
    return told(agent.run(messages=go())["messages"], turns)


class Edits:
    """A confirmation strategy of somebody else's that says yes to other arguments."""

    def run(self, *, tool_name: str, tool_params: Any, tool_call_id: Any = None, **_: Any) -> ToolExecutionDecision:
        params = {**tool_params, "amount": 9000.0}
        return ToolExecutionDecision(tool_name, execute=True, tool_call_id=tool_call_id, final_tool_params=params)


def confirming(strategy: Any) -> dict[str, Any]:
    """What an agent is made with to have a strategy for `refund`."""
    if IS_3:
        return {"hooks": {"before_tool": [ConfirmationHook({"refund": strategy})]}}
    return {"confirmation_strategies": {"refund": strategy}}


# Refused


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    guard, _ = enforcing(ConnectionError("refused"))
    agent = attach(guard, agent_with(ScriptedModel([[asks()]]), refund), fail_closed=False)
    agent.run(messages=go())
    assert len(RAN) == 1
    assert [(each.outcome, each.state) for each in guard.receipts] == [("failed_open", "ungoverned")]


@pytest.mark.parametrize(("given", "seen"), [({}, 500.0), ({"amount": "49.0"}, "49.0")])
def test_what_is_left_out_is_decided_on_and_a_text_is_kiff_s_to_refuse(given: dict[str, Any], seen: Any) -> None:
    guard, client = enforcing(lambda args: "blocked" if args["amount"] == seen else "allowed")
    play(guard, [ToolCall("refund", {"order_id": "o-1", **given}, "c1")])
    assert (RAN, client.decides[0].args) == ([], {"order_id": "o-1", "amount": seen})


def test_an_agent_in_a_pipeline_that_is_a_tool_is_guarded() -> None:
    guard, _ = enforcing({"refund": "blocked", "*": "allowed"})
    pipeline = Pipeline()
    pipeline.add_component("agent", agent_with(ScriptedModel([[asks()]]), refund))
    there = {"input_mapping": {"messages": ["agent.messages"]}, "output_mapping": {"agent.messages": "messages"}}
    below = PipelineTool(pipeline, name="ask_them", description="Ask them.", **there)
    said = {"messages": [{"role": "user", "content": [{"text": "go"}]}]}
    play(guard, [ToolCall("ask_them", said, "c1")], tools=[below])
    assert (RAN, executions(guard)) == ([], [("refund", "not_run"), ("ask_them", "succeeded")])


@needs_3
def test_an_agent_that_only_a_run_is_given_is_guarded() -> None:
    guard, _ = enforcing({"refund": "blocked", "*": "allowed"})
    inner = ComponentTool(
        component=agent_with(ScriptedModel([[asks()]]), refund), name="ask_them", description="Ask them."
    )
    said = {"messages": [{"role": "user", "content": [{"text": "go"}]}]}
    agent = attach(guard, agent_with(ScriptedModel([[ToolCall("ask_them", said, "c1")]])))
    agent.run(messages=go(), tools=[inner])
    assert (RAN, executions(guard)) == ([], [("refund", "not_run"), ("ask_them", "succeeded")])


def test_the_agents_of_a_pipeline_are_guarded() -> None:
    guard, _ = enforcing("blocked")
    pipeline = Pipeline()
    pipeline.add_component("agent", agent_with(ScriptedModel([[asks()]]), refund))
    attach(guard, pipeline).run({"agent": {"messages": go()}})
    assert (RAN, executions(guard)) == ([], [("refund", "not_run")])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_are_guarded(copied: Any) -> None:
    guard, client = enforcing("blocked")
    tools = hook(guard)([as_tool(refund), Toolset([as_tool(explode)])])
    for each in (copied(tools[0]), *copied(tools[1]), *tools[1].tools):
        with pytest.raises(Exception, match="KIFF withheld"):
            each.invoke(order_id="o-1")
    copied(attach(guard, agent_with(ScriptedModel([[asks()]]), refund))).run(messages=go())
    assert (RAN, client.calls) == ([], 4)


def test_a_withheld_call_ends_a_run_that_ends_with_failures() -> None:
    guard, _ = enforcing("blocked")
    fails = {"raise_on_tool_invocation_failure": True}
    agent = attach(guard, agent_with(ScriptedModel([[asks()]]), refund, **fails))
    with pytest.raises(Exception, match="KIFF withheld `refund`: blocked"):
        agent.run(messages=go())
    assert RAN == []


def test_arguments_that_a_strategy_changes_are_those_that_kiff_decides_on() -> None:
    guard, client = enforcing(lambda args: "blocked" if args["amount"] > 100 else "allowed")
    play(guard, [asks()], **confirming(Edits()))
    assert [asked.args["amount"] for asked in client.decides] == [9000.0]
    assert RAN == []


def test_tools_given_to_one_run_are_guarded() -> None:
    guard, _ = enforcing("blocked")
    agent = attach(guard, agent_with(ScriptedModel([[asks()]]), explode))
    agent.run(messages=go(), tools=[as_tool(refund)])
    assert (RAN, executions(guard)) == ([], [("refund", "not_run")])


def test_tools_chosen_by_name_are_guarded() -> None:
    guard, _ = enforcing("blocked")
    agent = attach(guard, agent_with(ScriptedModel([[asks()]]), refund, explode))
    agent.run(messages=go(), tools=["refund"])
    assert RAN == []


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("by_name", [True, False])
def test_the_tools_of_a_toolset_are_guarded(attached: bool, alone: bool, by_name: bool) -> None:
    guard, _ = enforcing("blocked")
    toolset: Any = Toolset([as_tool(refund)])
    tools = toolset if alone else [toolset]
    model = ScriptedModel([[asks()]])
    if attached:
        agent = attach(guard, Agent(chat_generator=model, tools=tools))
    else:
        agent = Agent(chat_generator=model, tools=hook(guard)(tools))
    agent.run(messages=go(), **({"tools": ["refund"]} if by_name else {}))
    assert (RAN, executions(guard)) == ([], [("refund", "not_run")])


@needs_3
@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("by_name", [True, False])
def test_tools_that_a_toolset_finds_during_a_run_are_guarded(attached: bool, by_name: bool) -> None:
    guard, _ = enforcing({"refund": "blocked", "*": "allowed"})
    toolset = SearchableToolset([as_tool(refund), as_tool(explode)], search_threshold=1)
    search = ToolCall("search_tools", {"tool_keywords": "refund order"}, "c0")
    model = ScriptedModel([[search], [asks()]])
    tools: Any = [toolset] if attached else hook(guard)([toolset])
    agent = Agent(chat_generator=model, tools=tools)
    agent = attach(guard, agent) if attached else agent
    ended = agent.run(messages=go(), **({"tools": ["refund"]} if by_name else {}))
    assert RAN == []
    assert "KIFF withheld" in told(ended["messages"], model.turns)[-1]


def test_an_agent_that_is_a_tool_is_guarded_once_the_one_above_is_attached() -> None:
    guard, _ = enforcing({"refund": "blocked", "*": "allowed"})

    def two() -> Agent:
        below = agent_with(ScriptedModel([[asks()]]), refund)
        payer = ComponentTool(component=below, name="payer", description="Pays.")
        task = {"messages": [{"role": "user", "content": [{"text": "pay"}]}]}
        return agent_with(ScriptedModel([[ToolCall("payer", task, "c0")]]), payer)

    two().run(messages=go())
    assert len(RAN) == 1  # the control: guarded by nobody
    attach(guard, two()).run(messages=go())
    assert len(RAN) == 1
    assert executions(guard)[0] == ("refund", "not_run")


def test_a_guard_that_is_attached_twice_asks_once() -> None:
    guard, client = enforcing()
    agent = attach(guard, attach(guard, agent_with(ScriptedModel([[asks()]]), *hook(guard)([as_tool(refund)]))))
    agent.run(messages=go())
    assert (len(RAN), client.calls, executions(guard)) == (1, 1, [("refund", "succeeded")])


def test_what_cannot_be_attached_says_what_to_write() -> None:
    guard, _ = enforcing()
    with pytest.raises(ConfigurationError, match=r"tools=hook\(guard\)\(tools\)"):
        attach(guard, object())


@needs_3
def test_an_attached_agent_can_be_written_down_and_the_hooks_of_others_stay_theirs() -> None:
    guard, _ = enforcing()
    shared: dict[str, Any] = {"before_tool": []}
    agent = attach(guard, agent_with(ScriptedModel([]), refund, hooks=shared))
    [written] = agent.to_dict()["init_parameters"]["hooks"]["before_tool"]
    assert (written["type"], shared) == ("kiff_guard.adapters.haystack.LearnsIds", {"before_tool": []})
    assert type(LearnsIds.from_dict(written)) is LearnsIds


@needs_2
def test_a_tool_invoker_without_an_agent_is_guarded() -> None:
    guard, _ = enforcing("blocked")
    calls = [HaystackCall("refund", {"order_id": "o-1"}, id="c1")]
    invoker = ToolInvoker(tools=hook(guard)([as_tool(refund)]), raise_on_failure=False)
    [said] = invoker.run(messages=[ChatMessage.from_assistant(tool_calls=calls)])["tool_messages"]
    assert (RAN, "KIFF withheld" in said.tool_call_results[0].result) == ([], True)


# Held


def test_a_yes_of_a_confirmation_strategy_runs_nothing() -> None:
    guard, _ = enforcing("approval_required")
    play(guard, [asks()], **confirming(Edits()))
    assert RAN == []


# What came of it


def test_arguments_that_do_not_fit_the_tool_are_no_success() -> None:
    guard, client = enforcing()
    play(guard, [asks(wrong="o-1")])
    assert (RAN, executions(guard)) == ([], [("refund", "failed")])
    assert [each.status for each in client.settles] == ["failed"]  # nothing happened: the order is not closed


def test_kiff_is_not_asked_about_what_haystack_puts_among_the_arguments() -> None:
    guard, client = enforcing()
    play(guard, [asks("with_state", order_id="o-1")], tools=[with_state])
    assert ([asked.args for asked in client.decides], len(RAN)) == ([{"order_id": "o-1"}], 1)


def test_what_a_tool_takes_from_the_state_is_decided_on_too() -> None:
    guard, client = enforcing(lambda args: "blocked" if args.get("amount") else "allowed")
    tool = as_tool(refund)
    tool.inputs_from_state = {"budget": "amount"}
    agent = attach(
        guard, agent_with(ScriptedModel([[asks(order_id="o-1")]]), tool, state_schema={"budget": {"type": float}})
    )
    agent.run(messages=go(), budget=9000.0)
    assert (RAN, client.decides[0].args) == ([], {"order_id": "o-1", "amount": 9000.0})


# Names of kiff-guard 1.x


@pytest.mark.parametrize("outcome", ["blocked", "approval_required", ConnectionError("refused")])
@pytest.mark.parametrize("awaited", [True, False])
def test_the_strategy_of_kiff_guard_1_withholds(outcome: Any, awaited: bool) -> None:
    guard, _ = enforcing(outcome)
    agent = agent_with(ScriptedModel([[asks()]]), refund, **confirming(kiff_confirmation_strategy(guard)))
    ended = asyncio.run(agent.run_async(messages=go())) if awaited else agent.run(messages=go())
    [said] = told(ended["messages"], [[asks()]])
    told_why = (outcome if isinstance(outcome, str) else "error") in said
    assert (RAN, told_why, executions(guard)) == ([], True, [("refund", "not_run")])


def test_the_strategy_of_kiff_guard_1_lets_run_what_is_allowed_unchanged() -> None:
    guard, _ = enforcing()
    agent = agent_with(ScriptedModel([[asks()]]), refund, **confirming(kiff_confirmation_strategy(guard)))
    agent.run(messages=go())
    assert (RAN, executions(guard)) == ([("o-1", 5.0)], [("refund", "unknown")])
