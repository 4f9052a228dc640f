"""The guard in tools of real modules: what is refused, what is held, and the traps of this framework."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dspy
import pytest
from dspy.utils.callback import BaseCallback
from dspy_driver import agent_with, arun, run

from kiff_guard import Guard, Hold
from kiff_guard.adapters.dspy import attach, hook
from kiff_guard.conformance import ScriptedClient, ToolCall, stoppable
from kiff_guard.errors import ConfigurationError, DeadlineExceeded

RAN: list[Any] = []
WAYS = [run, arun]
Way = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def nothing_ran() -> Iterator[None]:
    RAN.clear()
    yield


def refund(order_id: str, amount: float = 500.0) -> str:
    """Refund an order."""
    RAN.append((order_id, amount))
    return f"refunded {order_id}"


async def arefund(order_id: str, amount: float = 500.0) -> str:
    """Refund an order, and wait for it."""
    await asyncio.sleep(0)
    RAN.append((order_id, amount))
    return f"refunded {order_id}"


def explode(order_id: str) -> str:
    """Fail."""
    RAN.append(order_id)
    raise RuntimeError("card network down")


class Refunds:
    """An object that is a tool."""

    def __call__(self, order_id: str) -> str:
        """Refund an order."""
        RAN.append(order_id)
        return f"refunded {order_id}"


def asks(name: str = "refund", **args: Any) -> ToolCall:
    return ToolCall(name, args or {"order_id": "o-1", "amount": 5.0}, "")


def enforcing(outcomes: Any = "allowed", **more: Any) -> tuple[Guard, ScriptedClient]:
    client = ScriptedClient(outcomes, **more)
    return Guard(client, agent="agent-1", mode="enforce"), client


def executions(guard: Guard) -> list[tuple[str, str]]:
    return [(each.tool, each.execution) for each in guard.receipts]


# Refused


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tool", [refund, arefund])
@pytest.mark.parametrize("outcome", ["blocked", "invalid", "limit_exceeded", "error", "granted"])
def test_a_withheld_call_does_not_run_and_the_model_is_told_why(outcome: str, tool: Any, way: Way) -> None:
    guard, _ = enforcing(outcome)
    agent, lm = agent_with([[asks(tool.__name__)]], tool)

    [told] = way(attach(guard, agent), lm)

    assert RAN == []
    assert executions(guard) == [(tool.__name__, "not_run")]
    assert told.startswith(f"KIFF withheld `{tool.__name__}`: ")


@pytest.mark.parametrize("error", [OSError("no route"), DeadlineExceeded("too late"), RuntimeError("a bug")])
def test_nothing_runs_while_kiff_cannot_be_asked(error: Exception) -> None:
    guard, _ = enforcing(error)
    agent, lm = agent_with([[asks()]], refund)

    [told] = run(attach(guard, agent), lm)

    assert (RAN, guard.receipts[0].outcome) == ([], "error")
    assert "KIFF could not be asked" in told


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


def test_a_tool_that_kiff_does_not_know_is_withheld_and_the_end_of_a_run_is_no_tool() -> None:
    guard, client = enforcing(maps=frozenset({"look"}))
    agent, lm = agent_with([[asks()]], refund)

    run(attach(guard, agent), lm)

    assert RAN == []
    assert [asked.tool for asked in client.decides] == ["refund"]


# Held


def answering(client: ScriptedClient, answer: Callable[[str], None]) -> None:
    """A person answers before the model's next call."""
    asked = client.decide

    def decide(*given: Any, **named: Any) -> Any:
        for approval in client.waiting():
            answer(approval)
        return asked(*given, **named)

    client.decide = decide  # type: ignore[method-assign]


@pytest.mark.parametrize("way", WAYS)
def test_a_held_call_runs_once_kiff_says_that_a_person_said_yes(way: Way) -> None:
    guard, client = enforcing("approval_required")
    answering(client, client.grant)
    agent, lm = agent_with([[asks()], [asks()]], refund)

    told = way(attach(guard, agent), lm)

    assert RAN == [("o-1", 5.0)]
    assert executions(guard) == [("refund", "not_run"), ("refund", "succeeded")]
    assert guard.receipts[0].approval_id in told[0]
    assert guard.receipts[1].approval_id == guard.receipts[0].approval_id


@pytest.mark.parametrize("way", WAYS)
def test_a_held_call_never_runs_once_a_person_said_no(way: Way) -> None:
    guard, client = enforcing("approval_required")
    answering(client, lambda approval: client.deny(approval, "not this one"))
    agent, lm = agent_with([[asks()], [asks()]], refund)

    told = way(attach(guard, agent), lm)

    assert (RAN, executions(guard)) == ([], [("refund", "not_run")] * 2)
    assert "not this one" in told[1]


def test_an_approval_is_for_the_arguments_that_were_shown() -> None:
    guard, client = enforcing("approval_required")
    answering(client, client.grant)
    agent, lm = agent_with([[asks()], [asks(order_id="o-1", amount=5_000.0)]], refund)

    run(attach(guard, agent), lm)

    assert RAN == []


# What is decided is what runs


def test_what_is_left_out_is_decided_on() -> None:
    guard, client = enforcing()
    agent, lm = agent_with([[asks(order_id="o-1")]], refund)

    run(attach(guard, agent), lm)

    assert client.decides[0].args == {"order_id": "o-1", "amount": 500.0}
    assert RAN == [("o-1", 500.0)]


def test_what_an_argument_is_read_as_is_decided_on() -> None:
    """DSPy reads a text where a number is due: what the function gets is what KIFF is asked about."""
    guard, client = enforcing()
    agent, lm = agent_with([[asks(order_id="o-1", amount="7")]], refund)

    run(attach(guard, agent), lm)

    assert [asked.args["amount"] for asked in client.decides] == [amount for _, amount in RAN]


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


@pytest.mark.parametrize("order", [0, 1])
def test_of_two_guards_each_has_its_word(order: int) -> None:
    guards = [enforcing("blocked")[0], enforcing()[0]]
    agent, lm = agent_with([[asks()]], refund)
    for guard in (guards[order], guards[1 - order]):
        attach(guard, agent)

    run(agent, lm)

    assert RAN == []


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


def test_programs_in_threads_share_a_guard() -> None:
    guard, client = enforcing()
    agents = [agent_with([[asks(order_id=f"o-{number}", amount=1.0)]], refund) for number in range(8)]
    threads = [threading.Thread(target=run, args=(attach(guard, agent), lm)) for agent, lm in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(RAN) == [(f"o-{number}", 1.0) for number in range(8)]
    assert (client.calls, len(guard.receipts)) == (8, 8)


# What went wrong


@pytest.mark.parametrize("way", WAYS)
def test_a_tool_that_raises_has_failed_and_the_model_is_told(way: Way) -> None:
    guard, _ = enforcing()
    agent, lm = agent_with([[asks("explode", order_id="o-1")]], explode)

    [told] = way(attach(guard, agent), lm)

    [receipt] = guard.receipts
    assert (RAN, receipt.execution, receipt.error_type) == (["o-1"], "failed", "RuntimeError")
    assert "card network down" in told


@pytest.mark.parametrize("args", [{"amount": 5.0}, {"order_id": "o-1", "more": 1}, {"order_id": "o-1", "amount": {}}])
def test_arguments_that_do_not_fit_are_no_success(args: dict[str, Any]) -> None:
    guard, _ = enforcing()
    agent, lm = agent_with([[ToolCall("refund", args, "")]], refund)

    run(attach(guard, agent), lm)

    assert RAN == []
    assert "succeeded" not in [execution for _, execution in executions(guard)]


def test_two_calls_with_the_same_arguments_are_two() -> None:
    guard, client = enforcing()
    agent, lm = agent_with([[asks(), asks()]], refund)

    run(attach(guard, agent), lm)

    assert (RAN, client.calls, len(guard.receipts)) == ([("o-1", 5.0)] * 2, 2, 2)


def test_a_run_that_is_cancelled_in_a_tool_says_so() -> None:
    cancel = threading.Event()

    async def wait(order_id: str) -> str:
        """Wait."""
        RAN.append(order_id)
        cancel.set()
        await asyncio.sleep(20)
        return order_id

    guard, _ = enforcing()
    agent, lm = agent_with([[asks("wait", order_id="o-1")]], wait)

    async def go() -> Any:
        with dspy.context(lm=lm):
            return await stoppable(attach(guard, agent).acall(question="go"), cancel)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(go())

    assert executions(guard) == [("wait", "cancelled")]


# Observe


@pytest.mark.parametrize("way", WAYS)
def test_observe_asks_nobody_and_runs_everything(way: Way) -> None:
    guard = Guard(mode="observe")
    agent, lm = agent_with([[asks(), asks("explode", order_id="o-2")]], refund, explode)

    told = way(attach(guard, agent), lm)

    assert RAN == [("o-1", 5.0), "o-2"]
    assert [each.state for each in guard.receipts] == ["observed"] * 2
    assert [each.execution for each in guard.receipts] == ["succeeded", "failed"]
    assert told[0] == "refunded o-1"


def test_the_adapter_can_be_imported_without_the_framework() -> None:
    program = """
import sys
sys.modules["dspy"] = None
from kiff_guard import Guard
from kiff_guard.adapters.dspy import attach, hook
hook(Guard())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
