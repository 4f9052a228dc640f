"""The guard in tools of real modules: what is refused, what is held, and the traps of this framework."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest
from dspy.utils.callback import BaseCallback
from dspy_driver import agent_with, run
from guards import RAN, asks, enforcing, executions, explode, refund

from kiff_guard import Hold
from kiff_guard.adapters.dspy import attach, hook
from kiff_guard.conformance import ToolCall
from kiff_guard.errors import ConfigurationError


class Refunds:
    """An object that is a tool."""

    def __call__(self, order_id: str) -> str:
        """Refund an order."""
        RAN.append(order_id)
        return f"refunded {order_id}"


# Refused


def test_it_runs_then_where_it_was_told_to() -> None:
    guard, _ = enforcing(OSError("no route"))
    agent, lm = agent_with([[asks()]], refund)

    run(attach(guard, agent, fail_closed=False), lm)

    assert (RAN, guard.receipts[0].outcome) == ([("o-1", 5.0)], "failed_open")


def test_a_callback_stops_nothing_and_the_guard_does() -> None:
    """The control: what a callback raises is logged by DSPy, and the tool runs."""

    class No(BaseCallback):
        def on_tool_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            raise RuntimeError("no")

    agent, lm = agent_with([[asks()]], refund)
    with dspy.context(callbacks=[No()]):
        run(agent, lm)
    assert RAN == [("o-1", 5.0)]
    RAN.clear()

    agent, lm = agent_with([[asks()]], refund)
    run(attach(enforcing("blocked")[0], agent), lm)
    assert RAN == []


# What is decided is what runs


def test_what_is_left_out_is_decided_on() -> None:
    guard, client = enforcing()
    agent, lm = agent_with([[asks(order_id="o-1")]], refund)

    run(attach(guard, agent), lm)

    assert client.decides[0].args == {"order_id": "o-1", "amount": 500.0}
    assert RAN == [("o-1", 500.0)]


def test_what_wraps_a_tool_changes_arguments_before_the_decision() -> None:
    guard, client = enforcing()
    agent, lm = agent_with([[asks()]], refund)
    attach(guard, agent)
    guarded = agent.tools["refund"].func
    agent.tools["refund"].func = lambda **named: guarded(**named | {"amount": 9_999.0})

    run(agent, lm)

    assert client.decides[0].args["amount"] == RAN[0][1] == 9_999.0


@pytest.mark.parametrize("name", ["refund", "pay", "Refunds"])
def test_whatever_is_a_tool_of_dspys_can_be_guarded(name: str) -> None:
    guard, _ = enforcing("blocked")
    made = {"refund": refund, "pay": dspy.Tool(refund, name="pay"), "Refunds": Refunds()}[name]
    guarded = hook(guard)(made)
    agent, lm = agent_with([[asks(guarded.name, order_id="o-1")]], guarded)

    run(agent, lm)

    assert (RAN, executions(guard)) == ([], [(guarded.name, "not_run")])


def test_code_that_calls_a_guarded_tool_gets_no_text_for_its_result() -> None:
    guarded = hook(enforcing("blocked")[0])(refund)
    with pytest.raises(Hold):
        guarded(order_id="o-1")
    told = hook(enforcing("blocked")[0], tell=True)(refund)(order_id="o-1")
    assert told.startswith("KIFF withheld `refund`: blocked")
    assert RAN == []


def test_a_tool_is_told_to_the_model_as_before() -> None:
    guard, _ = enforcing()
    assert str(hook(guard)(refund)) == str(dspy.Tool(refund))


def test_a_guard_that_was_put_in_twice_asks_once() -> None:
    guard, client = enforcing()
    agent, lm = agent_with([[asks()]], hook(guard)(hook(guard)(refund)))

    run(attach(guard, attach(guard, agent)), lm)

    assert (RAN, client.calls, len(guard.receipts)) == ([("o-1", 5.0)], 1, 1)


def test_tools_that_a_module_of_ones_own_holds_are_guarded_whatever_they_are_called() -> None:
    class Desk(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.refund, self.others = dspy.Tool(refund), [dspy.Tool(explode)]
            self.named = {"again": dspy.Tool(refund)}

    guard, client = enforcing("blocked")
    desk = attach(guard, Desk())

    for held in (desk.refund, *desk.others, *desk.named.values()):
        with pytest.raises(Hold):
            held(order_id="o-1")
    assert (RAN, client.calls) == ([], 3)


def test_modules_in_a_module_are_guarded() -> None:
    class Shop(dspy.Module):
        def __init__(self, below: Any) -> None:
            super().__init__()
            self.steps = [below]

        def forward(self, question: str) -> Any:
            return self.steps[0](question=question)

    guard, _ = enforcing("blocked")
    below, lm = agent_with([[asks()]], refund)

    run(attach(guard, Shop(below)), lm)

    assert (RAN, executions(guard)) == ([], [("refund", "not_run")])


def test_a_copy_of_a_module_is_guarded() -> None:
    """Optimizers copy a program before they run it."""
    guard, _ = enforcing("blocked")
    agent, lm = agent_with([[asks()]], refund)

    run(attach(guard, agent).deepcopy(), lm)

    assert (RAN, executions(guard)) == ([], [("refund", "not_run")])


def test_a_module_that_sends_its_tools_into_a_sandbox_is_refused() -> None:
    guard, _ = enforcing()
    with pytest.raises(ConfigurationError, match="`CodeAct` sends the source of its tools into a sandbox"):
        attach(guard, dspy.CodeAct("question -> answer", tools=[refund]))


def test_a_guarded_function_that_is_sent_there_all_the_same_does_not_take_the_tool_along() -> None:
    import inspect

    guard, _ = enforcing()
    assert "RAN.append" in inspect.getsource(dspy.Tool(refund).func)
    assert "RAN.append" not in inspect.getsource(hook(guard)(refund).func)


def test_what_holds_no_tools_is_not_taken_for_guarded() -> None:
    guard, _ = enforcing()
    with pytest.raises(ConfigurationError, match="`Predict` holds no tools that a guard can find"):
        attach(guard, dspy.Predict("question -> answer"))
    with pytest.raises(ConfigurationError, match="expected a module of DSPy, found a `object`"):
        attach(guard, object())


@pytest.mark.skipif(not hasattr(dspy, "ReActV2"), reason="needs a DSPy that has ReActV2")
@pytest.mark.parametrize("outcome", ["allowed", "blocked"])
def test_the_second_react_is_guarded(outcome: str) -> None:
    guard, client = enforcing(outcome)
    call = {"name": "refund", "args": {"order_id": "o-1", "amount": 5.0}}
    turns = [[call, call], [{"name": "submit", "args": {"answer": "done"}}]]
    lm = dspy.utils.DummyLM([{"next_thought": "go", "tool_calls": {"tool_calls": turn}} for turn in turns])
    agent = attach(guard, dspy.ReActV2("question -> answer", tools=[refund]))

    with dspy.context(lm=lm):
        agent(question="go")

    assert ([("o-1", 5.0)] * 2 if outcome == "allowed" else []) == RAN
    assert [asked.tool for asked in client.decides] == ["refund"] * 2


@pytest.mark.skipif(not hasattr(dspy, "RLM"), reason="needs a DSPy that has RLM")
def test_tools_of_the_recursive_model_are_guarded() -> None:
    guard, _ = enforcing("blocked")
    agent = attach(guard, dspy.RLM("question -> answer", tools=[refund]))
    called = agent._prepare_execution_tools()["refund"]

    with pytest.raises(Hold):
        called(order_id="o-1", amount=5.0)

    assert (RAN, executions(guard)) == ([], [("refund", "not_run")])


def test_a_plain_tool_in_a_running_loop_is_decided_too() -> None:
    """In a notebook a loop runs, and a program is called all the same."""
    guard, _ = enforcing("blocked")
    agent, lm = agent_with([[asks()]], refund)
    attach(guard, agent)

    async def in_a_notebook() -> list[str]:
        return run(agent, lm)

    [told] = asyncio.run(in_a_notebook())

    assert RAN == []
    assert "KIFF withheld `refund`: blocked" in told


# What went wrong


@pytest.mark.parametrize("args", [{"amount": 5.0}, {"order_id": "o-1", "more": 1}, {"order_id": "o-1", "amount": {}}])
def test_arguments_that_do_not_fit_are_no_success(args: dict[str, Any]) -> None:
    guard, _ = enforcing()
    agent, lm = agent_with([[ToolCall("refund", args, "")]], refund)

    run(attach(guard, agent), lm)

    assert RAN == []
    assert "succeeded" not in [execution for _, execution in executions(guard)]
