"""Attacks on the guard in DSPy: tools that stand where nobody looks, and arguments that come twice."""

from __future__ import annotations

import copy
from typing import Any

import dspy
import pytest
from guards import RAN

from kiff_guard import Guard, Hold
from kiff_guard.adapters.dspy import attach, hook
from kiff_guard.conformance import ScriptedClient


def refund(order_id: str) -> str:
    """Refund an order."""
    RAN.append(order_id)
    return f"refunded {order_id}"


def enforcing(outcomes: Any = "blocked") -> tuple[Guard, ScriptedClient]:
    client = ScriptedClient(outcomes)
    return Guard(client, mode="enforce"), client


class Deep(dspy.Module):
    """Keeps its tools further down than in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.tools = {"shop": [dspy.Tool(refund)]}
        self.tools["itself"] = self.tools  # type: ignore[assignment]


def test_tools_are_found_at_any_depth() -> None:
    guard, _ = enforcing()
    module = attach(guard, Deep())
    with pytest.raises(Hold):
        module.tools["shop"][0](order_id="o-1")
    assert RAN == []


@pytest.mark.skipif(not hasattr(dspy, "Flex"), reason="needs a DSPy with Flex")
@pytest.mark.parametrize("tool", [refund, dspy.Tool(refund)], ids=["function", "tool"])
def test_the_tools_of_flex_are_guarded_as_its_code_calls_them(tool: Any) -> None:
    class Both(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.react = dspy.ReAct("question -> answer", tools=[refund])
            self.flex = dspy.Flex("question -> answer", tools=[tool])

    from dspy.predict.flex.bridge import _tool_entrypoint

    guard, _ = enforcing()
    module = attach(guard, Both())
    called = _tool_entrypoint(module.flex._flex_ctx.context_names()["refund"])
    with pytest.raises(Hold):
        called(order_id="o-1")
    assert (RAN, [each.tool for each in guard.receipts]) == ([], ["refund"])


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda module: module.deepcopy(), lambda module: module.reset_copy()]
)
def test_copies_of_a_module_are_guarded(copied: Any) -> None:
    guard, _ = enforcing()
    module = copied(attach(guard, dspy.ReAct("question -> answer", tools=[refund])))
    assert "KIFF withheld" in module.tools["refund"](order_id="o-1")
    assert RAN == []


def test_an_argument_that_a_function_takes_by_its_place_is_not_decided_on_by_its_name() -> None:
    def pay(amount: float = 1_000_000.0, /, **more: Any) -> None:
        RAN.append(amount)

    guard, client = enforcing("allowed")
    tool = hook(guard)(dspy.Tool(pay, name="pay", args={}, arg_types={}))
    with pytest.raises(TypeError, match=r"by its place|positional only"):
        tool.func(amount=5.0)
    assert (RAN, client.calls) == ([], 0)


def test_a_module_that_a_tool_holds_is_guarded() -> None:
    inner = dspy.ReAct("question -> answer", tools=[refund])

    def ask(question: str) -> str:
        """Ask the one who knows."""
        return str(inner.tools["refund"](order_id=question))

    guard = Guard(ScriptedClient(lambda args: "blocked" if "order_id" in args else "allowed"), mode="enforce")
    outer = attach(guard, dspy.ReAct("question -> answer", tools=[ask]))
    assert "KIFF withheld `refund`" in outer.tools["ask"](question="o-1")
    assert RAN == []
