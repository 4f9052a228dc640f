"""The filter on real kernels and agents: what is refused, what is held, and the traps of this framework."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from guards import RAN, asks, enforcing, executions, explode, fails_open, refund
from semantic_kernel import Kernel
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.exceptions import KernelInvokeException
from semantic_kernel.functions import KernelArguments, KernelFunctionFromPrompt, kernel_function
from sk_driver import PLUGIN, Script, agent_with, kernel_with, settings

from kiff_guard import Hold
from kiff_guard.adapters.semantic_kernel import attach, hook
from kiff_guard.conformance import ToolCall
from kiff_guard.errors import ConfigurationError

TOOL = f"{PLUGIN}-refund"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # Semantic Kernel logs each function that fails
    yield
    logging.disable(logging.NOTSET)


async def arefund(order_id: str) -> str:
    """Refund an order, and wait for it."""
    await asyncio.sleep(0)
    RAN.append(order_id)
    return f"refunded {order_id}"


async def pieces(order_id: str) -> AsyncIterator[str]:
    """Tell it piece by piece."""
    RAN.append("begun")
    yield "one, "
    yield "two"
    RAN.append("ended")


def get(agent: ChatCompletionAgent) -> Any:
    return asyncio.run(agent.get_response("go"))


# Refused


def test_while_kiff_is_down_it_runs_if_told_so_and_the_receipt_says_it() -> None:
    fails_open(lambda guard: get(attach(guard, agent_with([[asks()]], refund)[0], fail_closed=False)))


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


@pytest.mark.parametrize("args", [{"order_id": "o-1", "more": 1}, {"orders": []}])
def test_arguments_that_nobody_takes_are_no_success(args: dict[str, Any]) -> None:
    guard, _ = enforcing()
    agent, _ = agent_with([[ToolCall("refund", args, "c1")]], refund)

    get(attach(guard, agent))

    assert RAN == []
    assert "succeeded" not in [execution for _, execution in executions(guard)]


# Observe
