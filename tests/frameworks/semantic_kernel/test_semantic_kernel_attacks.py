"""Attacks on the guard in Semantic Kernel: every way to invoke a function, and agents that a plugin's object holds."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
from guards import RAN, asks, enforcing, refund
from semantic_kernel.functions import kernel_function
from sk_driver import PLUGIN, agent_with, kernel_with

from kiff_guard.adapters.semantic_kernel import attach


async def read(stream: Any) -> None:
    async for _ in stream:
        pass


GIVEN = {"order_id": "o-1"}
WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "kernel.invoke": lambda kernel, function: kernel.invoke(function, **GIVEN),
    "function.invoke": lambda kernel, function: function.invoke(kernel, **GIVEN),
    "call": lambda kernel, function: function(kernel, **GIVEN),
    "kernel.invoke_stream": lambda kernel, function: read(kernel.invoke_stream(function, **GIVEN)),
    "function.invoke_stream": lambda kernel, function: read(function.invoke_stream(kernel, **GIVEN)),
    "clone": lambda kernel, function: kernel.clone().invoke(function, **GIVEN),
    "model_copy": lambda kernel, function: kernel.model_copy().invoke(function, **GIVEN),
    "deepcopy": lambda kernel, function: copy.deepcopy(kernel).invoke(function, **GIVEN),
    "template": lambda kernel, _: kernel.invoke_prompt("{{" + PLUGIN + ".refund order_id='o-1'}}"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_way_to_invoke_a_function_goes_past_the_guard(way: Callable[[Any, Any], Any]) -> None:
    guard, _ = enforcing("blocked")
    kernel = attach(guard, kernel_with(refund))

    async def invoked() -> None:
        await way(kernel, kernel.get_function(PLUGIN, "refund"))

    with pytest.raises(Exception, match=r"refund|invoking"):
        asyncio.run(invoked())
    assert (RAN, [each.outcome for each in guard.receipts]) == ([], ["blocked"])


class Desk:
    """A plugin whose method runs an agent that the object holds."""

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    @kernel_function(name="ask")
    async def ask(self, question: str) -> str:
        """Ask the one who knows."""
        return str(await self.agent.get_response(question))


def test_an_agent_that_a_plugins_object_holds_is_guarded() -> None:
    inner, _ = agent_with([[asks()]], refund)
    guard, _ = enforcing(lambda args: "blocked" if "order_id" in args else "allowed")
    kernel = kernel_with()
    kernel.add_plugin(Desk(inner), "desk")
    asyncio.run(attach(guard, kernel).invoke(plugin_name="desk", function_name="ask", question="go"))
    assert (RAN, [each.outcome for each in guard.receipts]) == ([], ["blocked", "allowed"])
