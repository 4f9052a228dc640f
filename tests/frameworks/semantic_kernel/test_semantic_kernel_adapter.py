"""The filter on real kernels and agents: what is refused, what is held, and the traps of this framework."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from semantic_kernel import Kernel
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.contents import ChatHistory
from semantic_kernel.exceptions import KernelInvokeException
from semantic_kernel.functions import KernelArguments, KernelFunctionFromPrompt, kernel_function
from sk_driver import PLUGIN, Script, agent_with, kernel_with, settings

from kiff_guard import Guard, Hold
from kiff_guard.adapters.semantic_kernel import attach, hook
from kiff_guard.conformance import ScriptedClient, ToolCall, stoppable
from kiff_guard.errors import ConfigurationError, DeadlineExceeded

RAN: list[Any] = []
TOOL = f"{PLUGIN}-refund"


@pytest.fixture(autouse=True)
def nothing_ran() -> Iterator[None]:
    RAN.clear()
    logging.disable(logging.CRITICAL)  # Semantic Kernel logs each function that fails
    yield
    logging.disable(logging.NOTSET)


def refund(order_id: str, amount: float = 500.0) -> str:
    """Refund an order."""
    RAN.append((order_id, amount))
    return f"refunded {order_id}"


async def arefund(order_id: str) -> str:
    """Refund an order, and wait for it."""
    await asyncio.sleep(0)
    RAN.append(order_id)
    return f"refunded {order_id}"


def explode(order_id: str) -> str:
    """Fail."""
    RAN.append(order_id)
    raise RuntimeError("card network down")


async def pieces(order_id: str) -> AsyncIterator[str]:
    """Tell it piece by piece."""
    RAN.append("begun")
    yield "one, "
    yield "two"
    RAN.append("ended")


def asks(name: str = "refund", call_id: str = "c1", **args: Any) -> ToolCall:
    return ToolCall(name, args or {"order_id": "o-1", "amount": 5.0}, call_id)


def enforcing(outcomes: Any = "allowed", **more: Any) -> tuple[Guard, ScriptedClient]:
    client = ScriptedClient(outcomes, **more)
    return Guard(client, agent="agent-1", mode="enforce"), client


def executions(guard: Guard) -> list[tuple[str, str]]:
    return [(each.tool, each.execution) for each in guard.receipts]


def get(agent: ChatCompletionAgent) -> Any:
    return asyncio.run(agent.get_response("go"))


def stream(agent: ChatCompletionAgent) -> Any:
    async def all_of_it() -> list[Any]:
        return [each async for each in agent.invoke_stream("go")]

    return asyncio.run(all_of_it())


def service(agent: ChatCompletionAgent) -> Any:
    """Without an agent: the chat service, and the kernel it is given."""
    history = ChatHistory()
    history.add_user_message("go")
    return asyncio.run(agent.service.get_chat_message_contents(history, settings(), kernel=agent.kernel))


WAYS = [get, stream, service]


# Refused


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("outcome", ["blocked", "invalid", "limit_exceeded", "error", "granted"])
def test_a_withheld_call_does_not_run_and_the_model_is_told_why(outcome: str, way: Callable[..., Any]) -> None:
    guard, _ = enforcing(outcome)
    agent, script = agent_with([[asks()]], refund)

    way(attach(guard, agent))

    assert RAN == []
    assert executions(guard) == [(TOOL, "not_run")]
    assert script.said()[0].startswith(f"KIFF withheld `{TOOL}`: ")


@pytest.mark.parametrize("error", [OSError("no route"), DeadlineExceeded("too late"), RuntimeError("a bug")])
def test_nothing_runs_while_kiff_cannot_be_asked(error: Exception) -> None:
    guard, _ = enforcing(error)
    agent, script = agent_with([[asks()]], refund)

    get(attach(guard, agent))

    assert RAN == []
    assert guard.receipts[0].outcome == "error"
    assert "KIFF could not be asked" in script.said()[0]


def test_it_runs_then_where_it_was_told_to() -> None:
    guard, _ = enforcing(OSError("no route"))
    agent, _ = agent_with([[asks()]], refund)

    get(attach(guard, agent, fail_closed=False))

    assert RAN == [("o-1", 5.0)]
    assert guard.receipts[0].outcome == "failed_open"


def test_a_function_that_kiff_does_not_know_is_withheld() -> None:
    guard, _ = enforcing(maps=frozenset({"shop-look"}))
    agent, _ = agent_with([[asks()]], refund)

    get(attach(guard, agent))

    assert (RAN, executions(guard)) == ([], [(TOOL, "not_run")])


def test_a_function_of_another_plugin_is_another_tool() -> None:
    """Two plugins may each have a `refund`."""
    guard, client = enforcing({TOOL: "allowed", "*": "blocked"})
    kernel = kernel_with(refund)
    kernel.add_function(plugin_name="other", function=kernel_function(refund))
    attach(guard, kernel)

    asyncio.run(kernel.invoke(plugin_name=PLUGIN, function_name="refund", order_id="o-1"))
    with pytest.raises(KernelInvokeException):
        asyncio.run(kernel.invoke(plugin_name="other", function_name="refund", order_id="o-2"))

    assert RAN == [("o-1", 500.0)]
    assert [asked.tool for asked in client.decides] == [TOOL, "other-refund"]


# Held


def answering(agent: ChatCompletionAgent, answer: Callable[[str], None], client: ScriptedClient) -> None:
    """A person answers each approval once the model was told that it waits."""

    async def answers(context: Any, next: Any) -> None:
        await next(context)
        for approval in client.waiting():
            answer(approval)

    agent.kernel.add_filter("auto_function_invocation", answers)


def test_a_held_call_runs_once_kiff_says_that_a_person_said_yes() -> None:
    guard, client = enforcing("approval_required")
    agent, script = agent_with([[asks()], [asks(call_id="c2")]], refund)
    answering(attach(guard, agent), client.grant, client)

    get(agent)

    assert RAN == [("o-1", 5.0)]
    assert executions(guard) == [(TOOL, "not_run"), (TOOL, "succeeded")]
    assert guard.receipts[1].approval_id == guard.receipts[0].approval_id != ""
    assert guard.receipts[0].approval_id in script.said()[0]


def test_a_held_call_never_runs_once_a_person_said_no() -> None:
    guard, client = enforcing("approval_required")
    agent, script = agent_with([[asks()], [asks(call_id="c2")]], refund)
    answering(attach(guard, agent), lambda approval: client.deny(approval, "not this one"), client)

    get(agent)

    assert RAN == []
    assert executions(guard) == [(TOOL, "not_run")] * 2
    assert "not this one" in script.said()[1]


def test_an_approval_is_for_the_arguments_that_were_shown() -> None:
    guard, client = enforcing("approval_required")
    agent, _ = agent_with([[asks()], [asks(call_id="c2", order_id="o-1", amount=5_000.0)]], refund)
    answering(attach(guard, agent), client.grant, client)

    get(agent)

    assert RAN == []


def test_a_run_can_end_where_a_person_has_to_speak() -> None:
    guard, client = enforcing({TOOL: "approval_required"})
    agent, script = agent_with([[asks()], [asks("explode", "c2", order_id="o-1")]], refund, explode)

    ended = get(attach(guard, agent, pause=True))

    assert client.waiting()[0] in str(ended.message.items[0].result)
    assert (RAN, script.next) == ([], 1)


def test_a_run_does_not_end_where_nobody_has_to() -> None:
    guard, _ = enforcing({TOOL: "blocked"})
    agent, script = agent_with([[asks()], [asks("arefund", "c2", order_id="o-1")]], refund, arefund)

    get(attach(guard, agent, pause=True))

    assert (RAN, script.next) == (["o-1"], 3)


# What is decided is what runs


@pytest.mark.parametrize("kind", ["function_invocation", "auto_function_invocation"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_filter_that_changes_arguments_changes_them_before_the_decision(kind: Any, is_first: bool) -> None:
    guard, client = enforcing()
    agent, _ = agent_with([[asks()]], refund)

    async def evil(context: Any, next: Any) -> None:
        context.arguments["amount"] = 9_999.0
        await next(context)

    if is_first:
        agent.kernel.add_filter(kind, evil)
    attach(guard, agent)
    if not is_first:
        agent.kernel.add_filter(kind, evil)
    get(agent)

    assert RAN == [("o-1", 9_999.0)]
    assert [asked.args["amount"] for asked in client.decides] == [9_999.0]
    assert not guard.receipts[0].integrity_violation


def test_a_filter_that_was_added_later_still_does_what_it_is_there_for() -> None:
    guard, _ = enforcing()
    agent, script = agent_with([[asks()]], refund)
    attach(guard, agent)

    async def shout(context: Any, next: Any) -> None:
        await next(context)
        context.result.value = context.result.value.upper()

    agent.kernel.add_filter("function_invocation", shout)
    get(agent)

    assert script.said() == ["REFUNDED O-1"]


@pytest.mark.parametrize("by_prompt", [False, True])
def test_a_filter_that_puts_another_function_in_the_context_hides_nothing(by_prompt: bool) -> None:
    guard, client = enforcing({TOOL: "blocked", "*": "allowed"})
    kernel = attach(guard, kernel_with(refund))
    prompt = KernelFunctionFromPrompt("ask", plugin_name=PLUGIN, prompt="hello")
    other = prompt if by_prompt else kernel_with(explode).get_function(PLUGIN, "explode")

    async def swaps(context: Any, next: Any) -> None:
        context.function = other
        await next(context)

    kernel.add_filter("function_invocation", swaps)
    with pytest.raises(KernelInvokeException):
        asyncio.run(kernel.invoke(kernel.get_function(PLUGIN, "refund"), KernelArguments(order_id="o-1")))

    assert (RAN, client.decides[0].tool, client.decides[0].args["amount"]) == ([], TOOL, 500.0)


def test_what_is_left_out_is_decided_on_and_so_is_what_a_text_stands_for() -> None:
    guard, client = enforcing()
    agent, _ = agent_with([[asks(order_id="o-1"), asks(call_id="c2", order_id="o-2", amount="7")]], refund)

    get(attach(guard, agent))

    assert sorted(RAN) == [("o-1", 500.0), ("o-2", 7.0)]
    told = sorted((asked.args["order_id"], asked.args["amount"]) for asked in client.decides)
    assert told == [("o-1", 500.0), ("o-2", 7.0)]


def test_what_the_kernel_passes_by_itself_is_no_part_of_a_call() -> None:
    seen: list[Any] = []

    def look(order_id: str, kernel: Any = None, arguments: Any = None) -> str:
        """Look."""
        seen.append((kernel, arguments))
        return order_id

    guard, client = enforcing()
    kernel = attach(guard, kernel_with(look))

    asyncio.run(kernel.invoke(plugin_name=PLUGIN, function_name="look", order_id="o-1"))

    assert client.decides[0].args == {"order_id": "o-1"}
    assert isinstance(seen[0][0], Kernel)


# However it is put in


@pytest.mark.parametrize("kinds", [["function_invocation"], ["auto_function_invocation"]])
def test_one_of_both_filters_is_enough(kinds: list[Any]) -> None:
    guard, _ = enforcing("blocked")
    agent, _ = agent_with([[asks()], [asks(call_id="c2")]], refund)
    for kind in kinds:
        agent.kernel.add_filter(kind, hook(guard))

    get(agent)

    assert (RAN, executions(guard)) == ([], [(TOOL, "not_run")] * 2)


def test_a_guard_that_was_put_in_twice_asks_once() -> None:
    guard, client = enforcing()
    agent, _ = agent_with([[asks()]], refund)
    for kind in ("function_invocation", "auto_function_invocation", "function_invocation"):
        agent.kernel.add_filter(kind, hook(guard))
    attach(guard, attach(guard, agent))

    get(agent)

    assert (RAN, client.calls, len(guard.receipts)) == ([("o-1", 5.0)], 1, 1)


@pytest.mark.parametrize("order", [0, 1])
def test_of_two_guards_each_has_its_word(order: int) -> None:
    guards = [enforcing("blocked")[0], enforcing()[0]]
    agent, _ = agent_with([[asks()]], refund)
    for guard in (guards[order], guards[1 - order]):
        attach(guard, agent)

    get(agent)

    assert RAN == []


def test_a_clone_of_a_kernel_is_guarded() -> None:
    guard, _ = enforcing("blocked")
    kernel = attach(guard, kernel_with(refund)).clone()

    with pytest.raises(KernelInvokeException):
        asyncio.run(kernel.invoke(plugin_name=PLUGIN, function_name="refund", order_id="o-1"))

    assert RAN == []


def test_an_agent_that_is_a_plugin_of_another_is_guarded() -> None:
    guard, client = enforcing({TOOL: "blocked", "*": "allowed"})
    below, _ = agent_with([[asks()]], refund, name="below", description="refunds")
    script = Script(ai_model_id="scripted", turns=[[ToolCall("below-below", {"messages": "refund it"}, "c9")]])
    above = ChatCompletionAgent(
        service=script, name="above", plugins=[below], function_choice_behavior=FunctionChoiceBehavior.Auto()
    )

    get(attach(guard, above))

    assert RAN == []
    assert [asked.tool for asked in client.decides][-1] == TOOL


def test_what_has_no_kernel_is_not_taken_for_guarded() -> None:
    guard, _ = enforcing()
    with pytest.raises(ConfigurationError, match="a `object` has no kernel"):
        attach(guard, object())


# Calls of one's own code


def test_code_that_invokes_a_withheld_function_is_told_by_an_exception() -> None:
    """A text would be taken for the function's result."""
    guard, _ = enforcing("blocked")
    kernel = attach(guard, kernel_with(refund))

    with pytest.raises(KernelInvokeException) as raised:
        asyncio.run(kernel.invoke(plugin_name=PLUGIN, function_name="refund", order_id="o-1"))

    error: BaseException | None = raised.value
    while error is not None and not isinstance(error, Hold):
        error = error.__cause__
    assert isinstance(error, Hold)
    assert (RAN, executions(guard)) == ([], [(TOOL, "not_run")])


def test_a_stream_that_code_asks_for_is_settled_when_it_ends() -> None:
    guard, _ = enforcing()
    kernel = attach(guard, kernel_with(pieces))
    seen: list[Any] = []

    async def read() -> None:
        arguments = KernelArguments(order_id="o-1")
        async for each in kernel.invoke_stream(plugin_name=PLUGIN, function_name="pieces", arguments=arguments):
            seen.append((str(each), len(guard.receipts)))

    asyncio.run(read())

    assert seen == [("one, ", 0), ("two", 0)]
    assert executions(guard) == [(f"{PLUGIN}-pieces", "succeeded")]


def test_a_stream_that_is_withheld_does_not_begin() -> None:
    guard, _ = enforcing("blocked")
    kernel = attach(guard, kernel_with(pieces))

    async def read() -> None:
        async for _ in kernel.invoke_stream(plugin_name=PLUGIN, function_name="pieces", order_id="o-1"):
            pass

    with pytest.raises(Hold):
        asyncio.run(read())
    assert RAN == []


def test_a_prompt_is_nobodys_tool() -> None:
    guard, client = enforcing("blocked")
    kernel = attach(guard, kernel_with(refund))
    kernel.add_service(Script(ai_model_id="scripted", turns=[]))

    told = asyncio.run(kernel.invoke_prompt("Say that you are done."))

    assert (str(told), client.calls) == ("done", 0)


def test_what_a_prompt_calls_is_guarded() -> None:
    guard, _ = enforcing("blocked")
    kernel = attach(guard, kernel_with(refund))
    kernel.add_service(Script(ai_model_id="scripted", turns=[[asks()]]))

    asyncio.run(kernel.invoke_prompt("Refund it.", arguments=KernelArguments(settings=settings())))

    assert (RAN, executions(guard)) == ([], [(TOOL, "not_run")])


# What went wrong


def test_a_function_that_raises_has_failed_and_the_model_is_told() -> None:
    guard, _ = enforcing()
    agent, script = agent_with([[asks("explode", order_id="o-1")]], explode)

    get(attach(guard, agent))

    [receipt] = guard.receipts
    assert (RAN, receipt.execution, receipt.error_type) == (["o-1"], "failed", "RuntimeError")
    assert "card network down" in script.said()[0]


@pytest.mark.parametrize(
    "args", [{"amount": 5.0}, {"order_id": "o-1", "amount": "a lot"}, {"order_id": "o-1", "more": 1}, {"orders": []}]
)
def test_arguments_that_do_not_fit_are_no_success(args: dict[str, Any]) -> None:
    guard, _ = enforcing()
    agent, _ = agent_with([[ToolCall("refund", args, "c1")]], refund)

    get(attach(guard, agent))

    assert RAN == []
    assert "succeeded" not in [execution for _, execution in executions(guard)]


def test_two_calls_with_the_same_arguments_are_two() -> None:
    guard, client = enforcing()
    agent, script = agent_with([[asks(call_id=f"c{number}") for number in range(5)]], refund)

    get(attach(guard, agent))

    assert (RAN, client.calls) == ([("o-1", 5.0)] * 5, 5)
    assert sorted(each.call_id for each in guard.receipts) == [f"c{number}" for number in range(5)]
    assert script.said() == ["refunded o-1"] * 5


def test_the_same_call_delivered_twice_runs_once() -> None:
    """A client that gave up and asks again with what it has: the framework's own retry."""
    guard = Guard(ScriptedClient("allowed"), mode="enforce", session="conversation-1")
    kernel = attach(guard, kernel_with(refund))
    call = Script(ai_model_id="scripted", turns=[[asks()]]).answer(ChatHistory())[0]

    async def deliver() -> None:
        for _ in range(2):
            await kernel.invoke_function_call(call, ChatHistory())

    asyncio.run(deliver())

    assert RAN == [("o-1", 5.0)]


def test_a_run_that_is_cancelled_in_a_function_says_so() -> None:
    cancel = threading.Event()

    async def wait(order_id: str) -> str:
        """Wait."""
        RAN.append(order_id)
        cancel.set()
        await asyncio.sleep(20)
        return order_id

    guard, _ = enforcing()
    agent, _ = agent_with([[asks("wait", order_id="o-1")]], wait)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stoppable(attach(guard, agent).get_response("go"), cancel))

    assert executions(guard) == [(f"{PLUGIN}-wait", "cancelled")]


# Observe


def test_observe_asks_nobody_and_runs_everything() -> None:
    guard = Guard(mode="observe")
    agent, script = agent_with([[asks()], [asks("explode", "c2", order_id="o-2")]], refund, explode)

    get(attach(guard, agent))

    assert RAN == [("o-1", 5.0), "o-2"]
    assert [(each.state, each.execution) for each in guard.receipts] == [
        ("observed", "succeeded"),
        ("observed", "failed"),
    ]
    assert script.said()[0] == "refunded o-1"


def test_the_adapter_can_be_imported_without_the_framework() -> None:
    program = """
import sys
sys.modules["semantic_kernel"] = None
from kiff_guard import Guard
from kiff_guard.adapters.semantic_kernel import hook
hook(Guard())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
